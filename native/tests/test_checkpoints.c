/* Places of checkpoints: which are kept as a sequence grows, goes back and slides, and what is visited. A checkpoint's number is its position. */
#include <stdlib.h>
#include <string.h>

#include "blocks/checkpoints.h"
#include "check.h"

#define CONTEXT 5000u
#define EVERY RBE_CHECKPOINT_TOKENS

static rbe__checkpoints open_places(uint32_t most, rbe__arena *arena)
{
    *arena = (rbe__arena){0};
    (void)rbe__checkpoints_take(arena, CONTEXT, most, 1);
    CHECK(rbe__arena_allocate(arena) == 0, "no memory");
    return rbe__checkpoints_take(arena, CONTEXT, most, 1);
}

/* Positions first ... end - 1 are appended. */
static void grow(const rbe__checkpoints *places, uint32_t first, uint32_t end)
{
    const uint32_t spacing = rbe__checkpoints_make_room(places, first, end);
    for (uint32_t at = (first / spacing + 1) * spacing; at <= end; at += spacing) {
        *rbe__checkpoints_at(places, at) = (float)at;
    }
}

static uint32_t before(const rbe__checkpoints *places, uint32_t position)
{
    uint32_t found;
    const float *value = rbe__checkpoints_before(places, position, &found);
    CHECK(value ? *value == (float)found && found > 0 : found == 0, "%u holds another's numbers", found);
    return found;
}

/* However long the passes are, of a sequence of n positions going back a little costs less than a spacing, and going anywhere less than two. */
static void check_growth(uint32_t most, uint32_t step)
{
    rbe__arena arena;
    const rbe__checkpoints places = open_places(most, &arena);
    CHECK(places.n_places == (most < CONTEXT / EVERY + 1 ? most : CONTEXT / EVERY + 1), "%u places", places.n_places);
    for (uint32_t n = 0; n + step <= CONTEXT; n += step) {
        const uint32_t end = n + step, spacing = rbe__checkpoints_spacing(&places, end);
        grow(&places, n, end);
        CHECK(spacing % EVERY == 0 && end / spacing < places.n_places && (spacing == EVERY || 2 * end / spacing >= places.n_places),
              "a spacing of %u at %u", spacing, end);
        CHECK(end - before(&places, end) < spacing || step > spacing, "%u of %u", before(&places, end), end);
        for (uint32_t at = EVERY; at < end; at += EVERY) {
            CHECK(at - before(&places, at) < 2 * spacing, "%u of %u: back to %u", at, end, before(&places, at));
        }
    }
    rbe__aligned_free(arena.memory);
}

/* What lies behind a position is forgotten, and its places serve others. */
static void check_back(void)
{
    rbe__arena arena;
    const rbe__checkpoints places = open_places(4, &arena);
    grow(&places, 0, 4000);
    rbe__checkpoints_drop(&places, 1100);
    CHECK(before(&places, CONTEXT) <= 1100, "not forgotten");
    for (uint32_t n = 1100; n < 3000; n += 100) {
        grow(&places, n, n + 100);
    }
    CHECK(before(&places, 3000) == 2048 + 512 || before(&places, 3000) == 2048, "%u", before(&places, 3000));
    grow(&places, 700, 900); /* again, though nobody went back: what lies behind 700 is of other tokens */
    CHECK(before(&places, CONTEXT) <= 900, "%u is of other tokens", before(&places, CONTEXT));
    rbe__aligned_free(arena.memory);
}

/* 256, 512 and 768 of 1000; the positions behind 300 move down to those behind 40. */
static void check_slide(void)
{
    rbe__arena arena;
    const rbe__checkpoints places = open_places(4, &arena);
    uint32_t found;
    for (uint32_t n = 0; n < 1000; n += 50) {
        grow(&places, n, n + 50);
    }
    CHECK(before(&places, 511) == 384 || before(&places, 511) == 256, "%u", before(&places, 511));
    CHECK(before(&places, 1000) == 768 && before(&places, 767) == 512, "%u", before(&places, 767));
    rbe__checkpoints_slide(&places, 300, 700, 40);
    const float *value = rbe__checkpoints_before(&places, 740, &found);
    CHECK(found == 768 - 260 && value && *value == 768.0f, "at %u", found);
    value = rbe__checkpoints_before(&places, found - 1, &found);
    CHECK(found == 512 - 260 && value && *value == 512.0f, "at %u", found);
    CHECK(rbe__checkpoints_before(&places, 100, &found) == NULL && found == 0, "%u did not stay", found);
    grow(&places, 740, 1100);
    CHECK(rbe__checkpoints_before(&places, 1100, &found) && found == 1024, "at %u", found);
    rbe__aligned_free(arena.memory);
}

/* The sequence has 760 positions, and what ran behind it did not stay. */
static void check_slide_of_fewer(void)
{
    rbe__arena arena;
    const rbe__checkpoints places = open_places(4, &arena);
    uint32_t found;
    grow(&places, 0, 760);
    grow(&places, 760, 1000);
    rbe__checkpoints_slide(&places, 300, 460, 40);
    CHECK(rbe__checkpoints_before(&places, CONTEXT, &found) && found == 512 - 260, "at %u, of other tokens", found);
    rbe__aligned_free(arena.memory);
}

/* What a visit shows, one after the other. */
typedef struct shown {
    uint8_t bytes[4096];
    size_t n;
} shown;

static rbe_status show(void *context, void *piece, size_t bytes)
{
    shown *to = context;
    memcpy(to->bytes + to->n, piece, bytes);
    to->n += bytes;
    return RBE_OK;
}

static rbe_status take(void *context, void *piece, size_t bytes)
{
    shown *from = context;
    memcpy(piece, from->bytes + from->n, bytes);
    from->n += bytes;
    return RBE_OK;
}

/* In other places the same is shown, and what was taken over is what was shown. */
static void check_visit(uint32_t most, uint32_t n)
{
    rbe__arena arenas[3];
    const rbe__checkpoints one = open_places(most, &arenas[0]), other = open_places(most, &arenas[1]),
                           taken = open_places(most, &arenas[2]);
    shown first = {.n = 0}, second = {.n = 0}, third = {.n = 0};
    for (uint32_t at = 0; at + 100 <= 4000; at += 100) {
        grow(&one, at, at + 100);
    }
    rbe__checkpoints_drop(&one, n);
    memcpy(other.positions, one.positions, one.n_places * sizeof *one.positions);
    for (uint32_t i = 0; i < one.n_places; i++) { /* from the last place to the first */
        other.positions[i] = one.positions[one.n_places - 1 - i];
        other.values[i] = one.values[one.n_places - 1 - i];
    }
    CHECK(rbe__checkpoints_visit(&one, n, show, &first) == RBE_OK && rbe__checkpoints_visit(&other, n, show, &second) == RBE_OK, "shown");
    CHECK(first.n == second.n && memcmp(first.bytes, second.bytes, first.n) == 0, "%u: by the places", n);
    CHECK(first.n == 8 * (size_t)(n / rbe__checkpoints_spacing(&one, n) + 1), "%u: %zu bytes", n, first.n);
    first.n = 0;
    CHECK(rbe__checkpoints_visit(&taken, n, take, &first) == RBE_OK, "taken");
    CHECK(rbe__checkpoints_visit(&taken, n, show, &third) == RBE_OK && memcmp(third.bytes, first.bytes, third.n) == 0, "%u: another", n);
    for (uint32_t at = 0; at <= n; at += 50) {
        CHECK(before(&taken, at) == before(&one, at), "%u of %u", at, n);
    }
    for (int i = 0; i < 3; i++) {
        rbe__aligned_free(arenas[i].memory);
    }
}

int main(void)
{
    static const uint32_t steps[] = {1, 50, 128, 300, 1111};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        check_growth(1, steps[i]);
        check_growth(4, steps[i]);
        check_growth(UINT32_MAX, steps[i]);
    }
    check_back();
    check_slide();
    check_slide_of_fewer();
    for (uint32_t n = 1; n <= 4000; n += 93) {
        check_visit(4, n);
        check_visit(UINT32_MAX, n);
    }
    return check_finish();
}
