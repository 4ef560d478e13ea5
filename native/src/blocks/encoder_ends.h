/* What follows the layers where no text is written: the step before a head that fills in words, and one vector for each text. */
#ifndef RBE_ENCODER_ENDS_H
#define RBE_ENCODER_ENDS_H

#include "blocks/pass.h"

/* The first n_rows rows of `hidden`, which hold what rbe__pass_norm gave, to `normed`, from which rbe__pass_logits goes on. */
void rbe__pass_word_head(rbe__pass *pass, uint32_t n_rows);

/* out[width] of rows [n_rows][width], n_rows >= 1; pooling is none of RBE_POOLING_NONE. sums: scratch [width]. */
void rbe__pool_rows(uint32_t pooling, const float *rows, size_t n_rows, uint32_t width, double *sums, float *out);

/* Numbers of the widest vector on the way, and of the last one. */
uint32_t rbe__pooled_widest(const rbe__stack *stack);
uint32_t rbe__pooled_width(const rbe__stack *stack);

/* n vectors x [n][width], 1 to workspace.most_tokens, through the pooled layers, to out [n][rbe__pooled_width]. x and y are changed: [n][rbe__pooled_widest]
 * each. */
void rbe__pass_pooled(rbe__pass *pass, uint32_t n, float *x, float *y, float *out);

#endif
