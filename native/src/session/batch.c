/* One decode step of many sessions. The steps between the sessions' caches and logits are those of a pass over several tokens of one
 * session, on the buffers of a session that the batch owns: `rows` says whose each token is. Since results do not depend on how many
 * tokens are done at once, they are those of single steps. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "session/session.h"

#define DEFAULT_SESSIONS 8u

struct rbe_batch {
    rbe_session *work; /* its cache is not used */
    uint32_t max_sessions;
    rbe__row *rows;
    uint32_t *tokens;
    size_t *places; /* of the rows among the sessions of the call */
};

static rbe_status create_into(rbe_batch *batch, const rbe_model *model, const rbe_batch_options *options)
{
    const uint32_t n = batch->max_sessions;
    if (n > model->config.context) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "max_sessions is %u; with this model it can be at most %u", n, model->config.context);
    }
    const rbe_session_options session_options = {.struct_bytes = sizeof session_options,
                                                 .context_tokens = n,
                                                 .batch_tokens = n,
                                                 .n_threads = options->n_threads,
                                                 .n_planes = options->n_planes};
    RBE_TRY(rbe_session_create(model, &session_options, &batch->work));
    batch->rows = calloc(n, sizeof *batch->rows);
    batch->tokens = calloc(n, sizeof *batch->tokens);
    batch->places = calloc(n, sizeof *batch->places);
    batch->work->attentions = calloc(n, sizeof *batch->work->attentions);
    if (!batch->rows || !batch->tokens || !batch->places || !batch->work->attentions) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a batch of %u sessions", n);
    }
    batch->work->rows = batch->rows;
    return RBE_OK;
}

rbe_status rbe_batch_create(const rbe_model *model, const rbe_batch_options *options, rbe_batch **out)
{
    if (!model || !out) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_batch_create: model or out is NULL");
    }
    *out = NULL;
    rbe_batch_options chosen = {0};
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    rbe_batch *batch = calloc(1, sizeof *batch);
    if (!batch) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a batch");
    }
    const uint32_t default_sessions = model->config.context < DEFAULT_SESSIONS ? model->config.context : DEFAULT_SESSIONS;
    batch->max_sessions = chosen.max_sessions ? chosen.max_sessions : default_sessions;
    rbe_status status = create_into(batch, model, &chosen);
    if (status != RBE_OK) {
        rbe_batch_free(batch);
        return status;
    }
    *out = batch;
    return RBE_OK;
}

void rbe_batch_free(rbe_batch *batch)
{
    if (batch) {
        if (batch->work) {
            free(batch->work->attentions);
        }
        rbe_session_free(batch->work);
        free(batch->rows);
        free(batch->tokens);
        free(batch->places);
        free(batch);
    }
}

static uint32_t planes_of(const rbe_session *session)
{
    return session->workspace.n_planes ? session->workspace.n_planes : RBE_MAX_PLANES;
}

/* What the caller got wrong; nothing is done then. */
static rbe_status check_call(const rbe_batch *batch, rbe_session *const *sessions, const uint32_t *tokens, size_t n,
                             const rbe_status *statuses)
{
    if (!batch || !sessions || !tokens || !statuses || n == 0 || n > batch->max_sessions) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_decode_batch: 1 to %u sessions are needed, a token and a status for each",
                        batch ? batch->max_sessions : 0);
    }
    for (size_t i = 0; i < n; i++) {
        if (!sessions[i] || sessions[i]->model != batch->work->model || sessions[i] == batch->work) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "session %zu is not of the batch's model", i);
        }
        if (planes_of(sessions[i]) != planes_of(batch->work)) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "session %zu reads %u planes of each tensor, the batch %u", i, planes_of(sessions[i]),
                            planes_of(batch->work));
        }
        if (tokens[i] >= batch->work->model->config.n_vocabulary) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "session %zu: token %u is not in the vocabulary of %u", i, tokens[i],
                            batch->work->model->config.n_vocabulary);
        }
        for (size_t j = 0; j < i; j++) {
            if (sessions[j] == sessions[i]) {
                return rbe_fail(RBE_ERROR_ARGUMENT, "sessions %zu and %zu are the same", j, i);
            }
        }
    }
    return RBE_OK;
}

static int take_cancelled(rbe_session *session)
{
    return atomic_exchange_explicit(&session->cancelled, 0, memory_order_relaxed);
}

/* The sessions that can step, with room made in those that slide. */
static uint32_t gather(rbe_batch *batch, rbe_session *const *sessions, const uint32_t *tokens, size_t n, rbe_status *statuses)
{
    uint32_t n_active = 0;
    for (size_t i = 0; i < n; i++) {
        rbe_session *session = sessions[i];
        if (take_cancelled(session)) {
            statuses[i] = rbe_fail(RBE_ERROR_CANCELLED, "session %zu: cancelled", i);
            continue;
        }
        if (!session->sink_tokens && session->position == session->context) {
            statuses[i] = rbe_fail(RBE_ERROR_CONTEXT, "session %zu: its context of %u tokens is full", i, session->context);
            continue;
        }
        uint32_t position = session->position;
        rbe__slide(session, 1, &position);
        statuses[i] = RBE_OK;
        batch->rows[n_active] = (rbe__row){session, position};
        batch->tokens[n_active] = tokens[i];
        batch->places[n_active++] = i;
    }
    return n_active;
}

static void give_logits(rbe_batch *batch, uint32_t n_active, rbe_status *statuses)
{
    rbe_session *work = batch->work;
    const size_t n_vocabulary = work->model->config.n_vocabulary;
    for (uint32_t first = 0; first < n_active; first += work->head_batch) {
        const uint32_t count = n_active - first < work->head_batch ? n_active - first : work->head_batch;
        rbe__head(work, first, count, work->scored);
        for (uint32_t i = 0; i < count; i++) {
            rbe_session *session = batch->rows[first + i].owner;
            const size_t place = batch->places[first + i];
            if (take_cancelled(session)) { /* the cache behind its position was written and counts for nothing */
                statuses[place] = rbe_fail(RBE_ERROR_CANCELLED, "session %zu: cancelled", place);
                continue;
            }
            memcpy(session->logits, work->scored + i * n_vocabulary, n_vocabulary * sizeof(float));
            session->has_logits = 1;
            session->position = batch->rows[first + i].position + 1;
        }
    }
}

rbe_status rbe_decode_batch(rbe_batch *batch, rbe_session *const *sessions, const uint32_t *tokens, size_t n, rbe_status *statuses)
{
    RBE_TRY(check_call(batch, sessions, tokens, n, statuses));
    const uint32_t n_active = gather(batch, sessions, tokens, n, statuses);
    if (n_active > 0) {
        RBE_TRY(rbe__forward(batch->work, batch->tokens, n_active, 0));
        give_logits(batch, n_active, statuses);
    }
    return RBE_OK;
}

void rbe_batch_cancel(rbe_batch *batch)
{
    if (batch) {
        rbe_session_cancel(batch->work);
    }
}
