/* Recurrent blocks on their way back: what the block (recurrence_backward.c) and its heads (recurrence_heads_backward.c) work in. */
#ifndef RBE_GRADIENTS_RECURRENCE_H
#define RBE_GRADIENTS_RECURRENCE_H

#include "base/arena.h"
#include "blocks/block.h"
#include "rbe/gradients.h"

/* Of one of q, k and v: [n][its rows], but for d_taps, which is [rows][taps]. */
typedef struct rbe__channels_memory {
    float *raw, *sum; /* as it comes out of its matrix; as its convolution gives it, of which d_raw takes the place */
    float *values, *d; /* what the heads read; the gradient by that, then by the sum */
    float *d_raw, *d_taps;
} rbe__channels_memory;

/* Of one recurrent block. keys: n_keys * key_dim, inner: n_values * value_dim. */
typedef struct rbe__recurrence_memory {
    float *normed, *branch, *summed; /* as of attention */
    const float *input;
    rbe__channels_memory q, k, v; /* keys, keys, inner */
    float *q_scales, *k_scales; /* [n][n_keys] of a delta net: what rbe__recurrence_unit multiplied a head by */
    float *decay_raw, *beta_raw; /* [n][n_values] as they come out of their matrices */
    float *steps, *decays; /* the same: softplus(decay_raw), exp(-rate steps) */
    float *shares; /* the same: of v, or of its difference, in the matrix: of a delta net logistic(beta_raw), else steps */
    float *d_exponents, *d_shares, *d_skips; /* the same: the gradient by log(decays), by shares, by skip of each token */
    float *d_rates, *d_decays; /* the same: by rate of each token, by decay_raw */
    float *y, *d_y; /* [n][inner] what the heads give */
    float *gate, *d_gate; /* [n][inner] as it comes out of its matrix */
    float *inner, *mixed; /* [n][inner] between gate and norm; what the last matrix reads */
    float *query_parts, *key_parts; /* [n][n_values * key_dim] gradients of queries and keys by value head */
} rbe__recurrence_memory;

/* Of one thread: one head in one window. */
typedef struct rbe__recurrence_tile {
    float *kept; /* [window / spacing, rounded up][key_dim][value_dim] the matrix before the tokens 0, spacing, 2 spacing ... */
    float *between; /* [spacing][key_dim][value_dim] the same before one of these and every token up to the next */
    float *slopes; /* [key_dim][value_dim] the gradient by the matrix */
    float *difference, *update, *d_update; /* [value_dim] e, u and the gradient by u (recurrence_heads_backward.c) */
    float *products; /* [key_dim] */
} rbe__recurrence_tile;

/* Of heads in windows of that many tokens: the matrix is kept every so many tokens, and computed again between. */
uint32_t rbe__recurrence_spacing(uint32_t window_tokens);

/* Takes the memory of a block and of the threads, for the largest that the stack has. Nothing where no layer is recurrent. */
void rbe__recurrence_take(rbe_gradients *gradients);

/* y of all tokens, from q, k, v, decays and shares. */
rbe_status rbe__heads_forward(rbe_gradients *gradients, const rbe__recurrence_block *recurrence);

/* From d_y: d of q, k and v, d_exponents, d_shares, d_skips. */
rbe_status rbe__heads_backward(rbe_gradients *gradients, const rbe__recurrence_block *recurrence);

#endif
