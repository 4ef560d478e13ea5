#include "platform/mapped_ranges.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NOTHING ((uintptr_t)0) /* where no range begins: a place that is free, */
#define TAKEN ((uintptr_t)1)   /* and one that is being filled */

/* Of a list that only grows, so that a handler may walk it at any time. A range that was taken out is used again. */
typedef struct range {
    struct range *next;
    atomic_uintptr_t first;
    size_t bytes; /* this and the path stay as long as `first` does */
    char path[512];
} range;

static _Atomic(range *) ranges;

/* A free place, now this thread's; a new one where there is none; NULL: no memory. */
static range *take_place(void)
{
    for (range *at = atomic_load_explicit(&ranges, memory_order_acquire); at; at = at->next) {
        uintptr_t nothing = NOTHING;
        if (atomic_compare_exchange_strong_explicit(&at->first, &nothing, TAKEN, memory_order_acq_rel, memory_order_relaxed)) {
            return at;
        }
    }
    range *made = calloc(1, sizeof *made);
    if (made) {
        atomic_init(&made->first, TAKEN);
        made->next = atomic_load_explicit(&ranges, memory_order_relaxed);
        while (!atomic_compare_exchange_weak_explicit(&ranges, &made->next, made, memory_order_release, memory_order_relaxed)) {
        }
    }
    return made;
}

int rbe__mapped_ranges_add(const void *first, size_t bytes, const char *path)
{
    range *at = take_place();
    if (at) {
        const size_t length = strlen(path), most = sizeof at->path - 1;
        at->bytes = bytes;
        memcpy(at->path, path, length < most ? length : most);
        at->path[length < most ? length : most] = 0;
        atomic_store_explicit(&at->first, (uintptr_t)first, memory_order_release);
    }
    return at != NULL;
}

void rbe__mapped_ranges_remove(const void *first)
{
    for (range *at = atomic_load_explicit(&ranges, memory_order_acquire); at; at = at->next) {
        if (atomic_load_explicit(&at->first, memory_order_relaxed) == (uintptr_t)first) {
            atomic_store_explicit(&at->first, NOTHING, memory_order_release);
            return;
        }
    }
}

const char *rbe__mapped_ranges_path(const void *address)
{
    for (const range *at = atomic_load_explicit(&ranges, memory_order_acquire); at; at = at->next) {
        const uintptr_t first = atomic_load_explicit(&at->first, memory_order_acquire);
        if (first > TAKEN && (uintptr_t)address >= first && (uintptr_t)address - first < at->bytes) {
            return at->path;
        }
    }
    return NULL;
}
