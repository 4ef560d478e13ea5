/* Layers on given hidden states: for calibration, for encoders, and for a model whose layers lie on several machines. */
#include "base/status.h"
#include "blocks/stream.h"
#include "session/session.h"

static rbe_status check_window(const rbe_session *session, uint32_t first_position, const float *hidden, size_t n_tokens)
{
    if (!session || !hidden || n_tokens == 0 || first_position < session->position) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "a session, hidden states of at least one token and positions behind its context are needed");
    }
    if (first_position > session->state.context || n_tokens > session->state.context - first_position) {
        return rbe_fail(RBE_ERROR_CONTEXT, "%zu tokens do not fit behind position %u: the context holds %u", n_tokens, first_position,
                        session->state.context);
    }
    return RBE_OK;
}

/* Tokens of an encoder see those behind them, so that a pass has all of a text. */
static rbe_status check_text(const rbe_session *session, uint32_t first_position, size_t n_tokens)
{
    const uint32_t most = session->pass.workspace.most_tokens;
    if (session->pass.stack->both && (first_position != 0 || n_tokens > most)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "layers of an encoder take a whole text from position 0 on, of at most %u tokens (pass_tokens)",
                        most);
    }
    return RBE_OK;
}

/* The part of a window that one pass takes. */
static rbe__run next_run(rbe_session *session, uint32_t first_position, size_t done, size_t n_tokens)
{
    const size_t left = n_tokens - done, most = session->pass.workspace.most_tokens;
    return (rbe__run){&session->state, first_position + (uint32_t)done, (uint32_t)(left < most ? left : most)};
}

rbe_status rbe_session_embed(rbe_session *session, const uint32_t *tokens, size_t n_tokens, float *hidden)
{
    RBE_TRY(check_window(session, 0, hidden, n_tokens));
    RBE_TRY(rbe__check_tokens(session, tokens, n_tokens));
    rbe__pass *pass = &session->pass;
    const size_t width = pass->stack->stream_width;
    for (size_t done = 0; done < n_tokens;) {
        const rbe__run run = next_run(session, 0, done, n_tokens);
        rbe__pass_begin(pass, &run, 1);
        rbe__pass_embed(pass, tokens + done, NULL);
        rbe__stream_write(pass, hidden + done * width, 0, 0, 1);
        done += run.n_tokens;
    }
    return rbe_model_verify(session->model, NULL, NULL);
}

static rbe_status run_window(rbe_session *session, uint32_t first_layer, uint32_t end_layer, uint32_t first_position, float *hidden,
                             size_t n_tokens)
{
    rbe__pass *pass = &session->pass;
    const size_t width = pass->stack->stream_width;
    for (size_t done = 0; done < n_tokens;) {
        const rbe__run run = next_run(session, first_position, done, n_tokens);
        rbe__pass_begin(pass, &run, 1);
        rbe__stream_read(pass, hidden + done * width, first_layer, end_layer);
        RBE_TRY(rbe__pass_layers(pass, first_layer, end_layer));
        if (pass->capture && end_layer == pass->stack->n_layers) {
            rbe__pass_norm(pass);
            RBE_TRY(rbe__capture(pass, end_layer, RBE_CAPTURE_LM_HEAD, pass->normed, pass->stack->width));
        }
        rbe__stream_write(pass, hidden + done * width, first_layer, end_layer, 0);
        done += run.n_tokens;
    }
    return RBE_OK;
}

/* The layers can begin at the same position again. */
static void mark_layers(const rbe_session *session, uint32_t first_layer, uint32_t end_layer, uint32_t first_position, uint32_t n_tokens)
{
    for (uint32_t i = first_layer; i < end_layer; i++) {
        const rbe__layer *layer = &session->pass.stack->layers[i];
        for (uint32_t b = 0; b < layer->n_blocks; b++) {
            const rbe__block *block = &layer->blocks[b];
            if (block->kind->mark && !block->shares_state) {
                block->kind->mark(&session->state.blocks[block->state], first_position, n_tokens);
            }
        }
    }
}

rbe_status rbe_session_run_layers(rbe_session *session, uint32_t first_layer, uint32_t n_layers, uint32_t first_position, float *hidden,
                                  size_t n_tokens, rbe_capture_callback capture, void *user)
{
    RBE_TRY(check_window(session, first_position, hidden, n_tokens));
    RBE_TRY(check_text(session, first_position, n_tokens));
    RBE_TRY(rbe__check_encoded(session));
    const rbe__stack *stack = session->pass.stack;
    if (first_layer < stack->first_layer || first_layer > stack->end_layer || n_layers > stack->end_layer - first_layer) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "layers %u + %u, where layers %u to %u are there", first_layer, n_layers, stack->first_layer,
                        stack->end_layer - 1);
    }
    session->pass.capture = capture;
    session->pass.capture_user = user;
    mark_layers(session, first_layer, first_layer + n_layers, first_position, (uint32_t)n_tokens);
    const rbe_status status = run_window(session, first_layer, first_layer + n_layers, first_position, hidden, n_tokens);
    session->pass.capture = NULL;
    return status != RBE_OK ? status : rbe_model_verify(session->model, NULL, NULL);
}
