/* The floating-point kernels for every vector width, in terms of the folder's vector.h: vf, VF values in it; loads and
 * stores of VF values or, ending in _part, of the first n < VF (the others are read as zero). */
#ifndef RBE_KERNELS_SHARED_FLOAT_H
#define RBE_KERNELS_SHARED_FLOAT_H

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/shared/inline.h"

typedef enum element { F32, F16, BF16 } element;

RBE_INLINE size_t element_bytes(element kind)
{
    return kind == F32 ? 4 : 2;
}

/* n: VF, as a constant, or less */
RBE_INLINE vf load_elements(element kind, const uint8_t *p, uint32_t n)
{
    if (n == VF) {
        return kind == F32 ? vf_load(p) : kind == F16 ? vf_load_f16(p) : vf_load_bf16(p);
    }
    return kind == F32 ? vf_load_part(p, n) : kind == F16 ? vf_load_f16_part(p, n) : vf_load_bf16_part(p, n);
}

RBE_INLINE vf load_floats(const float *p, uint32_t n)
{
    return n == VF ? vf_load(p) : vf_load_part(p, n);
}

RBE_INLINE void store_floats(float *p, vf v, uint32_t n)
{
    if (n == VF) {
        vf_store(p, v);
    } else {
        vf_store_part(p, v, n);
    }
}

/* ---- sums -------------------------------------------------------------------------------------------------------- */

/* A sum has RBE_SUM_LANES lanes whatever the vector: SUM_VECTORS vectors, value i in lane i % RBE_SUM_LANES. */
enum { SUM_VECTORS = RBE_SUM_LANES / VF };

/* The sum of the lanes in SUM_VECTORS vectors: those that are half of all the lanes apart first, then a quarter, and so on. */
RBE_INLINE float sum_lanes(const vf *lanes)
{
    vf sums[SUM_VECTORS];
    RBE_UNROLL(4)
    for (uint32_t v = 0; v < SUM_VECTORS; v++) {
        sums[v] = lanes[v];
    }
    RBE_UNROLL(2)
    for (uint32_t half = SUM_VECTORS / 2; half > 0; half /= 2) {
        RBE_UNROLL(2)
        for (uint32_t v = 0; v < half; v++) {
            sums[v] = vf_add(sums[v], sums[v + half]);
        }
    }
    return vf_sum(sums[0]);
}

/* How many of the n values that are left stand in vector v of the lanes. */
RBE_INLINE uint32_t in_vector(uint32_t n, uint32_t v)
{
    return n < VF * v ? 0 : n - VF * v < VF ? n - VF * v : VF;
}

/* ---- dense ------------------------------------------------------------------------------------------------------ */

typedef struct dense_call {
    const uint8_t *w;
    uint32_t cols;
    const float *x;
    size_t x_stride;
    float *y;
    size_t y_stride;
} dense_call;

/* sums[n * n_rows + r] += n_cols columns from c on, n_cols VF, as a constant, or less */
RBE_INLINE void dense_columns(element kind, const dense_call *call, uint32_t n_rows, uint32_t n_tokens, uint32_t c, uint32_t n_cols,
                              vf *sums)
{
    vf w[DENSE_ROWS_ALONE], x[DENSE_TOKENS];
    RBE_UNROLL(8)
    for (uint32_t r = 0; r < n_rows; r++) {
        w[r] = load_elements(kind, call->w + element_bytes(kind) * ((size_t)r * call->cols + c), n_cols);
    }
    RBE_UNROLL(32)
    for (uint32_t i = 0; i < n_rows * n_tokens; i++) { /* one loop over all sums, not two nested: gcc 12 keeps them in registers */
        const uint32_t n = i / n_rows;
        if (i % n_rows == 0) {
            x[n] = load_floats(call->x + n * call->x_stride + c, n_cols);
        }
        sums[i] = vf_fma(w[i % n_rows], x[n], sums[i]);
    }
}

/* n_rows rows of n_tokens tokens, both constants. Each sum has the same lanes over the columns in ascending order, whatever
 * stands beside it: so a result depends on its own row and token alone. */
RBE_INLINE void dense_block(element kind, const dense_call *call, uint32_t n_rows, uint32_t n_tokens)
{
    enum { MOST = DENSE_ROWS * DENSE_TOKENS > DENSE_ROWS_ALONE ? DENSE_ROWS * DENSE_TOKENS : DENSE_ROWS_ALONE };
    vf sums[SUM_VECTORS][MOST];
    RBE_UNROLL(4)
    for (uint32_t v = 0; v < SUM_VECTORS; v++) {
        RBE_UNROLL(32)
        for (uint32_t i = 0; i < n_rows * n_tokens; i++) {
            sums[v][i] = vf_zero();
        }
    }
    uint32_t c = 0;
    for (; c + RBE_SUM_LANES <= call->cols; c += RBE_SUM_LANES) {
        RBE_UNROLL(4)
        for (uint32_t v = 0; v < SUM_VECTORS; v++) {
            dense_columns(kind, call, n_rows, n_tokens, c + VF * v, VF, sums[v]);
        }
    }
    RBE_UNROLL(4)
    for (uint32_t v = 0; v < SUM_VECTORS; v++) {
        const uint32_t n_cols = in_vector(call->cols - c, v);
        if (n_cols > 0) {
            dense_columns(kind, call, n_rows, n_tokens, c + VF * v, n_cols, sums[v]);
        }
    }
    RBE_UNROLL(32)
    for (uint32_t i = 0; i < n_rows * n_tokens; i++) {
        vf lanes[SUM_VECTORS];
        RBE_UNROLL(4)
        for (uint32_t v = 0; v < SUM_VECTORS; v++) {
            lanes[v] = sums[v][i];
        }
        call->y[i / n_rows * call->y_stride + i % n_rows] = sum_lanes(lanes);
    }
}

/* n_rows rows, a constant, for all tokens: the rows stay in the first-level cache */
RBE_INLINE void dense_rows(element kind, dense_call call, uint32_t n_rows, uint32_t n_tokens)
{
    for (; n_rows <= DENSE_ROWS && n_tokens >= DENSE_TOKENS; n_tokens -= DENSE_TOKENS) {
        dense_block(kind, &call, n_rows, DENSE_TOKENS);
        call.x += DENSE_TOKENS * call.x_stride;
        call.y += DENSE_TOKENS * call.y_stride;
    }
    for (; n_tokens > 0; n_tokens--) {
        dense_block(kind, &call, n_rows, 1);
        call.x += call.x_stride;
        call.y += call.y_stride;
    }
}

RBE_INLINE void dense(element kind, dense_call call, uint32_t rows, uint32_t n_tokens)
{
    const size_t row_bytes = element_bytes(kind) * call.cols;
    const uint32_t at_once = n_tokens < DENSE_TOKENS ? DENSE_ROWS_ALONE : DENSE_ROWS;
    for (; rows >= at_once; rows -= at_once) {
        if (at_once == DENSE_ROWS) {
            dense_rows(kind, call, DENSE_ROWS, n_tokens);
        } else {
            dense_rows(kind, call, DENSE_ROWS_ALONE, n_tokens);
        }
        call.w += at_once * row_bytes;
        call.y += at_once;
    }
    for (; rows > 0; rows--) {
        dense_rows(kind, call, 1, n_tokens);
        call.w += row_bytes;
        call.y++;
    }
}

#define DENSE_KERNEL(name, kind)                                                                                                        \
    static void dense_##name(const void *w, uint32_t rows, uint32_t cols, const float *x, size_t x_stride, uint32_t n_tokens, float *y, \
                             size_t y_stride)                                                                                           \
    {                                                                                                                                   \
        dense(kind, (dense_call){w, cols, x, x_stride, y, y_stride}, rows, n_tokens);                                                   \
    }

DENSE_KERNEL(f32, F32)
DENSE_KERNEL(f16, F16)
DENSE_KERNEL(bf16, BF16)

/* ---- transforms ------------------------------------------------------------------------------------------------- */

static void accumulate(float *y, const int32_t *acc, uint32_t n, float scale)
{
    const vf factor = vf_set1(scale);
    uint32_t r = 0;
    for (; r + VF <= n; r += VF) {
        vf_store(y + r, vf_fma(factor, vf_load_i32(acc + r), vf_load(y + r)));
    }
    if (r < n) {
        vf_store_part(y + r, vf_fma(factor, vf_load_i32_part(acc + r, n - r), vf_load_part(y + r, n - r)), n - r);
    }
}

static void accumulate_rows(float *y, const int32_t *acc, uint32_t n, float scale, const uint16_t *scales)
{
    const vf factor = vf_set1(scale);
    uint32_t r = 0;
    for (; r + VF <= n; r += VF) {
        vf_store(y + r, vf_fma(vf_mul(factor, vf_load_f16(scales + r)), vf_load_i32(acc + r), vf_load(y + r)));
    }
    if (r < n) {
        const vf factors = vf_mul(factor, vf_load_f16_part(scales + r, n - r));
        vf_store_part(y + r, vf_fma(factors, vf_load_i32_part(acc + r, n - r), vf_load_part(y + r, n - r)), n - r);
    }
}

/* Blocks narrower than a vector. */
static void hadamard_narrow(float *x, uint32_t n, uint32_t block, float scale)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] *= scale;
    }
    for (uint32_t half = 1; half < block; half *= 2) {
        for (uint32_t i = 0; i < n; i++) {
            if ((i & half) == 0) {
                const float a = x[i], b = x[i + half];
                x[i] = a + b;
                x[i + half] = a - b;
            }
        }
    }
}

/* The butterflies at distance `half`, and with `twice` also those at 2 half, of one block. */
RBE_INLINE void hadamard_pass(float *x, uint32_t block, uint32_t half, int twice)
{
    const uint32_t span = half * (twice ? 4 : 2);
    for (uint32_t first = 0; first < block; first += span) {
        for (float *p = x + first; p < x + first + half; p += VF) {
            const vf a = vf_load(p), b = vf_load(p + half);
            const vf sum = vf_add(a, b), difference = vf_sub(a, b);
            if (!twice) {
                vf_store(p, sum);
                vf_store(p + half, difference);
                continue;
            }
            const vf c = vf_load(p + 2 * half), d = vf_load(p + 3 * half);
            const vf sum2 = vf_add(c, d), difference2 = vf_sub(c, d);
            vf_store(p, vf_add(sum, sum2));
            vf_store(p + half, vf_add(difference, difference2));
            vf_store(p + 2 * half, vf_sub(sum, sum2));
            vf_store(p + 3 * half, vf_sub(difference, difference2));
        }
    }
}

static void hadamard(float *x, uint32_t n, uint32_t block)
{
    const float scale = (float)(1.0 / sqrt((double)block));
    if (block < VF) {
        hadamard_narrow(x, n, block, scale);
        return;
    }
    for (uint32_t i = 0; i < n; i += VF) {
        vf_store(x + i, vf_hadamard(vf_mul(vf_load(x + i), vf_set1(scale))));
    }
    for (uint32_t first = 0; first < n; first += block) {
        uint32_t half = VF;
        for (; 4 * half <= block; half *= 4) {
            hadamard_pass(x + first, block, half, 1);
        }
        if (half < block) {
            hadamard_pass(x + first, block, half, 0);
        }
    }
}

static float quantize_block(const float *x, uint32_t n, int8_t *q)
{
    vf largest = vf_zero();
    uint32_t c = 0;
    for (; c + VF <= n; c += VF) {
        largest = vf_max(largest, vf_abs(vf_load(x + c)));
    }
    if (c < n) {
        largest = vf_max(largest, vf_abs(vf_load_part(x + c, n - c)));
    }
    const float step = vf_largest(largest) / 127.0f;
    const int is_zero = step < RBE_QUANTIZE_LEAST;
    const vf inverse = vf_set1(is_zero ? 0.0f : 1.0f / step);
    for (c = 0; c + VF <= n; c += VF) {
        vf_store_i8(q + c, vf_mul(vf_load(x + c), inverse));
    }
    if (c < n) {
        vf_store_i8_part(q + c, vf_mul(vf_load_part(x + c, n - c), inverse), n - c);
    }
    return is_zero ? 0.0f : step;
}

static void quantize(const float *x, uint32_t n, int8_t *q, float *scale)
{
    for (uint32_t first = 0; first < n; first += RBE_BLOCK_COLS) {
        const uint32_t left = n - first;
        scale[first / RBE_BLOCK_COLS] = quantize_block(x + first, left < RBE_BLOCK_COLS ? left : RBE_BLOCK_COLS, q + first);
    }
    memset(q + n, 0, (64u - n % 64u) % 64u);
}

static void to_half(const float *x, uint32_t n, uint16_t *half)
{
    const float largest_half = 65504.0f;
    uint32_t i = 0;
    for (; i + VF <= n; i += VF) {
        vf_store_f16(half + i, vf_clamp(vf_load(x + i), largest_half));
    }
    if (i < n) {
        vf_store_f16_part(half + i, vf_clamp(vf_load_part(x + i, n - i), largest_half), n - i);
    }
}

static void from_half(const uint16_t *half, uint32_t n, float *x)
{
    uint32_t i = 0;
    for (; i + VF <= n; i += VF) {
        vf_store(x + i, vf_load_f16(half + i));
    }
    if (i < n) {
        vf_store_part(x + i, vf_load_f16_part(half + i, n - i), n - i);
    }
}

static void set_float(rbe_kernels *table)
{
    table->dense_f32 = dense_f32;
    table->dense_f16 = dense_f16;
    table->dense_bf16 = dense_bf16;
    table->accumulate = accumulate;
    table->accumulate_rows = accumulate_rows;
    table->hadamard = hadamard;
    table->quantize = quantize;
    table->to_half = to_half;
    table->from_half = from_half;
}

#endif
