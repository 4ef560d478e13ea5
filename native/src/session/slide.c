/* A full context slides: the first tokens, on which attention rests however long the text is, stay with the latest ones (G. Xiao et
 * al.: "Efficient Streaming Language Models with Attention Sinks", 2023). Positions are those within the cache: a key that moves by d
 * positions is turned by the rotary embedding of -d. */
#include "session/session.h"

typedef struct slide_call {
    rbe_session *session;
    uint32_t first, n, to; /* positions first ... first + n move to `to` ... */
} slide_call;

static void slide_head(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const slide_call *call = context;
    const rbe_session *session = call->session;
    const rbe_model *model = session->model;
    const uint32_t layer = item / model->config.n_kv_heads, head = item % model->config.n_kv_heads;
    const size_t at = (size_t)model->layers[layer].rope_table * session->workspace.batch * model->rope_pairs;
    const rbe__kv_turn turn = {session->cosines + at, session->sines + at, session->rope_frequencies ? model->rope_pairs : 0};
    rbe__kv_move(&model->kernels, &session->kv[layer], head, call->first, call->n, call->to, &turn);
}

void rbe__slide(rbe_session *session, uint32_t n_tokens, uint32_t *position)
{
    const rbe_model *model = session->model;
    if (n_tokens <= session->context - *position) {
        return;
    }
    const uint32_t needed = n_tokens - (session->context - *position), half = (*position - session->sink_tokens) / 2;
    const uint32_t dropped = needed > half ? needed : half;
    slide_call call = {session, session->sink_tokens + dropped, *position - session->sink_tokens - dropped, session->sink_tokens};
    for (uint32_t table = 0; session->rope_frequencies && table < model->n_rope_tables; table++) {
        const size_t at = (size_t)table * session->workspace.batch * model->rope_pairs;
        rbe__rope_angles(session->rope_frequencies + (size_t)table * model->rope_pairs, model->rope_pairs, dropped, 1.0f,
                         session->cosines + at, session->sines + at);
        for (uint32_t d = 0; d < model->rope_pairs; d++) {
            session->sines[at + d] = -session->sines[at + d];
        }
    }
    rbe__thread_pool_run(session->workspace.pool, model->config.n_layers * model->config.n_kv_heads, slide_head, &call);
    *position -= dropped;
    session->position = *position;
    session->has_logits = 0;
}
