#include "layers/kv_tiles.h"

#include <string.h>

#include "base/status.h"

static size_t key_place(uint32_t position, uint32_t d)
{
    return ((size_t)(d / 4) * RBE_KV_BLOCK + position) * 4 + d % 4;
}

void rbe__key_to_tile(int8_t *tile, uint32_t position, uint32_t dim, const int8_t *key)
{
    for (uint32_t d = 0; d < dim; d++) {
        tile[key_place(position, d)] = key[d];
    }
}

void rbe__key_from_tile(const int8_t *tile, uint32_t position, uint32_t dim, int8_t *key)
{
    for (uint32_t d = 0; d < dim; d++) {
        key[d] = tile[key_place(position, d)];
    }
}

static size_t value_place(uint32_t position, uint32_t dim, uint32_t d)
{
    return ((size_t)(position / 4) * rbe__kv_tile_dim(dim) + d) * 4 + position % 4;
}

void rbe__value_to_tile(int8_t *tile, uint32_t position, uint32_t dim, const int8_t *value)
{
    tile += value_place(position, dim, 0);
    for (uint32_t d = 0; d < dim; d++) {
        tile[(size_t)4 * d] = value[d];
    }
}

void rbe__value_from_tile(const int8_t *tile, uint32_t position, uint32_t dim, int8_t *value)
{
    tile += value_place(position, dim, 0);
    for (uint32_t d = 0; d < dim; d++) {
        value[d] = tile[(size_t)4 * d];
    }
}

void rbe__codes_to_tile(uint8_t *tile, uint32_t position, uint32_t dim, const uint8_t *codes)
{
    const uint32_t is_high = position >= RBE_KV_BLOCK / 2, shift = is_high ? 4 : 0;
    tile += value_place(position - is_high * RBE_KV_BLOCK / 2, dim, 0);
    for (uint32_t d = 0; d < dim; d++) {
        uint8_t *byte = tile + (size_t)4 * d;
        *byte = (uint8_t)((*byte & (0xf0 >> shift)) | codes[d] << shift);
    }
}

void rbe__codes_from_tile(const uint8_t *tile, uint32_t position, uint32_t dim, uint8_t *codes)
{
    const uint32_t is_high = position >= RBE_KV_BLOCK / 2, shift = is_high ? 4 : 0;
    tile += value_place(position - is_high * RBE_KV_BLOCK / 2, dim, 0);
    for (uint32_t d = 0; d < dim; d++) {
        codes[d] = tile[(size_t)4 * d] >> shift & 15;
    }
}

rbe_status rbe__kv_count(void *context, void *piece, size_t bytes)
{
    (void)piece;
    *(uint64_t *)context += bytes;
    return RBE_OK;
}

rbe_status rbe__key_tile_visit(int8_t *tile, uint32_t dim, uint32_t n, rbe__kv_visit *visit, void *context)
{
    int8_t rows[RBE_KV_MAX_DIM_QUANTIZED * RBE_KV_BLOCK], before[sizeof rows];
    const size_t bytes = (size_t)dim * n;
    for (uint32_t d = 0; d < dim; d++) {
        for (uint32_t p = 0; p < n; p++) {
            rows[d * n + p] = tile[key_place(p, d)];
        }
    }
    memcpy(before, rows, bytes);
    RBE_TRY(visit(context, rows, bytes));
    const uint32_t n_changed = memcmp(before, rows, bytes) != 0 ? dim : 0;
    for (uint32_t d = 0; d < n_changed; d++) {
        for (uint32_t p = 0; p < n; p++) {
            tile[key_place(p, d)] = rows[d * n + p];
        }
    }
    return RBE_OK;
}

rbe_status rbe__value_tile_visit(int8_t *tile, uint32_t dim, uint32_t n, rbe__kv_visit *visit, void *context)
{
    for (uint32_t p = 0; p < n; p++) {
        int8_t value[RBE_KV_MAX_DIM_QUANTIZED], before[sizeof value];
        rbe__value_from_tile(tile, p, dim, value);
        memcpy(before, value, dim);
        RBE_TRY(visit(context, value, dim));
        if (memcmp(before, value, dim) != 0) {
            rbe__value_to_tile(tile, p, dim, value);
        }
    }
    return RBE_OK;
}

rbe_status rbe__code_tile_visit(uint8_t *tile, uint32_t dim, uint32_t n, rbe__kv_visit *visit, void *context)
{
    const uint32_t half = (dim + 1) / 2;
    for (uint32_t p = 0; p < n; p++) {
        uint8_t codes[RBE_KV_MAX_DIM_QUANTIZED + 1] = {0}, before[sizeof codes];
        rbe__codes_from_tile(tile, p, dim, codes);
        for (uint32_t d = 0; d < half; d++) {
            codes[d] = (uint8_t)(codes[d] | codes[half + d] << 4);
        }
        memcpy(before, codes, half);
        RBE_TRY(visit(context, codes, half));
        if (memcmp(before, codes, half) == 0) {
            continue;
        }
        for (uint32_t d = half; d-- > 0;) {
            codes[half + d] = codes[d] >> 4;
            codes[d] &= 15;
        }
        rbe__codes_to_tile(tile, p, dim, codes);
    }
    return RBE_OK;
}
