#include <string.h>

#include "layers/embedding.h"
#include "weights/weight_cache.h"

static void look_up(const rbe_kernels *kernels, const rbe__tensor *table, uint32_t most_planes, uint32_t row, float *out)
{
    if (!rbe__tensor_by_row(table)) {
        rbe__tensor_row(kernels, table, most_planes, row, out);
        return;
    }
    uint32_t generated = 0;
    const float *values = rbe__cached_row(kernels, table, row, out, &generated);
    if (values != out) {
        memcpy(out, values, table->cols * sizeof *out);
    }
    rbe__weight_cache_count(table, 1, generated);
}

void rbe__embed(const rbe_kernels *kernels, const rbe__tensor *embedding, const rbe__tensor *positions, uint32_t most_planes,
                uint32_t token, uint32_t position, float scale, float *scratch, float *out)
{
    look_up(kernels, embedding, most_planes, token, out);
    for (uint32_t i = 0; scale != 1.0f && i < embedding->cols; i++) {
        out[i] *= scale;
    }
    if (positions) {
        look_up(kernels, positions, most_planes, position, scratch);
        kernels->add(out, scratch, embedding->cols);
    }
}
