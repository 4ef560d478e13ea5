/* softmax(q k^T) v and its gradient, a tile of queries at a time, window by window and head by head. Scores are computed again on the way back
 * (T. Dao et al.: "FlashAttention", 2022). A query head writes its own part of the gradients of keys and values; parts of heads that share these
 * are added in ascending order, so that a result depends on no thread. */
#include <math.h>
#include <string.h>

#include "base/status.h"
#include "gradients/gradients.h"
#include "layers/attention.h"

#define TILE RBE_QUERY_TILE

typedef struct attend_job {
    rbe_gradients *gradients;
    const rbe__attend_call *call;
} attend_job;

/* The keys and queries of one head and one window. */
typedef struct head {
    const attend_job *job;
    const rbe_kernels *kernels;
    const rbe__tile_memory *memory;
    uint32_t n, n_keys, dim; /* queries; keys; values of a head */
    uint32_t query_head;
    uint32_t stride; /* of rows in the memory of tiles: n_keys or more */
    size_t q_width, kv_width;
    size_t q_at, kv_at, parts_at; /* where its rows begin: of queries, of keys, of the keys' gradients by query head */
} head;

/* Queries first ... first + n - 1 and keys begin ... end - 1, those that any of them sees; begin is a multiple of 16. */
typedef struct tile {
    uint32_t first, n, begin, end;
} tile;

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static head head_of(const attend_job *job, uint32_t item, uint32_t thread)
{
    const rbe_gradients *gradients = job->gradients;
    const rbe__attend_call *call = job->call;
    const rbe__attention_shape *shape = call->shape;
    const uint32_t window = item / shape->n_heads, query_head = item % shape->n_heads, group = shape->n_heads / shape->n_kv_heads;
    const uint32_t first = window * call->window, first_key = window * call->key_window;
    head found = {.job = job, .kernels = gradients->stack->kernels, .memory = &gradients->tiles[thread], .dim = shape->head_dim};
    found.query_head = query_head;
    found.n = smaller(call->n - first, call->window);
    found.n_keys = smaller(call->n_keys - first_key, call->key_window);
    found.stride = (gradients->window_tokens + 15) & ~15u;
    found.q_width = (size_t)shape->n_heads * shape->head_dim;
    found.kv_width = (size_t)shape->n_kv_heads * shape->head_dim;
    found.q_at = first * found.q_width + (size_t)query_head * shape->head_dim;
    found.kv_at = first_key * found.kv_width + (size_t)(query_head / group) * shape->head_dim;
    found.parts_at = first_key * found.q_width + (size_t)query_head * shape->head_dim;
    return found;
}

/* The keys that a query sees: from the first to below the end, which is behind its own place where it sees back alone. */
static uint32_t first_seen(const head *at, uint32_t query)
{
    const uint32_t window = at->job->call->shape->window;
    return window && query + 1 > window ? query + 1 - window : 0;
}

static uint32_t end_seen(const head *at, uint32_t query)
{
    const rbe__attend_call *call = at->job->call;
    const uint32_t window = call->shape->window;
    if (call->sees_all) {
        return at->n_keys;
    }
    if (!call->shape->both) {
        return query + 1;
    }
    return window && window < at->n - query ? query + window : at->n;
}

static tile tile_of(const head *at, uint32_t first)
{
    const uint32_t n = at->n - first < TILE ? at->n - first : TILE;
    return (tile){first, n, first_seen(at, first) & ~15u, end_seen(at, first + n - 1)};
}

/* across[dim][stride] = the transpose of rows [n][dim] */
static void transpose_rows(const head *at, const float *rows, size_t row_stride, float *across)
{
    for (uint32_t i = 0; i < at->n_keys; i++) {
        for (uint32_t d = 0; d < at->dim; d++) {
            across[(size_t)d * at->stride + i] = rows[i * row_stride + d];
        }
    }
}

/* The weights of the tile's queries in memory->weights, zeros where nothing is seen; capped scores in memory->capped where there is a cap. */
static void weigh(const head *at, const tile *part)
{
    const rbe__attention_shape *shape = at->job->call->shape;
    const rbe__attention_memory *all = at->job->call->memory;
    const rbe__tile_memory *memory = at->memory;
    for (uint32_t i = 0; i < part->n; i++) {
        for (uint32_t d = 0; d < at->dim; d++) {
            memory->queries[i * at->dim + d] = all->q[at->q_at + (part->first + i) * at->q_width + d] * shape->scale;
        }
    }
    at->kernels->weighted_sum_f32(memory->queries, at->dim, memory->keys_across + part->begin, at->stride, at->dim, part->end - part->begin,
                                  part->n, NULL, memory->weights + part->begin, at->stride);
    for (uint32_t i = 0; i < part->n; i++) {
        float *row = memory->weights + (size_t)i * at->stride, largest = -INFINITY;
        const uint32_t begin = first_seen(at, part->first + i), end = end_seen(at, part->first + i);
        if (shape->distances) {
            rbe__add_distances(shape->distances, at->query_head, part->first + i, begin, end - begin, row + begin);
        }
        if (shape->softcap != 0.0f) {
            at->kernels->softcap(row + begin, end - begin, shape->softcap);
            memcpy(memory->capped + (size_t)i * at->stride + begin, row + begin, (end - begin) * sizeof *row);
        }
        const float share = 1.0f / at->kernels->online_softmax(row + begin, end - begin, &largest);
        for (uint32_t j = begin; j < end; j++) {
            row[j] *= share;
        }
        memset(row + part->begin, 0, (begin - part->begin) * sizeof *row);
        memset(row + end, 0, (part->end - end) * sizeof *row);
    }
}

static void attend_head(void *context, uint32_t item, uint32_t thread)
{
    const head at = head_of(context, item, thread);
    const rbe__attention_memory *all = at.job->call->memory;
    transpose_rows(&at, all->k + at.kv_at, at.kv_width, at.memory->keys_across);
    for (uint32_t first = 0; first < at.n && !rbe__gradients_stopped(at.job->gradients); first += TILE) {
        const tile part = tile_of(&at, first);
        weigh(&at, &part);
        at.kernels->weighted_sum_f32(at.memory->weights + part.begin, at.stride, all->v + at.kv_at + part.begin * at.kv_width, at.kv_width,
                                     part.end - part.begin, at.dim, part.n, NULL, all->mixed + at.q_at + first * at.q_width, at.q_width);
    }
}

/* ---- the way back --------------------------------------------------------------------------------------------------- */

/* memory->slopes: from the gradients by the weights to those by the scores, whose scale is still to come. */
static void slope_rows(const head *at, const tile *part)
{
    const rbe__attention_shape *shape = at->job->call->shape;
    const rbe__attention_memory *all = at->job->call->memory;
    const float inverse = shape->softcap != 0.0f ? 1.0f / shape->softcap : 0.0f;
    for (uint32_t i = 0; i < part->n; i++) {
        const size_t query = at->q_at + (part->first + i) * at->q_width, row = (size_t)i * at->stride;
        const uint32_t begin = first_seen(at, part->first + i), end = end_seen(at, part->first + i);
        const float *weights = at->memory->weights + row, *capped = at->memory->capped + row;
        float *slopes = at->memory->slopes + row, mean;
        at->kernels->dense_f32(all->d_mixed + query, 1, at->dim, all->mixed + query, at->dim, 1, &mean, 1);
        for (uint32_t j = begin; j < end; j++) {
            slopes[j] = weights[j] * (slopes[j] - mean);
        }
        for (uint32_t j = begin; shape->softcap != 0.0f && j < end; j++) {
            const float share = capped[j] * inverse;
            slopes[j] *= 1.0f - share * share;
        }
        memset(slopes + part->begin, 0, (begin - part->begin) * sizeof *slopes);
        memset(slopes + end, 0, (part->end - end) * sizeof *slopes);
    }
}

/* across[key][TILE] = the transpose of rows [query][stride], of the tile's keys */
static void transpose_tile(const head *at, const tile *part, const float *rows, float *across)
{
    for (uint32_t j = part->begin; j < part->end; j++) {
        for (uint32_t i = 0; i < part->n; i++) {
            across[(size_t)j * TILE + i] = rows[(size_t)i * at->stride + j];
        }
    }
}

/* to[key] += sum over the tile's queries of across[key][query] rows[query] */
static void add_keys(const head *at, const tile *part, const float *across, const float *rows, size_t row_stride, float *to)
{
    at->kernels->weighted_sum_f32(across + (size_t)part->begin * TILE, TILE, rows, row_stride, part->n, at->dim, part->end - part->begin,
                                  at->memory->ones, to + at->parts_at + part->begin * at->q_width, at->q_width);
}

static void attend_tile_back(const head *at, uint32_t first)
{
    const rbe__attention_memory *all = at->job->call->memory;
    const rbe__tile_memory *memory = at->memory;
    const tile part = tile_of(at, first);
    const size_t query = at->q_at + first * at->q_width;
    const uint32_t n_keys = part.end - part.begin;
    weigh(at, &part);
    transpose_tile(at, &part, memory->weights, memory->weights_across);
    add_keys(at, &part, memory->weights_across, all->d_mixed + query, at->q_width, all->value_parts);
    at->kernels->weighted_sum_f32(all->d_mixed + query, at->q_width, memory->values_across + part.begin, at->stride, at->dim, n_keys,
                                  part.n, NULL, memory->slopes + part.begin, at->stride);
    slope_rows(at, &part);
    transpose_tile(at, &part, memory->slopes, memory->slopes_across);
    add_keys(at, &part, memory->slopes_across, memory->queries, at->dim, all->key_parts); /* scaled, as these queries are */
    at->kernels->weighted_sum_f32(memory->slopes + part.begin, at->stride, all->k + at->kv_at + part.begin * at->kv_width, at->kv_width,
                                  n_keys, at->dim, part.n, NULL, all->d_q + query, at->q_width);
    for (uint32_t i = 0; i < part.n; i++) {
        for (uint32_t d = 0; d < at->dim; d++) {
            all->d_q[query + i * at->q_width + d] *= at->job->call->shape->scale;
        }
    }
}

static void attend_head_back(void *context, uint32_t item, uint32_t thread)
{
    const head at = head_of(context, item, thread);
    const rbe__attention_memory *all = at.job->call->memory;
    transpose_rows(&at, all->k + at.kv_at, at.kv_width, at.memory->keys_across);
    transpose_rows(&at, all->v + at.kv_at, at.kv_width, at.memory->values_across);
    for (uint32_t i = 0; i < at.n_keys; i++) {
        memset(all->key_parts + at.parts_at + i * at.q_width, 0, at.dim * sizeof *all->key_parts);
        memset(all->value_parts + at.parts_at + i * at.q_width, 0, at.dim * sizeof *all->value_parts);
    }
    for (uint32_t first = 0; first < at.n && !rbe__gradients_stopped(at.job->gradients); first += TILE) {
        attend_tile_back(&at, first);
    }
}

typedef struct join_job {
    const rbe_kernels *kernels;
    const rbe__parts *parts;
    float *sums;
} join_job;

static void join_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const join_job *job = context;
    const rbe__parts *parts = job->parts;
    const uint32_t dim = parts->dim, group = parts->n_parts / parts->n_sums;
    for (uint32_t h = 0; h < parts->n_parts; h++) {
        const float *from = parts->values + ((size_t)token * parts->n_parts + h) * dim;
        float *to = job->sums + ((size_t)token * parts->n_sums + h / group) * dim;
        if (h % group == 0) {
            memcpy(to, from, dim * sizeof *to);
        } else {
            job->kernels->add(to, from, dim);
        }
    }
}

void rbe__join_parts(const rbe_gradients *gradients, const rbe__parts *parts, float *sums)
{
    join_job job = {gradients->stack->kernels, parts, sums};
    rbe__thread_pool_run(gradients->thread_pool, parts->n_tokens, join_token, &job);
}

static uint32_t items_of(const rbe__attend_call *call)
{
    return ((call->n - 1) / call->window + 1) * call->shape->n_heads;
}

rbe_status rbe__attend_forward(rbe_gradients *gradients, const rbe__attend_call *call)
{
    attend_job job = {gradients, call};
    rbe__thread_pool_run(gradients->thread_pool, items_of(call), attend_head, &job);
    return rbe__gradients_check(gradients);
}

rbe_status rbe__attend_backward(rbe_gradients *gradients, const rbe__attend_call *call)
{
    attend_job job = {gradients, call};
    rbe__thread_pool_run(gradients->thread_pool, items_of(call), attend_head_back, &job);
    const rbe__attention_shape *shape = call->shape;
    const rbe__parts of_keys = {call->memory->key_parts, call->n_keys, shape->n_heads, shape->n_kv_heads, shape->head_dim};
    const rbe__parts of_values = {call->memory->value_parts, call->n_keys, shape->n_heads, shape->n_kv_heads, shape->head_dim};
    rbe__join_parts(gradients, &of_keys, call->memory->d_k);
    rbe__join_parts(gradients, &of_values, call->memory->d_v);
    return rbe__gradients_check(gradients);
}
