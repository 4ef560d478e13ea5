#include "layers/layers.h"

typedef struct activate_call {
    rbe_activation_kernel *activation;
    const float *gate;
    float *up;
    uint32_t n;
} activate_call;

static void activate_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const activate_call *call = context;
    const size_t at = (size_t)token * call->n;
    call->activation(call->gate ? call->gate + at : NULL, call->n, call->up + at);
}

void rbe__activate(rbe__workspace *workspace, rbe__activation activation, const float *gate, float *up, uint32_t n, uint32_t n_tokens)
{
    const rbe_kernels *kernels = workspace->kernels;
    activate_call call = {.gate = gate, .up = up, .n = n};
    call.activation = activation == RBE_ACTIVATION_SILU   ? kernels->silu
                      : activation == RBE_ACTIVATION_GELU ? kernels->gelu
                                                          : kernels->gelu_tanh;
    rbe__pool_run(workspace->pool, n_tokens, activate_token, &call);
}
