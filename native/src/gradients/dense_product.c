/* The kernel that sums weighted rows is the inner loop of a matrix product: 6 rows of c stand in registers beside one another, and every
 * element is a chain of fused multiply-adds. What is left to do is to keep its operands near: b in panels of PANEL columns and DEPTH rows, which
 * fit in the second-level cache, read for PART rows of c (K. Goto, R. van de Geijn: "Anatomy of high-performance matrix multiplication", 2008). */
#include "gradients/dense_product.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"

enum {
    PANEL = 64,  /* columns: a multiple of what every kernel set takes at once */
    DEPTH = 256, /* rows of b: its panel takes 64 KiB */
    PART = 240,  /* rows of c of one item, a multiple of 6 */
    SIDE = 32    /* of a square that is transposed at once: both of its sides fit in the first-level cache */
};

typedef struct product_job {
    const rbe__dense_product_call *call;
    const rbe_kernels *kernels;
    rbe__dense_operand a; /* columns beside one another */
    float *transposed;    /* what it then is; NULL where it was so already */
    float *panels;        /* [thread][DEPTH][PANEL] */
    uint32_t n_panels;
    uint32_t span; /* rows of c of one item */
} product_job;

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* to[rows][to_stride] = from[rows][cols] */
static void copy_part(rbe__dense_operand from, uint32_t rows, uint32_t cols, float *to, size_t to_stride)
{
    if (from.col_stride == 1) {
        for (uint32_t r = 0; r < rows; r++) {
            memcpy(to + r * to_stride, from.data + r * from.row_stride, cols * sizeof *to);
        }
        return;
    }
    for (uint32_t first = 0; first < rows; first += SIDE) {
        const uint32_t past = smaller(first + SIDE, rows);
        for (uint32_t c = 0; c < cols; c++) {
            for (uint32_t r = first; r < past; r++) {
                to[r * to_stride + c] = from.data[r * from.row_stride + c * from.col_stride];
            }
        }
    }
}

/* SIDE rows of a */
static void transpose_rows(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const product_job *job = context;
    const rbe__dense_product_call *call = job->call;
    const size_t row = (size_t)item * SIDE;
    const uint32_t rows = smaller(SIDE, call->m - (uint32_t)row);
    for (uint32_t first = 0; first < call->k; first += SIDE) {
        const rbe__dense_operand from = {call->a.data + row * call->a.row_stride + first * call->a.col_stride, call->a.row_stride,
                                         call->a.col_stride};
        copy_part(from, rows, smaller(SIDE, call->k - first), job->transposed + row * call->k + first, call->k);
    }
}

/* Rows of c from `row` on times the panel: sums over rows first ... of b. */
static void multiply_panel(const product_job *job, const float *panel, uint32_t row, uint32_t rows, uint32_t col, uint32_t cols,
                           uint32_t first, uint32_t depth)
{
    float keep[PART];
    const rbe__dense_product_call *call = job->call;
    for (uint32_t r = 0; r < PART; r++) {
        keep[r] = 1.0f;
    }
    for (uint32_t done = 0; done < rows; done += PART) {
        const size_t at = (size_t)row + done;
        job->kernels->weighted_sum_f32(job->a.data + at * job->a.row_stride + first, job->a.row_stride, panel, PANEL, depth, cols,
                                       smaller(PART, rows - done), call->add || first > 0 ? keep : NULL,
                                       call->c + at * call->c_stride + col, call->c_stride);
    }
}

/* `span` rows of PANEL columns of c */
static void multiply_part(void *context, uint32_t item, uint32_t thread)
{
    const product_job *job = context;
    const rbe__dense_product_call *call = job->call;
    float *const panel = job->panels + (size_t)thread * DEPTH * PANEL;
    const uint32_t row = item / job->n_panels * job->span, col = item % job->n_panels * PANEL;
    const uint32_t rows = smaller(job->span, call->m - row), cols = smaller(PANEL, call->n - col);
    for (uint32_t first = 0; first < call->k; first += DEPTH) {
        const uint32_t depth = smaller(DEPTH, call->k - first);
        const rbe__dense_operand b = {call->b.data + first * call->b.row_stride + col * call->b.col_stride, call->b.row_stride,
                                      call->b.col_stride};
        copy_part(b, depth, cols, panel, PANEL);
        multiply_panel(job, panel, row, rows, col, cols, first, depth);
    }
    for (uint32_t r = row; call->k == 0 && !call->add && r < row + rows; r++) {
        memset(call->c + r * call->c_stride + col, 0, cols * sizeof *call->c);
    }
}

rbe_status rbe__dense_product(rbe__thread_pool *pool, const rbe_kernels *kernels, const rbe__dense_product_call *call)
{
    if (call->m == 0 || call->n == 0) {
        return RBE_OK;
    }
    product_job job = {.call = call, .kernels = kernels, .a = call->a, .n_panels = (call->n - 1) / PANEL + 1};
    job.panels = malloc((size_t)rbe__thread_pool_threads(pool) * DEPTH * PANEL * sizeof *job.panels);
    if (call->a.col_stride != 1 && call->k > 0) {
        job.transposed = malloc((size_t)call->m * call->k * sizeof *job.transposed);
    }
    if (job.panels == NULL || (call->a.col_stride != 1 && call->k > 0 && job.transposed == NULL)) {
        free(job.transposed);
        free(job.panels);
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a product of %u x %u and %u x %u", call->m, call->k, call->k, call->n);
    }
    if (job.transposed != NULL) {
        rbe__thread_pool_run(pool, (call->m - 1) / SIDE + 1, transpose_rows, &job);
        job.a = (rbe__dense_operand){job.transposed, call->k, 1};
    }
    /* Where there are panels enough for all threads, each is copied once for all rows. */
    job.span = job.n_panels >= 2 * rbe__thread_pool_threads(pool) ? call->m : PART;
    rbe__thread_pool_run(pool, job.n_panels * ((call->m - 1) / job.span + 1), multiply_part, &job);
    free(job.transposed);
    free(job.panels);
    return RBE_OK;
}
