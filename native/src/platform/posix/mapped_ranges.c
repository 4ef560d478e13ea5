#include "platform/posix/mapped_ranges.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Of a list that only grows, so that a handler may walk it at any time. A range that was taken out is used again. */
typedef struct range {
    struct range *next;
    atomic_uintptr_t first; /* 0: none */
    size_t bytes;           /* this and the path stay as long as `first` does */
    char path[512];
} range;

static _Atomic(range *) ranges;
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;

static range *find(uintptr_t first)
{
    range *at = atomic_load_explicit(&ranges, memory_order_acquire);
    while (at && atomic_load_explicit(&at->first, memory_order_acquire) != first) {
        at = at->next;
    }
    return at;
}

int rbe__mapped_ranges_add(const void *first, size_t bytes, const char *path)
{
    pthread_mutex_lock(&changing);
    range *at = find(0), *made = at ? NULL : calloc(1, sizeof *made);
    at = at ? at : made;
    if (at) {
        const size_t length = strlen(path), most = sizeof at->path - 1;
        at->bytes = bytes;
        memcpy(at->path, path, length < most ? length : most);
        at->path[length < most ? length : most] = 0;
        atomic_store_explicit(&at->first, (uintptr_t)first, memory_order_release);
    }
    if (made) {
        made->next = atomic_load_explicit(&ranges, memory_order_relaxed);
        atomic_store_explicit(&ranges, made, memory_order_release);
    }
    pthread_mutex_unlock(&changing);
    return at != NULL;
}

void rbe__mapped_ranges_remove(const void *first)
{
    pthread_mutex_lock(&changing);
    range *at = find((uintptr_t)first);
    if (at) {
        atomic_store_explicit(&at->first, 0, memory_order_release);
    }
    pthread_mutex_unlock(&changing);
}

const char *rbe__mapped_ranges_path(const void *address)
{
    for (const range *at = atomic_load_explicit(&ranges, memory_order_acquire); at; at = at->next) {
        const uintptr_t first = atomic_load_explicit(&at->first, memory_order_acquire);
        if (first && (uintptr_t)address >= first && (uintptr_t)address - first < at->bytes) {
            return at->path;
        }
    }
    return NULL;
}
