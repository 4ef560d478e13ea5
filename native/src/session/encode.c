/* The text that a session of an encoder-decoder answers to: through the encoder, and into what the decoder's blocks keep of it. */
#include <string.h>

#include "base/status.h"
#include "rbe/encoder_decoder.h"
#include "session/encoder.h"

rbe_status rbe__check_encoded(const rbe_session *session)
{
    if (session->pass.stack->crosses && session->state.n_text == 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "the model answers to a text, and the session has none yet; encode one first");
    }
    return RBE_OK;
}

/* The most planes that any layer is read with; 0: all. A layer that is left out does not count. */
static uint32_t most_planes(const rbe__pass *pass, uint32_t kind)
{
    uint32_t most = 1;
    for (uint32_t i = 0; i < pass->stack->n_layers; i++) {
        const uint32_t planes = rbe__effort_of_layer(&pass->effort, kind, i);
        if (planes == 0) {
            return 0;
        }
        most = planes != RBE_SKIP && planes > most ? planes : most;
    }
    return most;
}

static rbe_status open_encoder(rbe_session *session, rbe_encoder **out)
{
    const rbe__pass *pass = &session->pass;
    const rbe_encoder_options options = {
        .struct_bytes = sizeof options,
        .n_threads = rbe__thread_pool_threads(pass->workspace.thread_pool),
        .pass_tokens = pass->workspace.most_tokens,
        .planes = {[RBE_PLANES_ATTENTION] = most_planes(pass, RBE_PLANES_ATTENTION),
                   [RBE_PLANES_FEED_FORWARD] = most_planes(pass, RBE_PLANES_FEED_FORWARD),
                   [RBE_PLANES_EMBEDDING] = pass->effort.embedding},
    };
    RBE_TRY(rbe_encoder_create(session->model, &options, out));
    (*out)->pass.cancelled_with = &session->pass.cancelled;
    return RBE_OK;
}

/* A pass of the decoder at a time, of the encoder's hidden states. The session loses the text that it had. */
static rbe_status keep_text(rbe_encoder *encoder, const rbe__encoded *encoded, void *context)
{
    rbe_session *session = context;
    rbe__pass *pass = &session->pass;
    const uint32_t n = (uint32_t)encoded->texts[encoded->first].n_tokens, most = pass->workspace.most_tokens;
    const size_t width = pass->stack->width;
    (void)encoder;
    session->position = 0;
    session->has_logits = 0;
    rbe__state_clear(&session->state);
    rbe__state_set_text(&session->state, 0);
    for (uint32_t first = 0; first < n; first += most) {
        const rbe__run run = {&session->state, first, n - first < most ? n - first : most};
        rbe__pass_begin(pass, &run, 1);
        memcpy(pass->hidden, encoded->rows + first * width, run.n_tokens * width * sizeof(float));
        for (uint32_t layer = 0; layer < pass->stack->n_layers; layer++) {
            RBE_TRY(rbe__pass_fill_text(pass, layer));
        }
    }
    rbe__state_set_text(&session->state, n);
    return RBE_OK;
}

static rbe_status check_call(const rbe_session *session, const uint32_t *tokens, size_t n_tokens)
{
    if (!session || !tokens || n_tokens == 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "a session and the tokens of a text are needed");
    }
    if (!session->pass.stack->crosses) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "the model has no encoder in front of a decoder; its text is appended");
    }
    if (n_tokens > session->state.context) {
        return rbe_fail(RBE_ERROR_CONTEXT, "a text of %zu tokens does not fit: the session has room for %u", n_tokens,
                        session->state.context);
    }
    return rbe__check_layers(session->model);
}

rbe_status rbe_session_encode(rbe_session *session, const uint32_t *tokens, size_t n_tokens, rbe_progress_callback progress, void *user)
{
    RBE_TRY(check_call(session, tokens, n_tokens));
    if (session->before) {
        session->before(session->before_context, session, n_tokens);
    }
    if (session->choice) {
        rbe__session_prepare(session, n_tokens);
    }
    const rbe_encoder_text text = {.tokens = tokens, .n_tokens = n_tokens};
    rbe_encoder *encoder;
    RBE_TRY(open_encoder(session, &encoder));
    const rbe_status status = rbe__encode_texts(encoder, &text, 1, keep_text, session, progress, user);
    rbe_encoder_free(encoder);
    return status != RBE_OK ? status : rbe__session_right(session);
}

size_t rbe_session_text_tokens(const rbe_session *session)
{
    return session ? session->state.n_text : 0;
}
