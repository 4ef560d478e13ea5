/* Causal convolutions of a few taps, of each channel for itself: sum[t] = bias + sum over taps of tap x[t - back], window by window. */
#include <stdio.h>

#include "base/status.h"
#include "gradients/gradients.h"

enum { CHANNELS = 16 }; /* that one thread sums up at once */

typedef struct taps_job {
    const rbe_gradients *gradients;
    const float *taps, *bias; /* [channels][n_taps], the latest token's last; [channels] or NULL */
    uint32_t channels, n_taps;
    const float *x, *d; /* [n][channels] what is read, the gradient by the sums */
    float *out; /* [n][channels] the sums or the gradient by x; or [channels][n_taps] */
} taps_job;

static taps_job job_of(const rbe_gradients *gradients, const rbe__projection *taps, const float *x, const float *d, float *out)
{
    return (taps_job){.gradients = gradients,
                      .taps = (const float *)(const void *)taps->weight->data,
                      .bias = taps->bias,
                      .channels = taps->weight->rows,
                      .n_taps = taps->weight->cols,
                      .x = x,
                      .d = d,
                      .out = out};
}

static void sum_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const taps_job *job = context;
    const uint32_t position = token % job->gradients->window;
    const size_t at = (size_t)token * job->channels;
    float *sum = job->out + at;
    for (uint32_t c = 0; c < job->channels; c++) {
        sum[c] = job->bias ? job->bias[c] : 0.0f;
    }
    for (uint32_t t = 0; t < job->n_taps; t++) {
        const uint32_t back = job->n_taps - 1 - t;
        const float *x = job->x + at - (back <= position ? (size_t)back * job->channels : 0);
        for (uint32_t c = 0; back <= position && c < job->channels; c++) {
            sum[c] += job->taps[(size_t)c * job->n_taps + t] * x[c];
        }
    }
}

void rbe__taps_forward(const rbe_gradients *gradients, const rbe__projection *taps, const float *x, float *sum)
{
    taps_job job = job_of(gradients, taps, x, NULL, sum);
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, sum_token, &job);
}

/* The gradient by what was read of a token, which later ones of its window read too. */
static void back_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const taps_job *job = context;
    const uint32_t position = token % job->gradients->window;
    const size_t at = (size_t)token * job->channels;
    float *d_x = job->out + at;
    for (uint32_t c = 0; c < job->channels; c++) {
        d_x[c] = 0.0f;
    }
    for (uint32_t ahead = 0; ahead < job->n_taps; ahead++) {
        if (position + ahead >= job->gradients->window || token + ahead >= job->gradients->n) {
            break;
        }
        const float *d = job->d + at + (size_t)ahead * job->channels;
        for (uint32_t c = 0; c < job->channels; c++) {
            d_x[c] += job->taps[(size_t)c * job->n_taps + job->n_taps - 1 - ahead] * d[c];
        }
    }
}

/* The gradient by the taps of some channels: sums over the tokens. */
static void back_channels(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const taps_job *job = context;
    const uint32_t first = item * CHANNELS, n = job->channels - first < CHANNELS ? job->channels - first : CHANNELS;
    for (uint32_t t = 0; t < job->n_taps && !rbe__gradients_stopped(job->gradients); t++) {
        const uint32_t back = job->n_taps - 1 - t;
        double sums[CHANNELS] = {0};
        for (uint32_t token = 0; token < job->gradients->n; token++) {
            const int is_seen = token % job->gradients->window >= back;
            const float *d = job->d + (size_t)token * job->channels + first;
            const float *x = job->x + (size_t)(token - (is_seen ? back : 0)) * job->channels + first;
            for (uint32_t c = 0; is_seen && c < n; c++) {
                sums[c] += (double)d[c] * (double)x[c];
            }
        }
        for (uint32_t c = 0; c < n; c++) {
            job->out[(size_t)(first + c) * job->n_taps + t] = (float)sums[c];
        }
    }
}

static rbe_status show(rbe_gradients *gradients, const rbe__matrix *taps, const float *d, float *d_taps)
{
    taps_job job = job_of(gradients, taps->projection, taps->x, d, d_taps);
    rbe__thread_pool_run(gradients->thread_pool, (job.channels - 1) / CHANNELS + 1, back_channels, &job);
    rbe_gradient gradient = {
        .name = taps->name, .layer = taps->layer, .rows = job.channels, .cols = job.n_taps, .n_rows = job.channels, .d = d_taps};
    RBE_TRY(rbe__gradients_show(gradients, gradient));
    if (!job.bias) {
        return RBE_OK;
    }
    char name[RBE_GRADIENT_NAME_BYTES];
    snprintf(name, sizeof name, "%s.bias", taps->name);
    return rbe__vector_show(gradients, name, taps->layer, d, job.channels);
}

rbe_status rbe__taps_backward(rbe_gradients *gradients, const rbe__matrix *taps, const float *d, float *d_taps, float *d_x)
{
    if (gradients->show) {
        RBE_TRY(show(gradients, taps, d, d_taps));
    }
    taps_job job = job_of(gradients, taps->projection, NULL, d, d_x);
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, back_token, &job);
    return rbe__gradients_check(gradients);
}
