/* rbe_gradients_head: the last norm, the lm_head and cross entropy. The vocabulary comes in blocks, whose sums of exponentials are kept for every
 * token, and in parts, whose logits are in memory at a time. Where there is more than one part, logits are computed twice. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/elementary.h"
#include "base/random.h"
#include "base/status.h"
#include "gradients/gradients.h"

#define BLOCK 1024u /* of the vocabulary */
#define MOST_LOGITS (32u << 20) /* of a part, 128 MB, unless one block of all tokens takes more */

/* The exponentials of one block: sum over v of exp(logit - largest). */
typedef struct rbe__logit_block {
    float largest;
    double sum;
} logit_block;

/* Of one token. A label that is to be drawn lies in draw_block: `left` of its exponentials' sum go before it. */
typedef struct rbe__token_loss {
    float largest;
    double log_sum; /* of exp(logit - largest) over the vocabulary */
    uint32_t label, draw_block;
    double left;
} token_loss;

typedef struct head_job {
    rbe_gradients *gradients;
    uint32_t *labels;
    uint64_t seed;
    double *nats;
    uint32_t first_row, n_rows; /* the part */
} head_job;

static uint32_t blocks_of(const rbe__stack *stack)
{
    return (stack->n_vocabulary - 1) / BLOCK + 1;
}

/* Rows of a part for the tokens of the call. */
static uint32_t part_rows(const rbe_gradients *gradients)
{
    const rbe__stack *stack = gradients->stack;
    const uint32_t blocks = gradients->head.most_logits / gradients->n / BLOCK;
    const uint32_t rows = (blocks ? blocks : 1) * BLOCK;
    return rows < stack->n_vocabulary ? rows : stack->n_vocabulary;
}

void rbe__head_take(rbe_gradients *gradients)
{
    const rbe__stack *stack = gradients->stack;
    rbe__arena *arena = &gradients->arena;
    const size_t n = gradients->most_tokens, all = rbe__arena_count(n, stack->n_vocabulary), one = rbe__arena_count(n, BLOCK);
    const size_t most = one > MOST_LOGITS ? one : MOST_LOGITS;
    gradients->head.most_logits = MOST_LOGITS;
    gradients->head.logits = rbe__arena_take(arena, all < most ? all : most, sizeof(float));
    gradients->head.blocks = rbe__arena_take(arena, rbe__arena_count(n, blocks_of(stack)), sizeof(logit_block));
    gradients->head.losses = rbe__arena_take(arena, n, sizeof(token_loss));
}

/* The logits of a block of one token, behind the soft cap, in `out`; returns how many. */
static uint32_t copy_block(const head_job *job, uint32_t token, uint32_t block, float *out)
{
    const rbe__stack *stack = job->gradients->stack;
    const uint32_t first = block * BLOCK, n = job->n_rows - first < BLOCK ? job->n_rows - first : BLOCK;
    memcpy(out, job->gradients->head.logits + (size_t)token * job->n_rows + first, n * sizeof *out);
    if (stack->logit_softcap != 0.0f) {
        stack->kernels->softcap(out, n, stack->logit_softcap);
    }
    return n;
}

static void sum_block(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const head_job *job = context;
    const rbe_gradients *gradients = job->gradients;
    const uint32_t n_blocks = blocks_of(gradients->stack), first_block = job->first_row / BLOCK;
    float values[BLOCK];
    for (uint32_t token = 0; token < gradients->n && !rbe__gradients_stopped(gradients); token++) {
        const uint32_t n = copy_block(job, token, item, values);
        float largest = -INFINITY;
        const float sum = gradients->stack->kernels->online_softmax(values, n, &largest);
        gradients->head.blocks[(size_t)token * n_blocks + first_block + item] = (logit_block){largest, (double)sum};
    }
}

/* Uniform on [0, 1): output `index` of splitmix64 from `seed` on. */
static double uniform(uint64_t seed, uint64_t index)
{
    uint64_t state = seed + index * 0x9E3779B97F4A7C15u;
    return (double)(rbe__splitmix64(&state) >> 11) * 0x1p-53;
}

/* The sum over all blocks of a token, and the block of its label where that is to be drawn. */
static void sum_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const head_job *job = context;
    const uint32_t n_blocks = blocks_of(job->gradients->stack);
    const logit_block *blocks = job->gradients->head.blocks + (size_t)token * n_blocks;
    token_loss *loss = &job->gradients->head.losses[token];
    float largest = blocks[0].largest;
    for (uint32_t b = 1; b < n_blocks; b++) {
        largest = blocks[b].largest > largest ? blocks[b].largest : largest;
    }
    double sum = 0;
    for (uint32_t b = 0; b < n_blocks; b++) {
        sum += blocks[b].sum * rbe__exp((double)blocks[b].largest - (double)largest);
    }
    *loss = (token_loss){.largest = largest, .log_sum = rbe__log(sum), .label = job->labels[token]};
    if (loss->label != RBE_DRAW_TOKEN) {
        return;
    }
    double left = uniform(job->seed, token) * sum;
    for (uint32_t b = 0; b < n_blocks; b++) {
        const double factor = rbe__exp((double)blocks[b].largest - (double)largest), share = blocks[b].sum * factor;
        if (left < share || b + 1 == n_blocks) {
            loss->draw_block = b;
            loss->left = left / factor;
            return;
        }
        left -= share;
    }
}

/* The label within its block: where the sum of exponentials exceeds what is left; values: the block's logits. */
static uint32_t draw_label(const head_job *job, const token_loss *loss, const float *values, uint32_t n)
{
    const rbe_gradients *gradients = job->gradients;
    float exponents[BLOCK], largest = -INFINITY;
    memcpy(exponents, values, n * sizeof *values);
    (void)gradients->stack->kernels->online_softmax(exponents, n, &largest);
    double sum = 0;
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)exponents[i];
        found = exponents[i] > 0.0f ? i : found; /* rounding must not choose what cannot be */
        if (sum > loss->left) {
            break;
        }
    }
    return loss->draw_block * BLOCK + found;
}

/* d [n]: the gradient by logits first_row + first ... of one token before the soft cap; values: these logits behind it. */
static void differentiate(const head_job *job, uint32_t token, uint32_t first, uint32_t n, const float *values, float *d)
{
    const rbe__stack *stack = job->gradients->stack;
    const token_loss *loss = &job->gradients->head.losses[token];
    const uint32_t row = job->first_row + first;
    uint32_t label = loss->label;
    if (label == RBE_NO_TOKEN) {
        memset(d, 0, n * sizeof *d);
        return;
    }
    if (label == RBE_DRAW_TOKEN) {
        label = RBE_NO_TOKEN; /* in another block */
        if (loss->draw_block == row / BLOCK) {
            label = job->labels[token] = draw_label(job, loss, values, n);
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        d[i] = values[i] - loss->largest - (float)loss->log_sum;
    }
    stack->kernels->exponential(d, n);
    if (label - row < n) { /* below `row` it wraps around */
        d[label - row] -= 1.0f;
        if (job->nats) {
            job->nats[token] = loss->log_sum - ((double)values[label - row] - (double)loss->largest);
        }
    }
    const float inverse = stack->logit_softcap != 0.0f ? 1.0f / stack->logit_softcap : 0.0f;
    for (uint32_t i = 0; stack->logit_softcap != 0.0f && i < n; i++) {
        const float share = values[i] * inverse;
        d[i] *= 1.0f - share * share;
    }
}

/* One block of all tokens: logits become gradients; sums over the tokens for gains and the bias. */
static void differentiate_block(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const head_job *job = context;
    const rbe_gradients *gradients = job->gradients;
    const float *bias = gradients->stack->lm_head.bias;
    const uint32_t first = item * BLOCK;
    float values[BLOCK], d[BLOCK];
    double of_gains[BLOCK] = {0}, of_bias[BLOCK] = {0};
    uint32_t n = 0;
    for (uint32_t token = 0; token < gradients->n && !rbe__gradients_stopped(gradients); token++) {
        float *logits = gradients->head.logits + (size_t)token * job->n_rows + first;
        n = copy_block(job, token, item, values);
        differentiate(job, token, first, n, values, d);
        for (uint32_t i = 0; gradients->wants_gains && i < n; i++) {
            of_gains[i] += (double)d[i] * ((double)logits[i] - (bias ? (double)bias[job->first_row + first + i] : 0.0));
        }
        for (uint32_t i = 0; bias && i < n; i++) {
            of_bias[i] += (double)d[i];
        }
        memcpy(logits, d, n * sizeof *d);
    }
    for (uint32_t i = 0; i < n; i++) {
        gradients->vector[job->first_row + first + i] = (float)of_gains[i];
        gradients->second_vector[job->first_row + first + i] = (float)of_bias[i];
    }
}

static uint32_t items_of(const head_job *job)
{
    return (job->n_rows - 1) / BLOCK + 1;
}

static rbe_status compute_part(head_job *job, uint32_t first_row, uint32_t rows)
{
    rbe_gradients *gradients = job->gradients;
    const rbe__stack *stack = gradients->stack;
    const uint32_t left = stack->n_vocabulary - first_row;
    job->first_row = first_row;
    job->n_rows = left < rows ? left : rows;
    return rbe__matrix_forward(gradients, &stack->lm_head, first_row, job->n_rows, gradients->feed_forward.normed, gradients->head.logits);
}

static void add_row(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const rbe_gradients *gradients = ((const head_job *)context)->gradients;
    const size_t width = gradients->stack->width;
    gradients->stack->kernels->add(gradients->d_normed + token * width, gradients->d_branch + token * width, (uint32_t)width);
}

/* d_normed (+)= d W of the part, block by block: one chain over the vocabulary, most of whose terms are small, would lose these (SmolLM2: 8e-5 of
 * the gradient's norm, and 2e-6 by blocks). */
static rbe_status normed_back(head_job *job)
{
    rbe_gradients *gradients = job->gradients;
    const size_t width = gradients->stack->width;
    const float *weights = (const float *)(const void *)gradients->stack->lm_head.weight->data + job->first_row * width;
    for (uint32_t first = 0; first < job->n_rows; first += BLOCK) {
        const int begins = job->first_row + first == 0;
        const rbe__dense_product_call call = {.a = {gradients->head.logits + first, job->n_rows, 1},
                                              .b = {weights + first * width, width, 1},
                                              .c = begins ? gradients->d_normed : gradients->d_branch,
                                              .c_stride = width,
                                              .m = gradients->n,
                                              .n = (uint32_t)width,
                                              .k = job->n_rows - first < BLOCK ? job->n_rows - first : BLOCK};
        RBE_TRY(rbe__gradients_multiply(gradients, &call));
        if (!begins) {
            rbe__thread_pool_run(gradients->thread_pool, gradients->n, add_row, job);
        }
    }
    return RBE_OK;
}

static rbe_status part_back(head_job *job, const char *name)
{
    rbe_gradients *gradients = job->gradients;
    const rbe__stack *stack = gradients->stack;
    rbe__thread_pool_run(gradients->thread_pool, items_of(job), differentiate_block, job);
    if (gradients->show) {
        RBE_TRY(
            rbe__gradients_show(gradients, (rbe_gradient){.name = name,
                                                          .layer = stack->n_layers,
                                                          .rows = stack->n_vocabulary,
                                                          .cols = stack->width,
                                                          .first_row = job->first_row,
                                                          .n_rows = job->n_rows,
                                                          .x = gradients->feed_forward.normed,
                                                          .d = gradients->head.logits,
                                                          .gains = gradients->wants_gains ? gradients->vector + job->first_row : NULL}));
    }
    return normed_back(job);
}

/* All parts for the sums of exponentials, the last one first, then all again for the gradients: the first one is there still. */
static rbe_status vocabulary_back(head_job *job, const char *name)
{
    const rbe_gradients *gradients = job->gradients;
    const rbe__stack *stack = gradients->stack;
    const uint32_t rows = part_rows(gradients), n_parts = (stack->n_vocabulary - 1) / rows + 1;
    for (uint32_t part = n_parts; part-- > 0;) {
        RBE_TRY(compute_part(job, part * rows, rows));
        rbe__thread_pool_run(gradients->thread_pool, items_of(job), sum_block, job);
    }
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, sum_token, job);
    for (uint32_t part = 0; part < n_parts; part++) {
        if (part > 0) {
            RBE_TRY(compute_part(job, part * rows, rows));
        }
        RBE_TRY(part_back(job, name));
    }
    return RBE_OK;
}

static rbe_status head_back(head_job *job, const float *hidden, float *d_hidden)
{
    rbe_gradients *gradients = job->gradients;
    const rbe__stack *stack = gradients->stack;
    const rbe__norm_call norm = {.kind = stack->norm_kind,
                                 .norm = &stack->norm,
                                 .epsilon = stack->norm_epsilon,
                                 .cols = stack->width,
                                 .n_rows = gradients->n,
                                 .x = hidden,
                                 .name = "norm",
                                 .layer = stack->n_layers};
    const rbe__tensor *weight = stack->lm_head.weight;
    char name[RBE_GRADIENT_NAME_BYTES];
    snprintf(name, sizeof name, "%.*s", (int)weight->name_bytes, weight->name);
    rbe__norm_forward(gradients, &norm, gradients->feed_forward.normed);
    RBE_TRY(vocabulary_back(job, name));
    if (gradients->show && stack->lm_head.bias) {
        RBE_TRY(rbe__gradients_show(gradients, (rbe_gradient){.name = "head.bias",
                                                              .layer = stack->n_layers,
                                                              .rows = 1,
                                                              .cols = stack->n_vocabulary,
                                                              .n_rows = 1,
                                                              .d = gradients->second_vector}));
    }
    return rbe__norm_backward(gradients, &norm, gradients->d_normed, 0, d_hidden);
}

static rbe_status check_labels(const rbe__stack *stack, const uint32_t *labels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (labels[i] >= stack->n_vocabulary && labels[i] != RBE_NO_TOKEN && labels[i] != RBE_DRAW_TOKEN) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "label %u at %zu: the vocabulary has %u", labels[i], i, stack->n_vocabulary);
        }
    }
    return RBE_OK;
}

rbe_status rbe_gradients_head(rbe_gradients *gradients, const float *hidden, size_t n_tokens, uint32_t window_tokens, uint32_t *labels,
                              uint64_t seed, double *nats, float *d_hidden, rbe_gradient_callback show, void *user)
{
    RBE_TRY(rbe__gradients_begin(gradients, hidden && labels && d_hidden, n_tokens, window_tokens, show, user));
    head_job job = {.gradients = gradients, .labels = labels, .seed = seed, .nats = nats};
    rbe_status status = check_labels(gradients->stack, labels, n_tokens);
    for (size_t i = 0; status == RBE_OK && nats && i < n_tokens; i++) {
        nats[i] = 0;
    }
    status = status == RBE_OK ? head_back(&job, hidden, d_hidden) : status;
    return rbe__gradients_end(gradients, status);
}
