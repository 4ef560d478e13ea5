#include <string.h>

#include "base/status.h"
#include "layers/kv_cache.h"
#include "layers/position.h"

/* Bytes of one head's values at one position. */
static size_t value_bytes(rbe_kv_type type, uint32_t head_dim)
{
    switch (type) {
    case RBE_KV_F32: return 4 * (size_t)head_dim;
    case RBE_KV_F16: return 2 * (size_t)head_dim;
    case RBE_KV_Q8: return head_dim;
    default: return ((size_t)head_dim + 1) / 2;
    }
}

static size_t key_bytes(rbe_kv_type type)
{
    return type == RBE_KV_F32 ? 4 : type == RBE_KV_F16 ? 2 : 1;
}

static int has_scales(rbe_kv_type type)
{
    return type == RBE_KV_Q8 || type == RBE_KV_Q8Q4;
}

rbe__kv_layer rbe__kv_take(rbe__arena *arena, rbe_kv_type type, uint32_t context, uint32_t n_kv_heads, uint32_t head_dim)
{
    rbe__kv_layer cache = {.type = type, .n_kv_heads = n_kv_heads, .head_dim = head_dim};
    cache.context = (context + RBE_KV_BLOCK - 1) / RBE_KV_BLOCK * RBE_KV_BLOCK;
    const size_t rows = rbe__arena_count(n_kv_heads, cache.context);
    cache.keys = rbe__arena_take(arena, rbe__arena_count(rows, head_dim), key_bytes(type));
    cache.values = rbe__arena_take(arena, rows, value_bytes(type, head_dim));
    if (has_scales(type)) {
        cache.key_scales = rbe__arena_take(arena, rows, sizeof(float));
        cache.value_scales = rbe__arena_take(arena, rows, sizeof(float));
        cache.rotation = head_dim & (0u - head_dim);
    }
    return cache;
}

/* The key of one position: its dimensions stand RBE_KV_BLOCK elements apart. */
static uint8_t *key_at(const rbe__kv_layer *cache, uint32_t kv_head, uint32_t position)
{
    const size_t first = (size_t)kv_head * cache->context + (size_t)(position / RBE_KV_BLOCK) * RBE_KV_BLOCK;
    return (uint8_t *)cache->keys + (first * cache->head_dim + position % RBE_KV_BLOCK) * key_bytes(cache->type);
}

static uint8_t *value_at(const rbe__kv_layer *cache, uint32_t kv_head, uint32_t position)
{
    return (uint8_t *)cache->values + ((size_t)kv_head * cache->context + position) * value_bytes(cache->type, cache->head_dim);
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

/* 16 levels (c - 7.5) step, the outermost at the largest value: for 64 to 128 Gaussian values, which a rotated head is close to, that is
 * within 3 % of the best uniform step (J. Max: "Quantizing for minimum distortion", 1960: .335 sigma). */
static float store_value_4(const float *v, uint32_t dim, uint8_t *value)
{
    float most = 0;
    for (uint32_t d = 0; d < dim; d++) {
        const float size = v[d] < 0 ? -v[d] : v[d];
        most = size > most ? size : most;
    }
    const float step = most / 7.5f, inverse = step < RBE_QUANTIZE_LEAST ? 0.0f : 1.0f / step;
    const uint32_t half = (dim + 1) / 2;
    for (uint32_t d = 0; d < dim; d++) {
        const float place = v[d] * inverse + 8.0f; /* code + 1/2 */
        const uint32_t code = place >= 15.0f ? 15u : place > 0.0f ? (uint32_t)place : 0u;
        if (d < half) {
            value[d] = (uint8_t)code;
        } else {
            value[d - half] = (uint8_t)(value[d - half] | code << 4);
        }
    }
    return inverse == 0.0f ? 0.0f : step;
}

static void store_key(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t position, float *k)
{
    const uint32_t dim = cache->head_dim;
    void *key = key_at(cache, head, position);
    if (has_scales(cache->type)) {
        int8_t bytes[RBE_KV_MAX_DIM_QUANTIZED];
        kernels->hadamard(k, dim, cache->rotation);
        kernels->quantize(k, dim, bytes, &cache->key_scales[(size_t)head * cache->context + position]);
        for (uint32_t d = 0; d < dim; d++) {
            ((int8_t *)key)[(size_t)d * RBE_KV_BLOCK] = bytes[d];
        }
    } else if (cache->type == RBE_KV_F32) {
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
    const void *key = key_at(cache, head, position);
    if (has_scales(cache->type)) {
        const float scale = cache->key_scales[(size_t)head * cache->context + position];
        for (uint32_t d = 0; d < dim; d++) {
            k[d] = scale * (float)((const int8_t *)key)[(size_t)d * RBE_KV_BLOCK];
        }
        kernels->hadamard(k, dim, cache->rotation);
        return;
    }
    for (uint32_t d = 0; d < dim; d++) {
        if (cache->type == RBE_KV_F32) {
            k[d] = ((const float *)key)[(size_t)d * RBE_KV_BLOCK];
        } else {
            kernels->from_half((const uint16_t *)key + (size_t)d * RBE_KV_BLOCK, 1, &k[d]);
        }
    }
}

static void store_value(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t position, float *v)
{
    const uint32_t dim = cache->head_dim;
    void *value = value_at(cache, head, position);
    if (has_scales(cache->type)) {
        int8_t bytes[RBE_KV_MAX_DIM_QUANTIZED];
        float *scale = &cache->value_scales[(size_t)head * cache->context + position];
        kernels->hadamard(v, dim, cache->rotation);
        if (cache->type == RBE_KV_Q8Q4) {
            *scale = store_value_4(v, dim, value);
        } else {
            kernels->quantize(v, dim, bytes, scale);
            memcpy(value, bytes, dim);
        }
    } else if (cache->type == RBE_KV_F32) {
        memcpy(value, v, dim * sizeof *v);
    } else {
        kernels->to_half(v, dim, value);
    }
}

void rbe__kv_store(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t position, float *k, float *v)
{
    for (uint32_t h = 0; h < cache->n_kv_heads; h++) {
        store_key(kernels, cache, h, position, k + (size_t)h * cache->head_dim);
        store_value(kernels, cache, h, position, v + (size_t)h * cache->head_dim);
    }
}

static void load_value(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t position, float *v)
{
    const uint32_t dim = cache->head_dim;
    const void *value = value_at(cache, head, position);
    if (cache->type == RBE_KV_F32) {
        memcpy(v, value, dim * sizeof *v);
    } else if (cache->type == RBE_KV_F16) {
        kernels->from_half(value, dim, v);
    } else {
        const float scale = cache->value_scales[(size_t)head * cache->context + position];
        if (cache->type == RBE_KV_Q8Q4) {
            kernels->from_i4(value, dim, v);
        } else {
            kernels->from_i8(value, dim, v);
        }
        for (uint32_t d = 0; d < dim; d++) {
            v[d] *= scale;
        }
        kernels->hadamard(v, dim, cache->rotation);
    }
}

void rbe__kv_load(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t position, float *k, float *v)
{
    for (uint32_t h = 0; h < cache->n_kv_heads; h++) {
        load_key(kernels, cache, h, position, k + (size_t)h * cache->head_dim);
        load_value(kernels, cache, h, position, v + (size_t)h * cache->head_dim);
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
    memmove(value_at(cache, head, to), value_at(cache, head, first), n * value_bytes(cache->type, cache->head_dim));
    if (cache->value_scales) {
        float *scales = cache->value_scales + (size_t)head * cache->context;
        memmove(scales + to, scales + first, n * sizeof *scales);
    }
}

rbe_status rbe__kv_visit_used(const rbe__kv_layer *cache, uint32_t n_positions, rbe__kv_visit *visit, void *context)
{
    for (uint32_t h = 0; h < cache->n_kv_heads; h++) {
        for (uint32_t first = 0; first < n_positions; first += RBE_KV_BLOCK) {
            const uint32_t n = n_positions - first < RBE_KV_BLOCK ? n_positions - first : RBE_KV_BLOCK;
            const size_t element = key_bytes(cache->type);
            uint8_t *keys = key_at(cache, h, first);
            if (n == RBE_KV_BLOCK) {
                RBE_TRY(visit(context, keys, element * RBE_KV_BLOCK * cache->head_dim));
                continue;
            }
            for (uint32_t d = 0; d < cache->head_dim; d++) {
                RBE_TRY(visit(context, keys + element * RBE_KV_BLOCK * d, element * n));
            }
        }
        RBE_TRY(visit(context, value_at(cache, h, 0), n_positions * value_bytes(cache->type, cache->head_dim)));
        if (has_scales(cache->type)) {
            RBE_TRY(visit(context, cache->key_scales + (size_t)h * cache->context, n_positions * sizeof(float)));
            RBE_TRY(visit(context, cache->value_scales + (size_t)h * cache->context, n_positions * sizeof(float)));
        }
    }
    return RBE_OK;
}

rbe__kv_rows rbe__kv_keys(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t first, float *expanded)
{
    const void *keys = key_at(cache, head, first);
    const uint32_t n = RBE_KV_BLOCK * cache->head_dim;
    const float *scales = cache->key_scales ? cache->key_scales + (size_t)head * cache->context + first : NULL;
    if (cache->type == RBE_KV_F32) {
        return (rbe__kv_rows){keys, kernels->weighted_sum_f32, scales};
    }
    if (!expanded) {
        return (rbe__kv_rows){keys, cache->type == RBE_KV_F16 ? kernels->weighted_sum_f16 : kernels->weighted_sum_i8, scales};
    }
    if (cache->type == RBE_KV_F16) {
        kernels->from_half(keys, n, expanded);
    } else {
        kernels->from_i8(keys, n, expanded);
    }
    return (rbe__kv_rows){expanded, kernels->weighted_sum_f32, scales};
}

rbe__kv_rows rbe__kv_values(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t first, uint32_t n_positions,
                            int expand, float *expanded)
{
    const uint8_t *values = value_at(cache, head, first);
    const uint32_t dim = cache->head_dim;
    const float *scales = cache->value_scales ? cache->value_scales + (size_t)head * cache->context + first : NULL;
    if (cache->type == RBE_KV_Q8Q4) {
        const size_t bytes = value_bytes(cache->type, dim);
        for (uint32_t p = 0; p < n_positions; p++) {
            kernels->from_i4(values + p * bytes, dim, expanded + (size_t)p * dim);
        }
    } else if (cache->type == RBE_KV_F32) {
        return (rbe__kv_rows){values, kernels->weighted_sum_f32, scales};
    } else if (!expand) {
        return (rbe__kv_rows){values, cache->type == RBE_KV_F16 ? kernels->weighted_sum_f16 : kernels->weighted_sum_i8, scales};
    } else if (cache->type == RBE_KV_F16) {
        kernels->from_half((const void *)values, n_positions * dim, expanded);
    } else {
        kernels->from_i8((const void *)values, n_positions * dim, expanded);
    }
    return (rbe__kv_rows){expanded, kernels->weighted_sum_f32, scales};
}
