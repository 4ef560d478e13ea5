/* What a recurrence does to the numbers of one head, token by token, in one fixed order: results depend on nothing beside them. */
#ifndef RBE_RECURRENCE_RULE_H
#define RBE_RECURRENCE_RULE_H

#include "blocks/block.h"

/* A token of a head. */
typedef struct rbe__recurrence_token {
    const float *q, *k; /* [key_dim] */
    const float *v; /* [value_dim] */
    float decay; /* of the matrix */
    float share; /* beta of a delta net, the step of a state space */
    float skip; /* of v in what a state space gives; 0 of a delta net */
} rbe__recurrence_token;

/* The matrix [key_dim][value_dim] goes from `from` to `to`, which may be the same, and y [value_dim] is what it then gives. k stands behind q. */
void rbe__recurrence_step_head(const rbe_kernels *kernels, const rbe__recurrence_shape *shape, const rbe__recurrence_token *token,
                               const float *from, float *to, float *y);

/* x[i] <- log(1 + exp(x[i])) for i < n. scratch: [n] */
void rbe__softplus(const rbe_kernels *kernels, uint32_t n, float *x, float *scratch);

/* x[i] <- exp(x[i]) for i < n, decays; 0 where that is below 2^-80. */
void rbe__recurrence_decays(const rbe_kernels *kernels, uint32_t n, float *x);

/* x [n] <- scale x / sqrt(sum of squares + 1e-6). Returns what it was multiplied by. */
float rbe__recurrence_unit(uint32_t n, double scale, float *x);

#endif
