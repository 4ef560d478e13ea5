/* The hidden state of a token before the first layer. */
#ifndef RBE_EMBEDDING_H
#define RBE_EMBEDDING_H

#include "weights/tensor.h"

/* out[width] = scale * row of the embedding, plus the row of `positions` where that is not NULL; most_planes of each (0: all). scratch:
 * [width]. */
void rbe__embed(const rbe_kernels *kernels, const rbe__tensor *embedding, const rbe__tensor *positions, uint32_t most_planes,
                uint32_t token, uint32_t position, float scale, float *scratch, float *out);

#endif
