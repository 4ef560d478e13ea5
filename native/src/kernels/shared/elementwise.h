/* Value by value, for every vector width: after shared/float.h. Loops without vectors in them become such by the compiler, under the
 * flags of the folder. */
#ifndef RBE_KERNELS_SHARED_ELEMENTWISE_H
#define RBE_KERNELS_SHARED_ELEMENTWISE_H

#include "kernels/shared/float.h"

static void scale_products(const int32_t *restrict products, uint32_t n, float scale, const float *restrict scales, float *restrict x)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] = (float)products[i] * (scale * scales[i]);
    }
}

static void from_i4(const uint8_t *restrict bytes, uint32_t n, int8_t *restrict x)
{
    const uint32_t half = n / 2;
    for (uint32_t i = 0; i < half; i++) {
        x[i] = (int8_t)(2 * (bytes[i] & 15) - 15);
        x[half + i] = (int8_t)(2 * (bytes[i] >> 4) - 15);
    }
}

static void multiply(float *restrict x, const float *restrict y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] *= y[i];
    }
}

static void add(float *restrict x, const float *restrict y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
}

static void multiply_add(float *restrict y, const float *restrict a, const float *restrict b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        y[i] += a[i] * b[i];
    }
}

/* From column c on, of so many values. */
RBE_INLINE void rank_one_columns(const float *from, vf keep, vf weight, const float *row, uint32_t n, float *to)
{
    store_floats(to, vf_fma(weight, load_floats(row, n), vf_mul(keep, load_floats(from, n))), n);
}

static void rank_one(const float *from, float keep, const float *weight, const float *row, uint32_t n_rows, uint32_t n_cols, float *to)
{
    const vf kept = vf_set1(keep);
    const uint32_t whole = n_cols / VF * VF;
    for (uint32_t r = 0; r < n_rows; r++, from += n_cols, to += n_cols) {
        const vf factor = vf_set1(weight[r]);
        for (uint32_t c = 0; c < whole; c += VF) {
            rank_one_columns(from + c, kept, factor, row + c, VF, to + c);
        }
        if (whole < n_cols) {
            rank_one_columns(from + whole, kept, factor, row + whole, n_cols - whole, to + whole);
        }
    }
}

static void flip_signs(const float *x, const uint8_t *signs, uint32_t n, float *y)
{
    for (uint32_t i = 0; i < n; i += VF) {
        const uint32_t here = n - i < VF ? n - i : VF;
        const uint32_t bits = signs[i / 8] | (VF > 8 ? (uint32_t)signs[i / 8 + 1] << 8 : 0);
        store_floats(y + i, vf_flip(load_floats(x + i, here), bits >> i % 8), here);
    }
}

/* Sum of (x - shift), or of its squares. */
RBE_INLINE float sum_of(const float *x, uint32_t n, float shift, int squares)
{
    const vf center = vf_set1(shift);
    float last[RBE_SUM_LANES]; /* what is left, filled up with values that add nothing */
    vf sums[SUM_VECTORS];
    RBE_UNROLL(4)
    for (uint32_t v = 0; v < SUM_VECTORS; v++) {
        sums[v] = vf_zero();
    }
    for (uint32_t i = 0; i < n; i += RBE_SUM_LANES) {
        const float *p = x + i;
        if (n - i < RBE_SUM_LANES) {
            for (uint32_t k = 0; k < RBE_SUM_LANES; k++) {
                last[k] = k < n - i ? x[i + k] : shift;
            }
            p = last;
        }
        RBE_UNROLL(4)
        for (uint32_t v = 0; v < SUM_VECTORS; v++) {
            const vf value = vf_sub(vf_load(p + VF * v), center);
            sums[v] = squares ? vf_fma(value, value, sums[v]) : vf_add(sums[v], value);
        }
    }
    return sum_lanes(sums);
}

static void normalize(const float *x, uint32_t n, rbe__norm_kind kind, float epsilon, const float *weight, const float *bias, float *y)
{
    const float mean = kind == RBE_NORM_LAYER ? sum_of(x, n, 0.0f, 0) / (float)n : 0.0f;
    const vf scale = vf_set1(1.0f / sqrtf(sum_of(x, n, mean, 1) / (float)n + epsilon)), center = vf_set1(mean);
    for (uint32_t i = 0; i < n; i += VF) {
        const uint32_t here = n - i < VF ? n - i : VF;
        vf value = vf_mul(vf_mul(vf_sub(load_floats(x + i, here), center), scale), load_floats(weight + i, here));
        if (bias) {
            value = vf_add(value, load_floats(bias + i, here));
        }
        store_floats(y + i, value, here);
    }
}

static void set_elementwise(rbe_kernels *table)
{
    table->scale_products = scale_products;
    table->from_i4 = from_i4;
    table->multiply = multiply;
    table->add = add;
    table->multiply_add = multiply_add;
    table->rank_one = rank_one;
    table->flip_signs = flip_signs;
    table->normalize = normalize;
}

#endif
