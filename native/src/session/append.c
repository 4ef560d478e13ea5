/* Tokens into a session: through the model a pass at a time, with their ids in the ledger. */
#include <string.h>

#include "base/status.h"
#include "kernels/log_sum.h"
#include "platform/platform.h"
#include "session/session.h"

rbe_status rbe__check_tokens(const rbe_session *session, const uint32_t *tokens, size_t n_tokens)
{
    if (!session || !tokens || n_tokens == 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "no tokens were given");
    }
    if (!session->sink_tokens && n_tokens > session->state.context - session->position) {
        return rbe_fail(RBE_ERROR_CONTEXT, "%zu tokens do not fit: the context holds %u and %u are taken", n_tokens, session->state.context,
                        session->position);
    }
    const uint32_t n_vocabulary = session->pass.stack->n_vocabulary;
    for (size_t i = 0; i < n_tokens; i++) {
        if (tokens[i] >= n_vocabulary) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "token %u is not in the vocabulary of %u", tokens[i], n_vocabulary);
        }
    }
    return RBE_OK;
}

/* A call that appends. after_pass(call, first, count) follows each pass over `count` tokens from `first` on; NULL: nothing does. */
typedef struct append_call {
    rbe_session *session;
    const uint32_t *tokens;
    size_t n_tokens;
    rbe_progress_callback progress;
    void *user;
    void (*after_pass)(struct append_call *call, size_t first, uint32_t count);
    int reads_all; /* 1: it reads every row of a pass; 0: the last one of the call */
    float *log_probabilities, *logits; /* of scoring */
    rbe__undo undo;
} append_call;

/* Makes room for a pass of `count` tokens; is_last: the call's last one. Before anything moves, either the context is kept, or the pass is
 * one that cannot fail any more. A step of one token thus allocates nothing. */
static rbe_status make_room(append_call *call, uint32_t count, int is_last, uint32_t *position)
{
    rbe_session *session = call->session;
    if (count <= session->state.context - *position) {
        return RBE_OK;
    }
    if (is_last && !call->undo.kept) {
        RBE_TRY(rbe__pass_commit(&session->pass));
    } else if (!call->undo.kept) {
        RBE_TRY(rbe__undo_keep(&call->undo, session));
    }
    rbe__session_slide(session, count, position);
    return RBE_OK;
}

/* How many of the last rows of a pass are read. */
static uint32_t rows_read(const append_call *call, size_t first, uint32_t count)
{
    if (call->after_pass && call->reads_all) {
        return count;
    }
    return call->after_pass && first + count == call->n_tokens ? 1 : 0;
}

static rbe_status run_passes(append_call *call, uint32_t *position)
{
    rbe_session *session = call->session;
    const uint32_t most = session->pass.workspace.most_tokens;
    for (size_t first = 0; first < call->n_tokens;) {
        const uint32_t count = call->n_tokens - first < most ? (uint32_t)(call->n_tokens - first) : most;
        RBE_TRY(make_room(call, count, first + count == call->n_tokens, position));
        const rbe__run run = {&session->state, *position, count};
        session->pass.n_unread = count - rows_read(call, first, count);
        RBE_TRY(rbe__pass_run(&session->pass, &run, 1, call->tokens + first));
        memmove(session->tokens + *position, call->tokens + first, count * sizeof *session->tokens); /* a replay's stand there already */
        if (call->after_pass) {
            call->after_pass(call, first, count);
        }
        first += count;
        *position += count;
        const int stop = call->progress && call->progress(first, call->n_tokens, call->user);
        if (stop && first < call->n_tokens) { /* after the last pass there is nothing left to stop */
            return rbe_fail(RBE_ERROR_CANCELLED, "cancelled");
        }
    }
    return RBE_OK;
}

static rbe_status append(append_call *call)
{
    rbe_session *session = call->session;
    uint32_t position = session->position;
    call->undo = rbe__undo_begin(session);
    rbe__state_mark(&session->state, session->position, call->n_tokens < UINT32_MAX ? (uint32_t)call->n_tokens : UINT32_MAX);
    const rbe_status status = run_passes(call, &position);
    if (status == RBE_OK) {
        session->position = position;
    } else {
        rbe__undo_take_back(&call->undo, session);
    }
    rbe__undo_end(&call->undo);
    return status;
}

rbe_status rbe__session_right(rbe_session *session)
{
    const rbe_status status = rbe__verification_check(session->model->verification);
    session->has_logits = status == RBE_OK ? session->has_logits : 0;
    return status;
}

static rbe_status checked_append(append_call *call)
{
    RBE_TRY(rbe__check_tokens(call->session, call->tokens, call->n_tokens));
    RBE_TRY(rbe__check_whole(call->session->model));
    RBE_TRY(rbe__check_encoded(call->session));
    RBE_TRY(rbe__verification_check(call->session->model->verification));
    RBE_TRY(append(call));
    return rbe__session_right(call->session);
}

static void last_logits(append_call *call, size_t first, uint32_t count)
{
    if (first + count == call->n_tokens) {
        rbe__pass_logits(&call->session->pass, call->session->pass.n_tokens - 1, 1, call->session->logits);
        call->session->has_logits = 1;
    }
}

rbe_status rbe_session_append(rbe_session *session, const uint32_t *tokens, size_t n_tokens, rbe_progress_callback progress, void *user)
{
    append_call call = {session, tokens, n_tokens, progress, user, .after_pass = last_logits};
    if (session && session->before) {
        session->before(session->before_context, session, n_tokens);
    }
    if (session && session->choice) {
        rbe__session_prepare(session, n_tokens);
    }
    /* A step beside the checksums says nothing about threads. */
    const int timed = session && session->choice && n_tokens == 1 && !rbe__verification_runs(session->model->verification);
    const uint64_t began = timed ? rbe__nanoseconds() : 0;
    RBE_TRY(checked_append(&call));
    if (began) {
        rbe__session_timed(session, rbe__nanoseconds() - began);
    }
    return RBE_OK;
}

const float *rbe_session_logits(const rbe_session *session)
{
    const int are_right = session && session->has_logits && rbe__verification_check(session->model->verification) == RBE_OK;
    return are_right ? session->logits : NULL;
}

/* log softmax(logits)[token] */
static float log_probability(const rbe_kernels *kernels, const float *logits, uint32_t n, uint32_t token)
{
    float largest;
    const double log_sum = rbe__log_sum(kernels, logits, n, &largest);
    return (float)((double)logits[token] - (double)largest - log_sum);
}

static void score_pass(append_call *call, size_t first, uint32_t count)
{
    rbe_session *session = call->session;
    rbe__pass *pass = &session->pass;
    const uint32_t n_vocabulary = pass->stack->n_vocabulary;
    for (uint32_t row = 0; row < count;) {
        const uint32_t n = count - row < pass->logits_rows ? count - row : pass->logits_rows;
        rbe__pass_logits(pass, row, n, pass->logits);
        if (call->logits) {
            memcpy(call->logits + (first + row) * n_vocabulary, pass->logits, (size_t)n * n_vocabulary * sizeof(float));
        }
        for (uint32_t i = 0; i < n; i++) {
            const float *logits = pass->logits + (size_t)i * n_vocabulary;
            const size_t index = first + row + i;
            if (index + 1 == call->n_tokens) {
                memcpy(session->logits, logits, n_vocabulary * sizeof *logits);
                session->has_logits = 1;
            } else if (call->log_probabilities) {
                call->log_probabilities[index] = log_probability(&session->model->kernels, logits, n_vocabulary, call->tokens[index + 1]);
            }
        }
        row += n;
    }
}

rbe_status rbe_session_score(rbe_session *session, const uint32_t *tokens, size_t n_tokens, float *log_probabilities, float *logits,
                             rbe_progress_callback progress, void *user)
{
    append_call call = {session, tokens, n_tokens, progress, user, score_pass, 1, log_probabilities, logits, .undo = {0}};
    RBE_TRY(checked_append(&call));
    return rbe_model_verify(session->model, NULL, NULL);
}

rbe_status rbe__session_compute(rbe_session *session, const uint32_t *tokens, size_t n_tokens)
{
    append_call call = {.session = session, .tokens = tokens, .n_tokens = n_tokens};
    return n_tokens ? append(&call) : RBE_OK;
}

rbe_status rbe_session_rewind(rbe_session *session, size_t n_tokens)
{
    if (!session || n_tokens > session->position) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "cannot go back to %zu tokens", n_tokens);
    }
    if (n_tokens == session->position) {
        return RBE_OK;
    }
    const uint32_t held = rbe__state_rewind(&session->state, (uint32_t)n_tokens);
    session->has_logits = 0;
    session->position = held;
    if (held == 0) {
        rbe__state_clear(&session->state);
    }
    return rbe__session_compute(session, session->tokens + held, n_tokens - held);
}

const uint32_t *rbe_session_tokens(const rbe_session *session, size_t *n_tokens)
{
    if (n_tokens) {
        *n_tokens = session ? session->position : 0;
    }
    return session ? session->tokens : NULL;
}

size_t rbe_session_common(const rbe_session *session, const uint32_t *tokens, size_t n_tokens)
{
    size_t common = 0;
    while (session && tokens && common < n_tokens && common < session->position && session->tokens[common] == tokens[common]) {
        common++;
    }
    return common;
}

rbe_status rbe_session_resume(rbe_session *session, const uint32_t *tokens, size_t n_tokens, size_t *n_held)
{
    if (!session || !tokens || n_tokens == 0 || !n_held) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_resume: a session, tokens and n_held are needed");
    }
    *n_held = rbe_session_common(session, tokens, n_tokens - 1);
    const rbe_status status = rbe_session_rewind(session, *n_held);
    *n_held = status == RBE_OK ? *n_held : 0;
    return status;
}
