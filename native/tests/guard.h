/* Buffers with an unmapped page directly before or directly behind them: a read or write outside crashes the test. */
#ifndef RBE_TESTS_GUARD_H
#define RBE_TESTS_GUARD_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Which end of the buffer touches the unmapped page. */
typedef enum guard_side { GUARD_BEFORE, GUARD_BEHIND, GUARD_SIDES } guard_side;

typedef struct guarded {
    void *data;
    uint8_t *map;
    size_t map_bytes;
} guarded;

/* `bytes` of zeros. Ends the test program where the system refuses. */
static inline guarded guard_take(size_t bytes, guard_side side)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inner = (bytes + page - 1) / page * page;
    guarded buffer = {.map_bytes = inner + 2 * page};
    const int zeros = open("/dev/zero", O_RDWR);
    void *map = mmap(NULL, buffer.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, zeros, 0);
    close(zeros);
    if (map == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    buffer.map = map;
    if (mprotect(buffer.map, page, PROT_NONE) != 0 || mprotect(buffer.map + page + inner, page, PROT_NONE) != 0) {
        perror("mprotect");
        exit(2);
    }
    buffer.data = buffer.map + page + (side == GUARD_BEHIND ? inner - bytes : 0);
    return buffer;
}

static inline void guard_give(guarded buffer)
{
    munmap(buffer.map, buffer.map_bytes);
}

#endif
