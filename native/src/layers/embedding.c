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

void rbe__embed(const rbe_kernels *kernels, const rbe__embedding *tables, uint32_t most_planes, uint32_t token, uint32_t position,
                uint32_t segment, float *scratch, float *out)
{
    const uint32_t width = tables->tokens->cols;
    look_up(kernels, tables->tokens, most_planes, token, out);
    for (uint32_t i = 0; tables->scale != 1.0f && i < width; i++) {
        out[i] *= tables->scale;
    }
    if (tables->positions) {
        look_up(kernels, tables->positions, most_planes, position, scratch);
        kernels->add(out, scratch, width);
    }
    if (tables->segments) {
        look_up(kernels, tables->segments, most_planes, segment, scratch);
        kernels->add(out, scratch, width);
    }
}
