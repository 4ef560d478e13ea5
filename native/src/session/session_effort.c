/* How much of the model the passes of a session read, and how its threads use the machine. */
#include <stdlib.h>

#include "base/status.h"
#include "rbe/effort.h"
#include "rbe/threads.h"
#include "session/batch.h"

static rbe_status check_planes(const char *what, uint32_t planes, int may_skip)
{
    if (planes <= RBE_MAX_PLANES || (may_skip && planes == RBE_SKIP)) {
        return RBE_OK;
    }
    return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_effort: %s: %u is no number of planes, which is at most %u", what, planes, RBE_MAX_PLANES);
}

/* Checks an effort, and copies it to `out`; the lists stay the caller's. */
static rbe_status read_effort(const rbe__stack *stack, const rbe_effort *effort, rbe_effort *out)
{
    *out = (rbe_effort){0};
    RBE_TRY(rbe__copy_options(out, sizeof *out, effort));
    RBE_TRY(check_planes("embedding", out->embedding, 0));
    RBE_TRY(check_planes("lm_head", out->lm_head, 0));
    if (out->n_layers == 0) {
        return RBE_OK;
    }
    if (out->n_layers != stack->n_layers || !out->attention || !out->feed_forward) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_effort: lists of %u layers are needed, both", stack->n_layers);
    }
    for (uint32_t i = 0; i < out->n_layers; i++) {
        RBE_TRY(check_planes("attention", out->attention[i], 1));
        RBE_TRY(check_planes("feed_forward", out->feed_forward[i], 1));
    }
    return RBE_OK;
}

static rbe__effort view(const rbe_effort *effort)
{
    const int given = effort->n_layers != 0;
    return (rbe__effort){.embedding = effort->embedding,
                         .lm_head = effort->lm_head,
                         .attention = given ? (uint8_t *)(uintptr_t)effort->attention : NULL,
                         .feed_forward = given ? (uint8_t *)(uintptr_t)effort->feed_forward : NULL};
}

rbe_status rbe_session_set_effort(rbe_session *session, const rbe_effort *effort)
{
    rbe_effort chosen;
    if (!session) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_set_effort: session is NULL");
    }
    RBE_TRY(read_effort(session->pass.stack, effort, &chosen));
    const rbe__effort read = view(&chosen);
    rbe__effort_copy(&session->pass.effort, &read, session->pass.stack->n_layers);
    return RBE_OK;
}

rbe_status rbe_model_effort_bytes(const rbe_model *model, const rbe_effort *effort, uint64_t *bytes)
{
    rbe_effort chosen;
    if (!model || !bytes) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_effort_bytes: model or bytes is NULL");
    }
    *bytes = 0;
    RBE_TRY(read_effort(&model->stack, effort, &chosen));
    const rbe__effort read = view(&chosen);
    *bytes = rbe__effort_bytes(&model->stack, &read);
    return RBE_OK;
}

static rbe_status set_workers(rbe__pass *pass, const rbe_workers *workers, uint32_t *n_chosen)
{
    rbe_workers chosen = {0};
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, workers));
    if (chosen.n_threads > RBE_MAX_THREADS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "n_threads must be at most %u", RBE_MAX_THREADS);
    }
    const rbe__workers before = rbe__thread_pool_workers(pass->workspace.thread_pool);
    const rbe__workers now = {chosen.sleep != 0, chosen.slow_cores != 0};
    const uint32_t n_before = rbe__thread_pool_threads(pass->workspace.thread_pool);
    const uint32_t n_threads = chosen.n_threads ? chosen.n_threads : n_before;
    *n_chosen = chosen.n_threads;
    if (n_threads == n_before && now.sleep == before.sleep && now.slow_cores == before.slow_cores) {
        return RBE_OK;
    }
    return rbe__pass_set_workers(pass, n_threads, now);
}

rbe_status rbe_session_set_workers(rbe_session *session, const rbe_workers *workers)
{
    uint32_t n_chosen;
    if (!session) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_set_workers: session is NULL");
    }
    RBE_TRY(set_workers(&session->pass, workers, &n_chosen));
    if (n_chosen) {
        free(session->choice); /* the caller has decided */
        session->choice = NULL;
    }
    return RBE_OK;
}

rbe_status rbe_batch_set_workers(rbe_batch *batch, const rbe_workers *workers)
{
    uint32_t n_chosen;
    if (!batch) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_batch_set_workers: batch is NULL");
    }
    return set_workers(&batch->pass, workers, &n_chosen);
}
