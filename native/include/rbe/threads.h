/* threads.h: how many threads are fastest, by measurement instead of by counting cores. More are not always faster: memory may be too slow for
 * them, the other cores little ones, or a quota on processor time too small.
 *
 *     rbe_session_create(model, NULL, &session);
 *     rbe_session_try_threads(session, "/home/user/.cache/rbe_edge/threads.txt"); // then generate as always
 *
 * Prompts always have one thread per fast core: they compute more than they read. rbe_session_configure with a number of threads ends all
 * of it. The logits do not depend on the number of threads, so an answer is the same while they are tried.
 */
#ifndef RBE_THREADS_H
#define RBE_THREADS_H

#include "rbe/rbe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rbe_threads_state {
    RBE_THREADS_CHOSEN = 0, /* by the caller, or by the cores of the machine */
    RBE_THREADS_TRYING = 1,
    RBE_THREADS_FOUND = 2, /* by this session */
    RBE_THREADS_KEPT = 3 /* found before, on this machine and with a model of this size */
} rbe_threads_state;

/* From the next step of one token on, the session tries numbers of threads: it times some steps with each, 24 in all at most, begins with one
 * thread per fast core, as it would have run anyway, goes on with fewer until these are slower, and then with the slow cores added. It stays with
 * the fewest that are within 5 % of the fastest. kept: a file of results, "", or one that need not exist; its directory must. What is known
 * there is taken without trying; what is found is written there, silently not where it cannot be. NULL: none. Results are by machine (processor,
 * cores and clocks that the thread may use, quota, kernel set) and by the size of what a token reads, in powers of two. On failure the threads
 * are as before. */
RBE_API rbe_status rbe_session_try_threads(rbe_session *session, const char *kept);

#define RBE_MOST_TRIED 8

typedef struct rbe_threads_info {
    size_t struct_bytes;
    uint32_t state; /* rbe_threads_state */
    uint32_t n_threads; /* now */
    uint32_t n_tried; /* of the lists, in the order of trying */
    uint32_t tried[8]; /* numbers of threads */
    float tokens_per_s[8]; /* of the median step with each; 0: not timed yet */
} rbe_threads_info;

RBE_API rbe_status rbe_session_get_threads(const rbe_session *session, rbe_threads_info *info);

/* What a file of results says of a model on this machine, for a batch, which tries none itself; 0: nothing. Either may be NULL. */
RBE_API uint32_t rbe_model_kept_threads(const rbe_model *model, const char *kept);

/* How a session's threads use the machine. */
typedef struct rbe_workers {
    size_t struct_bytes;
    uint32_t n_threads; /* 1 to 64, which ends trying; 0: as they are */
    uint32_t sleep; /* 1: threads sleep as soon as they have nothing to do; else they look for work some 20 us longer, which is faster */
    uint32_t slow_cores; /* 1: they prefer the slow cores of a processor that has two kinds, which take less energy for the same work */
} rbe_workers;

/* From the next call on; the calling thread takes part, and is moved to a core of the kind when a pass begins, though where it may run stays as
 * it is. On failure the threads are as before. */
RBE_API rbe_status rbe_session_set_workers(rbe_session *session, const rbe_workers *workers);
RBE_API rbe_status rbe_batch_set_workers(rbe_batch *batch, const rbe_workers *workers);

/* A line of a file of results. */
typedef struct rbe_threads_kept {
    size_t struct_bytes;
    uint32_t machine; /* a number that stands for it */
    uint32_t size_class; /* a token reads 2^size_class bytes of weights, up to twice as many */
    uint32_t n_threads; /* the fastest */
    uint32_t n_tried;
    uint32_t tried[8];
    float tokens_per_s[8];
} rbe_threads_kept;

/* Line `index` of a file of results, from 0 on. RBE_ERROR_ARGUMENT behind the last one, RBE_ERROR_IO where there is no such file. Lines that
 * cannot be understood do not count. */
RBE_API rbe_status rbe_threads_read(const char *kept, uint32_t index, rbe_threads_kept *out);

/* The number of this machine in such a file, for the best kernel set. */
RBE_API uint32_t rbe_threads_machine(void);

#ifdef __cplusplus
}
#endif

#endif
