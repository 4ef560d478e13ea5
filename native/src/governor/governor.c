/* Acts between two tokens: see rbe/governor.h. */
#include "rbe/governor.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "governor/pace.h"
#include "governor/thread_pace.h"
#include "platform/platform.h"
#include "platform/threads.h"
#include "rbe/effort.h"
#include "rbe/modes.h"
#include "rbe/threads.h"
#include "session/batch.h"

#define SAMPLE_NS 1000000000u
#define REST_NS 5000000000u /* without a token: an answer begins anew, and what was spent before is forgotten */
#define SLICE_NS 50000000u /* of a wait, between looks at whether it is cancelled */
#define ONE_LINE 128

struct rbe_governor {
    const rbe_model *model;
    rbe_power *power;
    rbe_policy policy;
    rbe_policy_state policy_state;
    rbe__pace_goal goal;
    rbe__pace_state pace;
    rbe__thread_pace threads;
    rbe_governor_callback log;
    void *log_user;
    atomic_uint override_mode; /* 0: the policy decides; 1 + mode */
    uint64_t sampled_ns, stepped_ns, worked_ns; /* worked: when the step that runs began; 0: none */
    uint64_t metered_ns; /* when the energy was read */
    uint32_t base_threads; /* of the first session, in performance */
    double celsius;

    rbe__condition *condition; /* nobody signals: to wait on */
    rbe__mutex *mutex; /* of `info`, which any thread may ask for, and of what follows it */
    rbe_governor_info info;
    double begin_joules, begin_joule_seconds;
    uint32_t energy_index;
};

static rbe_status check_goals(const rbe_governor_options *options)
{
    const double values[] = {options->watts, options->celsius, options->tokens_per_s};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        if (!(values[i] >= 0 && values[i] <= 1e6)) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_governor_create: watts, celsius and tokens_per_s are from 0 on");
        }
    }
    if (options->celsius != 0 && !(options->celsius >= 30 && options->celsius <= 120)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "%g C cannot be held; give 30 to 120", options->celsius);
    }
    return RBE_OK;
}

/* Fails where what is to be held cannot be measured here. */
static rbe_status check_sensors(rbe_governor *governor)
{
    rbe_power_sample sample = {.struct_bytes = sizeof sample};
    rbe_energy energy = {.struct_bytes = sizeof energy};
    if (governor->power) {
        RBE_TRY(rbe_power_read(governor->power, &sample));
        RBE_TRY(rbe_energy_read(governor->power, &energy));
    }
    if (governor->goal.watts > 0 && !energy.readable) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "no sensor measures power here%s%s; leave out the limit of watts",
                        energy.missing[0] ? ": " : "", energy.missing);
    }
    if (governor->goal.celsius > 0 && (!governor->power || isnan(sample.temperature_c))) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "no sensor says how hot the processor is; leave out the limit of heat");
    }
    governor->begin_joules = energy.joules;
    governor->begin_joule_seconds = energy.seconds;
    governor->energy_index = energy.index;
    return RBE_OK;
}

rbe_status rbe_governor_create(const rbe_model *model, const rbe_governor_options *options, rbe_governor **out)
{
    rbe_governor_options chosen = {0};
    if (!model || !out) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_governor_create: model or out is NULL");
    }
    *out = NULL;
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    RBE_TRY(check_goals(&chosen));
    rbe_governor *governor = calloc(1, sizeof *governor);
    if (governor) {
        governor->mutex = rbe__mutex_create();
        governor->condition = rbe__condition_create();
    }
    if (!governor || !governor->mutex || !governor->condition) {
        rbe_governor_free(governor);
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a governor");
    }
    governor->model = model;
    governor->power = chosen.power;
    governor->goal = (rbe__pace_goal){chosen.watts, chosen.celsius, chosen.tokens_per_s};
    governor->log = chosen.log;
    governor->log_user = chosen.log_user;
    governor->celsius = NAN;
    governor->info = (rbe_governor_info){.struct_bytes = sizeof governor->info, .joules = NAN};
    governor->policy.struct_bytes = sizeof governor->policy;
    rbe_status status = rbe_policy_defaults(&governor->policy);
    status = status == RBE_OK && chosen.policy ? rbe__copy_options(&governor->policy, sizeof governor->policy, chosen.policy) : status;
    atomic_init(&governor->override_mode, governor->policy.override_mode);
    status = status == RBE_OK ? check_sensors(governor) : status;
    if (status != RBE_OK) {
        rbe_governor_free(governor);
        return status;
    }
    *out = governor;
    return RBE_OK;
}

void rbe_governor_free(rbe_governor *governor)
{
    if (governor) {
        rbe__condition_free(governor->condition);
        rbe__mutex_free(governor->mutex);
        free(governor);
    }
}

rbe_status rbe_governor_override(rbe_governor *governor, uint32_t mode)
{
    if (!governor || mode > RBE_MODES) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_governor_override: 0, or 1 + one of %u modes", (unsigned)RBE_MODES);
    }
    atomic_store_explicit(&governor->override_mode, mode, memory_order_relaxed);
    return RBE_OK;
}

/* What the joules of `energy` are since the governor was made. Under the mutex. */
static void note_joules(rbe_governor *governor, const rbe_energy *energy)
{
    const double joules = energy->joules - governor->begin_joules;
    if (!(joules < governor->info.joules)) { /* else another thread read it later */
        governor->info.joules = joules;
        governor->info.joule_seconds = energy->seconds - governor->begin_joule_seconds;
        governor->info.resolution_j = energy->resolution_j;
    }
}

rbe_status rbe_governor_get_info(rbe_governor *governor, rbe_governor_info *out)
{
    rbe_energy energy = {.struct_bytes = sizeof energy};
    if (!governor) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_governor_get_info: governor is NULL");
    }
    const int is_readable = governor->power && rbe_energy_read(governor->power, &energy) == RBE_OK && energy.readable;
    rbe__mutex_lock(governor->mutex);
    if (is_readable && energy.index == governor->energy_index && !isnan(governor->begin_joules)) {
        note_joules(governor, &energy);
    }
    const rbe_governor_info info = governor->info;
    rbe__mutex_unlock(governor->mutex);
    return rbe__give_info("rbe_governor_get_info", out, &info, sizeof info);
}

/* Once a second, and at once where the override changed. */
static void decide(rbe_governor *governor, uint64_t now)
{
    const uint32_t override_mode = atomic_load_explicit(&governor->override_mode, memory_order_relaxed);
    const int is_due = governor->sampled_ns == 0 || now - governor->sampled_ns >= SAMPLE_NS;
    if (!is_due && override_mode == governor->policy.override_mode) {
        return;
    }
    rbe_power_sample sample = {.struct_bytes = sizeof sample,
                               .time_ns = now,
                               .battery_level = NAN,
                               .power_w = NAN,
                               .temperature_c = NAN}; /* of a machine without sensors */
    rbe_policy_decision decision = {.struct_bytes = sizeof decision};
    governor->policy.override_mode = override_mode;
    governor->sampled_ns = now;
    if (governor->power && rbe_power_read(governor->power, &sample) != RBE_OK) {
        return;
    }
    governor->celsius = sample.temperature_c;
    if (rbe_policy_decide(&governor->policy, &sample, &governor->policy_state, &decision) != RBE_OK) {
        return;
    }
    rbe__mutex_lock(governor->mutex);
    governor->info.mode = decision.mode;
    governor->info.n_switches += decision.switched;
    snprintf(governor->info.reason, sizeof governor->info.reason, "%s", decision.reason);
    rbe__mutex_unlock(governor->mutex);
    if (decision.switched && governor->log) {
        char line[ONE_LINE];
        snprintf(line, sizeof line, "%s: %s", rbe_power_mode_name(decision.mode), decision.reason);
        governor->log(line, governor->log_user);
    }
}

static rbe_workers workers_of(const rbe_governor *governor)
{
    rbe_workers workers = {.struct_bytes = sizeof workers};
    (void)rbe_mode_get_workers(governor->info.mode, governor->base_threads, &workers); /* the policy knows no other modes */
    workers.n_threads = governor->threads.n_threads ? governor->threads.n_threads : workers.n_threads;
    return workers;
}

static rbe_status apply_effort(const rbe_governor *governor, rbe_session *session)
{
    rbe_mode mode = {.struct_bytes = sizeof mode};
    if (session->governed_mode == governor->info.mode) {
        return RBE_OK;
    }
    const int has_table = rbe_model_mode(governor->model, governor->info.mode, &mode) == RBE_OK;
    const rbe_effort effort = {.struct_bytes = sizeof effort,
                               .embedding = mode.embedding,
                               .lm_head = mode.lm_head,
                               .n_layers = mode.n_layers,
                               .attention = mode.attention,
                               .feed_forward = mode.feed_forward};
    RBE_TRY(rbe_session_set_effort(session, has_table ? &effort : NULL));
    session->governed_mode = governor->info.mode;
    return RBE_OK;
}

/* Joules since the governor was made, and what they cover; NAN where there are none, or another source than in the beginning. */
static double joules_now(rbe_governor *governor)
{
    rbe_energy energy = {.struct_bytes = sizeof energy};
    if (!governor->power || rbe_energy_read(governor->power, &energy) != RBE_OK || !energy.readable) {
        return NAN;
    }
    rbe__mutex_lock(governor->mutex);
    if (energy.index != governor->energy_index || isnan(governor->begin_joules)) {
        governor->energy_index = energy.index;
        governor->begin_joules = energy.joules;
        governor->begin_joule_seconds = energy.seconds;
        governor->info.joules = NAN;
        rbe__pace_forget(&governor->pace);
    }
    note_joules(governor, &energy);
    rbe__mutex_unlock(governor->mutex);
    return energy.joules;
}

/* 0 where the work was cancelled meanwhile. */
static int sleep_on(rbe_governor *governor, double seconds, atomic_int *cancelled)
{
    const uint64_t end = rbe__nanoseconds() + (uint64_t)(seconds * 1e9);
    for (uint64_t now = rbe__nanoseconds(); now < end; now = rbe__nanoseconds()) {
        if (atomic_load_explicit(cancelled, memory_order_relaxed)) {
            return 0;
        }
        rbe__mutex_lock(governor->mutex);
        rbe__condition_wait_until(governor->condition, governor->mutex, end - now < SLICE_NS ? end : now + SLICE_NS);
        rbe__mutex_unlock(governor->mutex);
    }
    return 1;
}

/* Waits as long as the goals ask for, or until the work is cancelled. Reading the energy takes some 100 us, so that it is done before every
 * token only where watts are held. */
static void keep_pace(rbe_governor *governor, atomic_int *cancelled)
{
    const uint64_t began = rbe__nanoseconds();
    if (governor->goal.watts == 0 && (governor->metered_ns == 0 || began - governor->metered_ns >= SAMPLE_NS)) {
        governor->metered_ns = began;
        (void)joules_now(governor);
    }
    int waited = 0;
    for (;; waited = 1) {
        const rbe__pace_reading reading = {(double)rbe__nanoseconds() * 1e-9, governor->goal.watts > 0 ? joules_now(governor) : NAN,
                                           governor->celsius};
        const double pause = rbe__pace_pause(&governor->goal, &reading, waited, &governor->pace);
        if (pause <= 0 || !sleep_on(governor, pause, cancelled)) {
            break;
        }
    }
    if (waited) {
        rbe__mutex_lock(governor->mutex);
        governor->info.waited_s += (double)(rbe__nanoseconds() - began) * 1e-9;
        rbe__mutex_unlock(governor->mutex);
    }
}

/* The threads that give the rate that is asked for, where one is. n_now: of what is stepped. */
static void choose_threads(rbe_governor *governor, uint64_t now, size_t n_tokens, uint32_t n_now)
{
    if (governor->base_threads == 0) {
        governor->base_threads = n_now;
    }
    if (governor->goal.tokens_per_s > 0 && n_tokens == 1) {
        const double seconds = (double)(now - governor->worked_ns) * 1e-9;
        if (governor->worked_ns) {
            (void)rbe__thread_pace_next(&governor->threads, governor->goal.tokens_per_s, seconds, governor->base_threads);
        }
    }
}

static void begin_step(rbe_governor *governor, uint64_t now)
{
    if (governor->stepped_ns && now - governor->stepped_ns > REST_NS) {
        rbe__pace_forget(&governor->pace);
        governor->worked_ns = 0;
    }
    decide(governor, now);
}

static void end_step(rbe_governor *governor, size_t n_tokens, size_t n_rows, uint32_t n_threads)
{
    governor->stepped_ns = rbe__nanoseconds();
    governor->worked_ns = n_tokens == 1 ? governor->stepped_ns : 0;
    rbe__mutex_lock(governor->mutex);
    governor->info.n_tokens += n_tokens == 1 ? n_rows : 0;
    governor->info.n_threads = n_threads;
    rbe__mutex_unlock(governor->mutex);
}

static uint32_t threads_of(const rbe__pass *pass)
{
    return rbe__thread_pool_threads(pass->workspace.thread_pool);
}

/* rbe__before_append of a session. What cannot be had, such as threads, stays as it was. */
static void before_session(void *context, rbe_session *session, size_t n_tokens)
{
    rbe_governor *governor = context;
    const uint64_t now = rbe__nanoseconds();
    begin_step(governor, now);
    choose_threads(governor, now, n_tokens, threads_of(&session->pass));
    (void)apply_effort(governor, session);
    if (governor->info.mode != RBE_MODE_PERFORMANCE || governor->threads.n_threads || session->has_governed_threads) {
        const rbe_workers workers = workers_of(governor); /* else threads may be being tried, which goes on */
        (void)rbe_session_set_workers(session, &workers);
        session->has_governed_threads = 1;
    }
    if (n_tokens == 1) {
        keep_pace(governor, &session->pass.cancelled);
    }
    end_step(governor, n_tokens, 1, threads_of(&session->pass));
}

/* rbe__before_decode of a batch. */
static void before_batch(void *context, rbe_batch *batch, rbe_session *const *sessions, size_t n)
{
    rbe_governor *governor = context;
    const uint64_t now = rbe__nanoseconds();
    begin_step(governor, now);
    choose_threads(governor, now, 1, threads_of(&batch->pass));
    for (size_t i = 0; i < n; i++) {
        (void)apply_effort(governor, sessions[i]);
    }
    const rbe_workers workers = workers_of(governor);
    (void)rbe_batch_set_workers(batch, &workers);
    keep_pace(governor, &batch->pass.cancelled);
    end_step(governor, 1, n, threads_of(&batch->pass));
}

rbe_status rbe_session_govern(rbe_session *session, rbe_governor *governor)
{
    if (!session || (governor && governor->model != session->model)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_govern: session is NULL, or of another model than the governor");
    }
    session->before = governor ? before_session : NULL;
    session->before_context = governor;
    return RBE_OK;
}

rbe_status rbe_batch_govern(rbe_batch *batch, rbe_governor *governor)
{
    if (!batch || (governor && governor->model != batch->model)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_batch_govern: batch is NULL, or of another model than the governor");
    }
    RBE_TRY(rbe_batch_follow_sessions(batch, 1));
    batch->before = governor ? before_batch : NULL;
    batch->before_context = governor;
    return RBE_OK;
}
