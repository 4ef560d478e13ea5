#include "blocks/checkpoints.h"

#include <string.h>

#include "base/status.h"

static float *values_of(const rbe__checkpoints *checkpoints, uint32_t place)
{
    return checkpoints->values + place * checkpoints->n_values;
}

rbe__checkpoints rbe__checkpoints_take(rbe__arena *arena, uint32_t context, uint32_t most_places, size_t n_values)
{
    const uint32_t n_places = context / RBE_CHECKPOINT_TOKENS + 1;
    rbe__checkpoints taken = {.n_places = n_places < most_places ? n_places : most_places, .n_values = n_values};
    taken.positions = rbe__arena_take(arena, taken.n_places, sizeof *taken.positions);
    taken.values = rbe__arena_take(arena, rbe__arena_count(taken.n_places, n_values), sizeof *taken.values);
    if (arena->memory) {
        rbe__checkpoints_drop(&taken, 0);
    }
    return taken;
}

uint32_t rbe__checkpoints_spacing(const rbe__checkpoints *checkpoints, uint32_t n_positions)
{
    uint32_t spacing = RBE_CHECKPOINT_TOKENS;
    while (n_positions / spacing >= checkpoints->n_places) {
        spacing *= 2;
    }
    return spacing;
}

/* The place of the last checkpoint from `first` to `last`; n_places: there is none. */
static uint32_t last_between(const rbe__checkpoints *checkpoints, uint32_t first, uint32_t last)
{
    uint32_t best = checkpoints->n_places;
    for (uint32_t place = 0; place < checkpoints->n_places; place++) {
        const uint32_t position = checkpoints->positions[place];
        if (position >= first && position <= last && (best == checkpoints->n_places || position > checkpoints->positions[best])) {
            best = place;
        }
    }
    return best;
}

/* One stays between two multiples of the spacing: there are then no more of them than places. */
static void thin(const rbe__checkpoints *checkpoints, uint32_t spacing)
{
    for (uint32_t place = 0; place < checkpoints->n_places; place++) {
        const uint32_t position = checkpoints->positions[place], begin = position / spacing * spacing;
        if (position != RBE_NO_POSITION && last_between(checkpoints, begin, begin + spacing - 1) != place) {
            checkpoints->positions[place] = RBE_NO_POSITION;
        }
    }
}

uint32_t rbe__checkpoints_make_room(const rbe__checkpoints *checkpoints, uint32_t first, uint32_t end)
{
    const uint32_t spacing = rbe__checkpoints_spacing(checkpoints, end);
    if (first / spacing != end / spacing) {
        rbe__checkpoints_drop(checkpoints, first);
        thin(checkpoints, spacing);
    }
    return spacing;
}

/* The place of one at `position`; n_places: there is none. */
static uint32_t find(const rbe__checkpoints *checkpoints, uint32_t position)
{
    uint32_t place = 0;
    while (place < checkpoints->n_places && checkpoints->positions[place] != position) {
        place++;
    }
    return place;
}

float *rbe__checkpoints_at(const rbe__checkpoints *checkpoints, uint32_t position)
{
    const uint32_t usual = position / RBE_CHECKPOINT_TOKENS % checkpoints->n_places;
    uint32_t place = checkpoints->positions[usual] == position ? usual : find(checkpoints, position);
    if (place == checkpoints->n_places) {
        place = checkpoints->positions[usual] == RBE_NO_POSITION ? usual : find(checkpoints, RBE_NO_POSITION);
    }
    place = place == checkpoints->n_places ? usual : place;
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

void rbe__checkpoints_slide(const rbe__checkpoints *checkpoints, uint32_t first, uint32_t n, uint32_t to)
{
    for (uint32_t place = 0; place < checkpoints->n_places; place++) {
        const uint32_t position = checkpoints->positions[place];
        if (position != RBE_NO_POSITION && position > to) {
            const int moves = position > first && position - first <= n; /* others are of what ran behind the sequence */
            checkpoints->positions[place] = moves ? position - (first - to) : RBE_NO_POSITION;
        }
    }
    thin(checkpoints, rbe__checkpoints_spacing(checkpoints, to + n));
}

/* One that is to be visited and is not there. Nobody reads its numbers, and no file shows what memory held before. */
static rbe_status visit_none(const rbe__checkpoints *checkpoints, rbe__kv_visit *visit, void *context)
{
    uint32_t none = RBE_NO_POSITION;
    const uint32_t free_place = find(checkpoints, RBE_NO_POSITION), place = free_place < checkpoints->n_places ? free_place : 0;
    if (place == free_place) {
        memset(values_of(checkpoints, place), 0, checkpoints->n_values * sizeof(float));
    }
    RBE_TRY(visit(context, place == free_place ? &checkpoints->positions[place] : &none, sizeof none));
    return visit(context, values_of(checkpoints, place), checkpoints->n_values * sizeof(float));
}

rbe_status rbe__checkpoints_visit(const rbe__checkpoints *checkpoints, uint32_t position, rbe__kv_visit *visit, void *context)
{
    const uint32_t spacing = rbe__checkpoints_spacing(checkpoints, position);
    for (uint32_t begin = 0; begin <= position; begin += spacing) {
        const uint32_t last = position - begin < spacing ? position : begin + spacing - 1;
        const uint32_t place = last_between(checkpoints, begin, last);
        if (place == checkpoints->n_places) {
            RBE_TRY(visit_none(checkpoints, visit, context));
        } else {
            RBE_TRY(visit(context, &checkpoints->positions[place], sizeof *checkpoints->positions));
            RBE_TRY(visit(context, values_of(checkpoints, place), checkpoints->n_values * sizeof(float)));
        }
    }
    return RBE_OK;
}
