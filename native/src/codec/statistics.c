/* rbe_moment_add and rbe_inverse_factor: the statistics behind error feedback (docs/codec.md). Both use the runtime's dense kernel, whose
 * results depend on one row and one token alone; blocks are computed by one thread from beginning to end. So the bits do not depend on the
 * number of threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "kernels/kernels.h"
#include "parallel/thread_pool.h"
#include "rbe/codec.h"

#define SIDE 64u    /* rows and columns of a block */
#define PANEL 512u  /* tokens multiplied at once: two operands of SIDE x PANEL floats fit in the second-level cache */
#define SHORT 128u  /* the same of a factor: its operand lies on the stack */
#define MAX_COLS (1u << 18)

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* ---- moment ------------------------------------------------------------------------------------------------------ */

typedef struct moment_job {
    rbe_kernels kernels;
    const float *x;     /* [n_tokens][cols], of this panel */
    float *transposed;  /* [cols][PANEL] */
    uint32_t n_tokens, cols, n_blocks;
    float *moment;
} moment_job;

static void transpose_columns(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const moment_job *job = context;
    const uint32_t first = item * SIDE, past = smaller(first + SIDE, job->cols);
    for (uint32_t n = 0; n < job->n_tokens; n++) {
        for (uint32_t c = first; c < past; c++) {
            job->transposed[(size_t)c * job->n_tokens + n] = job->x[(size_t)n * job->cols + c];
        }
    }
}

/* One block of the lower triangle, item = row block (row block + 1) / 2 + column block. */
static void add_block(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const moment_job *job = context;
    uint32_t row_block = (uint32_t)((sqrt(8.0 * item + 1.0) - 1.0) / 2.0);
    while ((uint64_t)(row_block + 1) * (row_block + 2) / 2 <= item) {
        row_block++;
    }
    while ((uint64_t)row_block * (row_block + 1) / 2 > item) {
        row_block--;
    }
    const uint32_t row = row_block * SIDE, col = (item - row_block * (row_block + 1) / 2) * SIDE;
    const uint32_t rows = smaller(SIDE, job->cols - row), cols = smaller(SIDE, job->cols - col);
    float sums[SIDE * SIDE];
    job->kernels.dense_f32(job->transposed + (size_t)col * job->n_tokens, cols, job->n_tokens,
                           job->transposed + (size_t)row * job->n_tokens, job->n_tokens, rows, sums, SIDE);
    for (uint32_t r = 0; r < rows; r++) {
        float *to = job->moment + (size_t)(row + r) * job->cols + col;
        for (uint32_t c = 0; c < cols; c++) {
            to[c] += sums[r * SIDE + c];
        }
    }
}

rbe_status rbe_moment_add(const float *x, size_t n_tokens, uint32_t cols, uint32_t n_threads, float *moment)
{
    if (x == NULL || moment == NULL || cols == 0 || cols > MAX_COLS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_moment_add: an argument is NULL, or %u columns are not 1 to %u", cols, MAX_COLS);
    }
    RBE_TRY(rbe__thread_count(n_threads, &n_threads));
    moment_job job = {.cols = cols, .n_blocks = (cols - 1) / SIDE + 1, .moment = moment};
    rbe__kernels_select(NULL, &job.kernels);
    job.transposed = malloc((size_t)cols * PANEL * sizeof *job.transposed);
    if (job.transposed == NULL) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for statistics of %u columns", cols);
    }
    rbe__thread_pool *thread_pool = NULL;
    rbe_status status = rbe__thread_pool_create(n_threads, &thread_pool);
    for (size_t first = 0; status == RBE_OK && first < n_tokens; first += PANEL) {
        job.x = x + first * cols;
        job.n_tokens = n_tokens - first < PANEL ? (uint32_t)(n_tokens - first) : PANEL;
        rbe__thread_pool_run(thread_pool, job.n_blocks, transpose_columns, &job);
        rbe__thread_pool_run(thread_pool, job.n_blocks * (job.n_blocks + 1) / 2, add_block, &job);
    }
    rbe__thread_pool_free(thread_pool);
    free(job.transposed);
    return status;
}

/* ---- factor ------------------------------------------------------------------------------------------------------ *
 * H = V V^T with V upper triangular, then inverse(H) = U^T U with U = inverse(V). Both run over blocks from the last row to
 * the first, which is the usual Cholesky factorisation of H with rows and columns in opposite order: with L of that one,
 * lower triangular, V and U are L and inverse(L) turned round. The blocks of L lie below the diagonal of `a`, those of
 * inverse(L)^T above it, so that all products are of rows with rows; the diagonal blocks of both lie apart. */

typedef struct factor_job {
    rbe_kernels kernels;
    float *a;         /* [n][n], H turned round at first */
    double *factors;  /* [n_blocks][SIDE][SIDE]: diagonal blocks of L */
    double *inverses; /* the same of inverse(L) */
    uint32_t n, n_blocks, block;
    int failed;
} factor_job;

static float *at(const factor_job *job, uint32_t row_block, uint32_t col_block)
{
    return job->a + (size_t)row_block * SIDE * job->n + (size_t)col_block * SIDE;
}

static uint32_t side(const factor_job *job, uint32_t block)
{
    return smaller(SIDE, job->n - block * SIDE);
}

/* out[r][c] = sum over k of x[r][k] w[c][k], n_k long; rows of both n apart. */
static void multiply(const factor_job *job, const float *x, uint32_t rows, const float *w, uint32_t cols, uint32_t n_k, float *out)
{
    float packed[SIDE * SHORT], sums[SIDE * SIDE]; /* the kernel wants the rows of w without gaps */
    memset(out, 0, (size_t)SIDE * SIDE * sizeof *out);
    for (uint32_t k = 0; k < n_k; k += SHORT) {
        const uint32_t count = smaller(SHORT, n_k - k);
        for (uint32_t c = 0; c < cols; c++) {
            memcpy(packed + (size_t)c * count, w + (size_t)c * job->n + k, count * sizeof *packed);
        }
        job->kernels.dense_f32(packed, cols, count, x + k, job->n, rows, sums, SIDE);
        for (uint32_t i = 0; i < rows; i++) {
            for (uint32_t c = 0; c < cols; c++) {
                out[i * SIDE + c] += sums[i * SIDE + c];
            }
        }
    }
}

/* The diagonal block of L and its inverse, in double precision. */
static void factor_diagonal(factor_job *job)
{
    const uint32_t n = side(job, job->block);
    const float *h = at(job, job->block, job->block);
    double *l = job->factors + (size_t)job->block * SIDE * SIDE, *m = job->inverses + (size_t)job->block * SIDE * SIDE;
    float sums[SIDE * SIDE];
    const float *before = at(job, job->block, 0);
    multiply(job, before, n, before, n, job->block * SIDE, sums);
    for (uint32_t j = 0; j < n; j++) {
        for (uint32_t i = j; i < n; i++) {
            double value = (double)h[(size_t)i * job->n + j] - sums[i * SIDE + j];
            for (uint32_t k = 0; k < j; k++) {
                value -= l[i * SIDE + k] * l[j * SIDE + k];
            }
            if (i == j && !(value > 0 && isfinite(value))) {
                job->failed = 1;
                return;
            }
            l[i * SIDE + j] = i == j ? sqrt(value) : value / l[j * SIDE + j];
        }
    }
    for (uint32_t j = 0; j < n; j++) {
        m[j * SIDE + j] = 1.0 / l[j * SIDE + j];
        for (uint32_t i = j + 1; i < n; i++) {
            double value = 0;
            for (uint32_t k = j; k < i; k++) {
                value -= l[i * SIDE + k] * m[k * SIDE + j];
            }
            m[i * SIDE + j] = value / l[i * SIDE + i];
        }
    }
}

/* out[r][c] = sum over k <= c of x[r][k] m[c][k]: X times the transpose of a lower triangular diagonal block. */
static void times_inverse(const double *m, const float *x, uint32_t rows, uint32_t cols, float *out, size_t stride)
{
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c++) {
            double value = 0;
            for (uint32_t k = 0; k <= c; k++) {
                value += (double)x[r * SIDE + k] * m[c * SIDE + k];
            }
            out[r * stride + c] = (float)value;
        }
    }
}

/* L_ij = (H_ij - sum over k < j of L_ik L_jk^T) inverse(L_jj)^T, j the block, i behind it. */
static void factor_below(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const factor_job *job = context;
    const uint32_t i = job->block + 1 + item, rows = side(job, i), cols = side(job, job->block);
    float *block = at(job, i, job->block), sums[SIDE * SIDE];
    multiply(job, at(job, i, 0), rows, at(job, job->block, 0), cols, job->block * SIDE, sums);
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c++) {
            sums[r * SIDE + c] = block[(size_t)r * job->n + c] - sums[r * SIDE + c];
        }
    }
    times_inverse(job->inverses + (size_t)job->block * SIDE * SIDE, sums, rows, cols, block, job->n);
}

/* With M = inverse(L): M_ij = -inverse(L_ii) (sum over j <= k < i of L_ik M_kj), i the block, j before it. Stored at (j, i), transposed;
 * the block M_jj^T of the sum is put into place beforehand. */
static void invert_before(void *context, uint32_t j, uint32_t thread)
{
    (void)thread;
    const factor_job *job = context;
    const uint32_t i = job->block, rows = side(job, j), cols = side(job, i);
    float sums[SIDE * SIDE];
    multiply(job, at(job, j, j), rows, at(job, i, j), cols, (i - j) * SIDE, sums);
    for (uint32_t value = 0; value < SIDE * SIDE; value++) {
        sums[value] = -sums[value];
    }
    times_inverse(job->inverses + (size_t)i * SIDE * SIDE, sums, rows, cols, at(job, j, i), job->n);
}

/* M_ii^T, upper triangular, to its place: the block of L there is not needed any more. */
static void place_diagonal(const factor_job *job, uint32_t block)
{
    const double *m = job->inverses + (size_t)block * SIDE * SIDE;
    float *to = at(job, block, block);
    for (uint32_t r = 0; r < side(job, block); r++) {
        for (uint32_t c = 0; c < side(job, block); c++) {
            to[(size_t)r * job->n + c] = c >= r ? (float)m[c * SIDE + r] : 0.0f;
        }
    }
}

static void reverse(float *values, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        const float first = values[i];
        values[i] = values[n - 1 - i];
        values[n - 1 - i] = first;
    }
}

static rbe_status factor(factor_job *job, rbe__thread_pool *thread_pool)
{
    for (job->block = 0; job->block < job->n_blocks; job->block++) {
        factor_diagonal(job);
        if (job->failed) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "the matrix is not positive definite; dampen it more");
        }
        rbe__thread_pool_run(thread_pool, job->n_blocks - 1 - job->block, factor_below, job);
    }
    for (job->block = 0; job->block < job->n_blocks; job->block++) {
        rbe__thread_pool_run(thread_pool, job->block, invert_before, job);
        place_diagonal(job, job->block);
    }
    return RBE_OK;
}

rbe_status rbe_inverse_factor(float *h, uint32_t n, uint32_t n_threads)
{
    if (h == NULL || n == 0 || n > MAX_COLS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_inverse_factor: the matrix is NULL, or its side %u is not 1 to %u", n, MAX_COLS);
    }
    RBE_TRY(rbe__thread_count(n_threads, &n_threads));
    factor_job job = {.a = h, .n = n, .n_blocks = (n - 1) / SIDE + 1};
    rbe__kernels_select(NULL, &job.kernels);
    const size_t diagonal = (size_t)job.n_blocks * SIDE * SIDE;
    job.factors = malloc(2 * diagonal * sizeof *job.factors);
    if (job.factors == NULL) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a factor of %u columns", n);
    }
    job.inverses = job.factors + diagonal;
    rbe__thread_pool *thread_pool = NULL;
    rbe_status status = rbe__thread_pool_create(n_threads, &thread_pool);
    if (status == RBE_OK) {
        reverse(h, (size_t)n * n);
        for (uint32_t row = 0; row < n; row++) { /* the caller's lower triangle is now the upper one */
            for (uint32_t col = 0; col < row; col++) {
                h[(size_t)row * n + col] = h[(size_t)col * n + row];
            }
        }
        status = factor(&job, thread_pool);
    }
    if (status == RBE_OK) { /* above the diagonal M^T; U = M turned round, which reversing M^T = M's transpose gives transposed */
        for (uint32_t row = 0; row < n; row++) {
            for (uint32_t col = 0; col < row; col++) {
                h[(size_t)row * n + col] = h[(size_t)col * n + row];
                h[(size_t)col * n + row] = 0.0f;
            }
        }
        reverse(h, (size_t)n * n);
    }
    rbe__thread_pool_free(thread_pool);
    free(job.factors);
    return status;
}
