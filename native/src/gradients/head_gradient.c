/* rbe_gradients_head and rbe_gradients_head_toward: the last norm, the lm_head and cross entropy with a label, or with what a source predicts.
 * The vocabulary comes in parts, whose logits are in memory at a time. Where there is more than one part, logits are computed twice. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "gradients/head_loss.h"
#include "model/model.h"

#define BLOCK RBE_LOGIT_BLOCK
#define MOST_LOGITS (32u << 20) /* of a part, 128 MB, unless one block of all tokens takes more */

/* Rows of a part for the tokens of the call. */
static uint32_t part_rows(const rbe_gradients *gradients)
{
    const rbe__stack *stack = gradients->stack;
    const uint32_t blocks = gradients->head.most_logits / gradients->n / BLOCK;
    const uint32_t rows = (blocks ? blocks : 1) * BLOCK;
    return rows < stack->n_vocabulary ? rows : stack->n_vocabulary;
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */

static void take_prediction(const rbe_gradients *gradients, rbe__arena *arena, rbe__prediction *prediction)
{
    const size_t n = gradients->most_tokens, vocabulary = gradients->stack->n_vocabulary;
    const size_t all = rbe__arena_count(n, vocabulary), one = rbe__arena_count(n, BLOCK), most = one > MOST_LOGITS ? one : MOST_LOGITS;
    prediction->logits = rbe__arena_take(arena, all < most ? all : most, sizeof(float));
    prediction->blocks = rbe__arena_take(arena, rbe__arena_count(n, rbe__logit_blocks((uint32_t)vocabulary)), sizeof(rbe__logit_block));
    prediction->sums = rbe__arena_take(arena, n, sizeof(rbe__logit_sum));
}

void rbe__head_take(rbe_gradients *gradients)
{
    if (!gradients->stack->lm_head.weight) {
        return;
    }
    rbe__head_input_take(gradients);
    gradients->head.most_logits = MOST_LOGITS;
    gradients->head.own = (rbe__prediction){.stack = gradients->stack, .normed = gradients->feed_forward.normed};
    take_prediction(gradients, &gradients->arena, &gradients->head.own);
    gradients->head.draws = rbe__arena_take(&gradients->arena, gradients->most_tokens, sizeof(rbe__token_draw));
}

static float *take_source(rbe_gradients *gradients, rbe__arena *arena, uint32_t width)
{
    rbe__head_memory *head = &gradients->head;
    const size_t n = gradients->most_tokens;
    take_prediction(gradients, arena, &head->source);
    head->shares = rbe__arena_take(arena, rbe__arena_count(n, rbe__logit_blocks(gradients->stack->n_vocabulary)), sizeof(double));
    return rbe__arena_take(arena, rbe__arena_count(n, width), sizeof(float));
}

/* Memory for a source's prediction, kept until a wider source comes. *normed: what its lm_head is to read. */
static rbe_status prepare_source(rbe_gradients *gradients, const rbe__stack *source, float **normed)
{
    rbe__head_memory *head = &gradients->head;
    if (source->width > head->source_width) {
        rbe__aligned_free(head->source_arena.memory);
        head->source_width = 0;
        head->source_arena = (rbe__arena){0};
        (void)take_source(gradients, &head->source_arena, source->width);
        const size_t bytes = head->source_arena.used;
        if (rbe__arena_allocate(&head->source_arena) != 0) {
            return rbe_fail(RBE_ERROR_MEMORY, "no memory for predictions of a source of %zu MB; choose fewer tokens at once than %u",
                            bytes >> 20, gradients->most_tokens);
        }
        head->source_width = source->width;
    }
    rbe__arena again = {head->source_arena.memory, 0};
    *normed = take_source(gradients, &again, source->width);
    head->source.stack = source;
    head->source.normed = *normed;
    return RBE_OK;
}

void rbe__head_free(rbe_gradients *gradients)
{
    rbe__aligned_free(gradients->head.source_arena.memory);
}

/* ---- back through the vocabulary ------------------------------------------------------------------------------------------ */

/* One block of all tokens: logits become gradients; sums over the tokens for gains and the bias. */
static void differentiate_block(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const rbe__head_job *job = context;
    const rbe_gradients *gradients = job->gradients;
    const uint32_t first = item * BLOCK, first_row = job->own->first_row + first;
    const float *bias = job->own->stack->lm_head.bias;
    float values[BLOCK], d[BLOCK];
    double of_gains[BLOCK] = {0}, of_bias[BLOCK] = {0};
    uint32_t n = 0;
    for (uint32_t token = 0; token < gradients->n && !rbe__gradients_stopped(gradients); token++) {
        float *logits = job->own->logits + (size_t)token * job->own->n_rows + first;
        n = rbe__copy_block(job->own, token, item, values);
        rbe__differentiate_logits(job, token, item, n, values, d);
        for (uint32_t i = 0; gradients->wants_gains && i < n; i++) {
            of_gains[i] += (double)d[i] * ((double)logits[i] - (bias ? (double)bias[first_row + i] : 0.0));
        }
        for (uint32_t i = 0; bias && i < n; i++) {
            of_bias[i] += (double)d[i];
        }
        memcpy(logits, d, n * sizeof *d);
    }
    for (uint32_t i = 0; i < n; i++) {
        gradients->vector[first_row + i] = (float)of_gains[i];
        gradients->second_vector[first_row + i] = (float)of_bias[i];
    }
}

static rbe_status compute_part(const rbe__head_job *job, uint32_t first_row, uint32_t rows)
{
    RBE_TRY(rbe__predict_part(job->gradients, job->own, first_row, rows));
    return job->source ? rbe__predict_part(job->gradients, job->source, first_row, rows) : RBE_OK;
}

static void add_row(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const rbe_gradients *gradients = ((const rbe__head_job *)context)->gradients;
    const size_t width = gradients->stack->width;
    gradients->stack->kernels->add(gradients->d_normed + token * width, gradients->d_branch + token * width, (uint32_t)width);
}

/* d_normed (+)= d W of the part, block by block: one chain over the vocabulary, most of whose terms are small, would lose these (SmolLM2: 8e-5 of
 * the gradient's norm, and 2e-6 by blocks). */
static rbe_status normed_back(rbe__head_job *job)
{
    rbe_gradients *gradients = job->gradients;
    const rbe__prediction *own = job->own;
    const size_t width = gradients->stack->width;
    const float *weights = (const float *)(const void *)own->stack->lm_head.weight->data + own->first_row * width;
    for (uint32_t first = 0; first < own->n_rows; first += BLOCK) {
        const int begins = own->first_row + first == 0;
        const rbe__dense_product_call call = {.a = {own->logits + first, own->n_rows, 1},
                                              .b = {weights + first * width, width, 1},
                                              .c = begins ? gradients->d_normed : gradients->d_branch,
                                              .c_stride = width,
                                              .m = gradients->n,
                                              .n = (uint32_t)width,
                                              .k = own->n_rows - first < BLOCK ? own->n_rows - first : BLOCK};
        RBE_TRY(rbe__gradients_multiply(gradients, &call));
        if (!begins) {
            rbe__thread_pool_run(gradients->thread_pool, gradients->n, add_row, job);
        }
    }
    return RBE_OK;
}

static rbe_status part_back(rbe__head_job *job, const char *name)
{
    rbe_gradients *gradients = job->gradients;
    const rbe__prediction *own = job->own;
    rbe__thread_pool_run(gradients->thread_pool, rbe__logit_blocks(own->n_rows), differentiate_block, job);
    if (gradients->show) {
        RBE_TRY(
            rbe__gradients_show(gradients, (rbe_gradient){.name = name,
                                                          .layer = own->stack->n_layers,
                                                          .rows = own->stack->n_vocabulary,
                                                          .cols = own->stack->width,
                                                          .first_row = own->first_row,
                                                          .n_rows = own->n_rows,
                                                          .x = own->normed,
                                                          .d = own->logits,
                                                          .gains = gradients->wants_gains ? gradients->vector + own->first_row : NULL}));
    }
    return job->wants_gradient ? normed_back(job) : rbe__gradients_check(gradients);
}

/* All parts for the sums of exponentials, the last one first, then all again for the gradients: the first one is there still. */
static rbe_status vocabulary_back(rbe__head_job *job, const char *name)
{
    const rbe_gradients *gradients = job->gradients;
    const uint32_t rows = part_rows(gradients), n_parts = (job->own->stack->n_vocabulary - 1) / rows + 1;
    for (uint32_t part = n_parts; part-- > 0;) {
        RBE_TRY(compute_part(job, part * rows, rows));
        rbe__sum_part(gradients, job->own);
        if (job->source) {
            rbe__sum_part(gradients, job->source);
        }
    }
    rbe__sum_parts(gradients, job->own);
    if (job->source) {
        rbe__sum_parts(gradients, job->source);
    }
    for (uint32_t token = 0; token < gradients->n && !job->source; token++) {
        const rbe__token_draw none = {UINT32_MAX, 0};
        gradients->head.draws[token] = job->labels[token] == RBE_DRAW_TOKEN ? rbe__draw_block(job, token) : none;
    }
    for (uint32_t part = 0; part < n_parts; part++) {
        if (part > 0) {
            RBE_TRY(compute_part(job, part * rows, rows));
        }
        RBE_TRY(part_back(job, name));
    }
    return RBE_OK;
}

static rbe_status head_back(rbe__head_job *job, const float *hidden, float *d_hidden)
{
    rbe_gradients *gradients = job->gradients;
    const rbe__stack *stack = gradients->stack;
    const rbe__tensor *weight = stack->lm_head.weight;
    char name[RBE_GRADIENT_NAME_BYTES];
    if (!weight) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "the model has no head of words");
    }
    snprintf(name, sizeof name, "%.*s", (int)weight->name_bytes, weight->name);
    job->own = &gradients->head.own;
    job->wants_gradient = d_hidden != NULL;
    RBE_TRY(rbe__head_input(gradients, hidden, gradients->feed_forward.normed));
    RBE_TRY(vocabulary_back(job, name));
    if (!d_hidden) {
        return RBE_OK;
    }
    if (gradients->show && stack->lm_head.bias) {
        RBE_TRY(rbe__gradients_show(gradients, (rbe_gradient){.name = "head.bias",
                                                              .layer = stack->n_layers,
                                                              .rows = 1,
                                                              .cols = stack->n_vocabulary,
                                                              .n_rows = 1,
                                                              .d = gradients->second_vector}));
    }
    return rbe__head_input_backward(gradients, hidden, d_hidden);
}

/* ---- calls ---------------------------------------------------------------------------------------------------------------- */

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
    rbe__head_job job = {.gradients = gradients, .labels = labels, .seed = seed, .nats = nats};
    rbe_status status = check_labels(gradients->stack, labels, n_tokens);
    for (size_t i = 0; status == RBE_OK && nats && i < n_tokens; i++) {
        nats[i] = 0;
    }
    status = status == RBE_OK ? head_back(&job, hidden, d_hidden) : status;
    return rbe__gradients_end(gradients, status);
}

static rbe_status check_source(const rbe__stack *own, const rbe__stack *source)
{
    if (source->n_vocabulary != own->n_vocabulary) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "the source's vocabulary has %u tokens, the model's %u", source->n_vocabulary,
                        own->n_vocabulary);
    }
    if (!source->lm_head.weight || source->word_head.dense.weight || source->word_head.norm.weight) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "the source has no head of words, or one that fills in words");
    }
    return source->lm_head.weight->kind == RBE_KIND_F32
               ? RBE_OK
               : rbe_fail(RBE_ERROR_UNSUPPORTED, "the source's lm_head is not fp32; pack it with --bits 32");
}

static rbe_status toward(rbe__head_job *job, const float *hidden, const rbe__stack *source, const float *source_hidden, float *d_hidden)
{
    rbe_gradients *gradients = job->gradients;
    float *normed = NULL;
    RBE_TRY(check_source(gradients->stack, source));
    RBE_TRY(prepare_source(gradients, source, &normed));
    rbe__last_norm_forward(gradients, source, source_hidden, normed);
    job->source = &gradients->head.source;
    RBE_TRY(head_back(job, hidden, d_hidden));
    const size_t n_blocks = rbe__logit_blocks(gradients->stack->n_vocabulary);
    for (size_t token = 0; job->nats && token < gradients->n; token++) {
        job->nats[token] = 0;
        for (size_t b = 0; b < n_blocks; b++) {
            job->nats[token] += gradients->head.shares[token * n_blocks + b];
        }
    }
    return RBE_OK;
}

rbe_status rbe_gradients_head_toward(rbe_gradients *gradients, const float *hidden, const rbe_model *source, const float *source_hidden,
                                     size_t n_tokens, uint32_t window_tokens, double *nats, float *d_hidden, rbe_gradient_callback show,
                                     void *user)
{
    const int wants = nats || d_hidden;
    RBE_TRY(
        rbe__gradients_begin(gradients, hidden && source && source_hidden && wants, n_tokens, window_tokens, d_hidden ? show : NULL, user));
    rbe__head_job job = {.gradients = gradients, .nats = nats};
    const rbe_status right = rbe_model_verify(source, NULL, NULL);
    return rbe__gradients_end(gradients, right != RBE_OK ? right : toward(&job, hidden, &source->stack, source_hidden, d_hidden));
}
