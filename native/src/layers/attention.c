/* Attention in one pass over keys and values with a running maximum and sum (T. Dao et al.: "FlashAttention", 2022), a block of
 * positions at a time, for a tile of queries: some tokens and the heads that share the keys and values, which are read once for all of
 * them. Blocks and chunks of positions begin at fixed places, and chunks are joined in ascending order: the result of a query depends
 * neither on its tile nor on which thread computes which chunk. */
#include <math.h>
#include <string.h>

#include "layers/attention.h"

#define CHUNK RBE_ATTENTION_CHUNK
#define MOST_QUERIES RBE_ATTENTION_QUERIES
#define FEW_QUERIES 6u /* up to so many, elements are converted in the product: it reads them once */

typedef struct attend_call {
    const rbe__workspace *workspace;
    const rbe__attention *attention;
    float *partials; /* [n_heads][most_chunks][head_dim + 2] */
    uint32_t most_chunks;
    uint32_t tile_heads, parts; /* heads of a group in one tile, tiles per group */
    uint32_t tile_tokens, n_tiles;
    uint32_t first_chunk, n_chunks;
} attend_call;

/* The queries of tokens first_token ... and heads first_head ...: query i is head i % n_heads of token i / n_heads. */
typedef struct query_tile {
    uint32_t kv_head, first_head, n_heads, first_token, n_tokens, n_queries;
} query_tile;

/* The sums of each query over the positions so far: out is the sum of values weighted by exp(score - largest), sum is the sum of these
 * weights. */
typedef struct partial_result {
    float *largest, *sum; /* [n_queries] */
    float *out;           /* [n_queries][head_dim] */
} partial_result;

static query_tile tile_of(const attend_call *call, uint32_t item)
{
    const rbe__attention *attention = call->attention;
    const uint32_t group = attention->n_heads / attention->cache->n_kv_heads;
    const uint32_t part = item % call->parts, rest = item / call->parts;
    query_tile tile = {.kv_head = rest % attention->cache->n_kv_heads};
    tile.first_token = rest / attention->cache->n_kv_heads * call->tile_tokens;
    const uint32_t tokens_left = attention->n_tokens - tile.first_token, heads_left = group - part * call->tile_heads;
    tile.n_tokens = tokens_left < call->tile_tokens ? tokens_left : call->tile_tokens;
    tile.first_head = tile.kv_head * group + part * call->tile_heads;
    tile.n_heads = heads_left < call->tile_heads ? heads_left : call->tile_heads;
    tile.n_queries = tile.n_heads * tile.n_tokens;
    return tile;
}

static size_t query_offset(const rbe__attention *attention, const query_tile *tile, uint32_t query)
{
    const size_t token = tile->first_token + query / tile->n_heads, head = tile->first_head + query % tile->n_heads;
    return (token * attention->n_heads + head) * attention->cache->head_dim;
}

/* The positions that a query of the token sees: from first to below end. */
static void seen(const rbe__attention *attention, uint32_t token, uint32_t *first, uint32_t *end)
{
    const uint32_t position = attention->first_position + token, window = attention->window;
    *end = position + 1;
    *first = window && *end > window ? *end - window : 0;
    if (attention->n_positions) {
        *end = window && window < attention->n_positions - position ? position + window : attention->n_positions;
    }
}

static void copy_queries(const attend_call *call, const query_tile *tile, const rbe__thread_scratch *scratch)
{
    const rbe__attention *attention = call->attention;
    const rbe__kv_layer *cache = attention->cache;
    const rbe_kernels *kernels = call->workspace->kernels;
    const uint32_t stride = rbe__attention_stride(cache->head_dim);
    float *queries = scratch->queries;
    for (uint32_t i = 0; i < tile->n_queries; i++, queries += cache->head_dim) {
        const float *q = attention->q + query_offset(attention, tile, i);
        for (uint32_t d = 0; d < cache->head_dim; d++) {
            queries[d] = q[d] * attention->scale;
        }
        if (cache->key_scales) {
            kernels->hadamard(queries, cache->head_dim, cache->rotation);
            kernels->quantize(queries, cache->head_dim, scratch->rounded + (size_t)i * stride, &scratch->rounded_scales[i]);
        }
    }
}

void rbe__add_distances(const rbe__distances *distances, uint32_t head, uint32_t position, uint32_t first, uint32_t n, float *scores)
{
    const float *values = distances->values + (size_t)head * distances->n;
    const int64_t last = distances->n - 1, shift = last - (int64_t)distances->behind - (int64_t)position + (int64_t)first;
    uint32_t i = 0;
    for (; i < n && shift + i < 0; i++) {
        scores[i] += values[0];
    }
    for (; i < n && shift + i <= last; i++) {
        scores[i] += values[shift + i];
    }
    for (; i < n; i++) {
        scores[i] += values[last];
    }
}

/* Turns the scores of positions first ... into weights, in place. keep: the factor on the sums so far. */
static void online_softmax_scores(const attend_call *call, const query_tile *tile, uint32_t first, uint32_t n_positions,
                                  const float *value_scales, float *scores, float *keep, const partial_result *result)
{
    const rbe_kernels *kernels = call->workspace->kernels;
    float sums[MOST_QUERIES];
    for (uint32_t i = 0; i < tile->n_queries; i++, scores += RBE_KV_BLOCK) {
        uint32_t begin, end;
        seen(call->attention, tile->first_token + i / tile->n_heads, &begin, &end);
        begin = begin > first ? begin - first : 0;
        end = end > first ? end - first : 0;
        end = end < n_positions ? end : n_positions;
        begin = begin < end ? begin : end;
        const float before = result->largest[i];
        sums[i] = keep[i] = 0;
        if (begin < end) {
            if (call->attention->distances) {
                rbe__add_distances(call->attention->distances, tile->first_head + i % tile->n_heads,
                                   call->attention->first_position + tile->first_token + i / tile->n_heads, first + begin, end - begin,
                                   scores + begin);
            }
            if (call->attention->softcap != 0.0f) {
                kernels->softcap(scores + begin, end - begin, call->attention->softcap);
            }
            sums[i] = kernels->online_softmax(scores + begin, end - begin, &result->largest[i]);
            keep[i] = before - result->largest[i];
            if (value_scales) {
                kernels->multiply(scores + begin, value_scales + begin, end - begin);
            }
        }
        memset(scores, 0, begin * sizeof *scores);
        memset(scores + end, 0, (n_positions - end) * sizeof *scores);
    }
    kernels->exponential(keep, tile->n_queries);
    for (uint32_t i = 0; i < tile->n_queries; i++) {
        result->sum[i] = result->sum[i] * keep[i] + sums[i];
    }
}

/* Products of fp32: the cache holds fp16 or fp32. */
static void attend_rows(const attend_call *call, const query_tile *tile, uint32_t first, uint32_t n_positions,
                        const rbe__thread_scratch *scratch, const partial_result *result)
{
    const rbe_kernels *kernels = call->workspace->kernels;
    const rbe__kv_layer *cache = call->attention->cache;
    const uint32_t dim = cache->head_dim, n = tile->n_queries, n_cols = (n_positions + 15) & ~15u;
    float *expanded = n > FEW_QUERIES ? scratch->expanded : NULL, keep[MOST_QUERIES];
    const rbe__kv_rows keys = rbe__kv_keys(kernels, cache, tile->kv_head, first, expanded);
    keys.weighted_sum(scratch->queries, dim, keys.rows, RBE_KV_BLOCK, dim, n_cols, n, NULL, scratch->scores, RBE_KV_BLOCK);
    const rbe__kv_rows values = rbe__kv_values(kernels, cache, tile->kv_head, first, n_positions, expanded);
    online_softmax_scores(call, tile, first, n_positions, NULL, scratch->scores, keep, result);
    values.weighted_sum(scratch->scores, RBE_KV_BLOCK, values.rows, dim, n_positions, dim, n, keep, result->out, dim);
}

/* out = keep out + scale products, for each query. The products of a query that sees nothing here are zero. */
static void add_products(const rbe_kernels *kernels, uint32_t dim, float keep, float scale, const int32_t *products, float *out)
{
    if (keep != 1.0f) {
        for (uint32_t d = 0; d < dim; d++) {
            out[d] *= keep;
        }
    }
    if (scale != 0.0f) {
        kernels->accumulate(out, products, dim, scale);
    }
}

/* Products of int8: queries by keys, and by values the weights of a block, of which each query has a scale of its own. */
static void attend_tiles(const attend_call *call, const query_tile *tile, uint32_t first, uint32_t n_positions,
                         const rbe__thread_scratch *scratch, const partial_result *result)
{
    const rbe_kernels *kernels = call->workspace->kernels;
    const rbe__kv_layer *cache = call->attention->cache;
    const uint32_t dim = cache->head_dim, n = tile->n_queries, steps = rbe__kv_tile_dim(dim) / 4;
    const rbe__kv_tiles tiles = rbe__kv_tiles_at(kernels, cache, tile->kv_head, first, scratch->tile);
    float keep[MOST_QUERIES];
    kernels->multiply_tile(tiles.keys, RBE_KV_STEPS, steps, scratch->rounded, rbe__attention_stride(dim), n, scratch->products);
    for (uint32_t i = 0; i < n; i++) {
        const size_t at = (size_t)i * RBE_KV_BLOCK;
        kernels->scale_products(scratch->products + at, n_positions, scratch->rounded_scales[i], tiles.key_scales, scratch->scores + at);
    }
    online_softmax_scores(call, tile, first, n_positions, tiles.value_scales, scratch->scores, keep, result);
    float scales[MOST_QUERIES];
    for (uint32_t i = 0; i < n; i++) {
        const size_t at = (size_t)i * RBE_KV_BLOCK;
        kernels->quantize(scratch->scores + at, n_positions, scratch->weights + at, &scales[i]);
    }
    tiles.multiply_values(tiles.values, steps, (n_positions + 3) / 4, scratch->weights, RBE_KV_BLOCK, n, scratch->products);
    for (uint32_t i = 0; i < n; i++) {
        const int32_t *products = scratch->products + (size_t)i * 4 * steps;
        add_products(kernels, dim, keep[i], scales[i] * tiles.value_factor, products, result->out + (size_t)i * dim);
    }
}

static void attend_block(const attend_call *call, const query_tile *tile, uint32_t first, uint32_t n_positions,
                         const rbe__thread_scratch *scratch, const partial_result *result)
{
    if (call->attention->cache->key_scales) {
        attend_tiles(call, tile, first, n_positions, scratch, result);
    } else {
        attend_rows(call, tile, first, n_positions, scratch, result);
    }
}

static void attend_chunk(const attend_call *call, const query_tile *tile, uint32_t chunk, const rbe__thread_scratch *scratch,
                         const partial_result *result)
{
    uint32_t begin, end, unused;
    seen(call->attention, tile->first_token, &begin, &unused);
    seen(call->attention, tile->first_token + tile->n_tokens - 1, &unused, &end);
    for (uint32_t i = 0; i < tile->n_queries; i++) {
        result->largest[i] = -INFINITY;
        result->sum[i] = 0;
    }
    memset(result->out, 0, (size_t)tile->n_queries * call->attention->cache->head_dim * sizeof *result->out);
    for (uint32_t first = chunk * CHUNK; first < (chunk + 1) * CHUNK && first < end; first += RBE_KV_BLOCK) {
        if (first + RBE_KV_BLOCK > begin) {
            attend_block(call, tile, first, end - first < RBE_KV_BLOCK ? end - first : RBE_KV_BLOCK, scratch, result);
        }
    }
}

/* total += part for one query. */
static void join(const rbe_kernels *kernels, uint32_t dim, float *total_largest, float *total_sum, float *total_out, float largest,
                 float sum, const float *out)
{
    if (sum == 0.0f) { /* it saw nothing of this chunk */
        return;
    }
    if (*total_sum == 0.0f) {
        *total_largest = largest;
        *total_sum = sum;
        memcpy(total_out, out, dim * sizeof *out);
        return;
    }
    const float most = largest > *total_largest ? largest : *total_largest;
    float factors[2] = {*total_largest - most, largest - most};
    kernels->exponential(factors, 2);
    for (uint32_t d = 0; d < dim; d++) {
        total_out[d] = total_out[d] * factors[0] + out[d] * factors[1];
    }
    *total_largest = most;
    *total_sum = *total_sum * factors[0] + sum * factors[1];
}

static void finish_query(const attend_call *call, size_t offset, float sum, const float *total)
{
    const rbe__kv_layer *cache = call->attention->cache;
    float *out = call->attention->out + offset;
    for (uint32_t d = 0; d < cache->head_dim; d++) {
        out[d] = total[d] / sum;
    }
    if (cache->rotation) {
        call->workspace->kernels->hadamard(out, cache->head_dim, cache->rotation);
    }
}

/* A tile over all positions. */
static void attend_tile(void *context, uint32_t item, uint32_t thread)
{
    const attend_call *call = context;
    const rbe_kernels *kernels = call->workspace->kernels;
    const rbe__thread_scratch *scratch = &call->workspace->threads[thread];
    const query_tile tile = tile_of(call, item);
    const uint32_t dim = call->attention->cache->head_dim;
    float largest[MOST_QUERIES], sum[MOST_QUERIES], total_largest[MOST_QUERIES], total_sum[MOST_QUERIES] = {0};
    const partial_result result = {largest, sum, scratch->attended};
    copy_queries(call, &tile, scratch);
    for (uint32_t chunk = call->first_chunk; chunk < call->first_chunk + call->n_chunks; chunk++) {
        attend_chunk(call, &tile, chunk, scratch, &result);
        for (uint32_t i = 0; i < tile.n_queries; i++) {
            const size_t at = (size_t)i * dim;
            join(kernels, dim, &total_largest[i], &total_sum[i], scratch->joined + at, largest[i], sum[i], scratch->attended + at);
        }
    }
    for (uint32_t i = 0; i < tile.n_queries; i++) {
        finish_query(call, query_offset(call->attention, &tile, i), total_sum[i], scratch->joined + (size_t)i * dim);
    }
}

/* The place of one head's part of one chunk: largest, sum, then out. */
static float *partial_of(const attend_call *call, uint32_t head, uint32_t chunk)
{
    const size_t index = (size_t)head * call->most_chunks + chunk;
    return call->partials + index * (call->attention->cache->head_dim + 2);
}

/* One token: a tile of heads over one chunk. */
static void attend_part(void *context, uint32_t item, uint32_t thread)
{
    const attend_call *call = context;
    const rbe__thread_scratch *scratch = &call->workspace->threads[thread];
    const uint32_t chunk = call->first_chunk + item % call->n_chunks, dim = call->attention->cache->head_dim;
    const query_tile tile = tile_of(call, item / call->n_chunks);
    float largest[MOST_QUERIES], sum[MOST_QUERIES];
    const partial_result result = {largest, sum, scratch->attended};
    copy_queries(call, &tile, scratch);
    attend_chunk(call, &tile, chunk, scratch, &result);
    for (uint32_t i = 0; i < tile.n_queries; i++) {
        float *partial = partial_of(call, tile.first_head + i, chunk);
        partial[0] = largest[i];
        partial[1] = sum[i];
        memcpy(partial + 2, scratch->attended + (size_t)i * dim, dim * sizeof *partial);
    }
}

static void join_head(void *context, uint32_t head, uint32_t thread)
{
    const attend_call *call = context;
    const uint32_t dim = call->attention->cache->head_dim;
    float *joined = call->workspace->threads[thread].joined, largest = 0, sum = 0;
    for (uint32_t chunk = call->first_chunk; chunk < call->first_chunk + call->n_chunks; chunk++) {
        const float *partial = partial_of(call, head, chunk);
        join(call->workspace->kernels, dim, &largest, &sum, joined, partial[0], partial[1], partial + 2);
    }
    finish_query(call, (size_t)head * dim, sum, joined);
}

static attend_call call_of(const rbe__workspace *workspace, const rbe__attention *attention)
{
    const uint32_t group = attention->n_heads / attention->cache->n_kv_heads;
    attend_call call = {.workspace = workspace, .attention = attention};
    call.tile_heads = group < MOST_QUERIES ? group : MOST_QUERIES;
    call.parts = (group - 1) / call.tile_heads + 1;
    call.tile_tokens = MOST_QUERIES / call.tile_heads;
    call.n_tiles = (attention->n_tokens - 1) / call.tile_tokens + 1;
    uint32_t begin, end, unused;
    seen(attention, 0, &begin, &unused);
    seen(attention, attention->n_tokens - 1, &unused, &end);
    call.first_chunk = begin / CHUNK;
    call.n_chunks = (end - 1) / CHUNK + 1 - call.first_chunk;
    return call;
}

static uint32_t items_of(const attend_call *call)
{
    return call->attention->cache->n_kv_heads * call->parts * call->n_tiles;
}

static void attend_one(const rbe__workspace *workspace, const rbe__attention *attention, float *partials, uint32_t most_chunks)
{
    attend_call call = call_of(workspace, attention);
    call.partials = partials;
    call.most_chunks = most_chunks;
    const int has_room = call.first_chunk + call.n_chunks <= most_chunks;
    if (attention->n_tokens == 1 && call.n_chunks > 1 && has_room && rbe__thread_pool_threads(workspace->thread_pool) > 1) {
        rbe__thread_pool_run(workspace->thread_pool, items_of(&call) * call.n_chunks, attend_part, &call);
        rbe__thread_pool_run(workspace->thread_pool, attention->n_heads, join_head, &call);
    } else {
        rbe__thread_pool_run(workspace->thread_pool, items_of(&call), attend_tile, &call);
    }
}

typedef struct attend_each_call {
    const rbe__workspace *workspace;
    const rbe__attention *attentions; /* by ascending first_item */
    uint32_t n;
} attend_each_call;

static void attend_tile_of(void *context, uint32_t item, uint32_t thread)
{
    const attend_each_call *each = context;
    uint32_t low = 0, high = each->n; /* the last one that begins at or before the item is in [low, high) */
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (each->attentions[middle].first_item <= item) {
            low = middle;
        } else {
            high = middle;
        }
    }
    attend_call call = call_of(each->workspace, &each->attentions[low]);
    attend_tile(&call, item - each->attentions[low].first_item, thread);
}

void rbe__attend(rbe__workspace *workspace, rbe__attention *attentions, uint32_t n, float *partials, uint32_t most_chunks)
{
    if (n == 1) {
        attend_one(workspace, attentions, partials, most_chunks);
        return;
    }
    uint32_t n_items = 0;
    for (uint32_t i = 0; i < n; i++) {
        attentions[i].first_item = n_items;
        const attend_call call = call_of(workspace, &attentions[i]);
        n_items += items_of(&call);
    }
    attend_each_call each = {workspace, attentions, n};
    rbe__thread_pool_run(workspace->thread_pool, n_items, attend_tile_of, &each);
}
