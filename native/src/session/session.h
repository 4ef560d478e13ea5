/* A session: one conversation's KV cache and buffers, all in one arena. One thread at a time. */
#ifndef RBE_SESSION_H
#define RBE_SESSION_H

#include <stdatomic.h>

#include "base/arena.h"
#include "layers/layers.h"

/* One token of a pass over several sessions (batch.c): whose cache it belongs to, and where. */
typedef struct rbe__row {
    rbe_session *owner;
    uint32_t position;
} rbe__row;

struct rbe_session {
    const rbe_model *model;
    rbe__workspace workspace; /* holds the pool */
    rbe__arena arena;
    size_t arena_bytes, kv_bytes;
    rbe__profile profile; /* the workspace points to it where it is wanted */
    uint32_t context, position;
    rbe_kv_type kv_type;
    uint32_t sink_tokens; /* 0: the context does not slide */
    int has_logits; /* logits are those after token position - 1 */
    atomic_int cancelled;

    const float *rope_frequencies; /* the model's, near or long by the context */
    float rope_factor;

    /* In the arena. Buffers of a pass have one row per token, `batch` rows. */
    rbe__kv_layer *kv;                            /* [n_layers] */
    float *hidden, *normed, *branch;              /* [width] */
    float *q, *mixed;                             /* [n_heads * head_dim] */
    float *k, *v;                                 /* [n_kv_heads * head_dim] */
    float *gate, *up;                             /* [feed_forward] */
    float *cosines, *sines;                       /* [n_rope_tables][batch][rope_pairs] */
    float *logits;                                /* [n_vocabulary] */
    uint32_t head_batch;                          /* tokens whose logits are computed at once in scoring */
    float *scored;                                /* [head_batch][n_vocabulary] */

    const rbe__row *rows;       /* of a pass over several sessions, else NULL: all tokens are the session's own */
    rbe__attention *attentions; /* one for each row */

    rbe_capture_callback capture; /* set during rbe_session_run_layers */
    void *capture_user;
};

/* At least one token, all in the vocabulary, and room for them behind `position`. */
rbe_status rbe__check_tokens(const rbe_session *session, const uint32_t *tokens, size_t n_tokens);

/* Makes room where n_tokens more do not fit behind *position in a context that slides: drops half of what follows the sinks, or
 * what is needed, and moves the rest there, keys turned back by as many positions. The session's position is then *position. */
void rbe__slide(rbe_session *session, uint32_t n_tokens, uint32_t *position);

/* Runs n_tokens (1 to batch) at positions first_position ... through all layers: their keys and values go to the cache,
 * their last hidden states, normalised, to `normed`. Ids and room were checked. RBE_ERROR_CANCELLED between layers. */
rbe_status rbe__forward(rbe_session *session, const uint32_t *tokens, uint32_t n_tokens, uint32_t first_position);

/* The parts of rbe__forward. The first fills `hidden`; the second runs layers first_layer ... on it, in place. */
void rbe__embed_tokens(rbe_session *session, const uint32_t *tokens, uint32_t n_tokens, uint32_t first_position);
rbe_status rbe__run_layers(rbe_session *session, uint32_t first_layer, uint32_t n_layers, uint32_t n_tokens, uint32_t first_position);

/* The last norm: `hidden` to `normed`. */
void rbe__final_norm(rbe_session *session, uint32_t n_tokens);

/* Shows x [n_tokens][cols] to the capture callback, where there is one; RBE_ERROR_CANCELLED where it says so. */
rbe_status rbe__capture(rbe_session *session, uint32_t layer, rbe_capture_point point, const float *x, uint32_t n_tokens, size_t cols);

/* Logits of n_tokens rows of `normed` from first_row on, to logits [n_tokens][n_vocabulary]. */
void rbe__head(rbe_session *session, uint32_t first_row, uint32_t n_tokens, float *logits);

#endif
