/* What a layer is made of besides matrices: norms, activation functions, and a matrix with its bias. Views, as tensors are. */
#ifndef RBE_PROJECTION_H
#define RBE_PROJECTION_H

#include "kernels/kernels.h"
#include "weights/tensor.h"

typedef enum rbe__activation {
    RBE_ACTIVATION_SILU,
    RBE_ACTIVATION_GELU,
    RBE_ACTIVATION_GELU_TANH,
    RBE_ACTIVATION_RELU,
    RBE_ACTIVATION_RELU2, /* the square of ReLU */
    RBE_ACTIVATION_TANH, /* of pooled layers, as the next */
    RBE_ACTIVATION_NONE
} rbe__activation;

/* Vectors of as many values as the norm is wide. */
typedef struct rbe__norm {
    const float *weight; /* NULL: no such norm */
    const float *bias;   /* may be NULL */
} rbe__norm;

/* y = W x + bias. */
typedef struct rbe__projection {
    const rbe__tensor *weight;
    const float *bias; /* [rows] or NULL */
} rbe__projection;

#endif
