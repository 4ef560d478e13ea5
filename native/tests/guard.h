/* Buffers with an unmapped page directly before or directly behind them: a read or write outside crashes the test. */
#ifndef RBE_TESTS_GUARD_H
#define RBE_TESTS_GUARD_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#if defined(_WIN32)
#include "platform/windows/windows.h"
#undef near /* words of 16-bit compilers */
#undef far
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

/* Which end of the buffer touches the unmapped page. */
typedef enum guard_side { GUARD_BEFORE, GUARD_BEHIND, GUARD_SIDES } guard_side;

typedef struct guarded {
    void *data;
    uint8_t *map;
    size_t map_bytes;
} guarded;

#if defined(_WIN32)
static inline size_t guard_page(void)
{
    SYSTEM_INFO system;
    GetSystemInfo(&system);
    return system.dwPageSize;
}

/* Pages of zeros, those at both ends out of reach; NULL where the system refuses. */
static inline uint8_t *guard_map(size_t bytes, size_t page)
{
    DWORD before;
    uint8_t *map = VirtualAlloc(NULL, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    return map && VirtualProtect(map, page, PAGE_NOACCESS, &before) && VirtualProtect(map + bytes - page, page, PAGE_NOACCESS, &before)
               ? map
               : NULL;
}

static inline void guard_give(guarded buffer)
{
    VirtualFree(buffer.map, 0, MEM_RELEASE);
}
#else
static inline size_t guard_page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Pages of zeros, those at both ends out of reach; NULL where the system refuses. */
static inline uint8_t *guard_map(size_t bytes, size_t page)
{
    const int zeros = open("/dev/zero", O_RDWR);
    uint8_t *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, zeros, 0);
    close(zeros);
    return (void *)map != MAP_FAILED && mprotect(map, page, PROT_NONE) == 0 && mprotect(map + bytes - page, page, PROT_NONE) == 0 ? map
                                                                                                                                  : NULL;
}

static inline void guard_give(guarded buffer)
{
    munmap(buffer.map, buffer.map_bytes);
}
#endif

/* Bytes that may be read behind a buffer. 0, but for emulators that read all of a vector of which a mask takes a part, as qemu 7.2 does with AVX2. */
static size_t guard_slack;

/* `bytes` of zeros. Ends the test program where the system refuses. */
static inline guarded guard_take(size_t bytes, guard_side side)
{
    bytes += side == GUARD_BEHIND ? guard_slack : 0;
    const size_t page = guard_page(), inner = (bytes + page - 1) / page * page;
    guarded buffer = {.map_bytes = inner + 2 * page, .map = guard_map(inner + 2 * page, page)};
    if (!buffer.map) {
        fprintf(stderr, "no memory behind guard pages\n");
        exit(2);
    }
    buffer.data = buffer.map + page + (side == GUARD_BEHIND ? inner - bytes : 0);
    return buffer;
}

#endif
