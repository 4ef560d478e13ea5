/* A full context slides: the first tokens, which get much of the attention in a text of any length, stay with the latest ones (G. Xiao
 * et al.: "Efficient Streaming Language Models with Attention Sinks", 2023). Positions are those within the cache: a key that moves down
 * by d positions is rotated by the rotary embedding of -d. */
#include <string.h>

#include "session/session.h"

int rbe__session_slide(rbe_session *session, uint32_t n_tokens, uint32_t *position)
{
    const uint32_t free_positions = session->state.context - *position, sinks = session->sink_tokens;
    if (n_tokens <= free_positions) {
        return 0;
    }
    const uint32_t needed = n_tokens - free_positions, half = (*position - sinks) / 2;
    const uint32_t dropped = needed > half ? needed : half, n = *position - sinks - dropped;
    rbe__pass *pass = &session->pass;
    rbe__state_slide(&session->state, &pass->workspace, sinks + dropped, n, sinks, pass->cosines, pass->sines,
                     (size_t)pass->workspace.most_tokens * pass->stack->rope_pairs);
    memmove(session->tokens + sinks, session->tokens + sinks + dropped, n * sizeof *session->tokens);
    *position -= dropped;
    session->position = *position;
    session->has_logits = 0;
    return 1;
}

void rbe__session_take_back(rbe_session *session, int slid)
{
    if (slid) {
        session->position = session->sink_tokens;
        session->has_logits = 0;
    }
    if (session->position == 0) {
        rbe__state_clear(&session->state);
    }
}
