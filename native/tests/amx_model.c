#include "amx_model.h"

#include <immintrin.h>
#include <string.h>

amx_model amx;

static int amx_refuse(const char *fault)
{
    if (amx.fault == NULL) {
        amx.fault = fault;
    }
    return 0;
}

void amx_loadconfig(const void *memory)
{
    uint8_t bytes[64];
    amx_tile tiles[AMX_TILES] = {0};
    int valid = 1;
    memcpy(bytes, memory, sizeof bytes);
    amx.n_loadconfig++;
    if (bytes[0] == 0) {
        amx.configured = 0;
        memset(amx.tile, 0, sizeof amx.tile);
        return;
    }
    for (uint32_t i = 1; i < 16; i++) {
        valid &= bytes[i] == 0;
    }
    for (uint32_t t = 0; t < 16; t++) {
        const uint32_t row_bytes = bytes[16 + 2 * t] | (uint32_t)bytes[17 + 2 * t] << 8, rows = bytes[48 + t];
        valid &= row_bytes <= (t < AMX_TILES ? AMX_ROW_BYTES : 0) && rows <= (t < AMX_TILES ? AMX_ROWS : 0) && !rows == !row_bytes;
        tiles[t % AMX_TILES].rows |= rows;
        tiles[t % AMX_TILES].row_bytes |= row_bytes;
    }
    if (bytes[0] != 1 || !valid) {
        amx_refuse("#GP: ldtilecfg of what is no configuration");
        return;
    }
    amx.configured = 1;
    memcpy(amx.tile, tiles, sizeof tiles);
}

void amx_release(void)
{
    amx.n_release++;
    amx.configured = 0;
    memset(amx.tile, 0, sizeof amx.tile);
}

static int amx_usable(uint32_t tile)
{
    return (amx.configured && tile < AMX_TILES && amx.tile[tile].rows > 0) || amx_refuse("#UD: a tile that is not configured");
}

void amx_zero(uint32_t tile)
{
    amx.n_zero++;
    if (amx_usable(tile)) {
        memset(amx.tile[tile].data, 0, sizeof amx.tile[tile].data);
    }
}

void amx_loadd(uint32_t tile, const void *base, int64_t stride)
{
    amx.n_loadd++;
    if (!amx_usable(tile)) {
        return;
    }
    amx_tile *to = &amx.tile[tile];
    memset(to->data, 0, sizeof to->data);
    for (uint32_t row = 0; row < to->rows; row++) {
        memcpy(to->data[row], (const uint8_t *)base + row * stride, to->row_bytes);
    }
}

void amx_stored(uint32_t tile, void *base, int64_t stride)
{
    amx.n_stored++;
    if (!amx_usable(tile)) {
        return;
    }
    const amx_tile *from = &amx.tile[tile];
    for (uint32_t row = 0; row < from->rows; row++) {
        memcpy((uint8_t *)base + row * stride, from->data[row], from->row_bytes);
    }
}

void amx_dpbssd(uint32_t sums, uint32_t a, uint32_t b)
{
    amx.n_dpbssd++;
    if (sums == a || sums == b || a == b) {
        amx_refuse("#UD: tdpbssd of one tile twice");
        return;
    }
    if (!amx_usable(sums) || !amx_usable(a) || !amx_usable(b)) {
        return;
    }
    amx_tile *to = &amx.tile[sums];
    const amx_tile *left = &amx.tile[a], *right = &amx.tile[b];
    if (to->row_bytes % 4 || left->row_bytes % 4 || right->row_bytes % 4 || to->rows != left->rows || to->row_bytes != right->row_bytes ||
        left->row_bytes / 4 != right->rows) {
        amx_refuse("#UD: tdpbssd of shapes that do not fit");
        return;
    }
    for (uint32_t m = 0; m < to->rows; m++) {
        for (uint32_t n = 0; n < to->row_bytes / 4; n++) {
            uint32_t sum; /* modulo 2^32 */
            memcpy(&sum, to->data[m] + 4 * n, sizeof sum);
            for (uint32_t i = 0; i < left->row_bytes; i++) {
                sum += (uint32_t)((int8_t)left->data[m][i] * (int8_t)right->data[i / 4][4 * n + i % 4]);
            }
            memcpy(to->data[m] + 4 * n, &sum, sizeof sum);
        }
    }
}

/* The intrinsics of <immintrin.h>, some of them macros. */
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbssd
#define _tile_loadconfig(memory) amx_loadconfig(memory)
#define _tile_release() amx_release()
#define _tile_zero(tile) amx_zero(tile)
#define _tile_loadd(tile, base, stride) amx_loadd(tile, base, (int64_t)(stride))
#define _tile_stored(tile, base, stride) amx_stored(tile, base, (int64_t)(stride))
#define _tile_dpbssd(sums, a, b) amx_dpbssd(sums, a, b)

#define rbe__amx_multiply_tile amx_model_multiply_tile
#include "kernels/avx512/multiply_tile_amx.c"
