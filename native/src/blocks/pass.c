#include "blocks/pass.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "blocks/stream.h"
#include "layers/embedding.h"
#include "layers/norm.h"
#include "layers/position.h"
#include "platform/platform.h"

#define SHARED_ROWS 16u /* so many rows of the embedding are worth waking threads for */
#define LOGITS_BYTES (4u << 20) /* room for the logits of several rows; at least one row's */

const rbe__block_kind *const rbe__block_kinds[] = {
    &rbe__attention_kind,    &rbe__cross_kind,   &rbe__convolution_kind,     &rbe__recurrence_kind,
    &rbe__feed_forward_kind, &rbe__experts_kind, &rbe__layer_embedding_kind, NULL};

const char *rbe__operation_name(uint32_t operation)
{
    static const char *const names[RBE_OPERATION_BLOCKS] = {"embedding", "norm, activation, rotation, rounding", "head", "other"};
    if (operation < RBE_OPERATION_BLOCKS) {
        return names[operation];
    }
    operation -= RBE_OPERATION_BLOCKS;
    for (uint32_t i = 0; rbe__block_kinds[i]; i++) {
        if (operation < rbe__block_kinds[i]->n_operations) {
            return rbe__block_kinds[i]->operations[operation];
        }
        operation -= rbe__block_kinds[i]->n_operations;
    }
    return NULL;
}

/* The largest of what the blocks of a stack ask for. */
typedef struct needs {
    uint32_t widest, head_dim;
    size_t scratch_bytes;
    int layer_input;
} needs;

static needs needs_of(const rbe__pass *pass)
{
    const rbe__stack *stack = pass->stack;
    needs most = {.widest = stack->width, .head_dim = 1, .scratch_bytes = rbe__layer_inputs_scratch(pass)};
    for (uint32_t i = 0; i < stack->pooled.n_layers; i++) {
        const uint32_t cols = stack->pooled.layers[i].projection.weight->cols;
        most.widest = cols > most.widest ? cols : most.widest;
    }
    for (uint32_t i = stack->first_layer; i < stack->end_layer; i++) {
        for (uint32_t b = 0; b < stack->layers[i].n_blocks; b++) {
            const rbe__block *block = &stack->layers[i].blocks[b];
            const uint32_t inner = block->kind->inner_width ? block->kind->inner_width(block) : 0;
            const uint32_t head_dim = block->kind->head_dim ? block->kind->head_dim(block) : 0;
            const size_t bytes = block->kind->scratch_bytes(block, pass->workspace.most_tokens, pass->context);
            most.widest = inner > most.widest ? inner : most.widest;
            most.head_dim = head_dim > most.head_dim ? head_dim : most.head_dim;
            most.scratch_bytes = bytes > most.scratch_bytes ? bytes : most.scratch_bytes;
            most.layer_input |= block->reads == RBE_READS_LAYER_INPUT;
        }
    }
    return most;
}

void rbe__pass_plan(rbe__pass *pass, const rbe__stack *stack, uint32_t most_tokens, uint32_t context, uint32_t n_threads, int profile)
{
    pass->stack = stack;
    pass->context = context;
    const uint32_t rows = LOGITS_BYTES / 4 / stack->n_vocabulary;
    pass->logits_rows = rows < 1 ? 1 : rows < most_tokens ? rows : most_tokens;
    pass->profile.clock = rbe__nanoseconds;
    rbe__workspace *workspace = &pass->workspace;
    workspace->kernels = stack->kernels;
    workspace->most_tokens = most_tokens;
    workspace->has_rows_only = stack->has_rows_only;
    workspace->has_grouped = stack->has_grouped;
    workspace->residency = stack->residency;
    workspace->profile = profile ? &pass->profile : NULL;
    const needs most = needs_of(pass);
    workspace->max_cols = (most.widest + 63) & ~63u;
    workspace->max_head_dim = most.head_dim;
    pass->n_scratch_threads = n_threads;
}

rbe_status rbe__pass_open(rbe__pass *pass, const rbe__stack *stack, uint32_t most_tokens, uint32_t context, uint32_t n_threads, int profile)
{
    rbe__pass_plan(pass, stack, most_tokens, context, n_threads, profile);
    return rbe__thread_pool_create(n_threads, &pass->workspace.thread_pool);
}

void rbe__pass_take(rbe__pass *pass, rbe__arena *arena)
{
    const rbe__stack *stack = pass->stack;
    const needs most = needs_of(pass);
    const size_t rows = pass->workspace.most_tokens, hidden = rbe__arena_count(rows, stack->width);
    const size_t angles = rbe__arena_count(rows, (size_t)stack->n_rope_tables * stack->rope_pairs);
    pass->rows = rbe__arena_take(arena, rows, sizeof *pass->rows);
    pass->hidden = rbe__arena_take(arena, hidden, sizeof(float));
    pass->normed = rbe__arena_take(arena, hidden, sizeof(float));
    pass->branch = rbe__arena_take(arena, hidden, sizeof(float));
    pass->layer_input = most.layer_input ? rbe__arena_take(arena, hidden, sizeof(float)) : NULL;
    pass->layer_inputs = stack->layer_inputs.n ? rbe__arena_take(arena, rbe__arena_count(rows, stack->layer_inputs.n), sizeof(float))
                                               : NULL;
    pass->cosines = rbe__arena_take(arena, angles, sizeof(float));
    pass->sines = rbe__arena_take(arena, angles, sizeof(float));
    pass->scratch = rbe__arena_take(arena, most.scratch_bytes, 1);
    pass->logits = rbe__arena_take(arena, rbe__arena_count(pass->logits_rows, stack->n_vocabulary), sizeof(float));
    rbe__effort_take(&pass->effort, stack->n_layers, arena);
    rbe__workspace_take(&pass->workspace, arena);
    rbe__workspace_take_threads(&pass->workspace, pass->n_scratch_threads, arena);
}

void rbe__pass_close(rbe__pass *pass)
{
    rbe__thread_pool_free(pass->workspace.thread_pool);
    rbe__aligned_free(pass->threads_memory);
}

/* Takes scratch for more threads than the pass was opened with. The scratch from the opening stays allocated and unused. */
static rbe_status grow_scratch(rbe__pass *pass, uint32_t n_threads)
{
    rbe__workspace measured = pass->workspace;
    rbe__arena arena = {0};
    rbe__workspace_take_threads(&measured, n_threads, &arena);
    if (rbe__arena_allocate(&arena) != 0) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for %u threads", n_threads);
    }
    rbe__aligned_free(pass->threads_memory);
    pass->threads_memory = arena.memory;
    rbe__workspace_take_threads(&pass->workspace, n_threads, &arena);
    pass->threads_bytes = arena.used;
    pass->n_scratch_threads = n_threads;
    return RBE_OK;
}

rbe_status rbe__pass_set_threads(rbe__pass *pass, uint32_t n_threads)
{
    if (n_threads == rbe__thread_pool_threads(pass->workspace.thread_pool)) {
        return RBE_OK;
    }
    return rbe__pass_set_workers(pass, n_threads, rbe__thread_pool_workers(pass->workspace.thread_pool));
}

rbe_status rbe__pass_set_workers(rbe__pass *pass, uint32_t n_threads, rbe__workers workers)
{
    rbe__thread_pool *thread_pool = NULL;
    RBE_TRY(rbe__thread_pool_create_as(n_threads, workers, &thread_pool));
    const rbe_status status = n_threads > pass->n_scratch_threads ? grow_scratch(pass, n_threads) : RBE_OK;
    if (status != RBE_OK) {
        rbe__thread_pool_free(thread_pool);
        return status;
    }
    rbe__thread_pool_free(pass->workspace.thread_pool);
    pass->workspace.thread_pool = thread_pool;
    return RBE_OK;
}

void rbe__pass_begin(rbe__pass *pass, const rbe__run *runs, uint32_t n_runs)
{
    pass->runs = runs;
    pass->n_runs = n_runs;
    pass->n_tokens = 0;
    pass->tokens = NULL;
    for (uint32_t r = 0; r < n_runs; r++) {
        for (uint32_t i = 0; i < runs[r].n_tokens; i++) {
            pass->rows[pass->n_tokens++] = (rbe__row){runs[r].state, runs[r].first_position + i};
        }
    }
    rbe__profile_start(pass->workspace.profile);
}

typedef struct embed_call {
    const rbe__pass *pass;
    const uint8_t *segments; /* NULL: all 0 */
} embed_call;

static void embed_row(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const embed_call *call = context;
    const rbe__pass *pass = call->pass;
    const rbe__stack *stack = pass->stack;
    const rbe__embedding tables = {stack->embedding, stack->positions, stack->segments, stack->embedding_scale};
    const size_t at = (size_t)n * stack->width;
    rbe__embed(stack->kernels, &tables, pass->effort.embedding, pass->tokens[n], pass->rows[n].position,
               call->segments ? call->segments[n] : 0, pass->branch + at, pass->hidden + at);
    if (stack->embedding_norm.weight) {
        rbe__normalize(stack->kernels, stack->norm_kind, &stack->embedding_norm, stack->norm_epsilon, pass->hidden + at, stack->width, 1,
                       pass->hidden + at);
    }
}

void rbe__pass_embed(rbe__pass *pass, const uint32_t *tokens, const uint8_t *segments)
{
    embed_call call = {pass, segments};
    pass->tokens = tokens;
    if (pass->n_tokens >= SHARED_ROWS && !pass->stack->residency) {
        rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, embed_row, &call);
    } else {
        for (uint32_t n = 0; n < pass->n_tokens; n++) {
            embed_row(&call, n, 0);
            rbe__residency_release(pass->stack->residency);
        }
    }
    rbe__layer_inputs_compute(pass);
    rbe__profile_lap(pass->workspace.profile, RBE_OPERATION_EMBED);
}

static void compute_rope_angles(rbe__pass *pass)
{
    const rbe__stack *stack = pass->stack;
    const size_t pairs = stack->rope_pairs;
    for (uint32_t table = 0; stack->rope_frequencies && table < stack->n_rope_tables; table++) {
        for (uint32_t n = 0; n < pass->n_tokens; n++) {
            const size_t at = ((size_t)table * pass->workspace.most_tokens + n) * pairs;
            const rbe__state *state = pass->rows[n].state;
            rbe__rope_angles(state->rope_frequencies + table * pairs, stack->rope_pairs, pass->rows[n].position, state->rope_factor,
                             pass->cosines + at, pass->sines + at);
        }
    }
}

/* The states of the runs are about to be appended to. */
static void record_planes(const rbe__pass *pass, uint32_t first_layer, uint32_t end_layer)
{
    for (uint32_t kind = 0; kind < RBE_PLANES_KINDS; kind++) {
        const uint32_t read = rbe__effort_least(&pass->effort, kind, first_layer, end_layer);
        for (uint32_t r = 0; r < pass->n_runs; r++) {
            uint8_t *least = &pass->runs[r].state->planes[kind];
            *least = read < *least ? (uint8_t)read : *least;
        }
    }
}

static rbe_status run_block(rbe__pass *pass, const rbe__block *block, uint32_t layer)
{
    pass->planes = rbe__effort_of_layer(&pass->effort, block->kind->matrices, layer);
    return pass->planes == RBE_SKIP ? rbe__block_skip(pass, block) : block->kind->forward(pass, block, layer);
}

static void scale_stream(const rbe__pass *pass, const float *scale)
{
    const size_t n = (size_t)pass->n_tokens * pass->stack->width;
    for (size_t i = 0; scale && i < n; i++) {
        pass->hidden[i] *= *scale;
    }
}

rbe_status rbe__pass_layers(rbe__pass *pass, uint32_t first_layer, uint32_t end_layer)
{
    record_planes(pass, first_layer, end_layer);
    compute_rope_angles(pass);
    rbe__profile_lap(pass->workspace.profile, RBE_OPERATION_OTHER);
    for (uint32_t i = first_layer; i < end_layer; i++) {
        const rbe__layer *layer = &pass->stack->layers[i];
        if (!pass->must_finish && rbe__pass_take_cancelled(pass)) {
            return rbe_fail(RBE_ERROR_CANCELLED, "cancelled");
        }
        if (i == pass->stack->first_reader && pass->n_unread) {
            rbe__pass_leave_unread(pass);
        }
        if (pass->n_tokens == 0) {
            break;
        }
        if (pass->layer_input) {
            memcpy(pass->layer_input, pass->hidden, (size_t)pass->n_tokens * pass->stack->width * sizeof(float));
        }
        for (uint32_t b = 0; b < layer->n_blocks; b++) {
            RBE_TRY(run_block(pass, &layer->blocks[b], i));
        }
        scale_stream(pass, layer->scale);
    }
    return RBE_OK;
}

rbe_status rbe__pass_fill(rbe__pass *pass, uint32_t layer)
{
    const rbe__layer *filled = &pass->stack->layers[layer];
    record_planes(pass, layer, layer + 1);
    compute_rope_angles(pass);
    rbe__profile_lap(pass->workspace.profile, RBE_OPERATION_OTHER);
    for (uint32_t b = 0; b < filled->n_blocks; b++) {
        if (filled->blocks[b].kind->fill && !filled->blocks[b].shares_state) {
            const uint32_t planes = rbe__effort_of_layer(&pass->effort, filled->blocks[b].kind->matrices, layer);
            pass->planes = planes == RBE_SKIP ? 0 : planes;
            RBE_TRY(filled->blocks[b].kind->fill(pass, &filled->blocks[b]));
        }
    }
    return RBE_OK;
}

rbe_status rbe__pass_fill_text(rbe__pass *pass, uint32_t layer)
{
    const rbe__layer *filled = &pass->stack->layers[layer];
    record_planes(pass, layer, layer + 1);
    for (uint32_t b = 0; b < filled->n_blocks; b++) {
        const rbe__block_kind *kind = filled->blocks[b].kind;
        if (kind->fill_text) {
            const uint32_t planes = rbe__effort_of_layer(&pass->effort, kind->matrices, layer);
            pass->planes = planes == RBE_SKIP ? 0 : planes;
            RBE_TRY(kind->fill_text(pass, &filled->blocks[b]));
        }
    }
    return RBE_OK;
}

void rbe__pass_norm(rbe__pass *pass)
{
    const rbe__stack *stack = pass->stack;
    if (stack->norm.weight) {
        rbe__normalize(stack->kernels, stack->norm_kind, &stack->norm, stack->norm_epsilon, pass->hidden, stack->width, pass->n_tokens,
                       pass->normed);
    } else {
        memcpy(pass->normed, pass->hidden, (size_t)pass->n_tokens * stack->width * sizeof *pass->normed);
    }
    rbe__profile_lap(pass->workspace.profile, RBE_OPERATION_OTHER);
}

rbe_status rbe__pass_run(rbe__pass *pass, const rbe__run *runs, uint32_t n_runs, const uint32_t *tokens)
{
    rbe__pass_begin(pass, runs, n_runs);
    rbe__pass_embed(pass, tokens, NULL);
    const rbe_status status = rbe__pass_layers(pass, 0, pass->stack->n_layers);
    pass->must_finish = 0;
    pass->n_unread = 0;
    RBE_TRY(status);
    rbe__pass_norm(pass);
    return RBE_OK;
}

void rbe__pass_logits(rbe__pass *pass, uint32_t first_row, uint32_t n_rows, float *logits)
{
    const rbe__stack *stack = pass->stack;
    const size_t n_vocabulary = stack->n_vocabulary;
    rbe__profile_start(pass->workspace.profile);
    const rbe__linear_job job = {&stack->lm_head, logits, n_vocabulary, 0};
    const rbe__linear_input input = {n_rows, pass->effort.lm_head, stack->width, pass->normed + (size_t)first_row * stack->width};
    rbe__linear(&pass->workspace, &job, 1, &input);
    for (uint32_t n = 0; stack->logit_softcap != 0.0f && n < n_rows; n++) {
        stack->kernels->softcap(logits + n * n_vocabulary, stack->n_vocabulary, stack->logit_softcap);
    }
    rbe__profile_lap(pass->workspace.profile, RBE_OPERATION_LM_HEAD);
}

int rbe__pass_take_cancelled(rbe__pass *pass)
{
    return atomic_exchange_explicit(pass->cancelled_with ? pass->cancelled_with : &pass->cancelled, 0, memory_order_relaxed);
}

rbe_status rbe__pass_commit(rbe__pass *pass)
{
    if (rbe__pass_take_cancelled(pass)) {
        return rbe_fail(RBE_ERROR_CANCELLED, "cancelled");
    }
    pass->must_finish = 1;
    return RBE_OK;
}

void rbe__pass_cancel(rbe__pass *pass)
{
    atomic_store_explicit(&pass->cancelled, 1, memory_order_relaxed);
}
