/* Logits of parts of the vocabulary, and the sums of their exponentials. */
#include "gradients/prediction.h"

#include <math.h>
#include <string.h>

#include "base/elementary.h"
#include "gradients/gradients.h"

typedef struct prediction_job {
    const rbe_gradients *gradients;
    const rbe__prediction *prediction;
} prediction_job;

rbe_status rbe__predict_part(const rbe_gradients *gradients, rbe__prediction *prediction, uint32_t first_row, uint32_t rows)
{
    const uint32_t left = prediction->stack->n_vocabulary - first_row;
    prediction->first_row = first_row;
    prediction->n_rows = left < rows ? left : rows;
    return rbe__matrix_forward(gradients, &prediction->stack->lm_head, first_row, prediction->n_rows, prediction->normed,
                               prediction->logits);
}

uint32_t rbe__copy_block(const rbe__prediction *prediction, uint32_t token, uint32_t block, float *out)
{
    const rbe__stack *stack = prediction->stack;
    const uint32_t first = block * RBE_LOGIT_BLOCK, left = prediction->n_rows - first;
    const uint32_t n = left < RBE_LOGIT_BLOCK ? left : RBE_LOGIT_BLOCK;
    memcpy(out, prediction->logits + (size_t)token * prediction->n_rows + first, n * sizeof *out);
    if (stack->logit_softcap != 0.0f) {
        stack->kernels->softcap(out, n, stack->logit_softcap);
    }
    return n;
}

static void sum_block(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const prediction_job *job = context;
    const rbe__prediction *prediction = job->prediction;
    const uint32_t n_blocks = rbe__logit_blocks(prediction->stack->n_vocabulary), first_block = prediction->first_row / RBE_LOGIT_BLOCK;
    float values[RBE_LOGIT_BLOCK];
    for (uint32_t token = 0; token < job->gradients->n && !rbe__gradients_stopped(job->gradients); token++) {
        const uint32_t n = rbe__copy_block(prediction, token, item, values);
        float largest = -INFINITY;
        const float sum = job->gradients->stack->kernels->online_softmax(values, n, &largest);
        prediction->blocks[(size_t)token * n_blocks + first_block + item] = (rbe__logit_block){largest, (double)sum};
    }
}

void rbe__sum_part(const rbe_gradients *gradients, const rbe__prediction *prediction)
{
    prediction_job job = {gradients, prediction};
    rbe__thread_pool_run(gradients->thread_pool, rbe__logit_blocks(prediction->n_rows), sum_block, &job);
}

static void sum_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const rbe__prediction *prediction = ((const prediction_job *)context)->prediction;
    const uint32_t n_blocks = rbe__logit_blocks(prediction->stack->n_vocabulary);
    const rbe__logit_block *blocks = prediction->blocks + (size_t)token * n_blocks;
    float largest = blocks[0].largest;
    for (uint32_t b = 1; b < n_blocks; b++) {
        largest = blocks[b].largest > largest ? blocks[b].largest : largest;
    }
    double sum = 0;
    for (uint32_t b = 0; b < n_blocks; b++) {
        sum += blocks[b].sum * rbe__exp((double)blocks[b].largest - (double)largest);
    }
    prediction->sums[token] = (rbe__logit_sum){.largest = largest, .sum = sum, .log_sum = rbe__log(sum)};
}

void rbe__sum_parts(const rbe_gradients *gradients, const rbe__prediction *prediction)
{
    prediction_job job = {gradients, prediction};
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, sum_token, &job);
}
