/* fit.h: whether a model fits into memory before any of it is taken, and which option makes it fit. No function here maps a model's data or
 * verifies it: the index of the file is read, and sizes are added up by the code that takes them later. Any thread.
 *
 *     if (rbe_fit_check("model.rbe", NULL) != RBE_OK) {
 *         puts(rbe_last_error()); // one line: what is needed, what is available, and the option that makes it fit
 *     }
 */
#ifndef RBE_FIT_H
#define RBE_FIT_H

#include "rbe/rbe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rbe_fit_options {
    size_t struct_bytes;
    const rbe_model_options *model; /* as of rbe_model_open; NULL: the defaults */
    const rbe_session_options *session; /* as of rbe_session_create, the same for all; NULL: the defaults */
    uint32_t n_sessions; /* 0: 1 */
    uint32_t batch_sessions; /* max_sessions of one rbe_batch that steps them; 0: no batch */
} rbe_fit_options;

/* What opening a model and its sessions takes, in bytes unless said otherwise. */
typedef struct rbe_fit {
    size_t struct_bytes;
    uint64_t file_bytes;
    uint64_t
        weights_resident; /* tensors of the file that must be in memory at a time: those of max_resident_bytes, else the least that a pass
                                * can run with */
    uint64_t
        weights_on_disk; /* the other tensors. They are in memory too where there is room (page cache), which is fast; else they are read
                                * from the disk again for every token */
    uint64_t tokenizer_bytes; /* and other blobs of the file */
    uint64_t index_bytes; /* of the file, and the lists made of it */
    uint64_t cache_bytes; /* generated rows that are kept */
    uint64_t kv_bytes; /* of all sessions; 0 of an encoder */
    uint64_t
        pass_bytes; /* buffers of passes, of threads and of sampling, of all sessions and the batch; while an encoder reads a text of context_tokens,
                     * what it takes for that */
    uint64_t needed; /* the sum of all these but weights_on_disk: without so much it cannot run */
    uint64_t total; /* the sum of all: with so much it runs at full speed */
    uint64_t address_bytes; /* of address space: the file is mapped as a whole */
    uint32_t context_tokens, n_threads; /* of each session */
    float bits_per_weight; /* of the file */
    uint32_t kv_type; /* rbe_kv_type of each session, AUTO decided */
} rbe_fit;

/* Fails as rbe_model_open and rbe_session_create do for options that they refuse. options may be NULL. */
RBE_API rbe_status rbe_fit_file(const char *path, const rbe_fit_options *options, rbe_fit *out);

#define RBE_UNLIMITED 0xFFFFFFFFFFFFFFFFu

typedef struct rbe_memory {
    size_t struct_bytes;
    uint64_t total; /* of the machine; 0: unknown */
    uint64_t available; /* that this process can still have, page cache that can be dropped included; RBE_UNLIMITED: unknown */
    uint64_t swap; /* that is free, beside `available` */
    uint64_t address_space; /* that it can still have; RBE_UNLIMITED: no limit */
    const char *limited_by; /* what sets `available`: "free memory", "control group" or "Android's reserve"; static */
} rbe_memory;

/* Linux: MemAvailable of /proc/meminfo, less Android's reserve; the limits of the process's control group and those around it, versions 1
 * and 2, less what is used and not page cache; RLIMIT_AS less what is mapped. macOS: pages that are free, inactive or purgeable. */
RBE_API rbe_status rbe_memory_find(rbe_memory *out);

/* The first change, in this order, that makes a model fit. Zeros: not to be changed. */
typedef struct rbe_fit_advice {
    size_t struct_bytes;
    uint32_t fits; /* 1: without a change; 0: with those below, or, where all are zero, not at all */
    uint32_t context_tokens; /* a smaller context, of 512 tokens at least */
    uint32_t kv_type; /* RBE_KV_Q8; not where the cache is int8 already */
    uint64_t max_resident_bytes; /* the other weights are read from the disk for every token, which is slow */
    float bits_per_weight; /* the most, roughly: the model has to be packed again */
    float bits_instead; /* packed again with so many it fits as asked, without any of these; 0: not with 2 or more */
} rbe_fit_advice;

/* available: bytes for `total`; for a limit of the address space too where it is this process's. A smaller context is tried first, then an int8
 * cache, then both, weights on the disk, these with all the others, fewer bits. */
RBE_API rbe_status rbe_fit_advise(const char *path, const rbe_fit_options *options, uint64_t available, rbe_fit_advice *out);

/* The advice as flags of the command line: "", "-c 1024", "--kv q8", "--max-memory 700M", "--bits 3.2". Zero-terminated; cut off where
 * `capacity` is less than 80. */
RBE_API void rbe_fit_flags(const rbe_fit_advice *advice, char *text, size_t capacity);

/* Before a model is opened: RBE_ERROR_MEMORY, with one line that names the flags, where this machine has less than `needed` now. Weights that
 * can stay on the disk do not count and free swap does, so that what can run is never refused. RBE_OK where nothing is known of the memory. */
RBE_API rbe_status rbe_fit_check(const char *path, const rbe_fit_options *options);

/* The same before one more session of a model that is open. */
RBE_API rbe_status rbe_fit_check_session(const rbe_model *model, const rbe_session_options *options);

#ifdef __cplusplus
}
#endif

#endif
