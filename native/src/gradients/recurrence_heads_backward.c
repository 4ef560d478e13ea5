/* Heads of a recurrent block, one head in one window at a time. S is its matrix before a token, [key_dim][value_dim], which goes on by
 * blocks/recurrence_rule.h:
 *   delta net    e = v - decay S^T k,  u = share e;   S' = decay S + k u^T;   y = S'^T q
 *   state space  e = v,                u = share e;   S' = decay S + k u^T;   y = S'^T q + skip v
 * With G the gradient by S', to which q d_y^T is added, it goes back by
 *   d_q = decay S d_y + k (u . d_y),   d_k = G u,   d_u = G^T k,   d_share = d_u . e
 *   delta net    d_v = share d_u;  G -= k d_v^T;  d_k -= decay S d_v
 *   state space  d_v = share d_u + skip d_y,  d_skip = v . d_y
 *   d_log(decay) = decay (G . S), and decay G is the gradient by S, with which the token before goes on.
 * S is kept before every so many tokens, about sqrt(window) times, and for as many tokens in between it is computed again from there.
 * A value head writes its own part of the gradients of queries and keys; parts of heads that share these are added in ascending order. */
#include <string.h>

#include "blocks/recurrence_rule.h"
#include "gradients/gradients.h"

typedef struct heads_job {
    rbe_gradients *gradients;
    const rbe__recurrence_block *recurrence;
} heads_job;

/* A head and a window. */
typedef struct head {
    const rbe_gradients *gradients;
    const rbe_kernels *kernels;
    const rbe__recurrence_memory *memory;
    const rbe__recurrence_tile *tile;
    const rbe__recurrence_shape *shape;
    float skip; /* 0: none */
    uint32_t first, n; /* tokens of the call */
    uint32_t number, key; /* of the value head, and of the key head */
    size_t size; /* of the matrix */
    int is_delta;
} head;

static head head_of(const heads_job *job, uint32_t item, uint32_t thread)
{
    const rbe_gradients *gradients = job->gradients;
    const rbe__recurrence_shape *shape = &job->recurrence->shape;
    const uint32_t first = item / shape->n_values * gradients->window, number = item % shape->n_values, left = gradients->n - first;
    return (head){.gradients = gradients,
                  .kernels = gradients->stack->kernels,
                  .memory = &gradients->recurrence,
                  .tile = &gradients->recurrence_tiles[thread],
                  .shape = shape,
                  .skip = job->recurrence->skip ? job->recurrence->skip[number] : 0.0f,
                  .first = first,
                  .n = left < gradients->window ? left : gradients->window,
                  .number = number,
                  .key = number / (shape->n_values / shape->n_keys),
                  .size = (size_t)shape->key_dim * shape->value_dim,
                  .is_delta = shape->rule == RBE_MIXER_DELTA_NET};
}

/* Where a token's numbers of this head begin: of queries and keys, of values, of those that are one for each head. */
static size_t key_at(const head *at, uint32_t token)
{
    return ((size_t)(at->first + token) * at->shape->n_keys + at->key) * at->shape->key_dim;
}

static size_t number_at(const head *at, uint32_t token)
{
    return (size_t)(at->first + token) * at->shape->n_values + at->number;
}

static size_t value_at(const head *at, uint32_t token)
{
    return number_at(at, token) * at->shape->value_dim;
}

/* out[value_dim] = matrix^T x */
static void across(const head *at, const float *matrix, const float *x, float *out)
{
    const uint32_t rows = at->shape->key_dim, cols = at->shape->value_dim;
    at->kernels->weighted_sum_f32(x, rows, matrix, cols, rows, cols, 1, NULL, out, cols);
}

/* out[key_dim] = matrix x */
static void along(const head *at, const float *matrix, const float *x, float *out)
{
    const uint32_t rows = at->shape->key_dim, cols = at->shape->value_dim;
    at->kernels->dense_f32(matrix, rows, cols, x, cols, 1, out, rows);
}

static float product(const head *at, const float *a, const float *b)
{
    float sum;
    at->kernels->dense_f32(a, 1, at->shape->value_dim, b, at->shape->value_dim, 1, &sum, 1);
    return sum;
}

static rbe__recurrence_token token_of(const head *at, uint32_t token)
{
    const rbe__recurrence_memory *memory = at->memory;
    const size_t key = key_at(at, token), number = number_at(at, token);
    return (rbe__recurrence_token){.q = memory->q.values + key,
                                   .k = memory->k.values + key,
                                   .v = memory->v.values + value_at(at, token),
                                   .decay = memory->decays[number],
                                   .share = memory->shares[number],
                                   .skip = at->skip};
}

/* The matrix from before a token to behind it. */
static void advance(const head *at, uint32_t token, const float *from, float *to, float *y)
{
    const rbe__recurrence_token read = token_of(at, token);
    rbe__recurrence_step_head(at->kernels, at->shape, &read, from, to, y);
}

static void head_forward(void *context, uint32_t item, uint32_t thread)
{
    const head at = head_of(context, item, thread);
    float *matrix = at.tile->slopes;
    memset(matrix, 0, at.size * sizeof *matrix);
    for (uint32_t token = 0; token < at.n && !rbe__gradients_stopped(at.gradients); token++) {
        advance(&at, token, matrix, matrix, at.memory->y + value_at(&at, token));
    }
}

/* ---- backward ------------------------------------------------------------------------------------------------------------- */

/* e and u of a token, from the matrix before it. */
static void find_update(const head *at, const rbe__recurrence_token *token, const float *matrix)
{
    const uint32_t cols = at->shape->value_dim;
    float *difference = at->tile->difference, *update = at->tile->update;
    if (at->is_delta) {
        across(at, matrix, token->k, difference);
    }
    for (uint32_t c = 0; c < cols; c++) {
        difference[c] = at->is_delta ? token->v[c] - token->decay * difference[c] : token->v[c];
        update[c] = token->share * difference[c];
    }
}

/* The slopes, those behind the token, become those by what it leaves to y and to the tokens behind it; gradients by q, u, and k without what a delta
 * net takes away. later: the decay that the next token's matrix begins with. */
static void keys_back(const head *at, const rbe__recurrence_token *token, float later, const float *matrix, const float *d_y, float *d_q,
                      float *d_k)
{
    const uint32_t rows = at->shape->key_dim;
    const float shared = product(at, at->tile->update, d_y);
    along(at, matrix, d_y, d_q);
    for (uint32_t r = 0; r < rows; r++) {
        d_q[r] = token->decay * d_q[r] + token->k[r] * shared;
    }
    at->kernels->rank_one(at->tile->slopes, later, token->q, d_y, rows, at->shape->value_dim, at->tile->slopes);
    along(at, at->tile->slopes, at->tile->update, d_k);
    across(at, at->tile->slopes, token->k, at->tile->d_update);
}

/* The gradient by v; of a delta net also what v has to do with the matrix. */
static void values_back(const head *at, const rbe__recurrence_token *token, const float *matrix, const float *d_y, float *d_v, float *d_k)
{
    const uint32_t rows = at->shape->key_dim, cols = at->shape->value_dim;
    float *products = at->tile->products;
    for (uint32_t c = 0; c < cols; c++) {
        d_v[c] = token->share * at->tile->d_update[c] + (at->is_delta ? 0.0f : token->skip * d_y[c]);
    }
    if (!at->is_delta) {
        return;
    }
    along(at, matrix, d_v, products);
    for (uint32_t r = 0; r < rows; r++) {
        d_k[r] -= token->decay * products[r];
        products[r] = -token->k[r];
    }
    at->kernels->rank_one(at->tile->slopes, 1.0f, products, d_v, rows, cols, at->tile->slopes);
}

/* The gradient by log(decay), from the slopes and the matrix before the token. */
static float decay_back(const head *at, float decay, const float *matrix)
{
    const uint32_t cols = at->shape->value_dim;
    double sum = 0;
    for (size_t first = 0; first < at->size; first += cols) {
        sum += (double)product(at, at->tile->slopes + first, matrix + first);
    }
    return (float)(sum * (double)decay);
}

/* One token, from the matrix before it. */
static void token_back(const head *at, uint32_t token, const float *matrix)
{
    const rbe__recurrence_memory *memory = at->memory;
    const size_t number = number_at(at, token), value = value_at(at, token), part = number * at->shape->key_dim;
    const float *d_y = memory->d_y + value, later = token + 1 < at->n ? memory->decays[number_at(at, token + 1)] : 0.0f;
    const rbe__recurrence_token read = token_of(at, token);
    find_update(at, &read, matrix);
    keys_back(at, &read, later, matrix, d_y, memory->query_parts + part, memory->key_parts + part);
    values_back(at, &read, matrix, d_y, memory->v.d + value, memory->key_parts + part);
    memory->d_shares[number] = product(at, at->tile->d_update, at->tile->difference);
    memory->d_skips[number] = product(at, read.v, d_y);
    memory->d_exponents[number] = decay_back(at, read.decay, matrix);
}

/* Tokens first ... first + n - 1; the matrix before the first stands at the beginning of tile->between. */
static void part_back(const head *at, uint32_t first, uint32_t n)
{
    float *between = at->tile->between;
    for (uint32_t i = 0; i + 1 < n; i++) {
        advance(at, first + i, between + i * at->size, between + (i + 1) * at->size, at->tile->update);
    }
    for (uint32_t i = n; i-- > 0;) {
        token_back(at, first + i, between + i * at->size);
    }
}

static void head_back(void *context, uint32_t item, uint32_t thread)
{
    const head at = head_of(context, item, thread);
    const uint32_t spacing = rbe__recurrence_spacing(at.gradients->window_tokens), last = (at.n - 1) / spacing;
    float *kept = at.tile->kept;
    memset(kept, 0, at.size * sizeof *kept);
    for (uint32_t part = 0; part < last && !rbe__gradients_stopped(at.gradients); part++) {
        float *next = kept + (part + 1) * at.size;
        for (uint32_t i = 0; i < spacing; i++) {
            advance(&at, part * spacing + i, i ? next : next - at.size, next, at.tile->update);
        }
    }
    memset(at.tile->slopes, 0, at.size * sizeof *at.tile->slopes);
    for (uint32_t part = last + 1; part-- > 0 && !rbe__gradients_stopped(at.gradients);) {
        memcpy(at.tile->between, kept + part * at.size, at.size * sizeof *kept);
        part_back(&at, part * spacing, part < last ? spacing : at.n - last * spacing);
    }
}

uint32_t rbe__recurrence_spacing(uint32_t window_tokens)
{
    uint32_t spacing = 1;
    while (spacing < window_tokens / spacing) {
        spacing++;
    }
    return spacing;
}

static uint32_t items_of(const heads_job *job)
{
    return ((job->gradients->n - 1) / job->gradients->window + 1) * job->recurrence->shape.n_values;
}

rbe_status rbe__heads_forward(rbe_gradients *gradients, const rbe__recurrence_block *recurrence)
{
    heads_job job = {gradients, recurrence};
    rbe__thread_pool_run(gradients->thread_pool, items_of(&job), head_forward, &job);
    return rbe__gradients_check(gradients);
}

rbe_status rbe__heads_backward(rbe_gradients *gradients, const rbe__recurrence_block *recurrence)
{
    const rbe__recurrence_shape *shape = &recurrence->shape;
    const rbe__recurrence_memory *memory = &gradients->recurrence;
    heads_job job = {gradients, recurrence};
    rbe__thread_pool_run(gradients->thread_pool, items_of(&job), head_back, &job);
    rbe__join_parts(gradients, &(rbe__parts){memory->query_parts, gradients->n, shape->n_values, shape->n_keys, shape->key_dim},
                    memory->q.d);
    rbe__join_parts(gradients, &(rbe__parts){memory->key_parts, gradients->n, shape->n_values, shape->n_keys, shape->key_dim}, memory->k.d);
    return rbe__gradients_check(gradients);
}
