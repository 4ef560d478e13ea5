/* y = W x + bias: the generated, dense and row-wise matrices of a model times the activations of some tokens. */
#ifndef RBE_LINEAR_H
#define RBE_LINEAR_H

#include "layers/workspace.h"
#include "weights/projection.h"

typedef struct rbe__linear_job {
    const rbe__projection *projection;
    float *y; /* [n_tokens][rows] at y_stride */
    size_t y_stride;
    int adds; /* 1: y is added to, as the residual stream is */
} rbe__linear_job;

#define RBE_MAX_LINEAR_JOBS 4u

/* Up to RBE_MAX_LINEAR_JOBS matrices that read the same x of n_tokens (1 to most_tokens) and are rotated alike. most_planes: read of each
 * trellis tensor, the first ones; 0: all. */
typedef struct rbe__linear_input {
    uint32_t n_tokens, most_planes, width;
    const float *x; /* [n_tokens][width] */
} rbe__linear_input;

void rbe__linear(rbe__workspace *workspace, const rbe__linear_job *jobs, uint32_t n_jobs, const rbe__linear_input *input);

/* Matrices that read one x of their own each: `activated` NULL: x [width]; else what it says, and x is not read. n_tokens of `activated` is 1. */
typedef struct rbe__linear_group {
    const rbe__linear_job *jobs;
    uint32_t n_jobs;
    uint32_t width;
    const float *x;
    const struct rbe__activated_input *activated;
} rbe__linear_group;

#define RBE_MAX_LINEAR_GROUPS 16u

/* One token of each of n_groups groups, 1 to RBE_MAX_LINEAR_GROUPS and to most_tokens: the bits of a call for each, and one round of the threads
 * for all. The file may stay in memory as a whole. */
void rbe__linear_groups(rbe__workspace *workspace, const rbe__linear_group *groups, uint32_t n_groups, uint32_t most_planes);

/* The input of a linear step before its norm: x and normed [n_tokens][width]. */
typedef struct rbe__normed_input {
    uint32_t n_tokens, most_planes, width;
    rbe__norm_kind kind;
    const rbe__norm *norm;
    float epsilon;
    const float *x;
    float *normed;
} rbe__normed_input;

/* The same of norm(x), which is left in `normed`: norm, rotation and rounding of a token in one go. */
void rbe__linear_normed(rbe__workspace *workspace, const rbe__linear_job *jobs, uint32_t n_jobs, const rbe__normed_input *input);

/* The input of a linear step before its activation function: up and gate [n_tokens][width]; gate NULL: activation(up) alone. */
typedef struct rbe__activated_input {
    uint32_t n_tokens, most_planes, width;
    rbe__activation activation;
    const float *gate;
    float *up;
} rbe__activated_input;

/* The same of activation(gate) * up, which is left in `up`: activation, rotation and rounding of a token in one go. */
void rbe__linear_activated(rbe__workspace *workspace, const rbe__linear_job *job, const rbe__activated_input *input);

#endif
