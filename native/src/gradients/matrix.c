/* Matrices: products of activations and weights, both ways, and what a caller is shown of them. */
#include <stdio.h>

#include "base/status.h"
#include "gradients/gradients.h"

/* Multiply-adds between two looks at a cancel: 10 ms of two AVX2 cores, some 50 of a small device. */
#define PIECE_MACS (1u << 28)
enum { PIECE_ROWS = 4096, LEAST_COLUMNS = 256, LEAST_DEPTH = 256 }; /* their product is a piece */

static uint32_t smaller(uint64_t a, uint32_t b)
{
    return a < b ? (uint32_t)a : b;
}

/* `least`, or more multiples of it, so that each takes `others` multiply-adds; at most `all`. */
static uint32_t piece_of(uint64_t others, uint32_t least, uint32_t all)
{
    const uint64_t fitting = others ? PIECE_MACS / others / least * least : all;
    return smaller(fitting < least ? least : fitting, all);
}

rbe_status rbe__gradients_multiply(const rbe_gradients *gradients, const rbe__dense_product_call *call)
{
    const uint32_t rows = smaller(call->m, PIECE_ROWS), columns = piece_of((uint64_t)rows * call->k, LEAST_COLUMNS, call->n);
    const uint32_t depth = piece_of((uint64_t)rows * columns, LEAST_DEPTH, call->k);
    for (uint32_t row = 0; row < call->m; row += rows) {
        for (uint32_t column = 0; column < call->n; column += columns) {
            for (uint32_t k = 0; k < call->k; k += depth) {
                rbe__dense_product_call piece = *call;
                piece.a.data += row * call->a.row_stride + k * call->a.col_stride;
                piece.b.data += k * call->b.row_stride + column * call->b.col_stride;
                piece.c += row * call->c_stride + column;
                piece.m = smaller(call->m - row, rows);
                piece.n = smaller(call->n - column, columns);
                piece.k = smaller(call->k - k, depth);
                piece.add = call->add || k > 0; /* the chains go on */
                RBE_TRY(rbe__gradients_check(gradients));
                RBE_TRY(rbe__dense_product(gradients->thread_pool, gradients->stack->kernels, &piece));
            }
        }
    }
    return rbe__gradients_check(gradients);
}

static const float *weights_of(const rbe__projection *projection)
{
    return (const float *)(const void *)projection->weight->data;
}

typedef struct bias_call {
    const rbe_gradients *gradients;
    const float *bias;
    uint32_t n_rows;
    float *y;
} bias_call;

static void add_bias(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const bias_call *call = context;
    call->gradients->stack->kernels->add(call->y + (size_t)token * call->n_rows, call->bias, call->n_rows);
}

rbe_status rbe__matrix_forward(const rbe_gradients *gradients, const rbe__projection *projection, uint32_t first_row, uint32_t n_rows,
                               const float *x, float *y)
{
    const size_t cols = projection->weight->cols;
    const rbe__dense_product_call call = {.a = {x, cols, 1},
                                          .b = {weights_of(projection) + first_row * cols, 1, cols},
                                          .c = y,
                                          .c_stride = n_rows,
                                          .m = gradients->n,
                                          .n = n_rows,
                                          .k = (uint32_t)cols};
    RBE_TRY(rbe__gradients_multiply(gradients, &call));
    if (projection->bias) {
        bias_call bias = {gradients, projection->bias + first_row, n_rows, y};
        rbe__thread_pool_run(gradients->thread_pool, gradients->n, add_bias, &bias);
    }
    return RBE_OK;
}

rbe_status rbe__gradients_show(const rbe_gradients *gradients, rbe_gradient gradient)
{
    gradient.struct_bytes = sizeof gradient;
    gradient.n_tokens = gradients->n;
    gradient.window_tokens = gradients->window;
    RBE_TRY(rbe__gradients_check(gradients));
    if (gradients->show(&gradient, gradients->user)) {
        return rbe_fail(RBE_ERROR_CANCELLED, "cancelled");
    }
    return RBE_OK;
}

rbe_status rbe__vector_show(rbe_gradients *gradients, const char *name, uint32_t layer, const float *d, uint32_t cols)
{
    if (!gradients->show) {
        return RBE_OK;
    }
    const rbe__column_sum sum = {.a = d, .n_rows = gradients->n, .cols = cols, .out = gradients->vector};
    rbe__sum_columns(gradients, &sum);
    return rbe__gradients_show(gradients,
                               (rbe_gradient){.name = name, .layer = layer, .rows = 1, .cols = cols, .n_rows = 1, .d = gradients->vector});
}

static rbe_status show_bias(rbe_gradients *gradients, const rbe__matrix *matrix, const float *d)
{
    char name[RBE_GRADIENT_NAME_BYTES];
    snprintf(name, sizeof name, "%s.bias", matrix->name);
    return rbe__vector_show(gradients, name, matrix->layer, d, matrix->projection->weight->rows);
}

static rbe_status show_matrix(rbe_gradients *gradients, const rbe__matrix *matrix, const float *d)
{
    const rbe__tensor *weight = matrix->projection->weight;
    if (!gradients->show) {
        return RBE_OK;
    }
    if (gradients->wants_gains) {
        const rbe__column_sum sum = {d, matrix->y, matrix->projection->bias, gradients->n, weight->rows, gradients->vector};
        rbe__sum_columns(gradients, &sum);
    }
    RBE_TRY(rbe__gradients_show(gradients, (rbe_gradient){.name = matrix->name,
                                                          .layer = matrix->layer,
                                                          .rows = weight->rows,
                                                          .cols = weight->cols,
                                                          .n_rows = weight->rows,
                                                          .x = matrix->x,
                                                          .d = d,
                                                          .gains = gradients->wants_gains ? gradients->vector : NULL}));
    return matrix->projection->bias ? show_bias(gradients, matrix, d) : RBE_OK;
}

rbe_status rbe__matrix_backward(rbe_gradients *gradients, const rbe__matrix *matrix, const float *d, int add, float *d_x)
{
    const rbe__projection *projection = matrix->projection;
    const size_t cols = projection->weight->cols, rows = projection->weight->rows;
    const rbe__dense_product_call call = {.a = {d, rows, 1},
                                          .b = {weights_of(projection), cols, 1},
                                          .c = d_x,
                                          .c_stride = cols,
                                          .m = gradients->n,
                                          .n = (uint32_t)cols,
                                          .k = (uint32_t)rows,
                                          .add = add};
    RBE_TRY(show_matrix(gradients, matrix, d));
    return rbe__gradients_multiply(gradients, &call);
}
