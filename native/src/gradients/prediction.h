/* What a model predicts for the tokens of a call, a part of the vocabulary at a time. It comes in blocks, whose sums of exponentials are kept for
 * every token, so that logits of one part are in memory. */
#ifndef RBE_GRADIENTS_PREDICTION_H
#define RBE_GRADIENTS_PREDICTION_H

#include "blocks/block.h"

#define RBE_LOGIT_BLOCK 1024u /* of the vocabulary */

/* The exponentials of one block: sum over v of exp(logit - largest). */
typedef struct rbe__logit_block {
    float largest;
    double sum;
} rbe__logit_block;

/* Of one token, over the vocabulary. */
typedef struct rbe__logit_sum {
    float largest;
    double sum; /* of exp(logit - largest) */
    double log_sum;
} rbe__logit_sum;

/* normed [n][width] is what the lm_head reads; logits [n][n_rows] are those of rows first_row ... before the soft cap. */
typedef struct rbe__prediction {
    const rbe__stack *stack;
    const float *normed;
    float *logits;
    uint32_t first_row, n_rows;
    rbe__logit_block *blocks; /* [n][blocks of the vocabulary] */
    rbe__logit_sum *sums; /* [n] */
} rbe__prediction;

static inline uint32_t rbe__logit_blocks(uint32_t n_rows)
{
    return (n_rows - 1) / RBE_LOGIT_BLOCK + 1;
}

struct rbe_gradients;

/* The logits of a part, which begins at a block. */
rbe_status rbe__predict_part(const struct rbe_gradients *gradients, rbe__prediction *prediction, uint32_t first_row, uint32_t rows);

/* The blocks of the part that is there; and when those of all parts are, the sums. */
void rbe__sum_part(const struct rbe_gradients *gradients, const rbe__prediction *prediction);
void rbe__sum_parts(const struct rbe_gradients *gradients, const rbe__prediction *prediction);

/* The logits of a block of the part of one token, behind the soft cap, in `out`; returns how many. */
uint32_t rbe__copy_block(const rbe__prediction *prediction, uint32_t token, uint32_t block, float *out);

#endif
