#include "weights/expert_pages.h"

#include <stdlib.h>

#include "base/status.h"
#include "platform/threads.h"

/* Uses of each expert, on average, between two halvings. */
#define MEMORY_USES 64u

typedef struct expert_page {
    uint32_t uses; /* halved now and then */
    uint32_t last; /* the turn of the last one: of equals the older goes */
    int is_held;
} expert_page;

struct rbe__expert_pages {
    const rbe__mapped_file *file;
    rbe__expert_area *areas;
    expert_page *experts;
    uint32_t n;
    uint64_t budget;
    rbe__mutex *mutex; /* of what follows, and of the experts */
    uint64_t held_bytes;
    uint32_t turn, since_halving;
    uint32_t fresh; /* the last one that was not in memory; n: none */
};

rbe_status rbe__expert_pages_create(const rbe__mapped_file *file, rbe__expert_area *areas, uint32_t n, uint64_t budget,
                                    rbe__expert_pages **out)
{
    rbe__expert_pages *pages = calloc(1, sizeof *pages);
    expert_page *experts = calloc(n ? n : 1, sizeof *experts);
    rbe__mutex *mutex = rbe__mutex_create();
    if (!pages || !experts || !mutex) {
        rbe__mutex_free(mutex);
        free(experts);
        free(pages);
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for the list of %u experts", n);
    }
    *pages = (rbe__expert_pages){.file = file, .areas = areas, .experts = experts, .n = n, .budget = budget, .mutex = mutex, .fresh = n};
    *out = pages;
    return RBE_OK;
}

void rbe__expert_pages_free(rbe__expert_pages *pages)
{
    if (pages) {
        rbe__mutex_free(pages->mutex);
        free(pages->experts);
        free(pages->areas);
        free(pages);
    }
}

static void forget_a_half(rbe__expert_pages *pages)
{
    for (uint32_t e = 0; e < pages->n; e++) {
        pages->experts[e].uses /= 2;
    }
    pages->since_halving = 0;
}

/* The one that is used least of those that are in memory; n: none is. */
static uint32_t least_used(const rbe__expert_pages *pages)
{
    uint32_t least = pages->n;
    for (uint32_t e = 0; e < pages->n; e++) {
        const expert_page *expert = &pages->experts[e], *best = least < pages->n ? &pages->experts[least] : NULL;
        if (expert->is_held &&
            (!best || expert->uses < best->uses || (expert->uses == best->uses && pages->turn - expert->last > pages->turn - best->last))) {
            least = e;
        }
    }
    return least;
}

static void give_back(const rbe__expert_pages *pages, uint32_t expert)
{
    if (!pages->experts[expert].is_held) {
        rbe__mapped_file_release(pages->file, pages->areas[expert].offset, pages->areas[expert].bytes);
    }
}

/* Gives back what reading the fresh one has brought in of those beside it. */
static void trim_beside_fresh(rbe__expert_pages *pages)
{
    const uint32_t fresh = pages->fresh;
    if (fresh == pages->n) {
        return;
    }
    const uint64_t first = pages->areas[fresh].offset, end = first + pages->areas[fresh].bytes;
    for (uint32_t e = fresh; e > 0 && pages->areas[e - 1].offset + pages->areas[e - 1].bytes + RBE_MAPPED_GRAIN > first; e--) {
        give_back(pages, e - 1);
    }
    for (uint32_t e = fresh + 1; e < pages->n && pages->areas[e].offset < end + RBE_MAPPED_GRAIN; e++) {
        give_back(pages, e);
    }
    pages->fresh = pages->n;
}

void rbe__expert_pages_use(rbe__expert_pages *pages, uint32_t expert, uint32_t n_rows)
{
    rbe__mutex_lock(pages->mutex);
    expert_page *used = &pages->experts[expert];
    trim_beside_fresh(pages);
    used->uses += n_rows;
    used->last = pages->turn++;
    pages->since_halving += n_rows;
    if (pages->since_halving / MEMORY_USES >= pages->n) {
        forget_a_half(pages);
    }
    while (!used->is_held && pages->held_bytes + pages->areas[expert].bytes > pages->budget) {
        const uint32_t out = least_used(pages);
        if (out == pages->n) {
            break;
        }
        pages->experts[out].is_held = 0;
        pages->held_bytes -= pages->areas[out].bytes;
        give_back(pages, out);
    }
    if (!used->is_held) {
        used->is_held = 1;
        pages->fresh = expert;
        pages->held_bytes += pages->areas[expert].bytes;
    }
    rbe__mutex_unlock(pages->mutex);
}

int rbe__expert_pages_holds(rbe__expert_pages *pages, uint32_t expert)
{
    rbe__mutex_lock(pages->mutex);
    const int is_held = pages->experts[expert].is_held;
    rbe__mutex_unlock(pages->mutex);
    return is_held;
}

void rbe__expert_pages_expect(rbe__expert_pages *pages, uint32_t expert)
{
    if (!rbe__expert_pages_holds(pages, expert)) {
        rbe__mapped_file_expect(pages->file, pages->areas[expert].offset, pages->areas[expert].bytes);
    }
}
