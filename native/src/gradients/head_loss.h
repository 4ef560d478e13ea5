/* A call for the head, and what its loss is. */
#ifndef RBE_GRADIENTS_HEAD_LOSS_H
#define RBE_GRADIENTS_HEAD_LOSS_H

#include "gradients/gradients.h"

/* A label that is to be drawn lies in `block`: `left` of its exponentials' sum go before it. */
typedef struct rbe__token_draw {
    uint32_t block; /* UINT32_MAX: none is drawn */
    double left;
} rbe__token_draw;

typedef struct rbe__head_job {
    rbe_gradients *gradients;
    uint32_t *labels;
    uint64_t seed;
    double *nats;
    rbe__prediction *own, *source; /* source NULL: labels */
    int wants_gradient; /* not the loss alone */
} rbe__head_job;

/* Where the label of a token lies, which is to be drawn. */
rbe__token_draw rbe__draw_block(const rbe__head_job *job, uint32_t token);

/* d [n]: the gradient by the logits of block `item` of the part, of one token, before the soft cap; values: these logits behind it. Sets the label
 * where it is drawn, the loss where the label is in the block, and the block's share of a divergence. */
void rbe__differentiate_logits(const rbe__head_job *job, uint32_t token, uint32_t item, uint32_t n, const float *values, float *d);

#endif
