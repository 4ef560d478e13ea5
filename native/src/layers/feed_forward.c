#include <math.h>

#include "layers/layers.h"

typedef struct activate_call {
    rbe__activation activation;
    const float *gate;
    float *up;
    uint32_t n;
} activate_call;

static float silu(float x)
{
    return x / (1.0f + expf(-x));
}

static float gelu(float x)
{
    return 0.5f * x * (1.0f + erff(x * 0.70710678f));
}

/* D. Hendrycks, K. Gimpel: "Gaussian Error Linear Units", 2016: the tanh form. */
static float gelu_tanh(float x)
{
    return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
}

static void activate_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const activate_call *call = context;
    float *up = call->up + (size_t)token * call->n;
    const float *gate = call->gate ? call->gate + (size_t)token * call->n : up;
    for (uint32_t i = 0; i < call->n; i++) {
        float value = call->activation == RBE_ACTIVATION_SILU   ? silu(gate[i])
                      : call->activation == RBE_ACTIVATION_GELU ? gelu(gate[i])
                                                                : gelu_tanh(gate[i]);
        up[i] = call->gate ? value * up[i] : value;
    }
}

void rbe__activate(rbe__workspace *workspace, rbe__activation activation, const float *gate, float *up, uint32_t n, uint32_t n_tokens)
{
    activate_call call = {activation, gate, up, n};
    rbe__pool_run(workspace->pool, n_tokens, activate_token, &call);
}
