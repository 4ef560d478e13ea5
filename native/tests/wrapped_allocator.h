/* The allocator, counted, and refusing where a test wants it. The linker puts these in its place (CMakeLists.txt). Include it once. What the C library
 * allocates within itself, as for a FILE, is not seen. */
#ifndef RBE_TESTS_WRAPPED_ALLOCATOR_H
#define RBE_TESTS_WRAPPED_ALLOCATOR_H

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

static atomic_uint n_allocations; /* asked for */
static atomic_uint refused; /* the number of the one that is refused, from 1 on; 0: none */
static atomic_long n_live; /* given and not freed yet */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
int __real_posix_memalign(void **memory, size_t alignment, size_t bytes);
void __real_free(void *memory);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes);
char *__wrap_strdup(const char *text);
void __wrap_free(void *memory);

static inline int is_refused(void)
{
    return atomic_fetch_add(&n_allocations, 1) + 1 == atomic_load(&refused);
}

static inline void *counted(void *memory)
{
    atomic_fetch_add(&n_live, memory != NULL);
    return memory;
}

void *__wrap_malloc(size_t bytes)
{
    return is_refused() ? NULL : counted(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return is_refused() ? NULL : counted(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    if (is_refused()) {
        return NULL;
    }
    return memory ? __real_realloc(memory, bytes) : counted(__real_realloc(NULL, bytes));
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes)
{
    if (is_refused()) {
        return ENOMEM;
    }
    const int status = __real_posix_memalign(memory, alignment, bytes);
    atomic_fetch_add(&n_live, status == 0);
    return status;
}

char *__wrap_strdup(const char *text)
{
    char *copy = __wrap_malloc(strlen(text) + 1);
    return copy ? strcpy(copy, text) : NULL;
}

void __wrap_free(void *memory)
{
    atomic_fetch_sub(&n_live, memory != NULL);
    __real_free(memory);
}

#endif
