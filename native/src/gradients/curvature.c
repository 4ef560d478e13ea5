/* rbe_gradients_add_curvature. With G = d^T x of a window, G^T G = x^T (d d^T) x: the product in the middle is [window][window], so that the cost
 * grows with the rows of the matrix in its smallest term alone, and G itself is never made. */
#include "base/status.h"
#include "gradients/gradients.h"

#define PANEL 64u /* columns of the sum at once: what is below its diagonal block, and that block */

typedef struct curvature_call {
    const rbe_gradients *gradients;
    const float *x, *d; /* of the window */
    uint32_t n_tokens, n_rows, cols;
    float *inner; /* [n_tokens][n_tokens] */
    float *outer; /* [n_tokens][cols] */
    float *sum;
} curvature_call;

static rbe_status add_window(const curvature_call *call)
{
    const rbe__dense_operand x = {call->x, call->cols, 1}, x_across = {call->x, 1, call->cols};
    const rbe__dense_product_call inner = {.a = {call->d, call->n_rows, 1},
                                           .b = {call->d, 1, call->n_rows},
                                           .c = call->inner,
                                           .c_stride = call->n_tokens,
                                           .m = call->n_tokens,
                                           .n = call->n_tokens,
                                           .k = call->n_rows};
    const rbe__dense_product_call outer = {.a = {call->inner, call->n_tokens, 1},
                                           .b = x,
                                           .c = call->outer,
                                           .c_stride = call->cols,
                                           .m = call->n_tokens,
                                           .n = call->cols,
                                           .k = call->n_tokens};
    RBE_TRY(rbe__gradients_multiply(call->gradients, &inner));
    RBE_TRY(rbe__gradients_multiply(call->gradients, &outer));
    for (uint32_t first = 0; first < call->cols; first += PANEL) {
        const rbe__dense_product_call below = {.a = {x_across.data + first, 1, call->cols},
                                               .b = {call->outer + first, call->cols, 1},
                                               .c = call->sum + (size_t)first * call->cols + first,
                                               .c_stride = call->cols,
                                               .m = call->cols - first,
                                               .n = call->cols - first < PANEL ? call->cols - first : PANEL,
                                               .k = call->n_tokens,
                                               .add = 1};
        RBE_TRY(rbe__gradients_multiply(call->gradients, &below));
    }
    return RBE_OK;
}

static void take_products(rbe__arena *arena, uint32_t window, curvature_call *call)
{
    call->inner = rbe__arena_take(arena, rbe__arena_count(window, window), sizeof *call->inner);
    call->outer = rbe__arena_take(arena, rbe__arena_count(window, call->cols), sizeof *call->outer);
}

rbe_status rbe_gradients_add_curvature(rbe_gradients *gradients, const rbe_curvature_rows *of, float *sum)
{
    rbe_curvature_rows rows = {0};
    if (!gradients || !of || !sum) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_gradients_add_curvature: an argument is NULL");
    }
    RBE_TRY(rbe__copy_options(&rows, sizeof rows, of));
    if (!rows.x || !rows.d || rows.n_tokens == 0 || rows.n_rows == 0 || rows.cols == 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_gradients_add_curvature: an array is NULL, or a size is none");
    }
    uint32_t window;
    RBE_TRY(rbe__gradients_fit(gradients, rows.n_tokens, rows.window_tokens, &window));
    curvature_call call = {.gradients = gradients, .n_rows = rows.n_rows, .cols = rows.cols, .sum = sum};
    rbe__arena arena = {0};
    take_products(&arena, window, &call);
    if (rbe__arena_allocate(&arena) != 0) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for windows of %u tokens", window);
    }
    take_products(&arena, window, &call);
    rbe_status status = RBE_OK;
    for (uint32_t first = 0; status == RBE_OK && first < rows.n_tokens; first += window) {
        call.x = rows.x + (size_t)first * rows.cols;
        call.d = rows.d + (size_t)first * rows.n_rows;
        call.n_tokens = rows.n_tokens - first < window ? rows.n_tokens - first : window;
        status = add_window(&call);
    }
    rbe__aligned_free(arena.memory);
    return gradients->n ? status : rbe__gradients_end(gradients, status);
}
