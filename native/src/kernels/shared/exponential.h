/* exp and what is made of it, for every vector width: after shared/float.h. scalar/exponential.c has the same operations in the same order. */
#ifndef RBE_KERNELS_SHARED_EXPONENTIAL_H
#define RBE_KERNELS_SHARED_EXPONENTIAL_H

#include "kernels/shared/float.h"

/* exp(v) for |v| <= 87, beyond that of the nearest such v; NaN stays NaN, and exp(0) is 1. The argument is reduced by ln 2 in two parts
 * (W. J. Cody, W. Waite: "Software Manual for the Elementary Functions", 1980); the polynomial is that of Cephes' expf (S. Moshier). */
RBE_INLINE vf vf_exp(vf v)
{
    v = vf_clamp(v, 87.0f);
    const vf n = vf_round(vf_mul(v, vf_set1(1.44269504f)));
    const vf r = vf_fma(n, vf_set1(2.12194440e-4f), vf_fma(n, vf_set1(-0.693359375f), v));
    vf p = vf_fma(vf_set1(1.9875691500e-4f), r, vf_set1(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set1(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set1(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set1(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set1(5.0000001201e-1f));
    p = vf_add(vf_fma(p, vf_mul(r, r), r), vf_set1(1.0f));
    return vf_mul(p, vf_power_of_2(n));
}

RBE_INLINE vf vf_sigmoid_times(vf x, vf v) /* x / (1 + exp(-v)) */
{
    return vf_div(x, vf_add(vf_set1(1.0f), vf_exp(vf_sub(vf_zero(), v))));
}

RBE_INLINE vf vf_silu(vf x)
{
    return vf_sigmoid_times(x, x);
}

/* D. Hendrycks, K. Gimpel: "Gaussian Error Linear Units", 2016; the tanh form is x / (1 + exp(-2 u)). */
RBE_INLINE vf vf_gelu_tanh(vf x)
{
    const vf cubic = vf_fma(vf_mul(x, x), vf_set1(0.0713548162f), vf_set1(1.5957691216f));
    return vf_sigmoid_times(x, vf_mul(cubic, x));
}

/* max(x, 0) - |x| erfc(|x| / sqrt 2) / 2, with erfc(z) = t P(t) exp(-z^2) and t = 1 / (1 + 0.4 z): a least-squares polynomial of degree
 * 7, reweighted until the largest error over z >= 0 was 2^-26. */
RBE_INLINE vf vf_gelu(vf x)
{
    const vf size = vf_abs(x);
    const vf t = vf_div(vf_set1(1.0f), vf_fma(size, vf_set1(0.28284271f), vf_set1(1.0f)));
    vf p = vf_fma(vf_set1(0.0771280974f), t, vf_set1(-0.4068516195f));
    p = vf_fma(p, t, vf_set1(0.7060879469f));
    p = vf_fma(p, t, vf_set1(-0.3936302066f));
    p = vf_fma(p, t, vf_set1(0.4181108177f));
    p = vf_fma(p, t, vf_set1(0.1377587318f));
    p = vf_fma(p, t, vf_set1(0.2363919467f));
    p = vf_fma(p, t, vf_set1(0.2250042707f));
    const vf tail = vf_mul(vf_mul(p, t), vf_exp(vf_mul(vf_mul(x, x), vf_set1(-0.5f))));
    return vf_fma(vf_mul(size, vf_set1(-0.5f)), tail, vf_max(x, vf_zero()));
}

/* up = activation(gate) * up, in place; without a gate, activation(up) */
#define ACTIVATION_KERNEL(name)                                                                  \
    static void name(const float *gate, uint32_t n, float *up)                                   \
    {                                                                                            \
        for (uint32_t i = 0; i < n; i += VF) {                                                   \
            const uint32_t here = n - i < VF ? n - i : VF;                                       \
            const vf value = vf_##name(load_floats(gate ? gate + i : up + i, here));             \
            store_floats(up + i, gate ? vf_mul(value, load_floats(up + i, here)) : value, here); \
        }                                                                                        \
    }

ACTIVATION_KERNEL(silu)
ACTIVATION_KERNEL(gelu)
ACTIVATION_KERNEL(gelu_tanh)

/* cap * tanh(x / cap) = cap - 2 cap / (1 + exp(2 x / cap)) */
static void softcap(float *x, uint32_t n, float cap)
{
    const vf factor = vf_set1(2.0f / cap), most = vf_set1(cap), range = vf_set1(-2.0f * cap);
    for (uint32_t i = 0; i < n; i += VF) {
        const uint32_t here = n - i < VF ? n - i : VF;
        const vf e = vf_exp(vf_mul(load_floats(x + i, here), factor));
        store_floats(x + i, vf_add(vf_div(range, vf_add(e, vf_set1(1.0f))), most), here);
    }
}

static void exponential(float *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += VF) {
        const uint32_t here = n - i < VF ? n - i : VF;
        store_floats(x + i, vf_exp(load_floats(x + i, here)), here);
    }
}

static float online_softmax(float *x, uint32_t n, float *largest)
{
    vf most = vf_set1(*largest), sums[SUM_VECTORS];
    uint32_t i = 0;
    for (; i + VF <= n; i += VF) {
        most = vf_max(most, vf_load(x + i));
    }
    float value = vf_largest(most);
    for (; i < n; i++) {
        value = x[i] > value ? x[i] : value;
    }
    value += 0.0f; /* of the zeros the positive one, whichever came first */
    most = vf_set1(value);
    RBE_UNROLL(4)
    for (uint32_t v = 0; v < SUM_VECTORS; v++) {
        sums[v] = vf_zero();
    }
    for (i = 0; i + RBE_SUM_LANES <= n; i += RBE_SUM_LANES) {
        RBE_UNROLL(4)
        for (uint32_t v = 0; v < SUM_VECTORS; v++) {
            const vf e = vf_exp(vf_sub(vf_load(x + i + VF * v), most));
            vf_store(x + i + VF * v, e);
            sums[v] = vf_add(sums[v], e);
        }
    }
    RBE_UNROLL(4)
    for (uint32_t v = 0; v < SUM_VECTORS; v++) {
        const uint32_t here = in_vector(n - i, v);
        if (here > 0) {
            float *p = x + i + VF * v;
            store_floats(p, vf_exp(vf_sub(load_floats(p, here), most)), here);
            sums[v] = vf_add(sums[v], load_floats(p, here)); /* 0 behind them */
        }
    }
    *largest = value;
    return sum_lanes(sums);
}

static void set_exponential(rbe_kernels *table)
{
    table->silu = silu;
    table->gelu = gelu;
    table->gelu_tanh = gelu_tanh;
    table->softcap = softcap;
    table->exponential = exponential;
    table->online_softmax = online_softmax;
}

#endif
