/* The allocator, counted, and refusing where a test wants it. The linker puts these in its place (CMakeLists.txt). Include it once. */
#ifndef RBE_TESTS_WRAPPED_ALLOCATOR_H
#define RBE_TESTS_WRAPPED_ALLOCATOR_H

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_uint n_allocations; /* asked for */
static atomic_uint refused;       /* the number of the one that is refused, from 1 on; 0: none */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
int __real_posix_memalign(void **memory, size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes);

static inline int is_refused(void)
{
    return atomic_fetch_add(&n_allocations, 1) + 1 == atomic_load(&refused);
}

void *__wrap_malloc(size_t bytes)
{
    return is_refused() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return is_refused() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    return is_refused() ? NULL : __real_realloc(memory, bytes);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    return is_refused() ? ENOMEM : __real_posix_memalign(memory, alignment, bytes);
}

#endif
