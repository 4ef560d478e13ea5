#include "weights/tensor.h"

#include <string.h>

#include "base/random.h"

void rbe__apply_signs(float *x, uint32_t n, uint64_t seed)
{
    for (uint32_t c = 0; c < n; c++) {
        x[c] = rbe__splitmix64(&seed) >> 63 ? -x[c] : x[c];
    }
}

void rbe__sign_bits(uint64_t seed, uint32_t n, uint8_t *bits)
{
    memset(bits, 0, rbe__sign_bytes(n));
    for (uint32_t c = 0; c < n; c++) {
        bits[c / 8] = (uint8_t)(bits[c / 8] | (rbe__splitmix64(&seed) >> 63) << c % 8);
    }
}

/* T1 + T2 at one step of a lane. cell: first byte of the cell; n_bits: of the circular lane stream. */
static int lane_value(const rbe__plane *plane, const uint8_t *cell, uint32_t lane, uint32_t step, uint32_t n_bits)
{
    uint32_t end = plane->bits * (step + 1); /* the window is the 12 bits before this one */
    uint32_t begin = end >= 12 ? end - 12 : end + n_bits - 12;
    uint32_t n_bytes = n_bits / 8, byte = begin / 8, window = 0;
    for (int i = 0; i < 3; i++) {
        window = window << 8 | cell[16 * byte + lane];
        byte = byte + 1 == n_bytes ? 0 : byte + 1;
    }
    uint32_t w = window >> (12 - begin % 8) & 0xFFFu;
    return plane->t1[(w ^ w >> 8) & 15u] + plane->t2[w >> 4 & 15u];
}

static void add_plane_row(const rbe_kernels *kernels, const rbe__tensor *tensor, const rbe__plane *plane, const rbe__strip_layout *strip,
                          uint32_t row, float *out)
{
    uint32_t row_in_strip = row - strip->first_row;
    uint32_t step_in_group = row_in_strip / 4, lane = row_in_strip % 4 * 4;
    const uint8_t *stream = plane->stream + rbe__strip_offset(&tensor->layout, strip, plane->bits);
    uint32_t group_bytes = rbe__group_bytes(strip, plane->bits);
    float row_scale;
    kernels->from_half(&plane->row_scales[row], 1, &row_scale);
    float scale = tensor->tensor_scale * row_scale;
    for (uint32_t cell = 0; cell < strip->n_cells; cell++) {
        uint32_t first = rbe__cell_first_group(&tensor->layout, strip, cell);
        uint32_t end = rbe__cell_first_group(&tensor->layout, strip, cell + 1);
        const uint8_t *bytes = stream + (uint64_t)first * group_bytes;
        uint32_t n_bits = plane->bits * strip->row_steps * (end - first);
        for (uint32_t group = first; group < end; group++) {
            uint32_t step = (group - first) * strip->row_steps + step_in_group;
            for (uint32_t j = 0; j < 4 && 4 * group + j < tensor->cols; j++) {
                out[4 * group + j] += scale * (float)lane_value(plane, bytes, lane + j, step, n_bits);
            }
        }
    }
}

static void trellis_row(const rbe_kernels *kernels, const rbe__tensor *tensor, uint32_t most_planes, uint32_t row, float *out)
{
    /* Strips are balanced: the row's is the guess by proportion or a neighbour of it. */
    const rbe__layout *layout = &tensor->layout;
    uint32_t unit = row / layout->unit_rows;
    uint32_t index = rbe__balanced(unit, layout->n_strips, layout->n_units);
    rbe__strip_layout strip = rbe__layout_strip(layout, index);
    while (row >= strip.first_row + strip.rows) {
        strip = rbe__layout_strip(layout, ++index);
    }
    while (row < strip.first_row) {
        strip = rbe__layout_strip(layout, --index);
    }
    memset(out, 0, tensor->cols * sizeof *out);
    for (uint32_t p = 0; p < rbe__planes_read(tensor, most_planes); p++) {
        add_plane_row(kernels, tensor, &tensor->planes[p], &strip, row, out);
    }
    for (uint32_t c = 0; tensor->block_scales && c < tensor->cols; c++) {
        out[c] *= tensor->block_scales[c / RBE_BLOCK_COLS];
    }
    if (tensor->rotation_block) {
        kernels->hadamard(out, tensor->cols, tensor->rotation_block);
        kernels->flip_signs(out, tensor->signs, tensor->cols, out);
    }
}

/* The band that holds a row. */
static const rbe__tensor *band_of(const rbe__tensor *tensor, uint32_t row)
{
    uint32_t low = 0, high = tensor->n_bands;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (tensor->bands[middle].first_row <= row) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &tensor->bands[low];
}

void rbe__tensor_row(const rbe_kernels *kernels, const rbe__tensor *tensor, uint32_t most_planes, uint32_t row, float *out)
{
    size_t first = (size_t)row * tensor->cols;
    switch (tensor->kind) {
    case RBE_KIND_F32: memcpy(out, (const float *)(const void *)tensor->data + first, tensor->cols * sizeof *out); break;
    case RBE_KIND_F16: kernels->from_half((const uint16_t *)(const void *)tensor->data + first, tensor->cols, out); break;
    case RBE_KIND_BF16:
        for (uint32_t c = 0; c < tensor->cols; c++) {
            uint32_t bits = (uint32_t)((const uint16_t *)(const void *)tensor->data)[first + c] << 16;
            memcpy(&out[c], &bits, sizeof bits);
        }
        break;
    case RBE_KIND_SEED64: rbe__seed64_row(tensor->seed, tensor->tensor_scale, tensor->rows, tensor->cols, row, out); break;
    case RBE_KIND_BASIS: rbe__basis_row(&tensor->basis, tensor->rows, tensor->cols, row, out); break;
    case RBE_KIND_TERNARY:
    case RBE_KIND_BINARY: rbe__grouped_row(kernels, &tensor->grouped, tensor->tensor_scale, row, out); break;
    case RBE_KIND_BANDS: {
        const rbe__tensor *band = band_of(tensor, row);
        trellis_row(kernels, band, most_planes, row - band->first_row, out);
        break;
    }
    default: trellis_row(kernels, tensor, most_planes, row, out);
    }
}
