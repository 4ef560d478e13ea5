#include "session/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "parallel/cores.h"
#include "session/encoder.h"

#define DEFAULT_CONTEXT 4096u
/* Tokens of a prefill pass. The more, the fewer times weights are generated and read; but a strip's tile, and for each token its
 * activations and two rows of sums, should stay in the cache that a core has to itself (docs/performance.md). */
#define DEFAULT_TOKENS 64u
#define LARGE_TOKENS 128u
#define LARGE_BYTES (RBE_STRIP_ROWS * RBE_BLOCK_COLS + LARGE_TOKENS * (RBE_BLOCK_COLS + 8u * RBE_STRIP_ROWS))
#define MAX_TOKENS 512u

void rbe__choose_for_cores(uint32_t *n_threads, uint32_t *most_tokens)
{
    if (*n_threads && *most_tokens) {
        return;
    }
    rbe__cores cores;
    rbe__cores_find(&cores);
    if (*n_threads == 0) {
        *n_threads = rbe__fast_cores(&cores);
        *n_threads = *n_threads < RBE_MAX_THREADS ? *n_threads : RBE_MAX_THREADS;
    }
    if (*most_tokens == 0) {
        *most_tokens = cores.cache_bytes / 2 >= LARGE_BYTES ? LARGE_TOKENS : DEFAULT_TOKENS;
    }
}

rbe_status rbe__choose_planes(uint32_t n_planes, const uint32_t *of_kinds, uint32_t *planes)
{
    uint32_t most = n_planes;
    for (uint32_t kind = 0; kind < RBE_PLANES_KINDS; kind++) {
        planes[kind] = of_kinds[kind] ? of_kinds[kind] : n_planes;
        most = planes[kind] > most ? planes[kind] : most;
    }
    return most <= RBE_MAX_PLANES ? RBE_OK : rbe_fail(RBE_ERROR_ARGUMENT, "planes must be at most %u", RBE_MAX_PLANES);
}

rbe_status rbe__check_layers(const rbe_model *model)
{
    const rbe__stack *stack = &model->stack;
    if (stack->first_layer != 0 || stack->end_layer != stack->n_layers) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "the model was opened with %u of its %u layers; this needs all of them",
                        stack->end_layer - stack->first_layer, stack->n_layers);
    }
    return RBE_OK;
}

rbe_status rbe__check_whole(const rbe_model *model)
{
    if (model->stack.both) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "the model is an encoder, which writes no text; `rbe embed` gives its vectors");
    }
    if (!model->stack.lm_head.weight) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "the model has no head of words and writes no text; `rbe embed` gives its vectors");
    }
    return rbe__check_layers(model);
}

/* From here on the type of a cache is a real one: no code behind this knows AUTO. */
static rbe_status choose_kv_type(const rbe_model *model, uint32_t *type)
{
    const uint32_t head_dim = model->config.head_dim; /* of layers that differ, the most */
    const int is_small = head_dim <= RBE_KV_MAX_DIM_QUANTIZED;
    if (model->stack.both) { /* keys and values of one layer at a time */
        *type = RBE_KV_F32;
    } else if (*type == RBE_KV_AUTO) {
        *type = is_small && !model->stack.crosses ? RBE_KV_Q8 : RBE_KV_F16;
    }
    if (!is_small && (*type == RBE_KV_Q8 || *type == RBE_KV_Q8Q4)) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "an int8 cache needs heads of at most %u, this model's have %u; choose fp16",
                        RBE_KV_MAX_DIM_QUANTIZED, head_dim);
    }
    return RBE_OK;
}

static rbe_status check_options(const rbe_model *model, rbe_session_options *options)
{
    const rbe__config *config = &model->config;
    if (options->context_tokens == 0) {
        options->context_tokens = config->context < DEFAULT_CONTEXT ? config->context : DEFAULT_CONTEXT;
    }
    if (options->context_tokens > config->context) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "a context of %u tokens: this model takes at most %u", options->context_tokens,
                        config->context);
    }
    rbe__choose_for_cores(&options->n_threads, &options->pass_tokens);
    if (options->n_threads > RBE_MAX_THREADS || options->pass_tokens > MAX_TOKENS || options->kv_type > RBE_KV_AUTO) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "n_threads must be at most %u, pass_tokens at most %u, kv_type at most %u", RBE_MAX_THREADS,
                        MAX_TOKENS, (unsigned)RBE_KV_AUTO);
    }
    RBE_TRY(choose_kv_type(model, &options->kv_type));
    if (options->sink_tokens && (model->stack.positions || options->sink_tokens > options->context_tokens / 2)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, model->stack.positions ? "this model's positions are learned: its context cannot slide"
                                                                   : "sink_tokens must be at most half the context");
    }
    if (options->pass_tokens > options->context_tokens - options->sink_tokens) {
        options->pass_tokens = options->context_tokens - options->sink_tokens;
    }
    return RBE_OK;
}

/* Takes everything; called once to measure and once for real. */
static void take_all(rbe_session *session)
{
    rbe__arena *arena = &session->arena;
    rbe__pass_take(&session->pass, arena);
    session->tokens = rbe__arena_take(arena, session->state.context, sizeof *session->tokens);
    session->logits = rbe__arena_take(arena, session->pass.stack->n_vocabulary, sizeof *session->logits);
    const size_t before = arena->used;
    rbe__state_take(&session->state, arena);
    session->state_bytes = arena->used - before;
}

rbe_status rbe__arena_from_model(const rbe_model *model, rbe__arena *arena, size_t *bytes)
{
    *bytes = arena->used;
    arena->memory = rbe__memory_pool_take(model->memory, *bytes);
    arena->used = 0;
    return arena->memory ? RBE_OK : rbe_fail(RBE_ERROR_MEMORY, "no memory for %zu MB", *bytes >> 20);
}

rbe_status rbe__session_measure(const rbe_model *model, const rbe_session_options *options, rbe__session_bytes *out)
{
    rbe_session_options chosen = {0};
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    RBE_TRY(check_options(model, &chosen));
    rbe_session measured = {.model = model};
    measured.state = rbe__state_of(&model->stack, (rbe_kv_type)chosen.kv_type, chosen.context_tokens);
    rbe__pass_plan(&measured.pass, &model->stack, chosen.pass_tokens, chosen.context_tokens, chosen.n_threads, 0);
    take_all(&measured);
    const uint64_t encoder = model->encoder.layers
                                 ? rbe__encoder_measure(model, chosen.pass_tokens, chosen.n_threads, chosen.context_tokens)
                                 : 0;
    *out = (rbe__session_bytes){.arena = measured.arena.used,
                                .kv = measured.state_bytes,
                                .encoder = encoder,
                                .context_tokens = chosen.context_tokens,
                                .n_threads = chosen.n_threads,
                                .pass_tokens = chosen.pass_tokens,
                                .kv_type = chosen.kv_type};
    return RBE_OK;
}

static rbe_status create_into(rbe_session *session, const rbe_session_options *options)
{
    const rbe__stack *stack = &session->model->stack;
    session->sink_tokens = options->sink_tokens;
    session->state = rbe__state_of(stack, (rbe_kv_type)options->kv_type, options->context_tokens);
    uint32_t planes[RBE_PLANES_KINDS];
    RBE_TRY(rbe__choose_planes(options->n_planes, options->planes, planes));
    RBE_TRY(
        rbe__pass_open(&session->pass, stack, options->pass_tokens, options->context_tokens, options->n_threads, options->profile != 0));
    take_all(session);
    if (rbe__arena_from_model(session->model, &session->arena, &session->arena_bytes) != RBE_OK) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a session of %zu MB; choose a smaller context than %u tokens",
                        session->arena_bytes >> 20, session->state.context);
    }
    take_all(session);
    rbe__effort_set(&session->pass.effort, stack->n_layers, planes);
    return RBE_OK;
}

rbe_status rbe_session_create(const rbe_model *model, const rbe_session_options *options, rbe_session **out)
{
    if (!model || !out) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_create: model or out is NULL");
    }
    *out = NULL;
    rbe_session_options chosen = {0};
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    RBE_TRY(check_options(model, &chosen));
    rbe_session *session = calloc(1, sizeof *session);
    if (!session) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a session");
    }
    session->model = model;
    rbe_status status = create_into(session, &chosen);
    if (status != RBE_OK) {
        rbe_session_free(session);
        return status;
    }
    *out = session;
    return RBE_OK;
}

void rbe_session_free(rbe_session *session)
{
    if (session) {
        rbe__pass_close(&session->pass);
        free(session->choice);
        rbe__memory_pool_give(session->model->memory, session->arena.memory, session->arena_bytes);
        free(session);
    }
}

rbe_status rbe_session_get_info(const rbe_session *session, rbe_session_info *info)
{
    if (!session) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_get_info: session is NULL");
    }
    const rbe_session_info known = {
        .arena_bytes = session->arena_bytes + session->pass.threads_bytes,
        .kv_bytes = session->state_bytes,
        .context_tokens = session->state.context,
        .position = session->position,
        .n_threads = rbe__thread_pool_threads(session->pass.workspace.thread_pool),
        .kv_type = (uint32_t)session->state.type,
    };
    return rbe__give_info("rbe_session_get_info", info, &known, sizeof known);
}

/* Operations first ... end - 1; returns where the next entry goes. */
static rbe_profile_entry *add_entries(const rbe__profile *profile, uint32_t first, uint32_t end, rbe_profile_entry *next)
{
    for (uint32_t i = first; i < end; i++) {
        *next++ = (rbe_profile_entry){rbe__operation_name(i), profile->calls[i], profile->nanoseconds[i]};
    }
    return next;
}

rbe_status rbe__pass_entries(const rbe__pass *pass, rbe_profile_entry *entries, size_t capacity, size_t *n_entries)
{
    uint32_t n = RBE_OPERATION_BLOCKS;
    while (rbe__operation_name(n)) {
        n++;
    }
    *n_entries = n;
    if (capacity < n) {
        return rbe_fail(RBE_ERROR_CAPACITY, "room for %zu entries was given, and there are %u", capacity, n);
    }
    rbe_profile_entry *next = add_entries(&pass->profile, 0, RBE_OPERATION_LM_HEAD, entries);
    next = add_entries(&pass->profile, RBE_OPERATION_BLOCKS, n, next);
    add_entries(&pass->profile, RBE_OPERATION_LM_HEAD, RBE_OPERATION_BLOCKS, next); /* what follows the layers comes last */
    return RBE_OK;
}

rbe_status rbe_session_get_profile(const rbe_session *session, rbe_profile_entry *entries, size_t capacity, size_t *n_entries)
{
    if (!session || !n_entries || (capacity && !entries) || !session->pass.workspace.profile) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_get_profile: a session made with `profile` and room for its entries are needed");
    }
    return rbe__pass_entries(&session->pass, entries, capacity, n_entries);
}

rbe_status rbe_session_configure(rbe_session *session, const rbe_pass_options *options)
{
    uint32_t planes[RBE_PLANES_KINDS];
    rbe_pass_options chosen = {0};
    if (!session) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_configure: session is NULL");
    }
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    RBE_TRY(rbe__choose_planes(chosen.n_planes, chosen.planes, planes));
    if (chosen.n_threads > RBE_MAX_THREADS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "n_threads must be at most %u", RBE_MAX_THREADS);
    }
    if (chosen.n_threads) {
        RBE_TRY(rbe__pass_set_threads(&session->pass, chosen.n_threads));
        free(session->choice); /* the caller has decided */
        session->choice = NULL;
    }
    rbe__effort_set(&session->pass.effort, session->pass.stack->n_layers, planes);
    return RBE_OK;
}

void rbe_session_cancel(rbe_session *session)
{
    if (session) {
        rbe__pass_cancel(&session->pass);
    }
}

void rbe_session_uncancel(rbe_session *session)
{
    if (session) {
        (void)rbe__pass_take_cancelled(&session->pass);
    }
}
