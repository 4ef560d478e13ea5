/* rbe_log_probabilities and rbe_divergence: what the packer's sensitivities are made of (docs/codec.md). Products are those of the runtime's
 * dense kernel and sums have a fixed order, so that the bits depend neither on threads nor on the processor. */
#include <string.h>

#include "base/elementary.h"
#include "base/status.h"
#include "kernels/kernels.h"
#include "parallel/thread_pool.h"
#include "rbe/codec.h"

#define ROWS 64u /* of the head in one item: they stay in the second-level cache for all tokens */
#define PIECE 256u /* values at a time, on the stack */

/* A sum in double precision with 8 lanes, value i in lane i % 8: independent additions, in one order. */
typedef struct long_sum {
    double lanes[8];
} long_sum;

static void add_values(long_sum *sum, const float *values, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        sum->lanes[i % 8] += (double)values[i];
    }
}

static double total_of(const long_sum *sum)
{
    double total = 0;
    for (uint32_t i = 0; i < 8; i++) {
        total += sum->lanes[i];
    }
    return total;
}

static uint32_t piece_of(uint32_t n, uint32_t first)
{
    return n - first < PIECE ? n - first : PIECE;
}

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
    float *logits = job->out + (size_t)item * n, largest, piece[PIECE];
    if (job->softcap > 0) {
        job->kernels.softcap(logits, n, job->softcap);
    }
    largest = logits[0];
    for (uint32_t i = 1; i < n; i++) {
        largest = logits[i] > largest ? logits[i] : largest;
    }
    long_sum sum = {{0}};
    for (uint32_t first = 0; first < n; first += PIECE) {
        const uint32_t here = piece_of(n, first);
        for (uint32_t i = 0; i < here; i++) {
            logits[first + i] -= largest;
        }
        memcpy(piece, logits + first, here * sizeof *piece);
        job->kernels.exponential(piece, here);
        add_values(&sum, piece, here);
    }
    const float log_sum = (float)rbe__log(total_of(&sum));
    for (uint32_t i = 0; i < n; i++) {
        logits[i] -= log_sum;
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
    long_sum sum = {{0}};
    for (uint32_t first = 0; first < job->n_vocabulary; first += PIECE) {
        const uint32_t here = piece_of(job->n_vocabulary, first);
        memcpy(piece, expected + first, here * sizeof *piece);
        job->kernels.exponential(piece, here);
        for (uint32_t i = 0; i < here; i++) {
            piece[i] *= expected[first + i] - given[first + i];
        }
        add_values(&sum, piece, here);
    }
    job->nats[item] = total_of(&sum);
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
