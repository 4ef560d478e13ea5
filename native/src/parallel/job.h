/* The job that the threads of a pool share: open while there is something to take, and over once those who went inside have left. */
#ifndef RBE_PARALLEL_JOB_H
#define RBE_PARALLEL_JOB_H

#include <stdatomic.h>

#include "parallel/thread_pool.h"
#include "platform/threads.h"

typedef struct rbe__job {
    atomic_uint generation; /* counts jobs; RBE_NO_MORE_JOBS tells the threads to end */
    atomic_uint gate, next_item;
    atomic_int caller_cpu; /* the processor that the caller began it on; below 0: unknown */
    uint32_t n_items;
    rbe__work *work;
    void *context;
    rbe__mutex *mutex;
    rbe__condition *all_left;
} rbe__job;

#define RBE_NO_MORE_JOBS 0x80000000u

/* 0 where there is no memory; to be freed in any case. */
int rbe__job_create(rbe__job *job);
void rbe__job_free(rbe__job *job);

/* The caller: between a close that all have left and the next one. Everybody may enter from now on, and `generation` is another. */
void rbe__job_open(rbe__job *job, uint32_t n_items, rbe__work *work, void *context);

/* Does items until there are none. Returns how many. By the caller, or between enter and leave. */
uint32_t rbe__job_take(rbe__job *job, uint32_t thread);

/* 1 where the job that is open now may be taken from until rbe__job_leave; 0 where none is. */
int rbe__job_enter(rbe__job *job);
void rbe__job_leave(rbe__job *job);

/* The caller: nobody enters from now on. How many are inside. */
unsigned rbe__job_close(rbe__job *job);
unsigned rbe__job_inside(rbe__job *job);

/* The caller of a closed job sleeps until all have left: 1. Or until until_ns (0: no such limit): 0. */
int rbe__job_wait(rbe__job *job, uint64_t until_ns);

#endif
