#include "weights/grouped.h"

#include "weights/layout.h"

enum { UNITS_OF_STRIP = RBE_STRIP_ROWS / RBE_GROUPED_ROWS };

static uint32_t ceil_of(uint32_t a, uint32_t b)
{
    return a / b + (a % b != 0);
}

rbe__grouped rbe__grouped_make(uint32_t rows, uint32_t cols, uint32_t group, int binary)
{
    rbe__grouped made = {.cols = cols, .code_cols = binary ? RBE_BINARY_COLS : RBE_TERNARY_COLS};
    made.block_cols = group != 0 && group < RBE_BLOCK_COLS ? group : RBE_BLOCK_COLS;
    made.scale_cols = group != 0 ? group : cols;
    made.n_scales = ceil_of(cols, made.scale_cols);
    made.n_codes = cols / made.block_cols * ceil_of(made.block_cols, made.code_cols) + ceil_of(cols % made.block_cols, made.code_cols);
    made.n_units = ceil_of(rows, RBE_GROUPED_ROWS);
    made.n_strips = ceil_of(made.n_units, UNITS_OF_STRIP);
    return made;
}

uint64_t rbe__grouped_scale_bytes(const rbe__grouped *grouped)
{
    return (uint64_t)grouped->n_units * RBE_GROUPED_ROWS * grouped->n_scales * 2;
}

uint64_t rbe__grouped_code_bytes(const rbe__grouped *grouped)
{
    return (uint64_t)grouped->n_units * RBE_GROUPED_ROWS * grouped->n_codes;
}

rbe_grouped_strip rbe__grouped_strip(const rbe__grouped *grouped, uint32_t index, uint32_t *first_row)
{
    const uint32_t first = rbe__balanced(index, grouped->n_units, grouped->n_strips);
    const uint32_t end = rbe__balanced(index + 1, grouped->n_units, grouped->n_strips);
    *first_row = first * RBE_GROUPED_ROWS;
    return (rbe_grouped_strip){
        .codes = grouped->codes + (uint64_t)*first_row * grouped->n_codes,
        .scales = grouped->scales + (uint64_t)*first_row * grouped->n_scales,
        .n_units = end - first,
        .cols = grouped->cols,
        .block_cols = grouped->block_cols,
        .scale_cols = grouped->scale_cols,
    };
}

/* Weight i of a code: -1, 0 or 1. */
static int weight_of(const rbe__grouped *grouped, uint32_t code, uint32_t i)
{
    if (grouped->code_cols == RBE_BINARY_COLS) {
        return (code >> i & 1) != 0 ? 1 : -1;
    }
    for (; i > 0; i--) {
        code = code * 3 & 255;
    }
    return (int)(code * 3 >> 8) - 1;
}

void rbe__grouped_row(const rbe_kernels *kernels, const rbe__grouped *grouped, float tensor_scale, uint32_t row, float *out)
{
    /* Strips are balanced: the row's is the guess by proportion or a neighbour of it. */
    uint32_t index = rbe__balanced(row / RBE_GROUPED_ROWS, grouped->n_strips, grouped->n_units), first_row;
    rbe_grouped_strip strip = rbe__grouped_strip(grouped, index, &first_row);
    while (row >= first_row + strip.n_units * RBE_GROUPED_ROWS) {
        strip = rbe__grouped_strip(grouped, ++index, &first_row);
    }
    while (row < first_row) {
        strip = rbe__grouped_strip(grouped, --index, &first_row);
    }
    const size_t rows = (size_t)strip.n_units * RBE_GROUPED_ROWS;
    const uint8_t *code = strip.codes + (row - first_row);
    float scale = 0;
    for (uint32_t c = 0, of_block = 0; c < grouped->cols; c++, of_block++) {
        if (c % grouped->scale_cols == 0) {
            kernels->from_half(strip.scales + c / grouped->scale_cols * rows + (row - first_row), 1, &scale);
            scale *= tensor_scale;
        }
        if (of_block == grouped->block_cols) { /* a block begins with a code of its own */
            of_block = 0;
            code += rows;
        } else if (c > 0 && of_block % grouped->code_cols == 0) {
            code += rows;
        }
        out[c] = scale * (float)weight_of(grouped, *code, of_block % grouped->code_cols);
    }
}
