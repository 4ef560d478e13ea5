/* One decode step of many sessions: a pass of one run for each. Since what a row gives depends on its own state alone, the results are those of
 * single steps. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "rbe/effort.h"
#include "session/batch.h"
#include "session/generation.h"

#define DEFAULT_SESSIONS 8u
#define MAX_SESSIONS 512u
#define SHARED_CONTEXT 4096u /* a step of one session is shared out by chunks of positions up to this context */

/* Takes everything; called once to measure and once for real. */
static void take_all(rbe_batch *batch)
{
    rbe__arena *arena = &batch->arena;
    rbe__pass_take(&batch->pass, arena);
    batch->members = rbe__arena_take(arena, batch->max_sessions, sizeof *batch->members);
    batch->runs = rbe__arena_take(arena, batch->max_sessions, sizeof *batch->runs);
    batch->tokens = rbe__arena_take(arena, batch->max_sessions, sizeof *batch->tokens);
    batch->stepped = rbe__arena_take(arena, batch->max_sessions, sizeof *batch->stepped);
    batch->drawn = rbe__arena_take(arena, batch->max_sessions, sizeof *batch->drawn);
    batch->outcomes = rbe__arena_take(arena, batch->max_sessions, sizeof *batch->outcomes);
    rbe__effort_take(&batch->own_effort, batch->model->stack.n_layers, arena);
    batch->places = rbe__arena_take(arena, batch->max_sessions, sizeof *batch->places);
}

static uint32_t shared_context(const rbe_model *model)
{
    return model->config.context < SHARED_CONTEXT ? model->config.context : SHARED_CONTEXT;
}

uint64_t rbe__batch_measure(const rbe_model *model, uint32_t max_sessions, uint32_t n_threads)
{
    rbe_batch measured = {.model = model, .max_sessions = max_sessions ? max_sessions : DEFAULT_SESSIONS};
    uint32_t rows = measured.max_sessions;
    rbe__choose_for_cores(&n_threads, &rows);
    rbe__pass_plan(&measured.pass, &model->stack, rows, shared_context(model), n_threads, 0);
    take_all(&measured);
    return measured.arena.used;
}

static rbe_status create_into(rbe_batch *batch, rbe_batch_options *options)
{
    const rbe_model *model = batch->model;
    RBE_TRY(rbe__check_whole(model));
    uint32_t most_tokens = batch->max_sessions;
    rbe__choose_for_cores(&options->n_threads, &most_tokens);
    if (options->n_threads > RBE_MAX_THREADS || batch->max_sessions > MAX_SESSIONS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "n_threads must be at most %u, max_sessions at most %u", RBE_MAX_THREADS, MAX_SESSIONS);
    }
    uint32_t planes[RBE_PLANES_KINDS];
    RBE_TRY(rbe__choose_planes(options->n_planes, options->planes, planes));
    RBE_TRY(rbe__pass_open(&batch->pass, &model->stack, batch->max_sessions, shared_context(model), options->n_threads, 0));
    take_all(batch);
    RBE_TRY(rbe__arena_from_model(model, &batch->arena, &batch->arena_bytes));
    take_all(batch);
    rbe__effort_set(&batch->pass.effort, model->stack.n_layers, planes);
    rbe__effort_copy(&batch->own_effort, &batch->pass.effort, model->stack.n_layers);
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
    batch->model = model;
    batch->max_sessions = chosen.max_sessions ? chosen.max_sessions : DEFAULT_SESSIONS;
    const rbe_status status = create_into(batch, &chosen);
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
        rbe__pass_close(&batch->pass);
        rbe__memory_pool_give(batch->model->memory, batch->arena.memory, batch->arena_bytes);
        free(batch);
    }
}

/* Checks what the caller gave. On failure nothing has changed. */
static rbe_status check_call(const rbe_batch *batch, rbe_session *const *sessions, const uint32_t *tokens, size_t n,
                             const rbe_status *statuses)
{
    if (!batch || !sessions || !tokens || !statuses || n == 0 || n > batch->max_sessions) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_batch_decode: 1 to %u sessions are needed, a token and a status for each",
                        batch ? batch->max_sessions : 0);
    }
    const uint32_t n_vocabulary = batch->pass.stack->n_vocabulary;
    for (size_t i = 0; i < n; i++) {
        if (!sessions[i] || sessions[i]->model != batch->model) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "session %zu is not of the batch's model", i);
        }
        if (tokens[i] >= n_vocabulary) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "session %zu: token %u is not in the vocabulary of %u", i, tokens[i], n_vocabulary);
        }
        for (size_t j = 0; j < i; j++) {
            if (sessions[j] == sessions[i]) {
                return rbe_fail(RBE_ERROR_ARGUMENT, "sessions %zu and %zu are the same", j, i);
            }
        }
    }
    return RBE_OK;
}

/* Lists the sessions that can step. */
static uint32_t gather(rbe_batch *batch, rbe_session *const *sessions, const uint32_t *tokens, size_t n, rbe_status *statuses)
{
    uint32_t n_active = 0;
    for (size_t i = 0; i < n; i++) {
        rbe_session *session = sessions[i];
        if (rbe__pass_take_cancelled(&session->pass)) {
            statuses[i] = rbe_fail(RBE_ERROR_CANCELLED, "session %zu: cancelled", i);
            continue;
        }
        statuses[i] = rbe__check_encoded(session);
        if (statuses[i] != RBE_OK) {
            continue;
        }
        if (!session->sink_tokens && session->position == session->state.context) {
            statuses[i] = rbe_fail(RBE_ERROR_CONTEXT, "session %zu: its context of %u tokens is full", i, session->state.context);
            continue;
        }
        statuses[i] = RBE_OK;
        batch->members[n_active] = (rbe__batch_member){session, i, session->position == session->state.context, rbe__undo_begin(session)};
        rbe__state_mark(&session->state, session->position, 1);
        batch->runs[n_active] = (rbe__run){&session->state, session->position, 1};
        batch->tokens[n_active++] = tokens[i];
    }
    return n_active;
}

/* Makes room in the contexts that slide. From then on the step cannot fail: nothing of it allocates, and nothing cancels it. */
static rbe_status make_room(rbe_batch *batch, uint32_t n_active)
{
    int slides = 0;
    for (uint32_t i = 0; i < n_active; i++) {
        slides |= batch->members[i].slides;
    }
    if (slides) {
        RBE_TRY(rbe__pass_commit(&batch->pass));
    }
    for (uint32_t i = 0; i < n_active; i++) {
        if (batch->members[i].slides) {
            rbe__session_slide(batch->members[i].session, 1, &batch->runs[i].first_position);
        }
    }
    return RBE_OK;
}

/* Of the members that step together, the rows of the last pass. */
static void give_logits(rbe_batch *batch, uint32_t first_member, uint32_t n, rbe_status *statuses)
{
    rbe__pass *pass = &batch->pass;
    const size_t n_vocabulary = pass->stack->n_vocabulary;
    for (uint32_t first = 0; first < n; first += pass->logits_rows) {
        const uint32_t count = n - first < pass->logits_rows ? n - first : pass->logits_rows;
        rbe__pass_logits(pass, first, count, pass->logits);
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t at = first_member + first + i;
            const rbe__batch_member *member = &batch->members[at];
            rbe_session *session = member->session;
            if (!member->slides && rbe__pass_take_cancelled(&session->pass)) {
                statuses[member->place] = rbe_fail(RBE_ERROR_CANCELLED, "session %zu: cancelled", member->place);
                rbe__undo_take_back(&member->undo, session);
                continue;
            }
            memcpy(session->logits, pass->logits + i * n_vocabulary, n_vocabulary * sizeof(float));
            session->has_logits = 1;
            session->position = batch->runs[at].first_position;
            session->tokens[session->position++] = batch->tokens[at];
        }
    }
}

static void exchange(rbe_batch *batch, uint32_t one, uint32_t other)
{
    const rbe__batch_member member = batch->members[one];
    const rbe__run run = batch->runs[one];
    const uint32_t token = batch->tokens[one];
    batch->members[one] = batch->members[other];
    batch->runs[one] = batch->runs[other];
    batch->tokens[one] = batch->tokens[other];
    batch->members[other] = member;
    batch->runs[other] = run;
    batch->tokens[other] = token;
}

/* Moves the members from `first` on that step with the same effort as that one next to it. Returns where they end. */
static uint32_t bring_together(rbe_batch *batch, uint32_t first, uint32_t n_active)
{
    if (!batch->follows_sessions) {
        return n_active;
    }
    const rbe__effort *effort = &batch->members[first].session->pass.effort;
    uint32_t end = first + 1;
    for (uint32_t i = end; i < n_active; i++) {
        if (rbe__effort_equal(effort, &batch->members[i].session->pass.effort, batch->pass.stack->n_layers)) {
            exchange(batch, i, end++);
        }
    }
    return end;
}

static rbe_status step_members(rbe_batch *batch, uint32_t first, uint32_t end, rbe_status *statuses)
{
    const rbe__effort *effort = batch->follows_sessions ? &batch->members[first].session->pass.effort : &batch->own_effort;
    rbe__effort_copy(&batch->pass.effort, effort, batch->pass.stack->n_layers);
    RBE_TRY(rbe__pass_run(&batch->pass, batch->runs + first, end - first, batch->tokens + first));
    give_logits(batch, first, end - first, statuses);
    return RBE_OK;
}

rbe_status rbe_batch_decode(rbe_batch *batch, rbe_session *const *sessions, const uint32_t *tokens, size_t n, rbe_status *statuses)
{
    RBE_TRY(check_call(batch, sessions, tokens, n, statuses));
    if (batch->before) {
        batch->before(batch->before_context, batch, sessions, n);
    }
    RBE_TRY(rbe__verification_check(batch->model->verification));
    const uint32_t n_active = gather(batch, sessions, tokens, n, statuses);
    if (n_active == 0) {
        return RBE_OK;
    }
    RBE_TRY(make_room(batch, n_active));
    for (uint32_t first = 0; first < n_active;) {
        const uint32_t end = bring_together(batch, first, n_active);
        batch->pass.must_finish |= first > 0; /* what the first have done is not taken back */
        const rbe_status status = step_members(batch, first, end, statuses);
        if (status != RBE_OK) {
            for (uint32_t i = 0; i < n_active; i++) {
                rbe__undo_take_back(&batch->members[i].undo, batch->members[i].session);
            }
            return status;
        }
        first = end;
    }
    rbe_status status = RBE_OK;
    for (uint32_t i = 0; i < n_active; i++) {
        status = rbe__session_right(batch->members[i].session);
    }
    return status;
}

rbe_status rbe_batch_follow_sessions(rbe_batch *batch, uint32_t on)
{
    if (!batch) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_batch_follow_sessions: batch is NULL");
    }
    batch->follows_sessions = on != 0;
    return RBE_OK;
}

/* Appends the tokens that the generations have drawn, in one pass. The status of a generation without such a token is RBE_OK. */
static rbe_status append_pending(rbe_batch *batch, rbe_generation *const *generations, size_t n, rbe_status *statuses)
{
    size_t n_pending = 0;
    for (size_t i = 0; i < n; i++) {
        statuses[i] = RBE_OK;
        if (generations[i]->pending != RBE_NO_TOKEN) {
            batch->stepped[n_pending] = generations[i]->session;
            batch->drawn[n_pending] = generations[i]->pending;
            batch->places[n_pending++] = i;
        }
    }
    if (n_pending == 0) {
        return RBE_OK;
    }
    RBE_TRY(rbe_batch_decode(batch, batch->stepped, batch->drawn, n_pending, batch->outcomes));
    for (size_t i = 0; i < n_pending; i++) {
        statuses[batch->places[i]] = batch->outcomes[i];
        if (batch->outcomes[i] == RBE_OK) {
            generations[batch->places[i]]->pending = RBE_NO_TOKEN;
        }
    }
    return RBE_OK;
}

rbe_status rbe_batch_step(rbe_batch *batch, rbe_generation *const *generations, size_t n, rbe_generation_event *events,
                          rbe_status *statuses)
{
    if (!batch || !generations || !events || !statuses || n == 0 || n > batch->max_sessions) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_batch_step: 1 to %u generations are needed, an event and a status for each",
                        batch ? batch->max_sessions : 0);
    }
    RBE_TRY(rbe__check_info("rbe_batch_step", events));
    const size_t event_bytes = events->struct_bytes; /* of the caller's, which may be another version's */
    uint8_t *event = (uint8_t *)events;
    for (size_t i = 0; i < n; i++) {
        if (!generations[i] || generations[i]->has_ended || generations[i]->in_callback ||
            memcmp(event + i * event_bytes, &event_bytes, sizeof event_bytes) != 0) {
            return rbe_fail(
                RBE_ERROR_ARGUMENT,
                "rbe_batch_step: generation %zu is NULL, has ended or is in its callback, or its event's struct_bytes is another one", i);
        }
        if (generations[i]->session->model != batch->model) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_batch_step: generation %zu is not of the batch's model", i);
        }
    }
    RBE_TRY(append_pending(batch, generations, n, statuses));
    for (size_t i = 0; i < n; i++) {
        rbe_generation_event drawn;
        if (statuses[i] == RBE_OK) {
            statuses[i] = rbe__generation_draw(generations[i], NULL, &drawn);
        } else if (statuses[i] == RBE_ERROR_CONTEXT) {
            statuses[i] = rbe__generation_end(generations[i], RBE_FINISH_CONTEXT, &drawn);
        }
        if (statuses[i] == RBE_OK) {
            statuses[i] = rbe__give_info("rbe_batch_step", event + i * event_bytes, &drawn, sizeof drawn);
        }
    }
    return RBE_OK;
}

void rbe_batch_cancel(rbe_batch *batch)
{
    if (batch) {
        rbe__pass_cancel(&batch->pass);
    }
}
