#include "blocks/recurrence_state.h"

#include <string.h>

#include "base/status.h"

size_t rbe__recurrence_matrices(const rbe__recurrence_shape *shape)
{
    return rbe__arena_count(shape->n_values, (size_t)shape->key_dim * shape->value_dim);
}

uint32_t rbe__recurrence_channels(const rbe__recurrence_shape *shape)
{
    return 2 * shape->n_keys * shape->key_dim + shape->n_values * shape->value_dim;
}

/* SIZE_MAX where they are more than there can be. */
size_t rbe__recurrence_values(const rbe__recurrence_shape *shape)
{
    const size_t matrices = rbe__recurrence_matrices(shape);
    const size_t rows = rbe__arena_count(shape->taps - 1, rbe__recurrence_channels(shape));
    return matrices > SIZE_MAX - rows ? SIZE_MAX : matrices + rows;
}

static size_t values_of(const rbe__block_state *state)
{
    return rbe__recurrence_values(&state->block->as.recurrence.shape);
}

/* The place where the numbers after n positions stand; 2: they do not. */
static uint32_t place_of(const rbe__recurrence_state *recurrence, uint32_t n)
{
    const uint32_t latest = *recurrence->latest;
    return recurrence->positions[latest] == n ? latest : recurrence->positions[1 - latest] == n ? 1 - latest : 2;
}

static void make_copies(const rbe__checkpoints *checkpoints, uint32_t first, uint32_t end, rbe__recurrence_step *out)
{
    const uint32_t spacing = rbe__checkpoints_make_room(checkpoints, first, end);
    out->n_copies = 0;
    for (uint32_t at = (first / spacing + 1) * spacing; at <= end; at += spacing) {
        out->copies[out->n_copies++] = (rbe__recurrence_copy){at - first, rbe__checkpoints_at(checkpoints, at)};
    }
}

rbe_status rbe__recurrence_begin(const rbe__block_state *state, uint32_t first, uint32_t n_tokens, rbe__recurrence_step *out)
{
    const rbe__recurrence_state *recurrence = &state->recurrence;
    const uint32_t place = place_of(recurrence, first);
    if (first != 0 && place == 2) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "a layer of delta nets or state spaces has no state of %u positions; it goes on where it ended",
                        first);
    }
    const int stays = *recurrence->call == first; /* what it begins with, for who takes the call back */
    if (first == 0) {
        rbe__recurrence_settle(state, 0);
    } else {
        *recurrence->latest = stays ? 1 - place : place;
    }
    *recurrence->call = RBE_NO_POSITION;
    out->from = first == 0 ? NULL : recurrence->values[place];
    out->to = recurrence->values[*recurrence->latest];
    recurrence->positions[*recurrence->latest] = RBE_NO_POSITION; /* until it ends */
    make_copies(&recurrence->checkpoints, first, first + n_tokens, out);
    return RBE_OK;
}

void rbe__recurrence_end(const rbe__block_state *state, uint32_t end)
{
    state->recurrence.positions[*state->recurrence.latest] = end;
}

/* ---- the kind's ----------------------------------------------------------------------------------------------------------- */

void rbe__recurrence_take_state(const rbe__block *block, rbe__arena *arena, rbe_kv_type type, uint32_t context, rbe__block_state *out)
{
    (void)type;
    rbe__recurrence_state *recurrence = &out->recurrence;
    const size_t n_values = rbe__recurrence_values(&block->as.recurrence.shape);
    recurrence->positions = rbe__arena_take(arena, 2, sizeof *recurrence->positions);
    recurrence->latest = rbe__arena_take(arena, 1, sizeof *recurrence->latest);
    recurrence->call = rbe__arena_take(arena, 1, sizeof *recurrence->call);
    for (int i = 0; i < 2; i++) {
        recurrence->values[i] = rbe__arena_take(arena, n_values, sizeof(float));
    }
    recurrence->checkpoints = rbe__checkpoints_take(arena, context, RBE_RECURRENCE_CHECKPOINTS, n_values);
    if (arena->memory) {
        out->block = block;
        rbe__recurrence_settle(out, 0);
    }
}

uint32_t rbe__recurrence_reach(const rbe__block_state *state, uint32_t n)
{
    uint32_t found;
    (void)rbe__checkpoints_before(&state->recurrence.checkpoints, n, &found);
    for (uint32_t place = 0; place < 2; place++) {
        const uint32_t position = state->recurrence.positions[place];
        found = position <= n && position > found ? position : found;
    }
    return found;
}

void rbe__recurrence_mark(const rbe__block_state *state, uint32_t n, uint32_t n_tokens)
{
    (void)n_tokens;
    *state->recurrence.call = n;
}

void rbe__recurrence_rewind(const rbe__block_state *state, uint32_t n)
{
    const rbe__recurrence_state *recurrence = &state->recurrence;
    const uint32_t place = place_of(recurrence, n);
    *recurrence->call = RBE_NO_POSITION;
    if (place != 2) {
        *recurrence->latest = place;
    } else {
        uint32_t found;
        const float *values = rbe__checkpoints_before(&recurrence->checkpoints, n, &found);
        if (values && found == n) {
            memcpy(recurrence->values[*recurrence->latest], values, values_of(state) * sizeof *values);
        }
        recurrence->positions[*recurrence->latest] = values && found == n ? n : RBE_NO_POSITION;
    }
    uint32_t *other = &recurrence->positions[1 - *recurrence->latest];
    *other = *other > n ? RBE_NO_POSITION : *other;
    rbe__checkpoints_drop(&recurrence->checkpoints, n);
}

void rbe__recurrence_settle(const rbe__block_state *state, uint32_t n)
{
    const rbe__recurrence_state *recurrence = &state->recurrence;
    *recurrence->call = RBE_NO_POSITION;
    *recurrence->latest = 0;
    recurrence->positions[0] = n == 0 ? RBE_NO_POSITION : n;
    recurrence->positions[1] = RBE_NO_POSITION;
    rbe__checkpoints_drop(&recurrence->checkpoints, n);
}

/* The rule knows no positions: the numbers stay what they are. */
void rbe__recurrence_slide(const rbe__workspace *workspace, const rbe__block_state *state, const rbe__slide *slide)
{
    (void)workspace;
    const rbe__recurrence_state *recurrence = &state->recurrence;
    const uint32_t place = place_of(recurrence, slide->first + slide->n); /* the earlier one where layers ran alone behind it */
    recurrence->positions[0] = recurrence->positions[1] = RBE_NO_POSITION;
    if (place != 2) {
        recurrence->positions[place] = slide->to + slide->n;
        *recurrence->latest = place;
    }
    *recurrence->call = RBE_NO_POSITION;
    rbe__checkpoints_slide(&recurrence->checkpoints, slide->first, slide->n, slide->to);
}

rbe_status rbe__recurrence_visit(const rbe__block_state *state, uint32_t n_positions, rbe__kv_visit *visit, void *context)
{
    const rbe__recurrence_state *recurrence = &state->recurrence;
    const uint32_t place = place_of(recurrence, n_positions);
    uint32_t found = 0;
    float *values = recurrence->values[place == 2 ? 0 : place]; /* 2: where they are to be written, or at a checkpoint */
    if (n_positions == 0) {
        return RBE_OK;
    }
    if (place == 2) {
        float *kept = rbe__checkpoints_before(&recurrence->checkpoints, n_positions, &found);
        values = kept && found == n_positions ? kept : values;
    }
    RBE_TRY(visit(context, values, values_of(state) * sizeof *values));
    return rbe__checkpoints_visit(&recurrence->checkpoints, n_positions, visit, context);
}
