#include "blocks/checkpoints.h"

#include <string.h>

#include "base/status.h"

static float *values_of(const rbe__checkpoints *checkpoints, uint32_t place)
{
    return checkpoints->values + place * checkpoints->n_values;
}

rbe__checkpoints rbe__checkpoints_take(rbe__arena *arena, uint32_t context, size_t n_values)
{
    rbe__checkpoints taken = {.n_places = context / RBE_CHECKPOINT_TOKENS + 1, .n_values = n_values};
    taken.positions = rbe__arena_take(arena, taken.n_places, sizeof *taken.positions);
    taken.values = rbe__arena_take(arena, rbe__arena_count(taken.n_places, n_values), sizeof *taken.values);
    if (arena->memory) {
        rbe__checkpoints_drop(&taken, 0);
    }
    return taken;
}

float *rbe__checkpoints_at(const rbe__checkpoints *checkpoints, uint32_t position)
{
    const uint32_t place = position / RBE_CHECKPOINT_TOKENS;
    checkpoints->positions[place] = position;
    return values_of(checkpoints, place);
}

float *rbe__checkpoints_before(const rbe__checkpoints *checkpoints, uint32_t position, uint32_t *found)
{
    uint32_t best = RBE_NO_POSITION;
    *found = 0;
    for (uint32_t place = 0; place < checkpoints->n_places; place++) {
        if (checkpoints->positions[place] <= position && checkpoints->positions[place] > *found) {
            *found = checkpoints->positions[place];
            best = place;
        }
    }
    return best == RBE_NO_POSITION ? NULL : values_of(checkpoints, best);
}

void rbe__checkpoints_drop(const rbe__checkpoints *checkpoints, uint32_t position)
{
    for (uint32_t place = 0; place < checkpoints->n_places; place++) {
        if (checkpoints->positions[place] > position || position == 0) {
            checkpoints->positions[place] = RBE_NO_POSITION;
        }
    }
}

void rbe__checkpoints_slide(const rbe__checkpoints *checkpoints, uint32_t first, uint32_t to)
{
    for (uint32_t place = 0; place < checkpoints->n_places; place++) {
        const uint32_t position = checkpoints->positions[place], moved = position - (first - to);
        if (position == RBE_NO_POSITION || position <= to) {
            continue;
        }
        checkpoints->positions[place] = RBE_NO_POSITION;
        if (position > first) { /* its new place is this one or one that was looked at */
            const uint32_t new_place = moved / RBE_CHECKPOINT_TOKENS;
            checkpoints->positions[new_place] = moved;
            memmove(values_of(checkpoints, new_place), values_of(checkpoints, place), checkpoints->n_values * sizeof(float));
        }
    }
}

rbe_status rbe__checkpoints_visit(const rbe__checkpoints *checkpoints, uint32_t position, rbe__kv_visit *visit, void *context)
{
    const size_t bytes = checkpoints->n_values * sizeof *checkpoints->values;
    for (uint32_t place = 0; place <= position / RBE_CHECKPOINT_TOKENS; place++) {
        if (checkpoints->positions[place] == RBE_NO_POSITION) { /* nobody reads it, and no file shows what memory held before */
            memset(values_of(checkpoints, place), 0, bytes);
        }
        RBE_TRY(visit(context, &checkpoints->positions[place], sizeof *checkpoints->positions));
        RBE_TRY(visit(context, values_of(checkpoints, place), bytes));
    }
    return RBE_OK;
}
