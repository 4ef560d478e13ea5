/* How much memory this process can still have. */
#ifndef RBE_PLATFORM_AVAILABLE_MEMORY_H
#define RBE_PLATFORM_AVAILABLE_MEMORY_H

#include <stdint.h>

#define RBE_NO_LIMIT UINT64_MAX

typedef enum rbe__memory_bound { RBE_BOUND_FREE = 0, RBE_BOUND_GROUP = 1, RBE_BOUND_ANDROID = 2 } rbe__memory_bound;

/* In bytes. */
typedef struct rbe__available_memory {
    uint64_t total;         /* of the machine; 0: unknown */
    uint64_t available;     /* page cache that can be dropped included; RBE_NO_LIMIT: unknown */
    uint64_t swap;          /* that is free; what is written there comes back slowly */
    uint64_t address_space; /* RBE_NO_LIMIT: no limit */
    rbe__memory_bound bound; /* what sets `available` */
} rbe__available_memory;

/* Of this process, now. Cannot fail. */
void rbe__available_memory_find(rbe__available_memory *out);

/* Linux: the same but for the address space, of the files under `root` ("" is this machine's). */
void rbe__available_memory_read(const char *root, rbe__available_memory *out);

#endif
