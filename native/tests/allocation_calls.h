/* The part of test_allocations.c that says what is called: each function does a piece of work, takes a digest of what comes of it, and gives back all
 * that it took, whether the work succeeds or not. */
#ifndef RBE_TESTS_ALLOCATION_CALLS_H
#define RBE_TESTS_ALLOCATION_CALLS_H

enum { N_CALL_TOKENS = 8, CALL_CONTEXT = 12, CALL_PASS = 3 };

/* What the calls work on. */
typedef struct subject {
    const char *path;
    rbe_model *model;
    rbe_session *session; /* NULL: the model is an encoder */
    int is_pair; /* of an encoder and a decoder */
    uint32_t tokens[N_CALL_TOKENS];
    char folder[64], state[80], policy[80];
    uint64_t least; /* bytes of the file that must be in memory */
    uint64_t digest; /* of what the latest call gave */
} subject;

typedef rbe_status call(subject *on);

static inline void add_digest(subject *on, const void *data, size_t bytes)
{
    on->digest = digest_of(on->digest, data, bytes);
}

static inline void add_logits(subject *on, const rbe_session *session)
{
    add_digest(on, rbe_session_logits(session), on->model->stack.n_vocabulary * sizeof(float));
}

static rbe_status open_as(const subject *on, const rbe_model_options *options)
{
    rbe_model *model = NULL;
    rbe_status status = rbe_model_open(on->path, options, &model);
    CHECK((status == RBE_OK) == (model != NULL), "an output of a call that failed");
    if (status == RBE_OK) {
        status = rbe_model_verify(model, NULL, NULL);
    }
    rbe_model_close(model);
    return status;
}

static rbe_status call_open(subject *on)
{
    return open_as(on, NULL);
}

static rbe_status call_fit(subject *on)
{
    rbe_fit fit = {.struct_bytes = sizeof fit};
    const rbe_status status = rbe_fit_file(on->path, NULL, &fit);
    add_digest(on, &fit.needed, sizeof fit.needed);
    return status;
}

static rbe_status open_session(const subject *on, uint32_t n_threads, rbe_session **out)
{
    const rbe_session_options options = {
        .struct_bytes = sizeof options, .context_tokens = CALL_CONTEXT, .n_threads = n_threads, .pass_tokens = CALL_PASS};
    const rbe_status status = rbe_session_create(on->model, &options, out);
    CHECK((status == RBE_OK) == (*out != NULL), "an output of a call that failed");
    return status;
}

static rbe_status encode_text(const subject *on, rbe_session *session)
{
    return on->is_pair ? rbe_session_encode(session, on->tokens, N_CALL_TOKENS, NULL, NULL) : RBE_OK;
}

static rbe_status call_session(subject *on)
{
    rbe_session *session = NULL;
    RBE_TRY(open_session(on, 2, &session));
    rbe_status status = encode_text(on, session);
    if (status == RBE_OK) {
        status = rbe_session_append(session, on->tokens, N_CALL_TOKENS, NULL, NULL);
    }
    if (status == RBE_OK) {
        status = rbe_session_append(session, on->tokens, 1, NULL, NULL);
        add_logits(on, session);
    }
    rbe_session_free(session);
    return status;
}

/* With a model of its own under a limit of memory, which is verified before it is opened. */
static rbe_status call_sparing(subject *on)
{
    const rbe_model_options options = {.struct_bytes = sizeof options, .max_resident_bytes = 64u << 20};
    subject own = *on;
    RBE_TRY(rbe_model_open(on->path, &options, &own.model));
    const rbe_status status = call_session(&own);
    rbe_model_close(own.model);
    on->digest = own.digest;
    return status;
}

static rbe_status call_append(subject *on)
{
    RBE_TRY(encode_text(on, on->session));
    RBE_TRY(rbe_session_rewind(on->session, 0));
    RBE_TRY(rbe_session_append(on->session, on->tokens, N_CALL_TOKENS, NULL, NULL));
    RBE_TRY(rbe_session_rewind(on->session, N_CALL_TOKENS - 2));
    RBE_TRY(rbe_session_append(on->session, on->tokens + N_CALL_TOKENS - 2, 2, NULL, NULL));
    RBE_TRY(rbe_session_append(on->session, on->tokens, 1, NULL, NULL));
    add_logits(on, on->session);
    return RBE_OK;
}

static rbe_status call_threads(subject *on)
{
    rbe_session *session = NULL;
    const rbe_pass_options more = {.struct_bytes = sizeof more, .n_threads = 3};
    RBE_TRY(open_session(on, 1, &session));
    const rbe_status status = rbe_session_configure(session, &more);
    rbe_session_info info = {.struct_bytes = sizeof info};
    CHECK(rbe_session_get_info(session, &info) == RBE_OK && info.n_threads == (status == RBE_OK ? 3 : 1), "%u threads", info.n_threads);
    rbe_session_free(session);
    return status;
}

static rbe_status call_trial(subject *on)
{
    rbe_session *session = NULL;
    char kept[96];
    snprintf(kept, sizeof kept, "%s/threads", on->folder);
    RBE_TRY(open_session(on, 2, &session));
    rbe_status status = rbe_session_try_threads(session, kept);
    if (status == RBE_OK) {
        status = encode_text(on, session);
    }
    for (uint32_t i = 0; i < N_CALL_TOKENS && status == RBE_OK; i++) {
        status = rbe_session_append(session, on->tokens + i, 1, NULL, NULL);
    }
    rbe_session_free(session);
    (void)unlink(kept);
    return status;
}

static rbe_status call_save(subject *on)
{
    char path[96];
    size_t bytes = 0;
    snprintf(path, sizeof path, "%s/saved", on->folder);
    const rbe_status status = rbe_session_save(on->session, path);
    atomic_store(&refused, 0); /* the file is read by the test */
    unsigned char *data = read_file(path, &bytes);
    CHECK((status == RBE_OK) == (data != NULL), "%s: a file of a call that failed, or none", on->path);
    add_digest(on, data, bytes);
    free(data);
    (void)unlink(path);
    return status;
}

static rbe_status call_restore(subject *on)
{
    RBE_TRY(rbe_session_restore(on->session, on->state));
    add_logits(on, on->session);
    RBE_TRY(rbe_session_append(on->session, on->tokens, 1, NULL, NULL));
    add_logits(on, on->session);
    return rbe_session_restore(on->session, on->state);
}

static rbe_status call_copy(subject *on)
{
    rbe_session *to = NULL;
    RBE_TRY(open_session(on, 1, &to));
    rbe_status status = rbe_session_copy(to, on->session, N_CALL_TOKENS - 1);
    if (status == RBE_OK) {
        status = rbe_session_append(to, on->tokens, 1, NULL, NULL);
        add_logits(on, to);
    }
    rbe_session_free(to);
    return status;
}

static rbe_status call_batch(subject *on)
{
    rbe_batch *batch = NULL;
    rbe_status statuses[2] = {RBE_OK, RBE_OK};
    rbe_session *sessions[2] = {on->session, NULL};
    const rbe_batch_options options = {.struct_bytes = sizeof options, .max_sessions = 2, .n_threads = 2};
    rbe_status status = open_session(on, 1, &sessions[1]);
    if (status == RBE_OK) {
        status = encode_text(on, sessions[1]);
    }
    if (status == RBE_OK) {
        status = rbe_batch_create(on->model, &options, &batch);
    }
    if (status == RBE_OK) {
        status = rbe_batch_decode(batch, sessions, on->tokens, 2, statuses);
        status = status != RBE_OK ? status : statuses[0] != RBE_OK ? statuses[0] : statuses[1];
    }
    if (status == RBE_OK) {
        add_logits(on, sessions[1]);
    }
    rbe_batch_free(batch);
    rbe_session_free(sessions[1]);
    return status;
}

static rbe_status call_generation(subject *on)
{
    const char *stops[] = {"\x7f\x7f", "never"};
    const rbe_sampling_options sampling = {.struct_bytes = sizeof sampling, .temperature = 2, .repeat_penalty = 1.1f, .seed = 7};
    const rbe_generation_options options = {
        .struct_bytes = sizeof options, .sampling = &sampling, .max_tokens = 3, .ignore_end = 1, .stops = stops, .n_stops = 2};
    const float bias = -2;
    rbe_generation *generation = NULL;
    RBE_TRY(rbe_session_restore(on->session, on->state));
    rbe_status status = rbe_generation_create(on->session, &options, &generation);
    if (status == RBE_OK) {
        status = rbe_sampler_bias(rbe_generation_sampler(generation), on->tokens, &bias, 1);
    }
    if (status == RBE_OK) {
        status = rbe_sampler_penalize(rbe_generation_sampler(generation), .5f, .5f);
    }
    for (uint32_t i = 0; i < 3 && status == RBE_OK; i++) {
        rbe_generation_event event = {.struct_bytes = sizeof event};
        status = rbe_generation_step(generation, &event);
        add_digest(on, &event.token, sizeof event.token);
    }
    rbe_generation_free(generation);
    return status;
}

static rbe_status call_tokenize(subject *on)
{
    static const char text[] =
        "Hello  w\xc3\xb6rld 123,\n e\xcc\x81\xea\xb0\x80 a rather long text of many words, so that lists must grow: \xff\xe4\xb8\xad";
    const rbe_tokenizer *tokenizer = rbe_model_tokenizer(on->model);
    const char *const stops[] = {"123"}, *piece;
    uint32_t tokens[256];
    size_t n = 0, bytes;
    int stopped;
    rbe_text_stream *stream = NULL;
    RBE_TRY(rbe_tokenize(tokenizer, text, sizeof text - 1, RBE_TOKENIZE_SPECIAL_PREFIX | RBE_TOKENIZE_PARSE_SPECIAL, tokens, 256, &n));
    add_digest(on, tokens, n * sizeof *tokens);
    rbe_status status = rbe_text_stream_create(tokenizer, stops, 1, &stream);
    for (size_t i = 0; i < n && status == RBE_OK; i++) {
        status = rbe_text_stream_push(stream, tokens[i], &piece, &bytes, &stopped);
        add_digest(on, piece, status == RBE_OK ? bytes : 0);
    }
    if (status == RBE_OK) {
        status = rbe_text_stream_finish(stream, &piece, &bytes);
    }
    rbe_text_stream_free(stream);
    return status;
}

static rbe_status call_chat(subject *on)
{
    const rbe_chat_options options = {.struct_bytes = sizeof options, .style = "chatml", .add_generation_prompt = 1};
    const rbe_chat_message messages[] = {{"system", "be brief", 8}, {"user", "what is it?", 11}};
    uint32_t tokens[512];
    size_t n = 0;
    const rbe_status status = rbe_chat_tokens(rbe_model_tokenizer(on->model), &options, messages, 2, tokens, 512, &n);
    add_digest(on, tokens, status == RBE_OK ? n * sizeof *tokens : 0);
    return status;
}

static rbe_status call_encoder(subject *on)
{
    const rbe_encoder_options options = {
        .struct_bytes = sizeof options, .n_threads = 2, .pass_tokens = CALL_PASS, .pooling = RBE_POOLING_MEAN};
    const rbe_encoder_text texts[] = {{on->tokens, NULL, 2}, {on->tokens + 1, NULL, 1}, {on->tokens, NULL, N_CALL_TOKENS}};
    static float hidden[(3 + N_CALL_TOKENS) * 512];
    rbe_encoder *encoder = NULL;
    CHECK(on->model->stack.width <= 512, "room");
    RBE_TRY(rbe_encoder_create(on->model, &options, &encoder));
    rbe_status status = rbe_encoder_hidden(encoder, texts, 3, hidden, NULL, NULL);
    if (status == RBE_OK) {
        add_digest(on, hidden, (3 + N_CALL_TOKENS) * on->model->stack.width * sizeof *hidden);
        status = rbe_encoder_pool(encoder, texts, 3, hidden, NULL, NULL);
    }
    rbe_encoder_free(encoder);
    return status;
}

static rbe_status call_power(subject *on)
{
    const rbe_power_options options = {.struct_bytes = sizeof options, .root = on->folder};
    rbe_policy policy = {.struct_bytes = sizeof policy};
    rbe_power *power = NULL;
    rbe_governor *governor = NULL;
    RBE_TRY(rbe_policy_read(on->policy, &policy));
    RBE_TRY(rbe_power_open(&options, &power));
    const rbe_governor_options chosen = {.struct_bytes = sizeof chosen, .power = power, .policy = &policy};
    rbe_status status = rbe_power_start(power, 50);
    if (status == RBE_OK) {
        status = rbe_governor_create(on->model, &chosen, &governor);
    }
    rbe_governor_free(governor);
    rbe_power_close(power);
    return status;
}

#endif
