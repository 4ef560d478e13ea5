/* The pieces of a session that calibration drives by itself: embedding, and layers on given hidden states. */
#include <string.h>

#include "base/status.h"
#include "session/session.h"

static rbe_status check_window(const rbe_session *session, const float *hidden, size_t n_tokens)
{
    if (!session || !hidden || n_tokens == 0 || session->position != 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "a session with an empty context, hidden states and at least one token are needed");
    }
    if (n_tokens > session->context) {
        return rbe_fail(RBE_ERROR_CONTEXT, "%zu tokens do not fit: the context holds %u", n_tokens, session->context);
    }
    return RBE_OK;
}

rbe_status rbe_session_embed(rbe_session *session, const uint32_t *tokens, size_t n_tokens, float *hidden)
{
    RBE_TRY(check_window(session, hidden, n_tokens));
    RBE_TRY(rbe__check_tokens(session, tokens, n_tokens));
    size_t width = session->model->config.width;
    for (size_t first = 0; first < n_tokens; first += session->workspace.batch) {
        size_t left = n_tokens - first, count = left < session->workspace.batch ? left : session->workspace.batch;
        rbe__embed_tokens(session, tokens + first, (uint32_t)count, (uint32_t)first);
        memcpy(hidden + first * width, session->hidden, count * width * sizeof *hidden);
    }
    return RBE_OK;
}

static rbe_status run_window(rbe_session *session, uint32_t first_layer, uint32_t n_layers, float *hidden, size_t n_tokens)
{
    size_t width = session->model->config.width;
    for (size_t first = 0; first < n_tokens; first += session->workspace.batch) {
        size_t left = n_tokens - first, count = left < session->workspace.batch ? left : session->workspace.batch;
        memcpy(session->hidden, hidden + first * width, count * width * sizeof *hidden);
        RBE_TRY(rbe__run_layers(session, first_layer, n_layers, (uint32_t)count, (uint32_t)first));
        if (session->capture && first_layer + n_layers == session->model->config.n_layers) {
            rbe__final_norm(session, (uint32_t)count);
            RBE_TRY(rbe__capture(session, first_layer + n_layers, RBE_CAPTURE_HEAD, session->normed, (uint32_t)count, width));
        }
        memcpy(hidden + first * width, session->hidden, count * width * sizeof *hidden);
    }
    return RBE_OK;
}

rbe_status rbe_session_run_layers(rbe_session *session, uint32_t first_layer, uint32_t n_layers, float *hidden, size_t n_tokens,
                                  rbe_capture_callback capture, void *user)
{
    RBE_TRY(check_window(session, hidden, n_tokens));
    uint32_t most = session->model->config.n_layers;
    if (first_layer > most || n_layers > most - first_layer) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "layers %u + %u of %u", first_layer, n_layers, most);
    }
    session->capture = capture;
    session->capture_user = user;
    rbe_status status = run_window(session, first_layer, n_layers, hidden, n_tokens);
    session->capture = NULL;
    return status;
}
