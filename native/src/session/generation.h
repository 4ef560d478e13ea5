/* A generation draws the tokens that follow a session's context, and turns them into text. */
#ifndef RBE_GENERATION_H
#define RBE_GENERATION_H

#include "session/session.h"

struct rbe_generation {
    rbe_session *session;
    rbe_sampler *sampler, *own_sampler; /* own_sampler NULL: it is the caller's */
    rbe_text_stream *stream;
    uint32_t max_tokens; /* 0: as many as fit */
    int ignore_end;
    rbe_draw_callback draw;
    void *draw_user;
    float *logits; /* [n_vocabulary] a copy for the callback; NULL without one */
    char *text;    /* a copy of a token's text where the stream is finished behind it */
    size_t text_capacity;
    uint32_t n_generated;
    uint32_t pending; /* drawn and not yet in the context; RBE_NO_TOKEN: none */
    int has_ended;
    int in_callback; /* draw runs, and may not call back */
};

/* Draws from the logits, NULL: the session's, and appends nothing. */
rbe_status rbe__generation_draw(rbe_generation *generation, const float *logits, rbe_generation_event *event);

/* Ends it with nothing drawn. */
rbe_status rbe__generation_end(rbe_generation *generation, rbe_finish reason, rbe_generation_event *event);

#endif
