/* The loss of one token by its logits: cross entropy with a label, given or drawn, or the divergence from what a source predicts. */
#include "gradients/head_loss.h"

#include <math.h>
#include <string.h>

#include "base/elementary.h"
#include "base/random.h"

#define BLOCK RBE_LOGIT_BLOCK

/* Uniform on [0, 1): output `index` of splitmix64 from `seed` on. */
static double uniform(uint64_t seed, uint64_t index)
{
    uint64_t state = seed + index * 0x9E3779B97F4A7C15u;
    return (double)(rbe__splitmix64(&state) >> 11) * 0x1p-53;
}

rbe__token_draw rbe__draw_block(const rbe__head_job *job, uint32_t token)
{
    const uint32_t n_blocks = rbe__logit_blocks(job->own->stack->n_vocabulary);
    const rbe__logit_block *blocks = job->own->blocks + (size_t)token * n_blocks;
    const rbe__logit_sum *sum = &job->own->sums[token];
    double left = uniform(job->seed, token) * sum->sum;
    for (uint32_t b = 0;; b++) {
        const double factor = rbe__exp((double)blocks[b].largest - (double)sum->largest), share = blocks[b].sum * factor;
        if (left < share || b + 1 == n_blocks) {
            return (rbe__token_draw){b, left / factor};
        }
        left -= share;
    }
}

/* The label within its block: where the sum of exponentials exceeds what is left; values: the block's logits. */
static uint32_t draw_label(const rbe__head_job *job, const rbe__token_draw *draw, const float *values, uint32_t n)
{
    float exponents[BLOCK], largest = -INFINITY;
    memcpy(exponents, values, n * sizeof *values);
    (void)job->gradients->stack->kernels->online_softmax(exponents, n, &largest);
    double sum = 0;
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)exponents[i];
        found = exponents[i] > 0.0f ? i : found; /* rounding must not choose what cannot be */
        if (sum > draw->left) {
            break;
        }
    }
    return draw->block * BLOCK + found;
}

/* probabilities[n] of logits of one token. */
static void soften(const rbe__head_job *job, const rbe__logit_sum *sum, const float *values, uint32_t n, float *probabilities)
{
    for (uint32_t i = 0; i < n; i++) {
        probabilities[i] = values[i] - sum->largest - (float)sum->log_sum;
    }
    job->gradients->stack->kernels->exponential(probabilities, n);
}

/* d [n] becomes the gradient by logits row ... of one token behind the soft cap, from their probabilities; values: these logits. */
static void toward_label(const rbe__head_job *job, uint32_t token, uint32_t row, const float *values, uint32_t n, float *d)
{
    const rbe__logit_sum *sum = &job->own->sums[token];
    const rbe__token_draw *draw = &job->gradients->head.draws[token];
    uint32_t label = RBE_NO_TOKEN; /* in another block */
    if (draw->block == row / BLOCK) {
        label = job->labels[token] = draw_label(job, draw, values, n);
    } else if (draw->block == UINT32_MAX) {
        label = job->labels[token];
    }
    if (label - row < n) { /* below `row` it wraps around */
        d[label - row] -= 1.0f;
        if (job->nats) {
            job->nats[token] = sum->log_sum - ((double)values[label - row] - (double)sum->largest);
        }
    }
}

/* The same for what the source predicts; keeps the share of the divergence that this block has. */
static void toward_source(const rbe__head_job *job, uint32_t token, uint32_t item, const float *values, float *d)
{
    const rbe__logit_sum *own = &job->own->sums[token], *other = &job->source->sums[token];
    float theirs[BLOCK], probabilities[BLOCK];
    const uint32_t n = rbe__copy_block(job->source, token, item, theirs);
    soften(job, other, theirs, n, probabilities);
    const double shift = ((double)own->largest + own->log_sum) - ((double)other->largest + other->log_sum);
    double share = 0;
    for (uint32_t i = 0; i < n; i++) {
        share += (double)probabilities[i] * ((double)theirs[i] - (double)values[i] + shift);
        d[i] -= probabilities[i];
    }
    const size_t block = job->own->first_row / BLOCK + item;
    job->gradients->head.shares[token * (size_t)rbe__logit_blocks(job->own->stack->n_vocabulary) + block] = share;
}

void rbe__differentiate_logits(const rbe__head_job *job, uint32_t token, uint32_t item, uint32_t n, const float *values, float *d)
{
    const float softcap = job->own->stack->logit_softcap;
    if (!job->source && job->gradients->head.draws[token].block == UINT32_MAX && job->labels[token] == RBE_NO_TOKEN) {
        memset(d, 0, n * sizeof *d);
        return;
    }
    soften(job, &job->own->sums[token], values, n, d);
    if (job->source) {
        toward_source(job, token, item, values, d);
    } else {
        toward_label(job, token, job->own->first_row + item * BLOCK, values, n, d);
    }
    const float inverse = softcap != 0.0f ? 1.0f / softcap : 0.0f;
    for (uint32_t i = 0; softcap != 0.0f && i < n; i++) {
        const float share = values[i] * inverse;
        d[i] *= 1.0f - share * share;
    }
}
