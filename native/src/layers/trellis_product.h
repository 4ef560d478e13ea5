/* Strips of trellis planes times tokens. */
#ifndef RBE_TRELLIS_PRODUCT_H
#define RBE_TRELLIS_PRODUCT_H

#include "layers/workspace.h"

/* quantized: int8 [n_tokens] at the workspace's max_cols; scales [n_tokens] at scale_stride, one for each block of columns. is_alone: the token is
 * the only one of its step, and no tile is made; the bits are the same. */
typedef struct rbe__trellis_input {
    const int8_t *quantized;
    const float *scales;
    uint32_t scale_stride, n_tokens;
    int is_alone;
} rbe__trellis_input;

/* scratch->sum[n][4R] = the strip times every token. block_scales: of the tensor, one for each block of columns; NULL: none. */
void rbe__trellis_product(const rbe__workspace *workspace, const rbe_strip *strip, const float *block_scales,
                          const rbe__trellis_input *input, rbe__thread_scratch *scratch);

#endif
