/* The two smooth codes, docs/smooth_codes.md: a row of a matrix from a 64-bit seed, or from smooth functions and residuals.
 * All of it is computed in double precision by fixed operations and rounded once: the same bits on every machine. */
#ifndef RBE_SMOOTH_CODES_H
#define RBE_SMOOTH_CODES_H

#include <stdint.h>

#define RBE_MAX_BASIS_BLOCK 256u
#define RBE_MAX_BASIS_ORDER 16u

enum { RBE_BASIS_COSINES = 1, RBE_BASIS_COLUMN_COSINES = 2 };

/* A tensor of kind 6; views into the file. */
typedef struct rbe__basis {
    uint32_t block_rows, block_cols;
    uint32_t transform;
    uint8_t basis_order, count_order, gap_order, level_order;
    float step;
    const uint32_t *ends;   /* [ceil(rows / block_rows)], each in bytes from `streams` */
    const uint8_t *streams;
} rbe__basis;

/* out[cols] = a row of the matrix that a seed stands for. */
void rbe__seed64_row(uint64_t seed, float scale, uint32_t rows, uint32_t cols, uint32_t row, float *out);

/* Walks all streams of data_bytes bytes at basis->ends. NULL where every one ends where it should and names only what exists,
 * else what is wrong; rbe__basis_row may be called only then. Sets `streams`. */
const char *rbe__basis_check(rbe__basis *basis, uint32_t rows, uint32_t cols, uint64_t data_bytes);

/* out[cols] = a row of the matrix. */
void rbe__basis_row(const rbe__basis *basis, uint32_t rows, uint32_t cols, uint32_t row, float *out);

#endif
