#include "layers/layers.h"

void rbe__embed(const rbe_kernels *kernels, const rbe__tensor *embedding, const rbe__tensor *positions, uint32_t most_planes,
                uint32_t token, uint32_t position, float scale, float *scratch, float *out)
{
    rbe__tensor_row(kernels, embedding, most_planes, token, out);
    for (uint32_t i = 0; scale != 1.0f && i < embedding->cols; i++) {
        out[i] *= scale;
    }
    if (positions) {
        rbe__tensor_row(kernels, positions, most_planes, position, scratch);
        kernels->add(out, scratch, embedding->cols);
    }
}
