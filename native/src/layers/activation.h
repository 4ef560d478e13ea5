/* Activation functions of one vector. */
#ifndef RBE_ACTIVATION_H
#define RBE_ACTIVATION_H

#include "kernels/kernels.h"
#include "weights/projection.h"

/* up[i] <- activation(gate[i]) * up[i] for i < n, or activation(up[i]) where gate is NULL. RBE_ACTIVATION_TANH and RBE_ACTIVATION_NONE have no
 * gate. */
void rbe__activate(const rbe_kernels *kernels, rbe__activation activation, const float *gate, uint32_t n, float *up);

/* x[i] <- 1 / (1 + exp(-x[i])) for i < n, within 2^-21 of the value. */
void rbe__logistic(const rbe_kernels *kernels, uint32_t n, float *x);

#endif
