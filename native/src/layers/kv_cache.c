#include <string.h>

#include "base/status.h"
#include "layers/kv_cache.h"
#include "layers/position.h"

/* Bytes of one element; 0: values of 4 bits. */
static uint32_t element_bytes(rbe_kv_type type, int is_value)
{
    switch (type) {
    case RBE_KV_F32: return 4;
    case RBE_KV_F16: return 2;
    case RBE_KV_Q8: return 1;
    default: return is_value ? 0 : 1;
    }
}

static int has_tiles(rbe_kv_type type)
{
    return type == RBE_KV_Q8 || type == RBE_KV_Q8Q4;
}

/* Bytes of one head's keys or values at one position, in memory; tiles hold whole groups. */
static size_t row_bytes(const rbe__kv_layer *cache, int is_value)
{
    const size_t dim = has_tiles(cache->type) ? rbe__kv_tile_dim(cache->head_dim) : cache->head_dim;
    const uint32_t bytes = element_bytes(cache->type, is_value);
    return bytes ? bytes * dim : dim / 2;
}

rbe__kv_layer rbe__kv_take(rbe__arena *arena, rbe_kv_type type, uint32_t context, uint32_t n_kv_heads, uint32_t head_dim)
{
    rbe__kv_layer cache = {.type = type, .n_kv_heads = n_kv_heads, .head_dim = head_dim};
    cache.context = (context + RBE_KV_BLOCK - 1) / RBE_KV_BLOCK * RBE_KV_BLOCK;
    const size_t rows = rbe__arena_count(n_kv_heads, cache.context);
    cache.keys = rbe__arena_take(arena, rbe__arena_count(rows, row_bytes(&cache, 0)), 1);
    cache.values = rbe__arena_take(arena, rbe__arena_count(rows, row_bytes(&cache, 1)), 1);
    if (has_tiles(type)) {
        cache.key_scales = rbe__arena_take(arena, rows, sizeof(float));
        cache.value_scales = rbe__arena_take(arena, rows, sizeof(float));
        cache.rotation = head_dim & (0u - head_dim);
    }
    return cache;
}

/* The keys, or the values, of a block of RBE_KV_BLOCK positions from `first` on. */
static uint8_t *block_at(const rbe__kv_layer *cache, uint32_t kv_head, uint32_t first, int is_value)
{
    uint8_t *rows = is_value ? cache->values : cache->keys;
    return rows + ((size_t)kv_head * cache->context + first) * row_bytes(cache, is_value);
}

static uint32_t block_of(uint32_t position)
{
    return position / RBE_KV_BLOCK * RBE_KV_BLOCK;
}

/* The key of one position, without tiles: its dimensions stand RBE_KV_BLOCK elements apart. */
static uint8_t *key_at(const rbe__kv_layer *cache, uint32_t kv_head, uint32_t position)
{
    return block_at(cache, kv_head, block_of(position), 0) + (size_t)(position % RBE_KV_BLOCK) * element_bytes(cache->type, 0);
}

static uint8_t *value_at(const rbe__kv_layer *cache, uint32_t kv_head, uint32_t position)
{
    return block_at(cache, kv_head, position, 1);
}

static void store_key_half(const rbe_kernels *kernels, const float *k, uint32_t dim, uint16_t *key)
{
    uint16_t half[64];
    for (uint32_t first = 0; first < dim; first += 64) {
        const uint32_t n = dim - first < 64 ? dim - first : 64;
        kernels->to_half(k + first, n, half);
        for (uint32_t d = 0; d < n; d++) {
            key[(size_t)(first + d) * RBE_KV_BLOCK] = half[d];
        }
    }
}

/* Codes c of 16 levels (c - 7.5) step, the outermost at the largest value: for 64 to 128 Gaussian values, which a rotated head is close to,
 * that is within 3 % of the best uniform step (J. Max: "Quantizing for minimum distortion", 1960: .335 sigma). Returns the step. */
static float to_codes(const float *v, uint32_t dim, uint8_t *codes)
{
    float most = 0;
    for (uint32_t d = 0; d < dim; d++) {
        const float size = v[d] < 0 ? -v[d] : v[d];
        most = size > most ? size : most;
    }
    const float step = most / 7.5f, inverse = step < RBE_QUANTIZE_LEAST ? 0.0f : 1.0f / step;
    for (uint32_t d = 0; d < dim; d++) {
        const float place = v[d] * inverse + 8.0f; /* code + 1/2 */
        codes[d] = place >= 15.0f ? 15 : (uint8_t)(place > 0.0f ? place : 0.0f);
    }
    return inverse == 0.0f ? 0.0f : step;
}

static void store_key(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t position, float *k)
{
    const uint32_t dim = cache->head_dim;
    if (has_tiles(cache->type)) {
        int8_t bytes[RBE_KV_MAX_DIM_QUANTIZED];
        kernels->hadamard(k, dim, cache->rotation);
        kernels->quantize(k, dim, bytes, &cache->key_scales[(size_t)head * cache->context + position]);
        rbe__key_to_tile((int8_t *)block_at(cache, head, block_of(position), 0), position % RBE_KV_BLOCK, dim, bytes);
        return;
    }
    void *key = key_at(cache, head, position);
    if (cache->type == RBE_KV_F32) {
        for (uint32_t d = 0; d < dim; d++) {
            ((float *)key)[(size_t)d * RBE_KV_BLOCK] = k[d];
        }
    } else {
        store_key_half(kernels, k, dim, key);
    }
}

/* Reads a key that store_key stored, its rotation undone. */
static void load_key(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t position, float *k)
{
    const uint32_t dim = cache->head_dim;
    if (has_tiles(cache->type)) {
        int8_t bytes[RBE_KV_MAX_DIM_QUANTIZED];
        const float scale = cache->key_scales[(size_t)head * cache->context + position];
        rbe__key_from_tile((const int8_t *)block_at(cache, head, block_of(position), 0), position % RBE_KV_BLOCK, dim, bytes);
        for (uint32_t d = 0; d < dim; d++) {
            k[d] = scale * (float)bytes[d];
        }
        kernels->hadamard(k, dim, cache->rotation);
        return;
    }
    const void *key = key_at(cache, head, position);
    for (uint32_t d = 0; d < dim; d++) {
        if (cache->type == RBE_KV_F32) {
            k[d] = ((const float *)key)[(size_t)d * RBE_KV_BLOCK];
        } else {
            kernels->from_half((const uint16_t *)key + (size_t)d * RBE_KV_BLOCK, 1, &k[d]);
        }
    }
}

static void store_value_tile(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t position, float *v)
{
    const uint32_t dim = cache->head_dim, at = position % RBE_KV_BLOCK;
    uint8_t *tile = block_at(cache, head, block_of(position), 1);
    float *scale = &cache->value_scales[(size_t)head * cache->context + position];
    kernels->hadamard(v, dim, cache->rotation);
    if (cache->type == RBE_KV_Q8Q4) {
        uint8_t codes[RBE_KV_MAX_DIM_QUANTIZED];
        *scale = to_codes(v, dim, codes);
        rbe__codes_to_tile(tile, at, dim, codes);
    } else {
        int8_t bytes[RBE_KV_MAX_DIM_QUANTIZED];
        kernels->quantize(v, dim, bytes, scale);
        rbe__value_to_tile((int8_t *)tile, at, dim, bytes);
    }
}

static void store_value(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t position, float *v)
{
    if (has_tiles(cache->type)) {
        store_value_tile(kernels, cache, head, position, v);
    } else if (cache->type == RBE_KV_F32) {
        memcpy(value_at(cache, head, position), v, cache->head_dim * sizeof *v);
    } else {
        kernels->to_half(v, cache->head_dim, (uint16_t *)(void *)value_at(cache, head, position));
    }
}

void rbe__kv_store(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t position, float *k, float *v)
{
    for (uint32_t h = 0; h < cache->n_kv_heads; h++) {
        store_key(kernels, cache, h, position, k + (size_t)h * cache->head_dim);
        store_value(kernels, cache, h, position, v + (size_t)h * cache->head_dim);
    }
}

static void load_value_tile(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t position, float *v)
{
    const uint32_t dim = cache->head_dim, at = position % RBE_KV_BLOCK;
    const uint8_t *tile = block_at(cache, head, block_of(position), 1);
    const float scale = cache->value_scales[(size_t)head * cache->context + position];
    if (cache->type == RBE_KV_Q8Q4) {
        uint8_t codes[RBE_KV_MAX_DIM_QUANTIZED];
        rbe__codes_from_tile(tile, at, dim, codes);
        for (uint32_t d = 0; d < dim; d++) {
            v[d] = scale * ((float)codes[d] - 7.5f);
        }
    } else {
        int8_t bytes[RBE_KV_MAX_DIM_QUANTIZED];
        rbe__value_from_tile((const int8_t *)tile, at, dim, bytes);
        for (uint32_t d = 0; d < dim; d++) {
            v[d] = scale * (float)bytes[d];
        }
    }
    kernels->hadamard(v, dim, cache->rotation);
}

static void load_value(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t position, float *v)
{
    if (has_tiles(cache->type)) {
        load_value_tile(kernels, cache, head, position, v);
    } else if (cache->type == RBE_KV_F32) {
        memcpy(v, value_at(cache, head, position), cache->head_dim * sizeof *v);
    } else {
        kernels->from_half((const uint16_t *)(const void *)value_at(cache, head, position), cache->head_dim, v);
    }
}

void rbe__kv_load(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t position, float *k, float *v)
{
    for (uint32_t h = 0; h < cache->n_kv_heads; h++) {
        load_key(kernels, cache, h, position, k + (size_t)h * cache->head_dim);
        load_value(kernels, cache, h, position, v + (size_t)h * cache->head_dim);
    }
}

/* One position's values as they are stored, from a tile to itself or another. */
static void move_value(const rbe__kv_layer *cache, uint32_t head, uint32_t from, uint32_t to)
{
    const uint8_t *source = block_at(cache, head, block_of(from), 1);
    uint8_t row[RBE_KV_MAX_DIM_QUANTIZED], *goal = block_at(cache, head, block_of(to), 1);
    if (cache->type == RBE_KV_Q8Q4) {
        rbe__codes_from_tile(source, from % RBE_KV_BLOCK, cache->head_dim, row);
        rbe__codes_to_tile(goal, to % RBE_KV_BLOCK, cache->head_dim, row);
    } else {
        rbe__value_from_tile((const int8_t *)source, from % RBE_KV_BLOCK, cache->head_dim, (int8_t *)row);
        rbe__value_to_tile((int8_t *)goal, to % RBE_KV_BLOCK, cache->head_dim, (const int8_t *)row);
    }
}

void rbe__kv_move(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t first, uint32_t n, uint32_t to,
                  const rbe__kv_turn *turn)
{
    float k[RBE_MAX_HEAD_DIM];
    for (uint32_t i = 0; i < n; i++) {
        load_key(kernels, cache, head, first + i, k);
        rbe__rope_apply(turn->cosines, turn->sines, turn->n_pairs, k, 1, cache->head_dim);
        store_key(kernels, cache, head, to + i, k);
    }
    if (!has_tiles(cache->type)) {
        memmove(value_at(cache, head, to), value_at(cache, head, first), n * row_bytes(cache, 1));
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        move_value(cache, head, first + i, to + i);
    }
    float *scales = cache->value_scales + (size_t)head * cache->context;
    memmove(scales + to, scales + first, n * sizeof *scales);
}

static rbe_status visit_tiles(const rbe__kv_layer *cache, uint32_t head, uint32_t n_positions, int is_value, rbe__kv_visit *visit,
                              void *context)
{
    const uint32_t dim = cache->head_dim;
    if (visit == rbe__kv_count) {
        return visit(context, NULL, (size_t)n_positions * (is_value && cache->type == RBE_KV_Q8Q4 ? (dim + 1) / 2 : dim));
    }
    for (uint32_t first = 0; first < n_positions; first += RBE_KV_BLOCK) {
        const uint32_t n = n_positions - first < RBE_KV_BLOCK ? n_positions - first : RBE_KV_BLOCK;
        uint8_t *tile = block_at(cache, head, first, is_value);
        if (!is_value) {
            RBE_TRY(rbe__key_tile_visit((int8_t *)tile, dim, n, visit, context));
        } else if (cache->type == RBE_KV_Q8Q4) {
            RBE_TRY(rbe__code_tile_visit(tile, dim, n, visit, context));
        } else {
            RBE_TRY(rbe__value_tile_visit((int8_t *)tile, dim, n, visit, context));
        }
    }
    return RBE_OK;
}

static rbe_status visit_floats(const rbe__kv_layer *cache, uint32_t head, uint32_t n_positions, rbe__kv_visit *visit, void *context)
{
    const size_t element = element_bytes(cache->type, 0);
    for (uint32_t first = 0; first < n_positions; first += RBE_KV_BLOCK) {
        const uint32_t n = n_positions - first < RBE_KV_BLOCK ? n_positions - first : RBE_KV_BLOCK;
        uint8_t *keys = key_at(cache, head, first);
        if (n == RBE_KV_BLOCK) {
            RBE_TRY(visit(context, keys, element * RBE_KV_BLOCK * cache->head_dim));
            continue;
        }
        for (uint32_t d = 0; d < cache->head_dim; d++) {
            RBE_TRY(visit(context, keys + element * RBE_KV_BLOCK * d, element * n));
        }
    }
    return visit(context, value_at(cache, head, 0), n_positions * row_bytes(cache, 1));
}

rbe_status rbe__kv_visit_used(const rbe__kv_layer *cache, uint32_t n_positions, rbe__kv_visit *visit, void *context)
{
    for (uint32_t h = 0; h < cache->n_kv_heads; h++) {
        if (!has_tiles(cache->type)) {
            RBE_TRY(visit_floats(cache, h, n_positions, visit, context));
            continue;
        }
        RBE_TRY(visit_tiles(cache, h, n_positions, 0, visit, context));
        RBE_TRY(visit_tiles(cache, h, n_positions, 1, visit, context));
        RBE_TRY(visit(context, cache->key_scales + (size_t)h * cache->context, n_positions * sizeof(float)));
        RBE_TRY(visit(context, cache->value_scales + (size_t)h * cache->context, n_positions * sizeof(float)));
    }
    return RBE_OK;
}

rbe__kv_rows rbe__kv_keys(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t first, float *expanded)
{
    const void *keys = block_at(cache, head, first, 0);
    if (cache->type == RBE_KV_F32) {
        return (rbe__kv_rows){keys, kernels->weighted_sum_f32};
    }
    if (!expanded) {
        return (rbe__kv_rows){keys, kernels->weighted_sum_f16};
    }
    kernels->from_half(keys, RBE_KV_BLOCK * cache->head_dim, expanded);
    return (rbe__kv_rows){expanded, kernels->weighted_sum_f32};
}

rbe__kv_rows rbe__kv_values(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t first, uint32_t n_positions,
                            float *expanded)
{
    const void *values = value_at(cache, head, first);
    if (cache->type == RBE_KV_F32) {
        return (rbe__kv_rows){values, kernels->weighted_sum_f32};
    }
    if (!expanded) {
        return (rbe__kv_rows){values, kernels->weighted_sum_f16};
    }
    kernels->from_half(values, n_positions * cache->head_dim, expanded);
    return (rbe__kv_rows){expanded, kernels->weighted_sum_f32};
}

rbe__kv_tiles rbe__kv_tiles_at(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t first, int8_t *expanded)
{
    const size_t scale = (size_t)head * cache->context + first;
    rbe__kv_tiles tiles = {.keys = (const int8_t *)block_at(cache, head, first, 0),
                           .key_scales = cache->key_scales + scale,
                           .value_scales = cache->value_scales + scale,
                           .multiply_values = kernels->multiply_tile,
                           .value_factor = 1.0f};
    const uint8_t *values = block_at(cache, head, first, 1);
    if (cache->type == RBE_KV_Q8) {
        tiles.values = (const int8_t *)values;
        return tiles;
    }
    kernels->from_i4(values, RBE_KV_BLOCK * rbe__kv_tile_dim(cache->head_dim), expanded);
    tiles.values = expanded;
    tiles.multiply_values = kernels->multiply_narrow_tile;
    tiles.value_factor = 0.5f;
    return tiles;
}
