/* Strips of binary and ternary matrices times tokens. */
#ifndef RBE_GROUPED_PRODUCT_H
#define RBE_GROUPED_PRODUCT_H

#include "layers/workspace.h"

/* scratch->sum[n][rows of the strip] = the strip times token `first` + n of the workspace's `plain`, without the tensor's scale, for n <
 * n_tokens. scale_stride: of plain_scales. The bits of a token depend on nothing beside it. */
void rbe__grouped_product(const rbe__workspace *workspace, const rbe__tensor *tensor, const rbe_grouped_strip *strip, uint32_t first,
                          uint32_t n_tokens, uint32_t scale_stride, rbe__thread_scratch *scratch);

#endif
