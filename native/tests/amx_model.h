/* The instructions of AMX-TILE and AMX-INT8 in plain C, after Intel's SDM (volume 2: LDTILECFG, TDPBSSD, TILELOADD, TILERELEASE, TILESTORED,
 * TILEZERO; palette 1). What a processor would refuse with #GP or #UD is kept as a fault, and changes nothing. Memory is read and written
 * byte for byte as the instructions do it. A start row other than 0, which only a page fault in the middle of an instruction leaves
 * behind, is a fault too. One thread. */
#ifndef RBE_TESTS_AMX_MODEL_H
#define RBE_TESTS_AMX_MODEL_H

#include <stdint.h>

#include "kernels/kernels.h"

enum { AMX_TILES = 8, AMX_ROWS = 16, AMX_ROW_BYTES = 64 };

typedef struct amx_tile {
    uint32_t rows, row_bytes; /* as configured; 0: not in use */
    uint8_t data[AMX_ROWS][AMX_ROW_BYTES];
} amx_tile;

typedef struct amx_model {
    int configured;
    amx_tile tile[AMX_TILES];
    const char *fault; /* the first; NULL: none */
    uint32_t n_loadconfig, n_release, n_zero, n_loadd, n_stored, n_dpbssd;
} amx_model;

extern amx_model amx;

void amx_loadconfig(const void *memory);
void amx_release(void);
void amx_zero(uint32_t tile);
void amx_loadd(uint32_t tile, const void *base, int64_t stride);
void amx_stored(uint32_t tile, void *base, int64_t stride);
void amx_dpbssd(uint32_t sums, uint32_t a, uint32_t b); /* sums[m][n] += a[m][4k .. 4k+3] . b[k][4n .. 4n+3] */

/* avx512/multiply_tile_amx.c with these in place of the instructions, beginning with nothing configured. */
rbe_multiply_tile_kernel amx_model_multiply_tile;

#endif
