/* A full context slides: the first tokens, which get much of the attention in a text of any length, stay with the latest ones (G. Xiao
 * et al.: "Efficient Streaming Language Models with Attention Sinks", 2023). Positions are those within the cache: a key that moves down
 * by d positions is rotated by the rotary embedding of -d. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "session/session.h"

void rbe__session_slide(rbe_session *session, uint32_t n_tokens, uint32_t *position)
{
    const uint32_t free_positions = session->state.context - *position, sinks = session->sink_tokens;
    const uint32_t needed = n_tokens - free_positions, half = (*position - sinks) / 2;
    const uint32_t dropped = needed > half ? needed : half, n = *position - sinks - dropped;
    rbe__pass *pass = &session->pass;
    rbe__state_slide(&session->state, &pass->workspace, sinks + dropped, n, sinks, pass->cosines, pass->sines,
                     (size_t)pass->workspace.most_tokens * pass->stack->rope_pairs);
    memmove(session->tokens + sinks, session->tokens + sinks + dropped, n * sizeof *session->tokens);
    *position -= dropped;
    session->position = *position;
    session->has_logits = 0;
}

rbe__undo rbe__undo_begin(const rbe_session *session)
{
    rbe__undo undo = {.position = session->position, .has_logits = session->has_logits};
    memcpy(undo.planes, session->state.planes, sizeof undo.planes);
    return undo;
}

rbe_status rbe__undo_keep(rbe__undo *undo, const rbe_session *session)
{
    const size_t token_bytes = undo->position * sizeof *session->tokens;
    uint64_t bytes = token_bytes;
    RBE_TRY(rbe__state_visit(&session->state, undo->position, rbe__state_count(), &bytes));
    undo->kept = malloc((size_t)bytes + 1);
    if (!undo->kept) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory to keep the context while it slides, %zu MB; append fewer tokens at a time",
                        (size_t)(bytes >> 20));
    }
    memcpy(undo->kept, session->tokens, token_bytes);
    uint8_t *at = undo->kept + token_bytes;
    return rbe__state_visit(&session->state, undo->position, rbe__state_copy_out, &at);
}

void rbe__undo_take_back(const rbe__undo *undo, rbe_session *session)
{
    session->position = undo->position;
    session->has_logits = undo->has_logits;
    memcpy(session->state.planes, undo->planes, sizeof undo->planes);
    if (!undo->kept) {
        (void)rbe__state_rewind(&session->state, undo->position); /* where the call began */
    } else {
        const size_t token_bytes = undo->position * sizeof *session->tokens;
        memcpy(session->tokens, undo->kept, token_bytes);
        const uint8_t *at = undo->kept + token_bytes;
        rbe__state_settle(&session->state, 0);
        (void)rbe__state_visit(&session->state, undo->position, rbe__state_copy_in, &at); /* cannot fail */
        rbe__state_settle(&session->state, undo->position);
    }
}

void rbe__undo_end(rbe__undo *undo)
{
    free(undo->kept);
    undo->kept = NULL;
}
