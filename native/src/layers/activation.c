#include "layers/activation.h"

#include <assert.h>

/* Comparisons and products: the same bits from every compiler. NaN stays NaN. */
static void relu(const float *gate, uint32_t n, float *up)
{
    for (uint32_t i = 0; i < n; i++) {
        const float v = gate ? gate[i] : up[i], active = v < 0.0f ? 0.0f : v;
        up[i] = gate ? active * up[i] : active;
    }
}

static void relu2(const float *gate, uint32_t n, float *up)
{
    for (uint32_t i = 0; i < n; i++) {
        const float v = gate ? gate[i] : up[i], active = v < 0.0f ? 0.0f : v * v;
        up[i] = gate ? active * up[i] : active;
    }
}

void rbe__activate(const rbe_kernels *kernels, rbe__activation activation, const float *gate, uint32_t n, float *up)
{
    switch (activation) {
    case RBE_ACTIVATION_SILU: kernels->silu(gate, n, up); break;
    case RBE_ACTIVATION_GELU: kernels->gelu(gate, n, up); break;
    case RBE_ACTIVATION_GELU_TANH: kernels->gelu_tanh(gate, n, up); break;
    case RBE_ACTIVATION_RELU: relu(gate, n, up); break;
    case RBE_ACTIVATION_RELU2: relu2(gate, n, up); break;
    case RBE_ACTIVATION_TANH:
        assert(!gate);
        kernels->softcap(up, n, 1.0f); /* tanh, within 2^-21 */
        break;
    case RBE_ACTIVATION_NONE: assert(!gate); break;
    }
}

/* Behind the exponential single operations, the same bits from every compiler. */
void rbe__logistic(const rbe_kernels *kernels, uint32_t n, float *x)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] = -x[i];
    }
    kernels->exponential(x, n);
    for (uint32_t i = 0; i < n; i++) {
        x[i] = 1.0f / (1.0f + x[i]);
    }
}
