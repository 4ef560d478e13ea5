#include "blocks/stream.h"

#include <string.h>

#include "blocks/heads.h"
#include "layers/embedding.h"
#include "layers/norm.h"

#define SHARED_ROWS 16u /* so many rows of the table are worth waking threads for */

/* ---- layer inputs ----------------------------------------------------------------------------------------------------- */

static void finish_inputs(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const rbe__pass *pass = context;
    const rbe__stack *stack = pass->stack;
    const rbe__layer_inputs *inputs = &stack->layer_inputs;
    const rbe__embedding table = {.tokens = inputs->table, .scale = inputs->scale};
    float *out = pass->layer_inputs + (size_t)n * inputs->n, *row = (float *)pass->scratch + (size_t)n * inputs->n;
    rbe__embed(stack->kernels, &table, pass->effort.embedding, pass->tokens[n], 0, 0, NULL, row);
    rbe__normalize(stack->kernels, RBE_NORM_RMS, &inputs->norm, inputs->epsilon, out, inputs->width, inputs->n / inputs->width, out);
    for (uint32_t i = 0; i < inputs->n; i++) {
        out[i] = (out[i] + row[i]) * inputs->sum_scale;
    }
}

void rbe__layer_inputs_compute(rbe__pass *pass)
{
    const rbe__stack *stack = pass->stack;
    const rbe__layer_inputs *inputs = &stack->layer_inputs;
    if (!inputs->table) {
        return;
    }
    const rbe__linear_job job = {&inputs->projection, pass->layer_inputs, inputs->n, 0};
    const rbe__linear_input input = {pass->n_tokens, pass->effort.embedding, stack->width, pass->hidden};
    rbe__linear(&pass->workspace, &job, 1, &input);
    if (pass->n_tokens >= SHARED_ROWS && !stack->residency) {
        rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, finish_inputs, pass);
        return;
    }
    for (uint32_t n = 0; n < pass->n_tokens; n++) {
        finish_inputs(pass, n, 0);
        rbe__residency_release(stack->residency);
    }
}

size_t rbe__layer_inputs_scratch(const rbe__pass *pass)
{
    return rbe__arena_count(rbe__arena_count(pass->workspace.most_tokens, pass->stack->layer_inputs.n), sizeof(float));
}

/* ---- keys and values that several layers read ------------------------------------------------------------------------- */

typedef struct stream_call {
    const rbe__pass *pass;
    const rbe__block *block;
    const rbe__heads_scratch *scratch;
    const float *from;
    float *to;
} stream_call;

static size_t kv_width_of(const rbe__block *block)
{
    return (size_t)block->as.attention.shape.n_kv_heads * block->as.attention.shape.head_dim;
}

static void store_row(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const stream_call *call = context;
    const rbe__stack *stack = call->pass->stack;
    const rbe__row *row = &call->pass->rows[n];
    const size_t width = kv_width_of(call->block);
    const float *from = call->from + (size_t)n * stack->stream_width + call->block->stream_at;
    float *k = call->scratch->k + n * width, *v = call->scratch->v + n * width;
    memcpy(k, from, width * sizeof *k);
    memcpy(v, from + width, width * sizeof *v);
    rbe__kv_store(stack->kernels, &row->state->blocks[call->block->state].kv, row->position, k, v);
}

static void load_row(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const stream_call *call = context;
    const rbe__stack *stack = call->pass->stack;
    const rbe__row *row = &call->pass->rows[n];
    float *to = call->to + (size_t)n * stack->stream_width + call->block->stream_at;
    rbe__kv_load(stack->kernels, &row->state->blocks[call->block->state].kv, row->position, to, to + kv_width_of(call->block));
}

/* Blocks whose keys and values stand in the rows; appends: those that append them, or those that read them of a layer before `first_layer`. */
static int is_shared(const rbe__block *block, int appends, uint32_t first_layer)
{
    return block->stream_at && block->shares_state != appends && (appends || block->as.attention.shape.source < first_layer);
}

void rbe__stream_read(rbe__pass *pass, const float *rows, uint32_t first_layer, uint32_t end_layer)
{
    const rbe__stack *stack = pass->stack;
    for (uint32_t n = 0; n < pass->n_tokens; n++) {
        const float *row = rows + (size_t)n * stack->stream_width;
        memcpy(pass->hidden + (size_t)n * stack->width, row, stack->width * sizeof *row);
        if (stack->layer_inputs.n) {
            memcpy(pass->layer_inputs + (size_t)n * stack->layer_inputs.n, row + stack->width, stack->layer_inputs.n * sizeof *row);
        }
    }
    for (uint32_t i = first_layer; i < end_layer; i++) {
        const rbe__block *block = &stack->layers[i].blocks[0];
        if (is_shared(block, 0, first_layer)) {
            const rbe__heads_scratch scratch = rbe__heads_of_pass(pass, block);
            stream_call call = {pass, block, &scratch, rows, NULL};
            rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, store_row, &call);
        }
    }
}

void rbe__stream_write(rbe__pass *pass, float *rows, uint32_t first_layer, uint32_t end_layer, int embedded)
{
    const rbe__stack *stack = pass->stack;
    const size_t inputs = stack->layer_inputs.n;
    for (uint32_t n = 0; n < pass->n_tokens; n++) {
        float *row = rows + (size_t)n * stack->stream_width;
        memcpy(row, pass->hidden + (size_t)n * stack->width, stack->width * sizeof *row);
        if (embedded) {
            memset(row + stack->width, 0, (stack->stream_width - stack->width) * sizeof *row);
        }
        if (embedded && inputs) {
            memcpy(row + stack->width, pass->layer_inputs + n * inputs, inputs * sizeof *row);
        }
    }
    for (uint32_t i = first_layer; i < end_layer; i++) {
        const rbe__block *block = &stack->layers[i].blocks[0];
        if (is_shared(block, 1, first_layer)) {
            stream_call call = {pass, block, NULL, NULL, rows};
            rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, load_row, &call);
        }
    }
}

/* ---- rows that nobody reads ------------------------------------------------------------------------------------------- */

static void move_rows(float *rows, size_t skip, size_t n, size_t width)
{
    if (rows) {
        memmove(rows, rows + skip * width, n * width * sizeof *rows);
    }
}

void rbe__pass_leave_unread(rbe__pass *pass)
{
    const rbe__stack *stack = pass->stack;
    const rbe__run *run = pass->runs;
    const uint32_t skip = pass->n_unread, n = pass->n_tokens - skip;
    const size_t table = (size_t)pass->workspace.most_tokens * stack->rope_pairs;
    move_rows(pass->hidden, skip, n, stack->width);
    move_rows(pass->layer_inputs, skip, n, stack->layer_inputs.n);
    for (uint32_t i = 0; i < stack->n_rope_tables; i++) {
        move_rows(pass->cosines + i * table, skip, n, stack->rope_pairs);
        move_rows(pass->sines + i * table, skip, n, stack->rope_pairs);
    }
    memmove(pass->rows, pass->rows + skip, n * sizeof *pass->rows);
    pass->tokens = pass->tokens ? pass->tokens + skip : NULL;
    pass->last_run = (rbe__run){run->state, run->first_position + skip, n};
    pass->runs = &pass->last_run;
    pass->n_tokens = n;
}
