/* exp and what is made of it: the definition of these kernels. Every other set computes the same operations in the same order. */
#include <math.h>

#include "kernels/half.h"
#include "kernels/scalar/fused.h"
#include "kernels/scalar/scalar.h"

/* min(max(v, -limit), limit); NaN stays NaN */
static float clamp(float v, float limit)
{
    v = v < -limit ? -limit : v;
    return v > limit ? limit : v;
}

/* To the nearest integer, ties to even; |v| < 2^22. */
static float nearest(float v)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: the sum has no places behind the point */
    return (v + magic) - magic;
}

/* exp(v) for |v| <= 87, beyond that of the nearest such v; NaN stays NaN, and exp(0) is 1. The argument is reduced by ln 2 in two parts
 * (W. J. Cody, W. Waite: "Software Manual for the Elementary Functions", 1980); the polynomial is that of Cephes' expf (S. Moshier). */
static float exp_of(float v)
{
    v = clamp(v, 87.0f);
    const float n = nearest(v * 1.44269504f);
    const float r = rbe__fused(n, 2.12194440e-4f, rbe__fused(n, -0.693359375f, v));
    float p = rbe__fused(1.9875691500e-4f, r, 1.3981999507e-3f);
    p = rbe__fused(p, r, 8.3334519073e-3f);
    p = rbe__fused(p, r, 4.1665795894e-2f);
    p = rbe__fused(p, r, 1.6666665459e-1f);
    p = rbe__fused(p, r, 5.0000001201e-1f);
    p = rbe__fused(p, r * r, r) + 1.0f;
    return isnan(v) ? v : p * rbe__float_from_bits((uint32_t)((int32_t)n + 127) << 23);
}

static float sigmoid_times(float x, float v) /* x / (1 + exp(-v)) */
{
    return x / (1.0f + exp_of(0.0f - v));
}

static float silu_of(float x)
{
    return sigmoid_times(x, x);
}

/* D. Hendrycks, K. Gimpel: "Gaussian Error Linear Units", 2016; the tanh form is x / (1 + exp(-2 u)). */
static float gelu_tanh_of(float x)
{
    return sigmoid_times(x, rbe__fused(x * x, 0.0713548162f, 1.5957691216f) * x);
}

/* max(x, 0) - |x| erfc(|x| / sqrt 2) / 2, with erfc(z) = t P(t) exp(-z^2) and t = 1 / (1 + 0.4 z): a least-squares polynomial of degree
 * 7, reweighted until the largest error over z >= 0 was 2^-26. */
static float gelu_of(float x)
{
    const float size = fabsf(x), t = 1.0f / rbe__fused(size, 0.28284271f, 1.0f);
    float p = rbe__fused(0.0771280974f, t, -0.4068516195f);
    p = rbe__fused(p, t, 0.7060879469f);
    p = rbe__fused(p, t, -0.3936302066f);
    p = rbe__fused(p, t, 0.4181108177f);
    p = rbe__fused(p, t, 0.1377587318f);
    p = rbe__fused(p, t, 0.2363919467f);
    p = rbe__fused(p, t, 0.2250042707f);
    const float tail = (p * t) * exp_of((x * x) * -0.5f);
    return rbe__fused(size * -0.5f, tail, x > 0.0f ? x : 0.0f);
}

#define ACTIVATION(name)                                                \
    void rbe__##name##_scalar(const float *gate, uint32_t n, float *up) \
    {                                                                   \
        for (uint32_t i = 0; i < n; i++) {                              \
            const float value = name##_of(gate ? gate[i] : up[i]);      \
            up[i] = gate ? value * up[i] : value;                       \
        }                                                               \
    }

ACTIVATION(silu)
ACTIVATION(gelu)
ACTIVATION(gelu_tanh)

/* cap * tanh(x / cap) = cap - 2 cap / (1 + exp(2 x / cap)) */
void rbe__softcap_scalar(float *x, uint32_t n, float cap)
{
    const float factor = 2.0f / cap, range = -2.0f * cap;
    for (uint32_t i = 0; i < n; i++) {
        x[i] = range / (exp_of(x[i] * factor) + 1.0f) + cap;
    }
}

void rbe__exponential_scalar(float *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] = exp_of(x[i]);
    }
}

float rbe__online_softmax_scalar(float *x, uint32_t n, float *largest)
{
    float most = *largest, lanes[RBE_SUM_LANES] = {0};
    for (uint32_t i = 0; i < n; i++) {
        most = x[i] > most ? x[i] : most;
    }
    most += 0.0f; /* of the zeros the positive one, whichever came first */
    for (uint32_t i = 0; i < n; i++) {
        x[i] = exp_of(x[i] - most);
        lanes[i % RBE_SUM_LANES] += x[i];
    }
    *largest = most;
    return rbe__sum_lanes_scalar(lanes);
}
