#include "session/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "parallel/cores.h"

#define DEFAULT_CONTEXT 4096u
/* Tokens of a prefill pass. The more, the fewer times weights are generated and read; but a strip's tile, and for each token its
 * activations and two rows of sums, should stay in the cache that a core has to itself (docs/performance.md). */
#define DEFAULT_BATCH 64u
#define LARGE_BATCH 128u
#define LARGE_BATCH_BYTES (RBE_STRIP_ROWS * RBE_BLOCK_COLS + LARGE_BATCH * (RBE_BLOCK_COLS + 8u * RBE_STRIP_ROWS))
#define MAX_BATCH 512u
#define SCORED_BYTES (4u << 20) /* room for the logits of a scoring pass; at least one token's */

/* Takes every buffer; called once to measure and once for real. */
static void take_buffers(rbe_session *session, rbe__arena *arena)
{
    const rbe_model *model = session->model;
    const rbe__config *config = &model->config;
    rbe__workspace *workspace = &session->workspace;
    size_t batch = workspace->batch, q_width = (size_t)config->n_heads * config->head_dim;
    size_t kv_width = (size_t)config->n_kv_heads * config->head_dim;
#define FLOATS(count) rbe__arena_take(arena, (count), sizeof(float))
    session->hidden = FLOATS(batch * config->width);
    session->normed = FLOATS(batch * config->width);
    session->branch = FLOATS(batch * config->width);
    session->q = FLOATS(batch * q_width);
    session->mixed = FLOATS(batch * q_width);
    session->k = FLOATS(batch * kv_width);
    session->v = FLOATS(batch * kv_width);
    session->gate = FLOATS(config->gated ? batch * config->feed_forward : 0);
    session->up = FLOATS(batch * config->feed_forward);
    session->cosines = FLOATS(model->n_rope_tables * batch * model->rope_pairs);
    session->sines = FLOATS(model->n_rope_tables * batch * model->rope_pairs);
    session->logits = FLOATS(config->n_vocabulary);
    session->scored = FLOATS((size_t)session->head_batch * config->n_vocabulary);
    workspace->scales = FLOATS(batch * (workspace->max_cols / RBE_BLOCK_COLS + 1));
    workspace->quantized = rbe__arena_take(arena, batch * workspace->max_cols, 1);
    workspace->most_chunks = (session->context - 1) / RBE_ATTENTION_CHUNK + 1;
    workspace->partials = FLOATS((size_t)workspace->most_chunks * config->n_heads * (config->head_dim + 2));
    for (uint32_t t = 0; t < rbe__thread_pool_threads(workspace->pool); t++) {
        rbe__thread_scratch *scratch = &workspace->threads[t];
        scratch->tile = rbe__arena_take(arena, RBE_BLOCK_GROUPS * RBE_STRIP_ROWS * 4, 1);
        scratch->acc = rbe__arena_take(arena, batch * RBE_STRIP_ROWS, sizeof(int32_t));
        scratch->sum = FLOATS(batch * RBE_STRIP_ROWS);
        scratch->row_scale = FLOATS(RBE_STRIP_ROWS);
        scratch->rotated = FLOATS(workspace->max_cols);
        scratch->block_scale = FLOATS(workspace->max_cols / RBE_BLOCK_COLS + 1);
        scratch->queries = FLOATS(RBE_ATTENTION_QUERIES * config->head_dim);
        scratch->attended = FLOATS(RBE_ATTENTION_QUERIES * config->head_dim);
        scratch->joined = FLOATS(RBE_ATTENTION_QUERIES * config->head_dim);
        scratch->scores = FLOATS(RBE_ATTENTION_QUERIES * RBE_KV_BLOCK);
        scratch->expanded = FLOATS(RBE_KV_BLOCK * config->head_dim);
        scratch->row = FLOATS(model->has_rows_only ? workspace->max_cols : 0);
    }
#undef FLOATS
    size_t before = arena->used;
    session->kv = rbe__arena_take(arena, config->n_layers, sizeof *session->kv);
    for (uint32_t i = 0; i < config->n_layers; i++) {
        rbe__kv_layer cache = rbe__kv_take(arena, session->kv_type, session->context, config->n_kv_heads, config->head_dim);
        if (session->kv) {
            session->kv[i] = cache;
        }
    }
    session->kv_bytes = arena->used - before;
}

static uint32_t widest_input(const rbe__config *config)
{
    uint32_t most = config->n_heads * config->head_dim;
    most = most > config->width ? most : config->width;
    most = most > config->feed_forward ? most : config->feed_forward;
    return (most + 63) & ~63u;
}

static void choose_for_cores(rbe_session_options *options)
{
    rbe__cores cores;
    rbe__cores_find(&cores);
    if (options->n_threads == 0) {
        options->n_threads = rbe__fast_cores(&cores);
        options->n_threads = options->n_threads < RBE_MAX_THREADS ? options->n_threads : RBE_MAX_THREADS;
    }
    if (options->batch_tokens == 0) {
        options->batch_tokens = cores.cache_bytes / 2 >= LARGE_BATCH_BYTES ? LARGE_BATCH : DEFAULT_BATCH;
    }
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
    if (options->n_threads == 0 || options->batch_tokens == 0) {
        choose_for_cores(options);
    }
    if (options->n_threads > RBE_MAX_THREADS || options->batch_tokens > MAX_BATCH || options->kv_type > RBE_KV_Q8Q4 ||
        options->n_planes > RBE_MAX_PLANES) {
        return rbe_fail(RBE_ERROR_ARGUMENT,
                        "n_threads must be at most %u, batch_tokens at most %u, kv_type at most %u, n_planes at most %u", RBE_MAX_THREADS,
                        MAX_BATCH, (unsigned)RBE_KV_Q8Q4, RBE_MAX_PLANES);
    }
    if (options->kv_type >= RBE_KV_Q8 && config->head_dim > RBE_KV_MAX_DIM_QUANTIZED) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "an int8 cache needs heads of at most %u, this model's have %u; choose fp16",
                        RBE_KV_MAX_DIM_QUANTIZED, config->head_dim);
    }
    if (options->sink_tokens && (model->positions || options->sink_tokens > options->context_tokens / 2)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, model->positions ? "this model's positions are learned: its context cannot slide"
                                                             : "sink_tokens must be at most half the context");
    }
    if (options->batch_tokens > options->context_tokens - options->sink_tokens) {
        options->batch_tokens = options->context_tokens - options->sink_tokens;
    }
    return RBE_OK;
}

static void choose_rope(rbe_session *session)
{
    const rbe_model *model = session->model;
    session->rope_frequencies = model->rope_frequencies;
    session->rope_factor = model->config.rope_attention_factor;
    if (model->rope_long_frequencies && session->context > model->config.rope_long_from) {
        session->rope_frequencies = model->rope_long_frequencies;
        session->rope_factor = model->config.rope_long_attention_factor;
    }
}

static rbe_status create_into(rbe_session *session, const rbe_session_options *options)
{
    const rbe__config *config = &session->model->config;
    rbe__workspace *workspace = &session->workspace;
    session->context = options->context_tokens;
    session->kv_type = (rbe_kv_type)options->kv_type;
    session->sink_tokens = options->sink_tokens;
    session->head_batch = SCORED_BYTES / 4 / config->n_vocabulary;
    session->head_batch = session->head_batch < 1 ? 1 : session->head_batch;
    session->head_batch = session->head_batch < options->batch_tokens ? session->head_batch : options->batch_tokens;
    workspace->kernels = &session->model->kernels;
    workspace->batch = options->batch_tokens;
    workspace->max_cols = widest_input(config);
    workspace->n_planes = options->n_planes;
    workspace->residency = session->model->residency.limit ? &session->model->residency : NULL;
    workspace->profile = options->profile ? &session->profile : NULL;
    choose_rope(session);
    RBE_TRY(rbe__thread_pool_create(options->n_threads, &workspace->pool));
    take_buffers(session, &session->arena);
    session->arena_bytes = session->arena.used;
    session->arena.memory = rbe__memory_pool_take(session->model->memory, session->arena_bytes);
    if (!session->arena.memory) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a session of %zu MB; choose a smaller context than %u tokens",
                        session->arena_bytes >> 20, session->context);
    }
    session->arena.used = 0;
    take_buffers(session, &session->arena);
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
        rbe__thread_pool_free(session->workspace.pool);
        rbe__memory_pool_give(session->model->memory, session->arena.memory, session->arena_bytes);
        free(session);
    }
}

rbe_status rbe_session_get_info(const rbe_session *session, rbe_session_info *info)
{
    if (!session || !info || info->struct_bytes != sizeof *info) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_get_info: session or info is NULL, or info.struct_bytes is wrong");
    }
    *info = (rbe_session_info){
        .struct_bytes = sizeof *info,
        .arena_bytes = session->arena_bytes,
        .kv_bytes = session->kv_bytes,
        .context_tokens = session->context,
        .position = session->position,
        .n_threads = rbe__thread_pool_threads(session->workspace.pool),
    };
    return RBE_OK;
}

rbe_status rbe_session_get_profile(const rbe_session *session, rbe_profile_entry *entries, size_t capacity, size_t *n_entries)
{
    static const char *const names[RBE_N_OPERATIONS] = {"embedding",
                                                        "norm, activation, rotation, rounding",
                                                        "query, key, value",
                                                        "rotary, cache",
                                                        "attention",
                                                        "attention output",
                                                        "gate, up",
                                                        "down",
                                                        "head",
                                                        "other"};
    if (!session || !n_entries || (capacity && !entries) || !session->workspace.profile) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_get_profile: a session made with `profile` and room for its entries are needed");
    }
    *n_entries = RBE_N_OPERATIONS;
    if (capacity < RBE_N_OPERATIONS) {
        return rbe_fail(RBE_ERROR_CAPACITY, "room for %zu entries was given, and there are %u", capacity, (unsigned)RBE_N_OPERATIONS);
    }
    for (uint32_t i = 0; i < RBE_N_OPERATIONS; i++) {
        entries[i] = (rbe_profile_entry){names[i], session->profile.calls[i], session->profile.nanoseconds[i]};
    }
    return RBE_OK;
}

rbe_status rbe__check_tokens(const rbe_session *session, const uint32_t *tokens, size_t n_tokens)
{
    if (!session || !tokens || n_tokens == 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "no tokens were given");
    }
    if (!session->sink_tokens && n_tokens > session->context - session->position) {
        return rbe_fail(RBE_ERROR_CONTEXT, "%zu tokens do not fit: the context holds %u and %u are taken", n_tokens, session->context,
                        session->position);
    }
    for (size_t i = 0; i < n_tokens; i++) {
        if (tokens[i] >= session->model->config.n_vocabulary) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "token %u is not in the vocabulary of %u", tokens[i], session->model->config.n_vocabulary);
        }
    }
    return RBE_OK;
}

/* Calls after_pass(first, count) behind each pass over at most `batch` tokens. */
static rbe_status run_passes(rbe_session *session, const uint32_t *tokens, size_t n_tokens, rbe_progress_callback progress, void *user,
                             void (*after_pass)(rbe_session *, void *, size_t first, uint32_t count), void *context)
{
    uint32_t position = session->position;
    for (size_t first = 0; first < n_tokens;) {
        uint32_t count = n_tokens - first < session->workspace.batch ? (uint32_t)(n_tokens - first) : session->workspace.batch;
        rbe__slide(session, count, &position);
        RBE_TRY(rbe__forward(session, tokens + first, count, position));
        after_pass(session, context, first, count);
        first += count;
        position += count;
        int stop = progress && progress(first, n_tokens, user);
        if (stop && first < n_tokens) { /* after the last pass there is nothing left to stop */
            return rbe_fail(RBE_ERROR_CANCELLED, "cancelled");
        }
    }
    session->position = position;
    return RBE_OK;
}

static void last_logits(rbe_session *session, void *context, size_t first, uint32_t count)
{
    const size_t *n_tokens = context;
    if (first + count == *n_tokens) {
        rbe__head(session, count - 1, 1, session->logits);
        session->has_logits = 1;
    }
}

rbe_status rbe_session_prefill(rbe_session *session, const uint32_t *tokens, size_t n_tokens, rbe_progress_callback progress, void *user)
{
    RBE_TRY(rbe__check_tokens(session, tokens, n_tokens));
    RBE_TRY(run_passes(session, tokens, n_tokens, progress, user, last_logits, &n_tokens));
    return RBE_OK;
}

const float *rbe_session_logits(const rbe_session *session)
{
    return session && session->has_logits ? session->logits : NULL;
}

typedef struct score_call {
    const uint32_t *tokens;
    size_t n_tokens;
    float *log_probabilities, *logits;
} score_call;

/* log softmax(logits)[token], in double precision. */
static float log_probability(const float *logits, uint32_t n, uint32_t token)
{
    float most = logits[0];
    for (uint32_t i = 1; i < n; i++) {
        most = logits[i] > most ? logits[i] : most;
    }
    double total = 0;
    for (uint32_t i = 0; i < n; i++) {
        total += (double)expf(logits[i] - most);
    }
    return (float)((double)logits[token] - (double)most - log(total));
}

static void score_pass(rbe_session *session, void *context, size_t first, uint32_t count)
{
    const score_call *call = context;
    uint32_t n_vocabulary = session->model->config.n_vocabulary;
    for (uint32_t row = 0; row < count;) {
        uint32_t n = count - row < session->head_batch ? count - row : session->head_batch;
        rbe__head(session, row, n, session->scored);
        if (call->logits) {
            memcpy(call->logits + (first + row) * n_vocabulary, session->scored, (size_t)n * n_vocabulary * sizeof(float));
        }
        for (uint32_t i = 0; i < n; i++) {
            const float *logits = session->scored + (size_t)i * n_vocabulary;
            size_t index = first + row + i;
            if (index + 1 == call->n_tokens) {
                memcpy(session->logits, logits, n_vocabulary * sizeof *logits);
                session->has_logits = 1;
            } else if (call->log_probabilities) {
                call->log_probabilities[index] = log_probability(logits, n_vocabulary, call->tokens[index + 1]);
            }
        }
        row += n;
    }
}

rbe_status rbe_session_score(rbe_session *session, const uint32_t *tokens, size_t n_tokens, float *log_probabilities, float *logits,
                             rbe_progress_callback progress, void *user)
{
    RBE_TRY(rbe__check_tokens(session, tokens, n_tokens));
    score_call call = {tokens, n_tokens, log_probabilities, logits};
    RBE_TRY(run_passes(session, tokens, n_tokens, progress, user, score_pass, &call));
    return RBE_OK;
}

rbe_status rbe_session_rewind(rbe_session *session, size_t n_tokens)
{
    if (!session || n_tokens > session->position) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "cannot go back to %zu tokens", n_tokens);
    }
    if (n_tokens < session->position) {
        session->has_logits = 0;
        session->position = (uint32_t)n_tokens;
    }
    return RBE_OK;
}

void rbe_session_cancel(rbe_session *session)
{
    if (session) {
        atomic_store_explicit(&session->cancelled, 1, memory_order_relaxed);
    }
}
