#include "blocks/convolution_state.h"

#include <string.h>

#include "base/status.h"

/* Positions before the one that is computed which its row needs. */
static uint32_t before_of(const rbe__block_state *state)
{
    return state->block->as.convolution.taps.weight->cols - 1;
}

/* The same of the first n positions. */
static uint32_t tail_of(const rbe__block_state *state, uint32_t n)
{
    const uint32_t before = before_of(state);
    return before < n ? before : n;
}

static uint32_t place_of(const rbe__convolution_state *convolution, uint32_t position)
{
    return (position + *convolution->shift) % RBE_CONVOLUTION_ROWS;
}

static float *row_at(const rbe__block_state *state, uint32_t position)
{
    return state->convolution.rows + (size_t)place_of(&state->convolution, position) * state->block->width;
}

/* The row of a position, which is to be written. */
static float *write_row(const rbe__block_state *state, uint32_t position)
{
    state->convolution.positions[place_of(&state->convolution, position)] = position;
    return row_at(state, position);
}

const float *rbe__convolution_row(const rbe__block_state *state, uint32_t position)
{
    return state->convolution.positions[place_of(&state->convolution, position)] == position ? row_at(state, position) : NULL;
}

/* 1 where all rows are there that position n needs. */
static int has_tail(const rbe__block_state *state, uint32_t n)
{
    for (uint32_t i = 1; i <= tail_of(state, n); i++) {
        if (!rbe__convolution_row(state, n - i)) {
            return 0;
        }
    }
    return 1;
}

/* ---- checkpoints: rows [taps - 1][width], that of the latest position last ---------------------------------------------- */

/* rows at stride: of positions from `first` on, which are not stored yet. */
static void keep(const rbe__block_state *state, uint32_t position, float *out, uint32_t first, const float *rows, size_t stride)
{
    const size_t width = state->block->width;
    const uint32_t before = before_of(state);
    for (uint32_t i = 0; i < before; i++) {
        float *to = out + i * width;
        const int is_before_all = position + i < before;
        const uint32_t at = position + i - before;
        const float *row = is_before_all ? NULL : at >= first ? rows + (at - first) * stride : rbe__convolution_row(state, at);
        if (row) {
            memcpy(to, row, width * sizeof *to);
        } else {
            memset(to, 0, width * sizeof *to);
        }
    }
}

void rbe__convolution_store(const rbe__block_state *state, uint32_t first, uint32_t n, const float *rows, size_t stride)
{
    const size_t width = state->block->width;
    const uint32_t end = first + n;
    for (uint32_t at = end / RBE_CHECKPOINT_TOKENS * RBE_CHECKPOINT_TOKENS; at > first; at -= RBE_CHECKPOINT_TOKENS) {
        keep(state, at, rbe__checkpoints_at(&state->convolution.checkpoints, at), first, rows, stride);
    }
    for (uint32_t at = n > RBE_CONVOLUTION_ROWS ? end - RBE_CONVOLUTION_ROWS : first; at < end; at++) {
        memcpy(write_row(state, at), rows + (at - first) * stride, width * sizeof *rows);
    }
}

/* ---- the kind's ----------------------------------------------------------------------------------------------------------- */

void rbe__convolution_take_state(const rbe__block *block, rbe__arena *arena, rbe_kv_type type, uint32_t context, rbe__block_state *out)
{
    (void)type;
    rbe__convolution_state *convolution = &out->convolution;
    const size_t width = block->width, n_values = rbe__arena_count(block->as.convolution.taps.weight->cols - 1, width);
    convolution->positions = rbe__arena_take(arena, RBE_CONVOLUTION_ROWS, sizeof *convolution->positions);
    convolution->shift = rbe__arena_take(arena, 1, sizeof *convolution->shift);
    convolution->rows = rbe__arena_take(arena, rbe__arena_count(RBE_CONVOLUTION_ROWS, width), sizeof *convolution->rows);
    convolution->call = rbe__arena_take(arena, 2, sizeof *convolution->call);
    convolution->call_positions = rbe__arena_take(arena, RBE_CONVOLUTION_ROWS, sizeof *convolution->call_positions);
    convolution->call_rows = rbe__arena_take(arena, rbe__arena_count(RBE_CONVOLUTION_ROWS, width), sizeof *convolution->call_rows);
    convolution->checkpoints = rbe__checkpoints_take(arena, context, UINT32_MAX, n_values);
    if (arena->memory) {
        out->block = block;
        rbe__convolution_settle(out, 0);
    }
}

uint32_t rbe__convolution_reach(const rbe__block_state *state, uint32_t n)
{
    uint32_t found = n;
    if (!has_tail(state, n) && state->convolution.call[0] != n) {
        (void)rbe__checkpoints_before(&state->convolution.checkpoints, n, &found);
    }
    return found;
}

/* The rows that the last call has written over, as they were when it began at n positions. */
static void take_back(const rbe__block_state *state, uint32_t n)
{
    const rbe__convolution_state *convolution = &state->convolution;
    const size_t width = state->block->width;
    for (uint32_t i = 0; i < convolution->call[1]; i++) {
        convolution->positions[place_of(convolution, n + i)] = convolution->call_positions[i];
        if (convolution->call_positions[i] != RBE_NO_POSITION) {
            memcpy(row_at(state, n + i), convolution->call_rows + i * width, width * sizeof(float));
        }
    }
}

void rbe__convolution_mark(const rbe__block_state *state, uint32_t n, uint32_t n_tokens)
{
    const rbe__convolution_state *convolution = &state->convolution;
    const size_t width = state->block->width;
    if (convolution->call[0] == n) { /* what ran behind the sequence did not become part of it */
        take_back(state, n);
    }
    convolution->call[0] = n;
    convolution->call[1] = n_tokens < RBE_CONVOLUTION_ROWS ? n_tokens : RBE_CONVOLUTION_ROWS;
    for (uint32_t i = 0; i < convolution->call[1]; i++) {
        convolution->call_positions[i] = convolution->positions[place_of(convolution, n + i)];
        if (convolution->call_positions[i] != RBE_NO_POSITION) {
            memcpy(convolution->call_rows + i * width, row_at(state, n + i), width * sizeof(float));
        }
    }
}

void rbe__convolution_rewind(const rbe__block_state *state, uint32_t n)
{
    const rbe__checkpoints *checkpoints = &state->convolution.checkpoints;
    const size_t width = state->block->width;
    if (state->convolution.call[0] == n) {
        take_back(state, n);
    }
    state->convolution.call[0] = RBE_NO_POSITION;
    if (!has_tail(state, n)) {
        uint32_t found;
        const float *rows = rbe__checkpoints_before(checkpoints, n, &found);
        for (uint32_t i = 1; rows && i <= tail_of(state, n); i++) {
            memcpy(write_row(state, n - i), rows + (before_of(state) - i) * width, width * sizeof *rows);
        }
    }
    rbe__checkpoints_drop(checkpoints, n);
}

void rbe__convolution_settle(const rbe__block_state *state, uint32_t n)
{
    const rbe__convolution_state *convolution = &state->convolution;
    convolution->call[0] = RBE_NO_POSITION;
    if (n == 0) {
        *convolution->shift = 0;
        memset(convolution->positions, 0xFF, RBE_CONVOLUTION_ROWS * sizeof *convolution->positions);
    }
    rbe__convolution_rewind(state, n);
}

/* The convolution knows no positions: what was read last stays what was read last. Of the sinks no rows stay. */
void rbe__convolution_slide(const rbe__workspace *workspace, const rbe__block_state *state, const rbe__slide *slide)
{
    (void)workspace;
    const rbe__convolution_state *convolution = &state->convolution;
    const uint32_t end = slide->first + slide->n, distance = slide->first - slide->to, before = before_of(state);
    for (uint32_t i = 0; i < RBE_CONVOLUTION_ROWS; i++) {
        const uint32_t position = convolution->positions[i];
        const int stays = position < end && position >= distance && (position >= slide->first || end - position <= before);
        convolution->positions[i] = stays ? position - distance : RBE_NO_POSITION;
    }
    *convolution->shift += distance; /* rows stay where they are */
    convolution->call[0] = RBE_NO_POSITION;
    rbe__checkpoints_slide(&convolution->checkpoints, slide->first, slide->n, slide->to);
}

/* Rows with their positions, whatever those are: in the same places they mean the same. Where the last call began at n_positions, they are those
 * from before it. */
rbe_status rbe__convolution_visit(const rbe__block_state *state, uint32_t n_positions, rbe__kv_visit *visit, void *context)
{
    const rbe__convolution_state *convolution = &state->convolution;
    const size_t width = state->block->width;
    const uint32_t n_written = convolution->call[0] == n_positions ? convolution->call[1] : 0;
    for (uint32_t at = n_positions > RBE_CONVOLUTION_ROWS ? n_positions - RBE_CONVOLUTION_ROWS : 0; at < n_positions; at++) {
        const uint32_t i = at + RBE_CONVOLUTION_ROWS - n_positions; /* of the position that takes its place */
        uint32_t *position = i < n_written ? &convolution->call_positions[i] : &convolution->positions[place_of(convolution, at)];
        float *row = i < n_written ? convolution->call_rows + i * width : row_at(state, at);
        if (*position == RBE_NO_POSITION) { /* as of checkpoints */
            memset(row, 0, width * sizeof *row);
        }
        RBE_TRY(visit(context, position, sizeof *position));
        RBE_TRY(visit(context, row, width * sizeof *row));
    }
    return rbe__checkpoints_visit(&convolution->checkpoints, n_positions, visit, context);
}
