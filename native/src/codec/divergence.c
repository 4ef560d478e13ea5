/* rbe_log_probabilities and rbe_divergence: what the packer's sensitivities are made of (docs/codec.md). Products are those of the runtime's
 * dense kernel and sums have a fixed order, so that the bits depend neither on threads nor on the processor. */
#include <string.h>

#include "base/status.h"
#include "kernels/kernels.h"
#include "kernels/log_sum.h"
#include "parallel/thread_pool.h"
#include "rbe/codec.h"

#define ROWS 64u /* of the head in one item: they stay in the second-level cache for all tokens */
#define PIECE 256u /* values at a time, on the stack */

/* ---- log-probabilities ------------------------------------------------------------------------------------------- */

typedef struct softmax_job {
    rbe_kernels kernels;
    const float *head, *x;
    uint32_t n_vocabulary, width, n_tokens;
    float softcap;
    float *out;
} softmax_job;

static void multiply_rows(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const softmax_job *job = context;
    const uint32_t first = item * ROWS, left = job->n_vocabulary - first;
    job->kernels.dense_f32(job->head + (size_t)first * job->width, left < ROWS ? left : ROWS, job->width, job->x, job->width, job->n_tokens,
                           job->out + first, job->n_vocabulary);
}

static void log_softmax(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const softmax_job *job = context;
    const uint32_t n = job->n_vocabulary;
    float *logits = job->out + (size_t)item * n, largest;
    if (job->softcap > 0) {
        job->kernels.softcap(logits, n, job->softcap);
    }
    const float log_sum = (float)rbe__log_sum(&job->kernels, logits, n, &largest);
    for (uint32_t i = 0; i < n; i++) {
        logits[i] = logits[i] - largest - log_sum;
    }
}

rbe_status rbe_log_probabilities(const float *head, uint32_t n_vocabulary, uint32_t width, const float *x, uint32_t n_tokens, float softcap,
                                 uint32_t n_threads, float *out)
{
    if (head == NULL || x == NULL || out == NULL || n_vocabulary == 0 || width == 0 || !(softcap >= 0)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_log_probabilities: an argument is NULL, zero or negative");
    }
    RBE_TRY(rbe__thread_count(n_threads, &n_threads));
    softmax_job job = {
        .head = head, .x = x, .n_vocabulary = n_vocabulary, .width = width, .n_tokens = n_tokens, .softcap = softcap, .out = out};
    rbe__kernels_select(NULL, &job.kernels);
    RBE_TRY(rbe__parallel(n_threads, (n_vocabulary - 1) / ROWS + 1, multiply_rows, &job));
    return rbe__parallel(n_threads, n_tokens, log_softmax, &job);
}

/* ---- divergence -------------------------------------------------------------------------------------------------- */

typedef struct divergence_job {
    rbe_kernels kernels;
    const float *expected, *given;
    uint32_t n_vocabulary;
    double *nats;
} divergence_job;

static void diverge(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const divergence_job *job = context;
    const float *expected = job->expected + (size_t)item * job->n_vocabulary, *given = job->given + (size_t)item * job->n_vocabulary;
    float piece[PIECE];
    rbe__long_sum sum = {{0}};
    for (uint32_t first = 0; first < job->n_vocabulary; first += PIECE) {
        const uint32_t here = job->n_vocabulary - first < PIECE ? job->n_vocabulary - first : PIECE;
        memcpy(piece, expected + first, here * sizeof *piece);
        job->kernels.exponential(piece, here);
        for (uint32_t i = 0; i < here; i++) {
            piece[i] *= expected[first + i] - given[first + i];
        }
        rbe__long_sum_add(&sum, piece, here);
    }
    job->nats[item] = rbe__long_sum_total(&sum);
}

rbe_status rbe_divergence(const float *expected, const float *given, uint32_t n_tokens, uint32_t n_vocabulary, uint32_t n_threads,
                          double *nats)
{
    if (expected == NULL || given == NULL || nats == NULL || n_vocabulary == 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_divergence: an argument is NULL or zero");
    }
    RBE_TRY(rbe__thread_count(n_threads, &n_threads));
    divergence_job job = {.expected = expected, .given = given, .n_vocabulary = n_vocabulary, .nats = nats};
    rbe__kernels_select(NULL, &job.kernels);
    return rbe__parallel(n_threads, n_tokens, diverge, &job);
}
