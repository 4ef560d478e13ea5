/* Which processor cores there are, as the operating system describes them. A processor number of the system is a hardware thread of a
 * core. */
#ifndef RBE_PLATFORM_PROCESSORS_H
#define RBE_PLATFORM_PROCESSORS_H

#include <stddef.h>

#include "platform/threads.h"

/* CAPACITY: work per time in any unit. CLOCK: the highest clock in any unit, which says less: a core may also do less per cycle. */
typedef enum rbe__speed_unit { RBE_SPEED_UNKNOWN = 0, RBE_SPEED_CAPACITY = 1, RBE_SPEED_CLOCK = 2 } rbe__speed_unit;

/* Of the processors that a thread may run on. */
typedef struct rbe__processors {
    uint32_t n_cores;             /* hardware threads of one core counted once; 0 where nothing could be learned */
    rbe__speed_unit speed_unit;
    long speed[RBE_MAX_CPUS];     /* [n_cores], above 0; all equal where unknown */
    uint16_t cpu[RBE_MAX_CPUS];   /* [n_cores] the first hardware thread of each core, by number. */
    uint16_t core[RBE_MAX_CPUS];  /* of every processor number that is allowed: the entry of cpu[] of its core */
    uint8_t allowed[RBE_MAX_CPUS]; /* 1 or 0; all 0 where a thread cannot choose its processor */
    uint32_t quota;               /* processors' worth of time that the process's control group grants, 1 to RBE_MAX_CPUS (no limit) */
    const char *root;             /* Linux: as given to rbe__processors_read; must stay */
} rbe__processors;

/* Of this machine and the calling thread's affinity. Cannot fail. */
void rbe__processors_find(rbe__processors *out);

/* Linux: the same of the files under `root` ("" is this machine's), for allowed: [RBE_MAX_CPUS], 1 where the thread may run. */
void rbe__processors_read(const char *root, const uint8_t *allowed, rbe__processors *out);

/* What the system calls the processors, all kinds of them one after the other; "" where it does not say. */
void rbe__processor_name(char *out, size_t capacity);

/* Linux: the same of the files under `root`. */
void rbe__processor_name_read(const char *root, char *out, size_t capacity);

/* Bytes of the second-level cache of entry `index` of cpu[], divided by the cores that share it; 0: unknown. */
uint32_t rbe__processors_cache(const rbe__processors *processors, uint32_t index);

#endif
