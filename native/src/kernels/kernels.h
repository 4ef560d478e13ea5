/* The contracts of all kernels, and the table that holds one implementation of each.
 *
 * A kernel knows shapes and bytes, nothing of models or files. Kernels cannot fail: shapes were checked when the file
 * was opened. No argument may alias another. Integer results are equal to the scalar set's bit for bit; floating results
 * are within the bound stated here of a double-precision reference.
 *
 * A table is filled from the scalar set and upgraded by the sets that the processor can run; it lives in a handle, so
 * that two tables can run side by side in one test. The ISA is the folder, the sub-feature the suffix.
 */
#ifndef RBE_KERNELS_H
#define RBE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define RBE_BLOCK_COLS 256u  /* activations share one int8 scale per this many columns */
#define RBE_BLOCK_GROUPS (RBE_BLOCK_COLS / 4u)
#define RBE_STRIP_ROWS 256u  /* rows of the tallest strip */
#define RBE_QUANTIZE_LEAST 0x1p-126f /* an int8 scale below it would have no finite inverse and counts as zero */

/* One strip of one plane: n_cells cells one after the other, n_groups groups of 4 columns in all (docs/format.md,
 * "Planes"). Cell c spans the groups from floor(c G / C) up to floor((c + 1) G / C). Each group takes
 * 2 * row_steps * bits bytes, so group g begins at stream + g * 2 * row_steps * bits whatever its cell; the cell matters
 * only to its first steps, whose history is the end of the same cell (tail-biting).
 * Step t of a group gives W[4t + i][4g + j] = T1 + T2 for lane 4i + j. */
typedef struct rbe_strip {
    const uint8_t *stream;  /* whole cells; reads stay inside the strip */
    const int8_t *t1, *t2;  /* 16 entries each, sums within +-127 */
    uint32_t bits;          /* K, 1 to 4 */
    uint32_t row_steps;     /* R = rows / 4, 1 to 64; R * K is a multiple of 8 */
    uint32_t n_groups;      /* G */
    uint32_t n_cells;       /* C, 1 to G; each cell has at least 2 units of 16 bytes (32 steps, as the format asks, are 4 K) */
} rbe_strip;

/* acc[4R] = sum over groups g in [first_group, first_group + n_groups) of W_g . x_g, n_groups <= RBE_BLOCK_GROUPS.
 * x: int8[4 n_groups] for just those groups, values within +-127, readable up to the next multiple of 64 bytes. acc is
 * overwritten, and needs no alignment. */
typedef void rbe_dot_kernel(const rbe_strip *strip, uint32_t first_group, uint32_t n_groups, const int8_t *x, int32_t *acc);

/* tile[((g - first_group) * R + t) * 16 + 4i + j] = W[4t + i][4g + j] for the same range of groups. tile needs no
 * alignment. */
typedef void rbe_generate_kernel(const rbe_strip *strip, uint32_t first_group, uint32_t n_groups, int8_t *tile);

/* acc[n * 4R + r] = tile row r . x of token n, for n < n_tokens; tile as written by generate, n_groups <= RBE_BLOCK_GROUPS;
 * x of token n at x + n * x_stride: int8[4 n_groups], within +-127, readable up to the next multiple of 64 bytes. */
typedef void rbe_multiply_tile_kernel(const int8_t *tile, uint32_t row_steps, uint32_t n_groups, const int8_t *x,
                                      size_t x_stride, uint32_t n_tokens, int32_t *acc);

/* y[n * y_stride + r] = sum over c of w[r][c] * x[n * x_stride + c] for r < rows, n < n_tokens. w: [rows][cols] of fp32,
 * fp16 or bf16, unaligned allowed. A result depends on its own row and token alone, not on rows or n_tokens:
 * prefill and decode agree bit for bit, and so do any numbers of threads.
 * |error| <= 2^-20 * sum |w x| * (1 + cols / 64). */
typedef void rbe_dense_kernel(const void *w, uint32_t rows, uint32_t cols, const float *x, size_t x_stride,
                              uint32_t n_tokens, float *y, size_t y_stride);

/* y[r] += scale * acc[r] for r < n: the int8 block products gathered in floating point (a fused multiply-add or a multiply
 * and an add, by the set). |acc| < 2^24, so that it is exact in fp32. |error| <= 2^-23 * (|y| + |scale * acc|). */
typedef void rbe_accumulate_kernel(float *y, const int32_t *acc, uint32_t n, float scale);

/* x <- H x in place on every block of `block` values (a power of two, 1 to 65536) of x[n], n a multiple of block;
 * orthonormal Walsh-Hadamard transform in Sylvester order. |error| <= 2^-22 * log2(2 block) * ||x_block||. */
typedef void rbe_hadamard_kernel(float *x, uint32_t n, uint32_t block);

/* Symmetric int8 quantisation per RBE_BLOCK_COLS values: scale[b] = max |x| / 127, q = x * (1 / scale) to the nearest
 * even, within +-127; a block of zeros, and one whose scale would be below RBE_QUANTIZE_LEAST, has scale 0 and q 0.
 * q[n .. next multiple of 64) is zeroed. Finite x. q and scale equal the scalar set's bit for bit: all are single IEEE
 * operations (max, two divisions, multiply). */
typedef void rbe_quantize_kernel(const float *x, uint32_t n, int8_t *q, float *scale);

/* Attention over fp16 or fp32 cache rows: score[p] = q . k[p] for p < n_positions; k of position p at k + p * head_dim.
 * |error| <= 2^-20 * sum |q k| * (1 + head_dim / 64). */
typedef void rbe_scores_kernel(const float *q, const void *k, uint32_t head_dim, uint32_t n_positions, float *score);

/* out[d] = sum over p of weight[p] * v[p][d], d < head_dim; v of position p at v + p * head_dim.
 * Overwrites out; zeros for no positions. |error| <= 2^-24 * sum |weight v| * (2 + n_positions). */
typedef void rbe_mix_kernel(const float *weight, const void *v, uint32_t head_dim, uint32_t n_positions, float *out);

/* fp16 bits, round to nearest even, saturating to the largest finite value; NaN stays NaN. */
typedef void rbe_to_half_kernel(const float *x, uint32_t n, uint16_t *half);

/* fp32 from fp16 bits, exact. */
typedef void rbe_from_half_kernel(const uint16_t *half, uint32_t n, float *x);

/* One list of kernels; it expands into the table, the tests and the benchmarks: X(field, type). The first three families
 * are indexed by K - 1. */
#define RBE_KERNEL_LIST(X)                   \
    X(dot_k1, rbe_dot_kernel)                \
    X(dot_k2, rbe_dot_kernel)                \
    X(dot_k3, rbe_dot_kernel)                \
    X(dot_k4, rbe_dot_kernel)                \
    X(generate_k1, rbe_generate_kernel)      \
    X(generate_k2, rbe_generate_kernel)      \
    X(generate_k3, rbe_generate_kernel)      \
    X(generate_k4, rbe_generate_kernel)      \
    X(multiply_tile, rbe_multiply_tile_kernel) \
    X(dense_f32, rbe_dense_kernel)           \
    X(dense_f16, rbe_dense_kernel)           \
    X(dense_bf16, rbe_dense_kernel)          \
    X(accumulate, rbe_accumulate_kernel)     \
    X(hadamard, rbe_hadamard_kernel)         \
    X(quantize, rbe_quantize_kernel)         \
    X(scores_f16, rbe_scores_kernel)         \
    X(scores_f32, rbe_scores_kernel)         \
    X(mix_f16, rbe_mix_kernel)               \
    X(mix_f32, rbe_mix_kernel)               \
    X(to_half, rbe_to_half_kernel)           \
    X(from_half, rbe_from_half_kernel)

typedef struct rbe_kernels {
    const char *name; /* of the set */
#define RBE_KERNEL_FIELD(field, type) type *field;
    RBE_KERNEL_LIST(RBE_KERNEL_FIELD)
#undef RBE_KERNEL_FIELD
} rbe_kernels;

/* The same field by K, 1 to 4. */
rbe_dot_kernel *rbe__dot_kernel(const rbe_kernels *kernels, uint32_t bits);
rbe_generate_kernel *rbe__generate_kernel(const rbe_kernels *kernels, uint32_t bits);

/* Fills the table with the named set, everything it lacks from the sets before it. name NULL: the best available.
 * 0 on success, -1 where the set is unknown or this processor cannot run it. */
int rbe__kernels_select(const char *name, rbe_kernels *out);

/* Each set's upgrade of the table; compiled only where the architecture has it. */
void rbe__kernels_scalar(rbe_kernels *table);
void rbe__kernels_avx2(rbe_kernels *table);          /* + FMA, F16C */
void rbe__kernels_avx512(rbe_kernels *table);        /* F, BW, DQ, VL, VNNI */
void rbe__kernels_avx512_vbmi(rbe_kernels *table);
void rbe__kernels_neon(rbe_kernels *table);          /* Armv8.0 */
void rbe__kernels_neon_dotprod(rbe_kernels *table);  /* + sdot */

#endif
