/* Floating-point kernels of the scalar set, and its table. Sums are gathered in double: no other set is closer. */
#include <math.h>
#include <string.h>

#include "kernels/half.h"
#include "kernels/scalar/scalar.h"

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

#define DENSE(type)                                                                                               \
    static void dense_##type(const void *w, uint32_t rows, uint32_t cols, const float *x, size_t x_stride,       \
                             uint32_t n_tokens, float *y, size_t y_stride)                                       \
    {                                                                                                            \
        for (uint32_t n = 0; n < n_tokens; n++) {                                                                \
            for (uint32_t r = 0; r < rows; r++) {                                                                \
                double sum = 0;                                                                                  \
                for (uint32_t c = 0; c < cols; c++) {                                                            \
                    sum += (double)load_##type(w, (size_t)r * cols + c) * x[n * x_stride + c];                   \
                }                                                                                                \
                y[n * y_stride + r] = (float)sum;                                                                \
            }                                                                                                    \
        }                                                                                                        \
    }

#define ATTENTION(type)                                                                                           \
    static void scores_##type(const float *q, const void *k, uint32_t head_dim, uint32_t n_positions, float *score) \
    {                                                                                                            \
        for (uint32_t p = 0; p < n_positions; p++) {                                                             \
            double sum = 0;                                                                                      \
            for (uint32_t d = 0; d < head_dim; d++) {                                                            \
                sum += (double)q[d] * load_##type(k, (size_t)p * head_dim + d);                                  \
            }                                                                                                    \
            score[p] = (float)sum;                                                                               \
        }                                                                                                        \
    }                                                                                                            \
    static void mix_##type(const float *weight, const void *v, uint32_t head_dim, uint32_t n_positions, float *out) \
    {                                                                                                            \
        for (uint32_t d = 0; d < head_dim; d++) {                                                                \
            double sum = 0;                                                                                      \
            for (uint32_t p = 0; p < n_positions; p++) {                                                         \
                sum += (double)weight[p] * load_##type(v, (size_t)p * head_dim + d);                             \
            }                                                                                                    \
            out[d] = (float)sum;                                                                                 \
        }                                                                                                        \
    }

DENSE(f32)
DENSE(f16)
DENSE(bf16)
ATTENTION(f32)
ATTENTION(f16)

static void accumulate(float *y, const int32_t *acc, uint32_t n, float scale)
{
    for (uint32_t r = 0; r < n; r++) {
        y[r] += scale * (float)acc[r];
    }
}

static void hadamard(float *x, uint32_t n, uint32_t block)
{
    const float scale = (float)(1.0 / sqrt((double)block));
    for (uint32_t half = 1; half < block; half *= 2) {
        for (uint32_t first = 0; first < n; first += 2 * half) {
            for (uint32_t i = first; i < first + half; i++) {
                const float a = x[i], b = x[i + half];
                x[i] = a + b;
                x[i + half] = a - b;
            }
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] *= scale;
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
        .dense_f32 = dense_f32,
        .dense_f16 = dense_f16,
        .dense_bf16 = dense_bf16,
        .accumulate = accumulate,
        .hadamard = hadamard,
        .quantize = quantize,
        .scores_f16 = scores_f16,
        .scores_f32 = scores_f32,
        .mix_f16 = mix_f16,
        .mix_f32 = mix_f32,
        .to_half = to_half,
        .from_half = from_half,
    };
}
