/* Floating-point kernels of the scalar set, which are the definition of the others, and its table. */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/scalar/fused.h"
#include "kernels/scalar/scalar.h"
#include "kernels/sweeps.h"

static float load_f32(const void *source, size_t index)
{
    float value;
    memcpy(&value, (const uint8_t *)source + index * sizeof value, sizeof value);
    return value;
}

static uint16_t load_u16(const void *source, size_t index)
{
    uint16_t value;
    memcpy(&value, (const uint8_t *)source + index * sizeof value, sizeof value);
    return value;
}

static float load_f16(const void *source, size_t index)
{
    return rbe__from_half(load_u16(source, index));
}

static float load_bf16(const void *source, size_t index)
{
    return rbe__from_bf16(load_u16(source, index));
}

float rbe__sum_lanes_scalar(const float lanes[RBE_SUM_LANES])
{
    float sums[RBE_SUM_LANES];
    memcpy(sums, lanes, sizeof sums);
    for (uint32_t half = RBE_SUM_LANES / 2; half > 0; half /= 2) {
        for (uint32_t i = 0; i < half; i++) {
            sums[i] += sums[i + half];
        }
    }
    return sums[0];
}

#define DENSE(type)                                                                                                                     \
    static void dense_##type(const void *w, uint32_t rows, uint32_t cols, const float *x, size_t x_stride, uint32_t n_tokens, float *y, \
                             size_t y_stride)                                                                                           \
    {                                                                                                                                   \
        for (uint32_t n = 0; n < n_tokens; n++) {                                                                                       \
            for (uint32_t r = 0; r < rows; r++) {                                                                                       \
                float lanes[RBE_SUM_LANES] = {0};                                                                                       \
                for (uint32_t c = 0; c < cols; c++) {                                                                                   \
                    float *lane = &lanes[c % RBE_SUM_LANES];                                                                            \
                    *lane = rbe__fused(load_##type(w, (size_t)r * cols + c), x[n * x_stride + c], *lane);                               \
                }                                                                                                                       \
                y[n * y_stride + r] = rbe__sum_lanes_scalar(lanes);                                                                     \
            }                                                                                                                           \
        }                                                                                                                               \
    }

#define WEIGHTED_SUM(type)                                                                                                           \
    static void weighted_sum_##type(const float *weight, size_t weight_stride, const void *rows, size_t row_stride, uint32_t n_rows, \
                                    uint32_t n_cols, uint32_t n_out, const float *keep, float *out, size_t out_stride)               \
    {                                                                                                                                \
        for (uint32_t n = 0; n < n_out; n++) {                                                                                       \
            for (uint32_t c = 0; c < n_cols; c++) {                                                                                  \
                float sum = keep ? keep[n] * out[n * out_stride + c] : 0.0f;                                                         \
                for (uint32_t k = 0; k < n_rows; k++) {                                                                              \
                    sum = rbe__fused(weight[n * weight_stride + k], load_##type(rows, k * row_stride + c), sum);                     \
                }                                                                                                                    \
                out[n * out_stride + c] = sum;                                                                                       \
            }                                                                                                                        \
        }                                                                                                                            \
    }

static void multiply(float *x, const float *y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] *= y[i];
    }
}

static void add(float *x, const float *y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
}

static void multiply_add(float *y, const float *a, const float *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        y[i] += a[i] * b[i];
    }
}

static void rank_one(const float *from, float keep, const float *weight, const float *row, uint32_t n_rows, uint32_t n_cols, float *to)
{
    for (uint32_t r = 0; r < n_rows; r++, from += n_cols, to += n_cols) {
        for (uint32_t c = 0; c < n_cols; c++) {
            to[c] = rbe__fused(weight[r], row[c], keep * from[c]);
        }
    }
}

static void flip_signs(const float *x, const uint8_t *signs, uint32_t n, float *y)
{
    for (uint32_t i = 0; i < n; i++) {
        y[i] = signs[i / 8] >> i % 8 & 1 ? -x[i] : x[i];
    }
}

/* Sum of (x - shift), or of its squares. */
static float sum_of(const float *x, uint32_t n, float shift, int squares)
{
    float lanes[RBE_SUM_LANES] = {0};
    for (uint32_t i = 0; i < n; i++) {
        const float value = x[i] - shift;
        float *lane = &lanes[i % RBE_SUM_LANES];
        *lane = squares ? rbe__fused(value, value, *lane) : *lane + value;
    }
    return rbe__sum_lanes_scalar(lanes);
}

static void normalize(const float *x, uint32_t n, rbe__norm_kind kind, float epsilon, const float *weight, const float *bias, float *y)
{
    const float mean = kind == RBE_NORM_LAYER ? sum_of(x, n, 0.0f, 0) / (float)n : 0.0f;
    const float scale = 1.0f / sqrtf(sum_of(x, n, mean, 1) / (float)n + epsilon);
    for (uint32_t i = 0; i < n; i++) {
        const float value = ((x[i] - mean) * scale) * weight[i];
        y[i] = bias ? value + bias[i] : value;
    }
}

static void scale_products(const int32_t *products, uint32_t n, float scale, const float *scales, float *x)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] = (float)products[i] * (scale * scales[i]);
    }
}

static void from_i4(const uint8_t *bytes, uint32_t n, int8_t *x)
{
    for (uint32_t i = 0; i < n; i++) {
        const int code = i < n / 2 ? bytes[i] & 15 : bytes[i - n / 2] >> 4;
        x[i] = (int8_t)(2 * code - 15);
    }
}

DENSE(f32)
DENSE(f16)
DENSE(bf16)
WEIGHTED_SUM(f32)
WEIGHTED_SUM(f16)

static void accumulate(float *y, const int32_t *acc, uint32_t n, float scale)
{
    for (uint32_t r = 0; r < n; r++) {
        y[r] = rbe__fused(scale, (float)acc[r], y[r]);
    }
}

static void hadamard(float *x, uint32_t n, uint32_t block)
{
    const float scale = (float)(1.0 / sqrt((double)block));
    for (uint32_t i = 0; i < n; i++) {
        x[i] *= scale;
    }
    for (uint32_t half = 1; half < block; half *= 2) {
        for (uint32_t first = 0; first < n; first += 2 * half) {
            for (uint32_t i = first; i < first + half; i++) {
                const float a = x[i], b = x[i + half];
                x[i] = a + b;
                x[i + half] = a - b;
            }
        }
    }
}

static void quantize(const float *x, uint32_t n, int8_t *q, float *scale)
{
    for (uint32_t first = 0; first < n; first += RBE_BLOCK_COLS) {
        const uint32_t end = n - first < RBE_BLOCK_COLS ? n : first + RBE_BLOCK_COLS;
        float largest = 0;
        for (uint32_t c = first; c < end; c++) {
            largest = fmaxf(largest, fabsf(x[c]));
        }
        const float step = largest / 127.0f;
        const int is_zero = step < RBE_QUANTIZE_LEAST;
        const float inverse = is_zero ? 0.0f : 1.0f / step;
        for (uint32_t c = first; c < end; c++) {
            const long rounded = lrintf(x[c] * inverse);
            q[c] = (int8_t)(rounded > 127 ? 127 : rounded < -127 ? -127 : rounded);
        }
        scale[first / RBE_BLOCK_COLS] = is_zero ? 0.0f : step;
    }
    memset(q + n, 0, (64u - n % 64u) % 64u);
}

static void to_half(const float *x, uint32_t n, uint16_t *half)
{
    for (uint32_t i = 0; i < n; i++) {
        half[i] = rbe__to_half(x[i]);
    }
}

static void from_half(const uint16_t *half, uint32_t n, float *x)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] = rbe__from_half(half[i]);
    }
}

void rbe__kernels_scalar(rbe_kernels *table)
{
    *table = (rbe_kernels){
        .name = "scalar",
        .dot_k1 = rbe__dot_scalar,
        .dot_k2 = rbe__dot_scalar,
        .dot_k3 = rbe__dot_scalar,
        .dot_k4 = rbe__dot_scalar,
        .generate_k1 = rbe__generate_scalar,
        .generate_k2 = rbe__generate_scalar,
        .generate_k3 = rbe__generate_scalar,
        .generate_k4 = rbe__generate_scalar,
        .multiply_tile = rbe__multiply_tile_scalar,
        .multiply_narrow_tile = rbe__multiply_tile_scalar,
        .dense_f32 = dense_f32,
        .dense_f16 = dense_f16,
        .dense_bf16 = dense_bf16,
        .dot_ternary = rbe__dot_ternary_scalar,
        .dot_binary = rbe__dot_binary_scalar,
        .generate_ternary = rbe__generate_ternary_scalar,
        .generate_binary = rbe__generate_binary_scalar,
        .accumulate_rows = rbe__accumulate_rows_scalar,
        .accumulate = accumulate,
        .hadamard = hadamard,
        .quantize = quantize,
        .weighted_sum_f32 = weighted_sum_f32,
        .weighted_sum_f16 = weighted_sum_f16,
        .online_softmax = rbe__online_softmax_scalar,
        .exponential = rbe__exponential_scalar,
        .silu = rbe__silu_scalar,
        .gelu = rbe__gelu_scalar,
        .gelu_tanh = rbe__gelu_tanh_scalar,
        .softcap = rbe__softcap_scalar,
        .multiply = multiply,
        .add = add,
        .multiply_add = multiply_add,
        .rank_one = rank_one,
        .flip_signs = flip_signs,
        .normalize = normalize,
        .scale_products = scale_products,
        .from_i4 = from_i4,
        .to_half = to_half,
        .from_half = from_half,
        .checksum = rbe__checksum_scalar,
#if RBE_CODEC
        .sweeps = &rbe__sweeps_scalar,
#endif
    };
}
