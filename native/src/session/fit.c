/* Whether a model fits: the sizes that opening it and its sessions adds up, of its index alone. */
#include "rbe/fit.h"

#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "model/residency_plan.h"
#include "platform/available_memory.h"
#include "session/batch.h"
#include "session/encoder.h"
#include "text/sampling.h"

#define LEAST_CONTEXT 512u
#define CONTEXT_STEP 256u
#define LEAST_BITS 2.0f /* of `rbe pack` */
#define STACK_BYTES (64u << 10) /* of a thread: what it touches of its stack, with some of the system's own */

/* The options as they were given, with copies that may be changed. */
typedef struct fit_plan {
    const char *path;
    rbe_model *model; /* the index alone */
    int session_only; /* 1: the model is open and has taken what it takes */
    rbe_session_options session;
    uint64_t limit; /* max_resident_bytes */
    uint32_t n_sessions, batch_sessions;
} fit_plan;

static uint64_t add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t times(uint64_t a, uint64_t b)
{
    return b && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* What of the file is where under a limit. */
static void measure_file(const rbe_model *model, uint64_t limit, rbe_fit *out)
{
    const rbe__pack *pack = &model->pack;
    const uint64_t before = rbe__residency_before_tensors(pack), least = rbe__residency_least(pack);
    const uint64_t held = limit ? (limit < pack->file.bytes ? limit : pack->file.bytes) : least;
    uint64_t blobs = 0, weights = 0;
    for (uint32_t i = 0; i < pack->n_blobs; i++) {
        blobs += pack->blobs[i].bytes;
    }
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        weights += (uint64_t)pack->tensors[i].rows * pack->tensors[i].cols;
    }
    const uint64_t tensors = less(pack->file.bytes, pack->file.mapped_bytes + blobs);
    out->file_bytes = pack->file.bytes;
    out->tokenizer_bytes = blobs;
    out->weights_resident = less(held, before) < tensors ? less(held, before) : tensors;
    out->weights_on_disk = tensors - out->weights_resident;
    out->index_bytes = pack->file.mapped_bytes + rbe__model_own_bytes(model);
    rbe_model_memory memory = {.struct_bytes = sizeof memory};
    out->cache_bytes = rbe_model_get_memory(model, &memory) == RBE_OK ? memory.cache_limit : 0;
    weights = model->n_parameters ? model->n_parameters : weights;
    out->bits_per_weight = weights ? (float)(8.0 * (double)pack->tensor_bytes / (double)weights) : 0;
}

/* 1: texts go through an encoder, whose passes have room for what a text needs: there is no cache, and nothing is drawn. */
static int only_encodes(const fit_plan *plan)
{
    return plan->model->stack.both && !plan->session_only;
}

static rbe_status measure_passes(const fit_plan *plan, rbe_fit *out)
{
    rbe__session_bytes one;
    RBE_TRY(rbe__session_measure(plan->model, &plan->session, &one));
    const uint64_t stacks = (uint64_t)(one.n_threads - 1) * STACK_BYTES;
    out->context_tokens = one.context_tokens;
    out->n_threads = one.n_threads;
    out->kv_type = one.kv_type;
    if (only_encodes(plan)) {
        const uint64_t text = rbe__encoder_measure(plan->model, one.pass_tokens, one.n_threads, one.context_tokens);
        out->pass_bytes = times(add(text, stacks), plan->n_sessions);
        return RBE_OK;
    }
    const uint64_t passes = add(less(one.arena, one.kv), rbe__sampler_bytes(plan->model->config.n_vocabulary) + stacks);
    out->kv_bytes = times(one.kv, plan->n_sessions);
    out->pass_bytes = times(passes, plan->n_sessions);
    /* an encoder in front of the decoder is there while a text is read: sessions that step together read one after the other */
    out->pass_bytes = add(out->pass_bytes, times(one.encoder, plan->batch_sessions ? 1 : plan->n_sessions));
    if (plan->batch_sessions) {
        out->pass_bytes = add(out->pass_bytes, rbe__batch_measure(plan->model, plan->batch_sessions, plan->session.n_threads) + stacks);
    }
    return RBE_OK;
}

static rbe_status measure(const fit_plan *plan, rbe_fit *out)
{
    *out = (rbe_fit){.struct_bytes = sizeof *out};
    measure_file(plan->model, plan->limit, out);
    RBE_TRY(measure_passes(plan, out));
    if (plan->session_only) {
        out->needed = out->total = out->address_bytes = add(out->kv_bytes, out->pass_bytes);
        return RBE_OK;
    }
    const uint64_t own = add(add(out->kv_bytes, out->pass_bytes), out->cache_bytes + out->index_bytes);
    out->needed = add(own, out->weights_resident + out->tokenizer_bytes);
    out->total = add(out->needed, plan->limit ? 0 : out->weights_on_disk);
    out->address_bytes = add(own, out->file_bytes);
    return RBE_OK;
}

static rbe_status open_plan(const char *path, const rbe_fit_options *options, fit_plan *out)
{
    rbe_fit_options chosen = {0};
    rbe_model_options model = {0};
    *out = (fit_plan){.path = path};
    if (!path) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_fit: path is NULL");
    }
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    RBE_TRY(rbe__copy_options(&model, sizeof model, chosen.model));
    RBE_TRY(rbe__copy_options(&out->session, sizeof out->session, chosen.session));
    out->limit = model.max_resident_bytes;
    out->n_sessions = chosen.n_sessions ? chosen.n_sessions : 1;
    out->batch_sessions = chosen.batch_sessions;
    model.struct_bytes = sizeof model;
    model.log = NULL;
    out->session.struct_bytes = sizeof out->session;
    return rbe__model_open_index(path, &model, &out->model);
}

rbe_status rbe_fit_file(const char *path, const rbe_fit_options *options, rbe_fit *out)
{
    fit_plan plan;
    rbe_fit found;
    RBE_TRY(rbe__check_info("rbe_fit_file", out));
    rbe_status status = open_plan(path, options, &plan);
    if (status == RBE_OK) {
        status = measure(&plan, &found);
    }
    rbe_model_close(plan.model);
    RBE_TRY(status);
    return rbe__give_info("rbe_fit_file", out, &found, sizeof found);
}

/* What a plan is to come down to. */
typedef struct fit_goal {
    uint64_t bytes, address_bytes;
    int lenient; /* 1: weights may stay on the disk without a limit */
} fit_goal;

static int fits(const fit_plan *plan, const fit_goal *goal)
{
    rbe_fit found;
    return measure(plan, &found) == RBE_OK && (goal->lenient ? found.needed : found.total) <= goal->bytes &&
           found.address_bytes <= goal->address_bytes;
}

/* The largest context below the plan's own with which it fits; 0: none. The plan has it then. */
static uint32_t shorten(fit_plan *plan, const fit_goal *goal)
{
    const uint32_t before = plan->session.context_tokens;
    uint32_t low = 0, high = before;
    plan->session.context_tokens = LEAST_CONTEXT;
    if (before <= LEAST_CONTEXT || plan->session.sink_tokens > LEAST_CONTEXT / 2 || !fits(plan, goal)) {
        plan->session.context_tokens = before;
        return 0;
    }
    for (low = LEAST_CONTEXT; high - low > CONTEXT_STEP;) {
        plan->session.context_tokens = low + (high - low) / 2 / CONTEXT_STEP * CONTEXT_STEP;
        if (plan->session.context_tokens == low) {
            break;
        }
        *(fits(plan, goal) ? &low : &high) = plan->session.context_tokens;
    }
    plan->session.context_tokens = low;
    return plan->session.sink_tokens <= low / 2 ? low : 0;
}

/* The plan as it is, or with a smaller context. */
static int fits_somehow(fit_plan *plan, const fit_goal *goal, rbe_fit_advice *advice)
{
    if (fits(plan, goal)) {
        return 1;
    }
    advice->context_tokens = shorten(plan, goal);
    return advice->context_tokens != 0;
}

/* The limit of the file's bytes in memory with which a plan without one fits; 0: none. */
static uint64_t limit_weights(fit_plan *plan, const fit_goal *goal)
{
    rbe_fit found;
    if (plan->limit || goal->lenient || measure(plan, &found) != RBE_OK || found.needed > goal->bytes ||
        found.address_bytes > goal->address_bytes) {
        return 0;
    }
    const uint64_t others = found.kv_bytes + found.pass_bytes + found.cache_bytes + found.index_bytes;
    const uint64_t limit = less(goal->bytes, others) >> 20 << 20, least = rbe__residency_least(&plan->model->pack);
    return limit > least ? limit : least;
}

static float fewer_bits(const fit_plan *plan, const fit_goal *goal)
{
    rbe_fit found;
    if (measure(plan, &found) != RBE_OK) {
        return 0;
    }
    const uint64_t now = plan->model->pack.tensor_bytes, room = less(goal->bytes, found.total - now);
    const double bits = (double)found.bits_per_weight * (double)room / (double)(now ? now : 1);
    return bits >= LEAST_BITS && room < now ? (float)((double)(uint64_t)(bits * 10) / 10) : 0;
}

/* As rbe_fit_advice says, for a plan that does not fit. */
static void advise(const fit_plan *given, const fit_goal *goal, rbe_fit_advice *out)
{
    fit_plan tried = *given;
    const int can_round = !only_encodes(given) && (given->session.kv_type == RBE_KV_F16 || given->session.kv_type == RBE_KV_F32) &&
                          given->model->config.head_dim <= RBE_KV_MAX_DIM_QUANTIZED;
    out->bits_instead = goal->lenient || given->limit ? 0 : fewer_bits(given, goal);
    out->context_tokens = shorten(&tried, goal);
    if (out->context_tokens) {
        return;
    }
    tried = *given;
    if (can_round) {
        tried.session.kv_type = out->kv_type = RBE_KV_Q8;
        if (fits_somehow(&tried, goal, out)) {
            return;
        }
    }
    out->kv_type = 0;
    for (int smaller = 0; smaller < 2; smaller++) { /* as it is, then with the least cache */
        tried = *given;
        if (smaller) {
            tried.session.kv_type = can_round ? RBE_KV_Q8 : tried.session.kv_type;
            tried.session.context_tokens = tried.session.context_tokens < LEAST_CONTEXT ? tried.session.context_tokens : LEAST_CONTEXT;
        }
        out->max_resident_bytes = limit_weights(&tried, goal);
        if (out->max_resident_bytes) {
            out->kv_type = smaller && can_round ? RBE_KV_Q8 : 0;
            out->context_tokens = smaller && tried.session.context_tokens < given->session.context_tokens ? LEAST_CONTEXT : 0;
            return;
        }
    }
    out->bits_per_weight = goal->lenient ? 0 : fewer_bits(&tried, goal);
    if (out->bits_per_weight > 0) {
        out->kv_type = can_round ? RBE_KV_Q8 : 0;
        out->context_tokens = tried.session.context_tokens < given->session.context_tokens ? LEAST_CONTEXT : 0;
    }
}

static rbe_status advise_plan(fit_plan *plan, const fit_goal *goal, rbe_fit *found, rbe_fit_advice *advice)
{
    *advice = (rbe_fit_advice){.struct_bytes = sizeof *advice};
    RBE_TRY(measure(plan, found));
    plan->session.context_tokens = found->context_tokens; /* no longer 0: to be made smaller */
    plan->session.kv_type = found->kv_type; /* no longer AUTO */
    advice->fits = (uint32_t)fits(plan, goal);
    if (!advice->fits) {
        advise(plan, goal, advice);
    }
    return RBE_OK;
}

rbe_status rbe_fit_advise(const char *path, const rbe_fit_options *options, uint64_t available, rbe_fit_advice *out)
{
    fit_plan plan;
    rbe_fit found;
    rbe_fit_advice advice;
    const fit_goal goal = {available, RBE_UNLIMITED, 0};
    RBE_TRY(rbe__check_info("rbe_fit_advise", out));
    rbe_status status = open_plan(path, options, &plan);
    if (status == RBE_OK) {
        status = advise_plan(&plan, &goal, &found, &advice);
    }
    rbe_model_close(plan.model);
    RBE_TRY(status);
    return rbe__give_info("rbe_fit_advise", out, &advice, sizeof advice);
}

void rbe_fit_flags(const rbe_fit_advice *advice, char *text, size_t capacity)
{
    char context[32] = "", limit[48] = "", bits[32] = "";
    if (!text || capacity == 0) {
        return;
    }
    text[0] = 0;
    if (!advice) {
        return;
    }
    if (advice->context_tokens) {
        snprintf(context, sizeof context, " -c %u", advice->context_tokens);
    }
    if (advice->max_resident_bytes) {
        snprintf(limit, sizeof limit, " --max-memory %lluM", (unsigned long long)((advice->max_resident_bytes + 0xFFFFF) >> 20));
    }
    if (advice->bits_per_weight > 0) {
        snprintf(bits, sizeof bits, " --bits %.1f", (double)advice->bits_per_weight);
    }
    char joined[160];
    snprintf(joined, sizeof joined, "%s%s%s%s", context, advice->kv_type == RBE_KV_Q8 ? " --kv q8" : "", limit, bits);
    snprintf(text, capacity, "%s", joined[0] ? joined + 1 : "");
}

rbe_status rbe_memory_find(rbe_memory *out)
{
    static const char *const bounds[] = {"free memory", "control group", "Android's reserve"};
    rbe__available_memory found;
    RBE_TRY(rbe__check_info("rbe_memory_find", out));
    rbe__available_memory_find(&found);
    const rbe_memory memory = {sizeof memory, found.total, found.available, found.swap, found.address_space, bounds[found.bound]};
    return rbe__give_info("rbe_memory_find", out, &memory, sizeof memory);
}

static rbe_status refuse(const fit_plan *plan, const rbe_fit *found, const rbe__available_memory *memory, const rbe_fit_advice *advice)
{
    char flags[160];
    const int by_address = memory->address_space < found->address_bytes;
    const uint64_t needed = by_address ? found->address_bytes : found->needed,
                   there = by_address ? memory->address_space : memory->available;
    rbe_fit_flags(advice, flags, sizeof flags);
    return rbe_fail(RBE_ERROR_MEMORY, "%s does not fit: %llu MB %s are needed and %llu MB are available%s; %s%s", plan->path,
                    (unsigned long long)((needed + 0xFFFFF) >> 20), by_address ? "of address space" : "of memory",
                    (unsigned long long)(there >> 20), !by_address && memory->bound == RBE_BOUND_GROUP ? " to its control group" : "",
                    flags[0]     ? "it fits with "
                    : by_address ? "raise the limit (ulimit -v)"
                                 : "close programs, or pack a smaller model",
                    flags);
}

/* held: bytes that this process has and can use again. */
static rbe_status check_plan(fit_plan *plan, uint64_t held)
{
    rbe_fit found;
    rbe_fit_advice advice;
    rbe__available_memory memory;
    rbe__available_memory_find(&memory);
    memory.available = add(add(memory.available, memory.swap), held);
    const fit_goal goal = {memory.available, memory.address_space, 1};
    RBE_TRY(advise_plan(plan, &goal, &found, &advice));
    return advice.fits ? RBE_OK : refuse(plan, &found, &memory, &advice);
}

rbe_status rbe_fit_check(const char *path, const rbe_fit_options *options)
{
    fit_plan plan;
    rbe_status status = open_plan(path, options, &plan);
    if (status == RBE_OK) {
        status = check_plan(&plan, 0);
    }
    rbe_model_close(plan.model);
    return status;
}

rbe_status rbe_fit_check_session(const rbe_model *model, const rbe_session_options *options)
{
    fit_plan plan = {.path = "the session", .session_only = 1, .n_sessions = 1};
    if (!model) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_fit_check_session: model is NULL");
    }
    RBE_TRY(rbe__copy_options(&plan.session, sizeof plan.session, options));
    plan.session.struct_bytes = sizeof plan.session;
    plan.model = (rbe_model *)(uintptr_t)model; /* measured, not changed */
    return check_plan(&plan, rbe__memory_pool_statistics(model->memory).held);
}
