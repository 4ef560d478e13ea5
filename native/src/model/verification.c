#include "model/verification.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "kernels/checksum.h"
#include "platform/threads.h"

#define PIECE_BYTES (1u << 20) /* between two looks at whether to stop */
#define PROGRESS_NS 30000000u /* between two calls of a callback */

typedef enum verdict { UNKNOWN, RIGHT, WRONG } verdict;

struct rbe__verification {
    const rbe__pack *pack;
    rbe__crc crc;
    char *path;
    int sparing;
    uint64_t process; /* whose thread it is */
    rbe__thread *thread; /* NULL: none was needed, or none was to be had */
    rbe__mutex *mutex; /* of those who wait */
    rbe__condition *known;
    atomic_int stops;
    atomic_size_t done; /* bytes; for those who wait */
    atomic_uint verdict; /* goes from UNKNOWN to another one, once */
    _Atomic(const rbe__tensor *) wrong; /* set before WRONG */
};

/* 1 as well where it was stopped. */
static int is_right(rbe__verification *verification, const rbe__tensor *tensor)
{
    uint32_t checksum = 0;
    for (uint64_t first = 0; first < tensor->data_bytes; first += PIECE_BYTES) {
        const uint64_t left = tensor->data_bytes - first;
        if (atomic_load_explicit(&verification->stops, memory_order_relaxed)) {
            return 1;
        }
        const size_t bytes = (size_t)(left < PIECE_BYTES ? left : PIECE_BYTES);
        checksum = rbe__crc_update(&verification->crc, checksum, tensor->data + first, bytes);
        atomic_fetch_add_explicit(&verification->done, bytes, memory_order_relaxed);
        if (verification->sparing) {
            rbe__mapped_file_release(&verification->pack->file, 0, verification->pack->file.bytes);
        }
    }
    return checksum == tensor->checksum;
}

/* The first tensor of the file whose checksum is wrong, or NULL. */
static const rbe__tensor *find_wrong(rbe__verification *verification)
{
    const rbe__pack *pack = verification->pack;
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        const rbe__bands bands = rbe__tensor_bands(&pack->tensors[i]);
        for (uint32_t b = 0; b < bands.n; b++) {
            if (!is_right(verification, &bands.first[b])) {
                return &bands.first[b];
            }
        }
    }
    return NULL;
}

static void find_verdict(rbe__verification *verification)
{
    const rbe__tensor *wrong = find_wrong(verification);
    atomic_store(&verification->wrong, wrong);
    atomic_store(&verification->verdict, wrong ? WRONG : RIGHT);
}

static void run(void *context)
{
    rbe__verification *verification = context;
    find_verdict(verification);
    rbe__mutex_lock(verification->mutex);
    rbe__condition_broadcast(verification->known);
    rbe__mutex_unlock(verification->mutex);
}

static rbe_status report(rbe__verification *verification)
{
    if (atomic_load(&verification->verdict) != WRONG) {
        return RBE_OK;
    }
    const rbe__tensor *wrong = atomic_load(&verification->wrong);
    return rbe_fail(RBE_ERROR_FORMAT, "%s: damaged file: tensor `%.*s`: field `checksum` does not match its data; copy the file again",
                    verification->path, (int)wrong->name_bytes, wrong->name);
}

int rbe__verification_runs(rbe__verification *verification)
{
    return verification && atomic_load(&verification->verdict) == UNKNOWN;
}

static int is_forked(const rbe__verification *verification)
{
    return verification->process != rbe__process_id();
}

rbe_status rbe__verification_check(rbe__verification *verification)
{
    if (rbe__verification_runs(verification) && is_forked(verification)) {
        find_verdict(verification); /* threads of that process that come at once all do, and find the same */
    }
    return verification ? report(verification) : RBE_OK;
}

/* Waits until all is known, or for a while; whether it is. */
static int wait_once(rbe__verification *verification, int forever)
{
    const uint64_t until = rbe__nanoseconds() + PROGRESS_NS;
    rbe__mutex_lock(verification->mutex);
    while (rbe__verification_runs(verification) && (forever || rbe__nanoseconds() < until)) {
        if (forever) {
            rbe__condition_wait(verification->known, verification->mutex);
        } else {
            rbe__condition_wait_until(verification->known, verification->mutex, until);
        }
    }
    rbe__mutex_unlock(verification->mutex);
    return !rbe__verification_runs(verification);
}

rbe_status rbe__verification_wait(rbe__verification *verification, rbe_progress_callback progress, void *user)
{
    RBE_TRY(rbe__verification_check(verification));
    while (rbe__verification_runs(verification) && !wait_once(verification, progress == NULL)) {
        const uint64_t done = atomic_load_explicit(&verification->done, memory_order_relaxed);
        if (progress && progress(done, verification->pack->tensor_bytes, user)) {
            return rbe_fail(RBE_ERROR_CANCELLED, "cancelled");
        }
    }
    return verification ? report(verification) : RBE_OK;
}

static rbe_status begin(rbe__verification *verification, const char *path)
{
    const size_t path_bytes = strlen(path) + 1;
    verification->path = malloc(path_bytes);
    verification->mutex = rbe__mutex_create();
    verification->known = rbe__condition_create();
    if (!verification->path || !verification->mutex || !verification->known) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory to verify it", path);
    }
    memcpy(verification->path, path, path_bytes);
    verification->thread = verification->sparing ? NULL : rbe__thread_start(run, verification);
    if (!verification->thread) {
        find_verdict(verification);
    }
    return verification->thread ? RBE_OK : report(verification);
}

rbe_status rbe__verification_begin(const rbe__pack *pack, const rbe_kernels *kernels, const char *path, int sparing,
                                   rbe__verification **out)
{
    *out = NULL;
    rbe__verification *verification = calloc(1, sizeof *verification);
    if (!verification) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory to verify it", path);
    }
    verification->pack = pack;
    verification->sparing = sparing;
    verification->process = rbe__process_id();
    rbe__crc_init(kernels, &verification->crc);
    const rbe_status status = begin(verification, path);
    if (status != RBE_OK) {
        rbe__verification_end(verification);
        return status;
    }
    *out = verification;
    return RBE_OK;
}

void rbe__verification_end(rbe__verification *verification)
{
    if (!verification) {
        return;
    }
    if (verification->thread && !is_forked(verification)) {
        atomic_store(&verification->stops, 1);
        rbe__thread_join(verification->thread);
        verification->thread = NULL;
    }
    if (!verification->thread) { /* else a thread that is not in this process may hold the lock: both stay, some hundred bytes */
        rbe__condition_free(verification->known);
        rbe__mutex_free(verification->mutex);
    }
    free(verification->path);
    free(verification);
}
