/* A session that tries numbers of threads: rbe/threads.h. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "parallel/cores.h"
#include "parallel/thread_pool.h"
#include "session/session.h"
#include "session/thread_results.h"
#include "session/thread_trial.h"

#define PROMPT_TOKENS 16u /* that come together: more than a step of guessed tokens has */

struct rbe__thread_choice {
    rbe__thread_trial trial;
    rbe_threads_kept result; /* machine and size class from the beginning */
    uint32_t state; /* rbe_threads_state */
    uint32_t for_prompts, for_steps; /* threads */
    char kept[]; /* the file's path; "": none */
};

static uint32_t session_threads(const rbe_session *session)
{
    return rbe__thread_pool_threads(session->pass.workspace.thread_pool);
}

static uint32_t usable_threads(const rbe__cores *cores)
{
    const uint32_t n = cores->n_cores < cores->quota ? cores->n_cores : cores->quota;
    return n < 1 ? 1 : n < RBE_MAX_THREADS ? n : RBE_MAX_THREADS;
}

static uint32_t fast_threads(const rbe__cores *cores)
{
    const uint32_t n = rbe__fast_cores(cores);
    return n < RBE_MAX_THREADS ? n : RBE_MAX_THREADS;
}

/* What the file says of this machine and model, or 0. */
static int look_up(const rbe_model *model, const char *kept, const rbe__processors *processors, rbe_threads_kept *out)
{
    const uint32_t machine = rbe__machine_number(&model->kernels, processors), size_class = rbe__size_class_of(model);
    const int found = kept && rbe__thread_results_find(kept, machine, size_class, out);
    if (!found) {
        *out = (rbe_threads_kept){.struct_bytes = sizeof *out, .machine = machine, .size_class = size_class};
    }
    return found;
}

static void begin_choice(rbe_session *session, rbe__thread_choice *choice, const rbe__processors *processors, int found)
{
    rbe__cores cores;
    rbe__cores_rank(processors, &cores);
    rbe__thread_trial_begin(&choice->trial, fast_threads(&cores), usable_threads(&cores));
    if (found) {
        choice->state = RBE_THREADS_KEPT;
    } else {
        choice->state = choice->trial.settled ? RBE_THREADS_CHOSEN : RBE_THREADS_TRYING;
    }
    choice->for_prompts = choice->trial.candidates[0];
    choice->for_steps = found ? choice->result.n_threads : choice->for_prompts;
    free(session->choice);
    session->choice = choice;
}

rbe_status rbe_session_try_threads(rbe_session *session, const char *kept)
{
    rbe__processors processors;
    rbe_threads_kept result;
    if (!session) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_try_threads: session is NULL");
    }
    rbe__processors_find(&processors);
    const int found = look_up(session->model, kept, &processors, &result);
    const size_t path_bytes = kept ? strlen(kept) + 1 : 1;
    rbe__thread_choice *choice = calloc(1, sizeof *choice + path_bytes);
    if (!choice) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory to try threads");
    }
    memcpy(choice->kept, kept ? kept : "", path_bytes);
    choice->result = result;
    begin_choice(session, choice, &processors, found);
    const rbe_status status = rbe__pass_set_threads(&session->pass, choice->for_steps);
    if (status != RBE_OK) {
        session->choice = NULL;
        free(choice);
    }
    return status;
}

/* A system that refuses more threads lets the session run with those that it has. */
void rbe__session_prepare(rbe_session *session, size_t n_tokens)
{
    const rbe__thread_choice *choice = session->choice;
    (void)rbe__pass_set_threads(&session->pass, n_tokens > PROMPT_TOKENS ? choice->for_prompts : choice->for_steps);
}

/* The trial's rates, as a line of the file. */
static void fill_result(const rbe__thread_trial *trial, rbe_threads_kept *out)
{
    out->n_tried = 0;
    for (uint32_t c = 0; c < trial->n_candidates; c++) {
        const float rate = rbe__thread_trial_rate(trial, c);
        if (rate > 0) {
            out->tried[out->n_tried] = trial->candidates[c];
            out->tokens_per_s[out->n_tried++] = rate;
        }
    }
    out->n_threads = trial->candidates[trial->at];
}

/* A system that refuses more threads ends the trial: the session stays with those that it has. A place that cannot be written costs another
 * trial next time. */
void rbe__session_timed(rbe_session *session, uint64_t nanoseconds)
{
    rbe__thread_choice *choice = session->choice;
    if (choice->state != RBE_THREADS_TRYING) {
        return;
    }
    const uint32_t next = rbe__thread_trial_step(&choice->trial, nanoseconds);
    fill_result(&choice->trial, &choice->result);
    choice->for_steps = next;
    if (rbe__pass_set_threads(&session->pass, next) != RBE_OK) {
        choice->state = RBE_THREADS_CHOSEN;
        choice->for_steps = session_threads(session);
    } else if (choice->trial.settled) {
        choice->state = RBE_THREADS_FOUND;
        if (choice->kept[0]) {
            (void)rbe__thread_results_add(choice->kept, &choice->result);
        }
    }
}

rbe_status rbe_session_get_threads(const rbe_session *session, rbe_threads_info *info)
{
    rbe_threads_info known = {.struct_bytes = sizeof known};
    if (!session) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_get_threads: session is NULL");
    }
    known.n_threads = session_threads(session);
    if (session->choice) {
        const rbe_threads_kept *result = &session->choice->result;
        known.state = session->choice->state;
        known.n_tried = result->n_tried;
        memcpy(known.tried, result->tried, sizeof known.tried);
        memcpy(known.tokens_per_s, result->tokens_per_s, sizeof known.tokens_per_s);
    }
    return rbe__give_info("rbe_session_get_threads", info, &known, sizeof known);
}

uint32_t rbe_model_kept_threads(const rbe_model *model, const char *kept)
{
    rbe__processors processors;
    rbe_threads_kept result;
    if (!model || !kept) {
        return 0;
    }
    rbe__processors_find(&processors);
    return look_up(model, kept, &processors, &result) ? result.n_threads : 0;
}

uint32_t rbe_threads_machine(void)
{
    rbe__processors processors;
    rbe_kernels kernels;
    rbe__processors_find(&processors);
    return rbe__kernels_select(rbe__kernels_best(0), &kernels) == 0 ? rbe__machine_number(&kernels, &processors) : 0;
}
