/* Which processor cores are fast, how many threads are worth starting on them, and how a thread gets to one. */
#ifndef RBE_PARALLEL_CORES_H
#define RBE_PARALLEL_CORES_H

#include "platform/processors.h"

/* Of a processor number of the system, which is a hardware thread of a core. NONE: this process may not use it. */
typedef enum rbe__cpu_kind { RBE_CPU_NONE = 0, RBE_CPU_SLOW = 1, RBE_CPU_FAST = 2 } rbe__cpu_kind;

/* The cores that this process may use. Fast ones have at least half of the best one's capacity, or, where the system states none, four
 * fifths of its highest clock: the big and middle cores of a phone, performance cores, and all cores where they are equal. */
typedef struct rbe__cores {
    uint32_t n_cores;           /* hardware threads of one core counted once; 0 where nothing could be learned */
    uint32_t n_fast;
    uint32_t quota;             /* processors' worth of time that the process's control group grants, 1 to RBE_MAX_CPUS (no limit) */
    uint32_t cache_bytes;       /* of the second-level cache of cpu[0], divided by the cores that share it; 0: unknown */
    uint16_t cpu[RBE_MAX_CPUS]; /* [n_cores] the first hardware thread of each core, fastest first, then by number */
    uint16_t core[RBE_MAX_CPUS]; /* of every processor number that is allowed: the entry of cpu[] of its core */
    uint8_t kind[RBE_MAX_CPUS]; /* rbe__cpu_kind of every processor number */
} rbe__cores;

/* Of this machine and the calling thread's affinity. Cannot fail. */
void rbe__cores_find(rbe__cores *out);

/* Of processors that the system, or a test, described. */
void rbe__cores_rank(const rbe__processors *processors, rbe__cores *out);

/* Where the threads of a pool begin, and the kinds of cores that they may use. The caller is the first of them: where it may run is never
 * changed. */
typedef struct rbe__homes {
    uint32_t n; /* 0: nothing could be learned */
    uint16_t cpu[RBE_MAX_CPUS];
    rbe__cpu_kind slowest, fastest;
} rbe__homes;

/* A core for every thread, as long as there are cores: fast ones first, or slow ones; threads that fit on cores of the kind stay there. The first
 * is that of the caller, which runs on caller_cpu (below 0: unknown), unless that core is of the wrong kind. Without this a new thread would begin on
 * its creator's core and stay there for milliseconds, until the system balances the load. */
void rbe__homes_choose(const rbe__cores *cores, int caller_cpu, uint32_t n_threads, int slow_first, rbe__homes *out);

/* Moves the calling thread to its home and then allows it all cores of the kinds: it stays where it is until the system has a
 * reason to move it. 1 where the system confirms both when asked afterwards, else 0: then the thread runs where the system pleases. */
int rbe__thread_place(const rbe__cores *cores, const rbe__homes *homes, uint32_t thread);

/* Moves the calling thread to a processor; where it may run stays as it was. The same result. */
int rbe__thread_move(uint32_t cpu);

/* Threads for a job unless asked otherwise: one per core that this process may use, or per fast one, within the quota; 1 to RBE_MAX_CPUS. */
uint32_t rbe__usable_cores(void);
uint32_t rbe__fast_cores(const rbe__cores *cores);

#endif
