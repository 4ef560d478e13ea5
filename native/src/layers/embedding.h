/* The hidden state of a token before the first layer. */
#ifndef RBE_EMBEDDING_H
#define RBE_EMBEDDING_H

#include "weights/tensor.h"

/* Tables of rows of the same width. */
typedef struct rbe__embedding {
    const rbe__tensor *tokens;
    const rbe__tensor *positions, *segments; /* NULL: none */
    float scale; /* of the rows of `tokens` */
} rbe__embedding;

/* out[width] = scale * row `token`, plus the rows of position and segment where there are such tables; most_planes of each (0: all). scratch:
 * [width]. */
void rbe__embed(const rbe_kernels *kernels, const rbe__embedding *tables, uint32_t most_planes, uint32_t token, uint32_t position,
                uint32_t segment, float *scratch, float *out);

#endif
