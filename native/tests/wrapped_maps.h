/* Maps of files and the start of threads, counted and refused as allocations are. Include it once, behind wrapped_allocator.h. */
#ifndef RBE_TESTS_WRAPPED_MAPS_H
#define RBE_TESTS_WRAPPED_MAPS_H

#include <pthread.h>
#include <sys/mman.h>
#include <sys/types.h>

void *__real_mmap64(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset);
void *__wrap_mmap64(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context);

#if defined(__GLIBC__)
void *__wrap_mmap64(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset)
{
    if (is_refused()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap64(address, bytes, protection, flags, descriptor, offset);
}
#endif

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context)
{
    return is_refused() ? EAGAIN : __real_pthread_create(thread, attributes, run, context);
}

#endif
