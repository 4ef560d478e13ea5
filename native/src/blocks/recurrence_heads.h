/* The heads of a recurrence in a pass: convolutions, the rule, norms and gates, between the first matrices and the last. */
#ifndef RBE_RECURRENCE_HEADS_H
#define RBE_RECURRENCE_HEADS_H

#include "blocks/pass.h"
#include "blocks/recurrence_state.h"

/* Rows hold q, k and v of a token one after the other, as those of the state do. */
typedef struct rbe__recurrence_scratch {
    float *rows; /* [n_tokens][channels] as they come out of their matrices */
    float *read; /* the same, behind the convolutions */
    float *gates, *mixed; /* [n_tokens][n_values * value_dim] */
    float *decay_rows, *beta_rows; /* [n_tokens][n_values] as they come out of their matrices */
    float *decays, *shares, *exponents; /* [n_values][n_tokens] what the rule takes of them */
    rbe__recurrence_step *steps; /* of the runs: [n_tokens] at most */
} rbe__recurrence_scratch;

typedef struct rbe__recurrence_call {
    const rbe__pass *pass;
    const rbe__block *block;
    const rbe__recurrence_scratch *scratch;
    int has_gates; /* 0: only the state is wanted */
} rbe__recurrence_call;

/* scratch.rows through the convolutions to scratch.read, and the states' rows. The steps have begun. */
void rbe__recurrence_convolve(const rbe__recurrence_call *call);

/* scratch.read through the heads, and the states' matrices. Where there are gates, scratch.mixed is what the last matrix reads. */
void rbe__recurrence_mix(const rbe__recurrence_call *call);

#endif
