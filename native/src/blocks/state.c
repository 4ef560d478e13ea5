#include "blocks/state.h"

#include <string.h>

#include "base/status.h"
#include "layers/position.h"

void rbe__state_clear(rbe__state *state)
{
    memset(state->planes, RBE_MAX_PLANES, sizeof state->planes);
    if (state->blocks) {
        rbe__state_settle(state, 0);
    }
}

rbe__state rbe__state_of(const rbe__stack *stack, rbe_kv_type type, uint32_t context)
{
    rbe__state state = {.stack = stack, .type = type, .context = context};
    const int is_long = stack->rope_long_frequencies && context > stack->rope_long_from;
    state.rope_frequencies = is_long ? stack->rope_long_frequencies : stack->rope_frequencies;
    state.rope_factor = is_long ? stack->rope_long_factor : stack->rope_factor;
    rbe__state_clear(&state);
    return state;
}

void rbe__state_set_text(rbe__state *state, uint32_t n_text)
{
    state->n_text = n_text;
    for (uint32_t i = 0; i < state->stack->n_states; i++) {
        state->blocks[i].n_text = state->blocks[i].block->kind->fill_text ? n_text : 0;
    }
}

int rbe__state_is_long(const rbe__state *state)
{
    return state->rope_frequencies != state->stack->rope_frequencies;
}

/* shared: what the first block takes serves all. */
static void take_blocks(rbe__state *state, rbe__arena *arena, int shared)
{
    const rbe__stack *stack = state->stack;
    rbe__block_state taken = {0};
    uint32_t n_taken = 0;
    state->blocks = rbe__arena_take(arena, stack->n_states, sizeof *state->blocks);
    for (uint32_t i = stack->first_layer; i < stack->end_layer; i++) {
        const rbe__layer *layer = &stack->layers[i];
        for (uint32_t b = 0; b < layer->n_blocks; b++) {
            const rbe__block *block = &layer->blocks[b];
            if (!block->kind->take_state || block->state < n_taken) {
                continue;
            }
            if (!shared || n_taken == 0) {
                taken = (rbe__block_state){.block = block};
                block->kind->take_state(block, arena, state->type, state->context, &taken);
            }
            n_taken = block->state + 1;
            taken.block = block;
            if (state->blocks) {
                state->blocks[block->state] = taken;
            }
        }
    }
}

void rbe__state_take(rbe__state *state, rbe__arena *arena)
{
    take_blocks(state, arena, 0);
}

void rbe__state_take_one_layer(rbe__state *state, rbe__arena *arena)
{
    take_blocks(state, arena, 1);
}

uint32_t rbe__state_reach(const rbe__state *state, uint32_t n)
{
    uint32_t before;
    do { /* until all agree */
        before = n;
        for (uint32_t i = 0; i < state->stack->n_states; i++) {
            n = state->blocks[i].block->kind->reach(&state->blocks[i], n);
        }
    } while (n != before);
    return n;
}

uint32_t rbe__state_rewind(const rbe__state *state, uint32_t n)
{
    n = rbe__state_reach(state, n);
    for (uint32_t i = 0; i < state->stack->n_states; i++) {
        if (state->blocks[i].block->kind->rewind) {
            state->blocks[i].block->kind->rewind(&state->blocks[i], n);
        }
    }
    return n;
}

void rbe__state_mark(const rbe__state *state, uint32_t n, uint32_t n_tokens)
{
    for (uint32_t i = 0; i < state->stack->n_states; i++) {
        if (state->blocks[i].block->kind->mark) {
            state->blocks[i].block->kind->mark(&state->blocks[i], n, n_tokens);
        }
    }
}

void rbe__state_settle(const rbe__state *state, uint32_t n)
{
    for (uint32_t i = 0; i < state->stack->n_states; i++) {
        if (state->blocks[i].block->kind->settle) {
            state->blocks[i].block->kind->settle(&state->blocks[i], n);
        }
    }
}

void rbe__state_slide(const rbe__state *state, const rbe__workspace *workspace, uint32_t first, uint32_t n, uint32_t to, float *cosines,
                      float *sines, size_t angle_stride)
{
    const rbe__stack *stack = state->stack;
    const uint32_t n_pairs = state->rope_frequencies ? stack->rope_pairs : 0;
    for (uint32_t table = 0; n_pairs && table < stack->n_rope_tables; table++) {
        float *sine = sines + table * angle_stride;
        rbe__rope_angles(state->rope_frequencies + (size_t)table * n_pairs, n_pairs, first - to, 1.0f, cosines + table * angle_stride,
                         sine);
        for (uint32_t d = 0; d < n_pairs; d++) {
            sine[d] = -sine[d];
        }
    }
    const rbe__slide slide = {first, n, to, cosines, sines, angle_stride, n_pairs};
    for (uint32_t i = 0; i < stack->n_states; i++) {
        state->blocks[i].block->kind->slide(workspace, &state->blocks[i], &slide);
    }
}

rbe_status rbe__state_visit(const rbe__state *state, uint32_t n_positions, rbe__kv_visit *visit, void *context)
{
    for (uint32_t i = 0; i < state->stack->n_states; i++) {
        RBE_TRY(state->blocks[i].block->kind->visit(&state->blocks[i], n_positions, visit, context));
    }
    return RBE_OK;
}

rbe__kv_visit *rbe__state_count(void)
{
    return rbe__kv_count;
}

rbe_status rbe__state_copy_out(void *context, void *piece, size_t bytes)
{
    uint8_t **at = context;
    if (bytes) {
        memcpy(*at, piece, bytes);
    }
    *at += bytes;
    return RBE_OK;
}

rbe_status rbe__state_copy_in(void *context, void *piece, size_t bytes)
{
    const uint8_t **at = context;
    if (bytes) {
        memcpy(piece, *at, bytes);
    }
    *at += bytes;
    return RBE_OK;
}
