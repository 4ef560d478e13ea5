/* The contracts of all kernels, and the table that holds one implementation of each.
 *
 * A kernel knows shapes and bytes, nothing of models or files. Kernels cannot fail: shapes were checked when the file
 * was opened. No argument may alias another. All results are equal to the scalar set's bit for bit, which define them, and floating ones
 * lie within the bound stated here of a double-precision reference. 32-bit ARM, whose NEON takes subnormal numbers for zero, may have another
 * result where the scalar set's is below 2^-110: a factor below 2^-126 times what activations can be.
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
#define RBE_GROUPED_ROWS 64u /* the strips of binary and ternary matrices have a multiple of it */
#define RBE_TERNARY_COLS 5u  /* of a code */
#define RBE_BINARY_COLS 8u
#define RBE_LANES 16u        /* of a cell: 4 rows x 4 columns per step */
#define RBE_SUM_LANES 16u  /* of a sum in floating point */
#define RBE_MAX_LANE_STEPS 96u /* of a cell of the format: m R <= 64 + R / 2 and R <= 64 */
#define RBE_NARROW_SUM 31 /* products of 8 int8 activations with weights that large fit into 16 bits */
#define RBE_QUANTIZE_LEAST 0x1p-100f /* a smaller int8 scale counts as zero: no product near it is subnormal */

/* One strip of one plane: n_cells cells one after the other, n_groups groups of 4 columns in all (docs/format.md,
 * "Planes"). Cell c spans the groups from floor(c G / C) up to floor((c + 1) G / C). Each group takes
 * 2 * row_steps * bits bytes, so group g begins at stream + g * 2 * row_steps * bits whatever its cell; the cell matters
 * only to its first steps, whose history is the end of the same cell (tail-biting).
 * Step t of a group gives W[4t + i][4g + j] = T1 + T2 for lane 4i + j. */
typedef struct rbe_strip {
    const uint8_t *stream;  /* whole cells; reads stay inside the strip */
    const int8_t *t1, *t2;  /* 16 entries each, sums within +-127 */
    uint32_t bits;          /* K, 1 to 4 */
    uint32_t narrow;        /* 1: all sums T1 + T2 are within +-RBE_NARROW_SUM; 0: they need not be */
    uint32_t row_steps;     /* R = rows / 4, 1 to 64; R * K is a multiple of 8 */
    uint32_t n_groups;      /* G */
    uint32_t n_cells;       /* C, 1 to G; each cell has at least 2 units of 16 bytes (32 steps, as the format asks, are 4 K) */
} rbe_strip;

/* 1 where all sums of the tables are within +-RBE_NARROW_SUM, else 0: rbe_strip.narrow. 16 entries each. */
static inline uint32_t rbe__tables_narrow(const int8_t *t1, const int8_t *t2)
{
    uint32_t narrow = 1;
    for (uint32_t i = 0; i < 256; i++) {
        const int sum = t1[i / 16] + t2[i % 16];
        narrow &= sum >= -RBE_NARROW_SUM && sum <= RBE_NARROW_SUM;
    }
    return narrow;
}

/* sum[4R] = sum over blocks b of scales[b] * (W_b . x_b): a block is RBE_BLOCK_GROUPS groups of the strip, the last what is left. Products of a
 * block are exact; blocks are gathered in ascending order from 0 as `accumulate` of the same set
 * does it, so that the bits are those of generate, multiply_tile and accumulate. x: int8[4 G], values within +-127, readable up to
 * the next multiple of 64 bytes; scales: one for each block. sum is overwritten, and needs no alignment. */
typedef void rbe_dot_kernel(const rbe_strip *strip, const int8_t *x, const float *scales, float *sum);

/* tile[((g - first_group) * R + t) * 16 + 4i + j] = W[4t + i][4g + j] for the groups g in [first_group, first_group + n_groups). tile needs
 * no alignment. */
typedef void rbe_generate_kernel(const rbe_strip *strip, uint32_t first_group, uint32_t n_groups, int8_t *tile);

/* acc[n * 4R + r] = tile row r . x of token n, for n < n_tokens; tile as written by generate, n_groups <= RBE_BLOCK_GROUPS;
 * x of token n at x + n * x_stride: int8[4 n_groups], within +-127, readable up to the next multiple of 64 bytes. multiply_narrow_tile does
 * the same for tiles of strips that are narrow. */
typedef void rbe_multiply_tile_kernel(const int8_t *tile, uint32_t row_steps, uint32_t n_groups, const int8_t *x, size_t x_stride,
                                      uint32_t n_tokens, int32_t *acc);

/* One strip of a binary or ternary matrix (docs/format.md, "Groups"): 64 n_units rows. A block is block_cols columns, the last what is left.
 * For each block and each code of it (5 columns of a ternary matrix, 8 of a binary one; the last of a block may have less) there are the
 * bytes of all rows. A byte b of a ternary matrix is ceil(256 v / 243), v its five digits to the base 3, the first column's highest; any
 * other byte is read as floor(3 b / 256), and so on with 3 b mod 256. Digits are 0, 1, 2 for -1, 0, 1. Bit i of a byte of a binary matrix is 1
 * where column i of its eight is 1, else that is -1. */
typedef struct rbe_grouped_strip {
    const uint8_t *codes;   /* of the strip */
    const uint16_t *scales; /* fp16, finite: for each scale_cols columns those of all rows */
    uint32_t n_units;       /* 1 to 4 */
    uint32_t cols;
    uint32_t block_cols;    /* 32, 64, 128 or 256 */
    uint32_t scale_cols;    /* block_cols, or a multiple of RBE_BLOCK_COLS and of it; any number from cols on */
} rbe_grouped_strip;

/* sum[64 n_units] = sum over blocks b of (scales[c / 256] * scale of row and block) * (W_b . x_b), c the first column of the block: the products
 * are exact, and gathered in ascending order from 0 as accumulate_rows does it. x: int8[cols], within +-127, of which no more is read;
 * scales: one for each RBE_BLOCK_COLS columns. sum is overwritten, and needs no alignment. */
typedef void rbe_grouped_dot_kernel(const rbe_grouped_strip *strip, const int8_t *x, const float *scales, float *sum);

/* The tile (as of rbe_generate_kernel, R = 16 n_units, its groups those of block `block`) with -1, 0 and 1; 0 where there is no column. */
typedef void rbe_grouped_generate_kernel(const rbe_grouped_strip *strip, uint32_t block, int8_t *tile);

/* y[r] += (scale * scales[r]) * acc[r] for r < n: the product in parentheses is rounded, the rest fused. scales: fp16; |acc| < 2^24. */
typedef void rbe_accumulate_rows_kernel(float *y, const int32_t *acc, uint32_t n, float scale, const uint16_t *scales);

/* y[n * y_stride + r] = sum over c of w[r][c] * x[n * x_stride + c] for r < rows, n < n_tokens. w: [rows][cols] of fp32,
 * fp16 or bf16, unaligned allowed. A result depends on its own row and token alone, not on rows or n_tokens:
 * prefill and decode agree bit for bit, and so do any numbers of threads.
 * |error| <= 2^-20 * sum |w x| * (1 + cols / 64). */
typedef void rbe_dense_kernel(const void *w, uint32_t rows, uint32_t cols, const float *x, size_t x_stride, uint32_t n_tokens, float *y,
                              size_t y_stride);

/* y[r] += scale * acc[r] for r < n: the int8 block products gathered in floating point by fused multiply-adds. |acc| < 2^24, so that it
 * is exact in fp32. |error| <= 2^-23 * (|y| + |scale * acc|). */
typedef void rbe_accumulate_kernel(float *y, const int32_t *acc, uint32_t n, float scale);

/* x <- H x in place on every block of `block` values (a power of two, 1 to 65536) of x[n], n a multiple of block;
 * orthonormal Walsh-Hadamard transform in Sylvester order. |error| <= 2^-22 * log2(2 block) * ||x_block||. */
typedef void rbe_hadamard_kernel(float *x, uint32_t n, uint32_t block);

/* Symmetric int8 quantisation per RBE_BLOCK_COLS values: scale[b] = max |x| / 127, q = x * (1 / scale) to the nearest
 * even, within +-127; a block of zeros, and one whose scale would be below RBE_QUANTIZE_LEAST, has scale 0 and q 0.
 * q[n .. next multiple of 64) is zeroed. Finite x. q and scale equal the scalar set's bit for bit: all are single IEEE
 * operations (max, two divisions, multiply). */
typedef void rbe_quantize_kernel(const float *x, uint32_t n, int8_t *q, float *scale);

/* out[n * out_stride + c] = keep[n] * out[...] + sum over k < n_rows of weight[n * weight_stride + k] * rows[k][c], for n < n_out,
 * c < n_cols; row k at rows + k * row_stride elements of fp32 or fp16. keep NULL: the sum alone, out need not be set before.
 * One sum of fused multiply-adds in ascending k for each n and c, so a result depends on nothing beside it, and a weight of 0 changes
 * nothing where rows are finite. Both products of attention: queries times keys that are stored by dimension, weights times
 * values. |error| <= 2^-23 * (2 + n_rows) * (|keep out| + sum |weight row|). */
typedef void rbe_weighted_sum_kernel(const float *weight, size_t weight_stride, const void *rows, size_t row_stride, uint32_t n_rows,
                                     uint32_t n_cols, uint32_t n_out, const float *keep, float *out, size_t out_stride);

/* largest = max(largest, x[0..n)); x[i] <- exp(x[i] - largest); returns the sum of these. Finite x, largest may be -infinity; n >= 1.
 * |error| <= (2^-22 + 2^-23 |d|) exp(d) + 2^-125 for d = x[i] - largest; the sum is short of these
 * values' by at most 2^-24 (20 + n / 4) of itself. */
typedef float rbe_online_softmax_kernel(float *x, uint32_t n, float *largest);

/* x <- exp(x); |error| <= 2^-22 exp(x) for |x| <= 87, beyond as at +-87. exp(0) is 1. NaN stays NaN. */
typedef void rbe_exponential_kernel(float *x, uint32_t n);

/* up[i] <- activation(gate[i]) * up[i], or activation(up[i]) where gate is NULL. |error| of the activation of v <= 2^-21 |v| + 2^-120.
 * SiLU: v / (1 + exp(-v)). */
typedef void rbe_activation_kernel(const float *gate, uint32_t n, float *up);

/* x <- cap * tanh(x / cap), cap > 0; |error| <= 2^-21 cap. */
typedef void rbe_softcap_kernel(float *x, uint32_t n, float cap);

/* x[i] <- x[i] * y[i]. */
typedef void rbe_multiply_kernel(float *x, const float *y, uint32_t n);

/* x[i] <- x[i] + y[i]. */
typedef void rbe_add_kernel(float *x, const float *y, uint32_t n);

/* y[i] <- y[i] + a[i] * b[i]: product and sum rounded one by one. */
typedef void rbe_multiply_add_kernel(float *y, const float *a, const float *b, uint32_t n);

/* to[r * n_cols + c] = keep * from[r * n_cols + c] + weight[r] * row[c] for r < n_rows, c < n_cols: the product with keep is rounded, the rest fused.
 * to may be from. |error| <= 2^-23 (|keep from| + |to|). */
typedef void rbe_rank_one_kernel(const float *from, float keep, const float *weight, const float *row, uint32_t n_rows, uint32_t n_cols,
                                 float *to);

/* y[i] = x[i], its sign changed where bit i % 8 of signs[i / 8] is 1. signs: readable up to the next multiple of 8 bytes. y
 * may be x. */
typedef void rbe_flip_signs_kernel(const float *x, const uint8_t *signs, uint32_t n, float *y);

/* What a norm subtracts (shift) and multiplies by (scale). */
typedef enum rbe__norm_kind {
    RBE_NORM_RMS,   /* shift 0, scale 1 / sqrt(mean(x^2) + epsilon) */
    RBE_NORM_LAYER, /* shift mean(x), scale 1 / sqrt(mean((x - shift)^2) + epsilon) */
    RBE_N_NORM_KINDS
} rbe__norm_kind;

/* y = (x - shift) * scale * weight + bias; bias may be NULL, y may be x. n >= 1, kind < RBE_N_NORM_KINDS.
 * |error| <= 2^-22 (4 + n / 64) (|weight| + |y|) (1 + shift^2 scale^2). */
typedef void rbe_normalize_kernel(const float *x, uint32_t n, rbe__norm_kind kind, float epsilon, const float *weight, const float *bias,
                                  float *y);

/* x[i] = products[i] * (scale * scales[i]), both products rounded; |products| < 2^24. */
typedef void rbe_scale_products_kernel(const int32_t *products, uint32_t n, float scale, const float *scales, float *x);

/* int8 from 4-bit codes c: 2 c - 15. n is even: byte i of the n / 2 holds code i in its low half and code n / 2 + i in its high one. */
typedef void rbe_from_i4_kernel(const uint8_t *bytes, uint32_t n, int8_t *x);

/* fp16 bits, round to nearest even, saturating to the largest finite value; NaN stays NaN. */
typedef void rbe_to_half_kernel(const float *x, uint32_t n, uint16_t *half);

/* fp32 from fp16 bits, exact. */
typedef void rbe_from_half_kernel(const uint16_t *half, uint32_t n, float *x);

/* The CRC-32 (zlib) of bytes that follow on others whose CRC-32 is `value`, 0 where there are none. crc: its tables as rbe__crc_init
 * makes them (kernels/checksum.h). data needs no alignment. */
typedef struct rbe__crc rbe__crc;
typedef uint32_t rbe_checksum_kernel(const rbe__crc *crc, uint32_t value, const void *data, size_t bytes);

/* One list of kernels; it expands into the table, the tests and the benchmarks: X(field, type). The first three families
 * are indexed by K - 1. */
#define RBE_KERNEL_LIST(X)                            \
    X(dot_k1, rbe_dot_kernel)                         \
    X(dot_k2, rbe_dot_kernel)                         \
    X(dot_k3, rbe_dot_kernel)                         \
    X(dot_k4, rbe_dot_kernel)                         \
    X(generate_k1, rbe_generate_kernel)               \
    X(generate_k2, rbe_generate_kernel)               \
    X(generate_k3, rbe_generate_kernel)               \
    X(generate_k4, rbe_generate_kernel)               \
    X(multiply_tile, rbe_multiply_tile_kernel)        \
    X(multiply_narrow_tile, rbe_multiply_tile_kernel) \
    X(dot_ternary, rbe_grouped_dot_kernel)            \
    X(dot_binary, rbe_grouped_dot_kernel)             \
    X(generate_ternary, rbe_grouped_generate_kernel)  \
    X(generate_binary, rbe_grouped_generate_kernel)   \
    X(accumulate_rows, rbe_accumulate_rows_kernel)    \
    X(dense_f32, rbe_dense_kernel)                    \
    X(dense_f16, rbe_dense_kernel)                    \
    X(dense_bf16, rbe_dense_kernel)                   \
    X(accumulate, rbe_accumulate_kernel)              \
    X(hadamard, rbe_hadamard_kernel)                  \
    X(quantize, rbe_quantize_kernel)                  \
    X(weighted_sum_f32, rbe_weighted_sum_kernel)      \
    X(weighted_sum_f16, rbe_weighted_sum_kernel)      \
    X(online_softmax, rbe_online_softmax_kernel)      \
    X(exponential, rbe_exponential_kernel)            \
    X(silu, rbe_activation_kernel)                    \
    X(gelu, rbe_activation_kernel)                    \
    X(gelu_tanh, rbe_activation_kernel)               \
    X(softcap, rbe_softcap_kernel)                    \
    X(multiply, rbe_multiply_kernel)                  \
    X(add, rbe_add_kernel)                            \
    X(multiply_add, rbe_multiply_add_kernel)          \
    X(rank_one, rbe_rank_one_kernel)                  \
    X(flip_signs, rbe_flip_signs_kernel)              \
    X(normalize, rbe_normalize_kernel)                \
    X(scale_products, rbe_scale_products_kernel)      \
    X(from_i4, rbe_from_i4_kernel)                    \
    X(to_half, rbe_to_half_kernel)                    \
    X(from_half, rbe_from_half_kernel)                \
    X(checksum, rbe_checksum_kernel)

typedef struct rbe__sweeps rbe__sweeps; /* kernels/sweeps.h */

typedef struct rbe_kernels {
    const char *name;          /* of the set */
    const rbe__sweeps *sweeps; /* of the encoder; NULL in a build without it (RBE_CODEC) */
#define RBE_KERNEL_FIELD(field, type) type *field;
    RBE_KERNEL_LIST(RBE_KERNEL_FIELD)
#undef RBE_KERNEL_FIELD
} rbe_kernels;

/* The same field by K, 1 to 4. */
rbe_dot_kernel *rbe__dot_kernel(const rbe_kernels *kernels, uint32_t bits);
rbe_generate_kernel *rbe__generate_kernel(const rbe_kernels *kernels, uint32_t bits);

/* The best set of this processor; without_amx: among those that need nothing from the operating system but what every process has. */
const char *rbe__kernels_best(int without_amx);

/* 1 where the set of that name uses AMX. */
int rbe__kernels_use_amx(const char *name);

/* Fills the table with the named set, everything it lacks from the sets before it. name NULL: the best available.
 * 0 on success, -1 where the set is unknown or this processor cannot run it. */
int rbe__kernels_select(const char *name, rbe_kernels *out);

/* Each set's upgrade of the table; compiled only where the architecture has it. */
void rbe__kernels_scalar(rbe_kernels *table);
void rbe__kernels_avx2(rbe_kernels *table);          /* + FMA, F16C, PCLMULQDQ */
void rbe__kernels_avx2_vnni(rbe_kernels *table);     /* + AVX-VNNI */
void rbe__kernels_avx512(rbe_kernels *table);        /* F, BW, DQ, VL, VNNI */
void rbe__kernels_avx512_vbmi(rbe_kernels *table);   /* + VBMI, VPCLMULQDQ */
void rbe__kernels_avx512_amx(rbe_kernels *table);    /* + AMX-TILE, AMX-INT8 */
void rbe__kernels_neon(rbe_kernels *table);          /* Armv8.0 */
void rbe__kernels_neon_crc(rbe_kernels *table);      /* + crc32x */
void rbe__kernels_neon_dotprod(rbe_kernels *table);  /* + sdot */
void rbe__kernels_neon_i8mm(rbe_kernels *table);     /* + smmla */

#endif
