/* A session: one sequence of tokens, what the model's blocks keep of it, and a pass of its own that runs it. All of it lies in one
 * arena. One thread uses it at a time. */
#ifndef RBE_SESSION_H
#define RBE_SESSION_H

#include "blocks/pass.h"
#include "model/model.h"

typedef struct rbe__thread_choice rbe__thread_choice;

/* Called before tokens are appended to a session, on its thread, and may change its effort, its threads, and wait. */
typedef void rbe__before_append(void *context, rbe_session *session, size_t n_tokens);

struct rbe_session {
    const rbe_model *model;
    rbe__pass pass;
    rbe__state state;
    rbe__arena arena;
    size_t arena_bytes, state_bytes;
    uint32_t position; /* tokens in the context */
    uint32_t sink_tokens; /* 0: the context does not slide */
    rbe__thread_choice *choice; /* NULL: threads are not tried */
    rbe__before_append *before; /* NULL: nothing */
    void *before_context;
    uint32_t governed_mode; /* of which the effort is; 0: as the caller has set it */
    int has_governed_threads; /* 1: they are a mode's */
    int has_logits; /* logits are those after token position - 1 */
    uint32_t *tokens; /* [context] the ids of the context; those from `position` on have no meaning */
    float *logits; /* [n_vocabulary] */
};

/* Threads and rows of a pass where the caller leaves them open, by the cores of the machine. */
void rbe__choose_for_cores(uint32_t *n_threads, uint32_t *most_tokens);

/* planes [RBE_PLANES_KINDS] of a pass: those of a kind where they are not 0, else n_planes. RBE_ERROR_ARGUMENT above RBE_MAX_PLANES. */
rbe_status rbe__choose_planes(uint32_t n_planes, const uint32_t *of_kinds, uint32_t *planes);

/* Takes what the arena measured, *bytes, from the model's memory pool. The arena is then empty. */
rbe_status rbe__arena_from_model(const rbe_model *model, rbe__arena *arena, size_t *bytes);

/* Before tokens are appended, where threads are tried: a prompt has one thread per fast core, since it computes more than it reads, and a step
 * of a few tokens has those that were found. */
void rbe__session_prepare(rbe_session *session, size_t n_tokens);

/* A step of one token took so long: sets the threads of the next one, where they are being tried. */
void rbe__session_timed(rbe_session *session, uint64_t nanoseconds);

/* The entries of a pass that measures, as rbe_session_get_profile gives them. */
rbe_status rbe__pass_entries(const rbe__pass *pass, rbe_profile_entry *entries, size_t capacity, size_t *n_entries);

/* What a session would take. */
typedef struct rbe__session_bytes {
    uint64_t arena, kv; /* kv: the part of the arena that blocks keep */
    uint64_t encoder; /* of an encoder-decoder: while a text of context_tokens is encoded, beside the arena */
    uint32_t context_tokens, n_threads, pass_tokens, kv_type; /* as chosen */
} rbe__session_bytes;

/* Of a model of which the index alone may be open. Fails as rbe_session_create does, but for memory. options may be NULL. */
rbe_status rbe__session_measure(const rbe_model *model, const rbe_session_options *options, rbe__session_bytes *out);

/* Checks that all layers of the model are bound. */
rbe_status rbe__check_layers(const rbe_model *model);

/* Checks that the model writes text, and that all of its layers are bound. */
rbe_status rbe__check_whole(const rbe_model *model);

/* Checks that the session has a text, where the model answers to one. */
rbe_status rbe__check_encoded(const rbe_session *session);

/* Checks that no checksum of the model is known to be wrong; where one is, what the session has just computed is no longer offered. */
rbe_status rbe__session_right(rbe_session *session);

/* Checks that there is at least one token, that all are in the vocabulary, and that they fit behind `position`. */
rbe_status rbe__check_tokens(const rbe_session *session, const uint32_t *tokens, size_t n_tokens);

/* Appends tokens, 0 or more of the vocabulary that fit, without logits: what blocks do not keep of a context is computed again. They may be the
 * session's own, behind its position. RBE_ERROR_CANCELLED: the session is as before. */
rbe_status rbe__session_compute(rbe_session *session, const uint32_t *tokens, size_t n_tokens);

/* Makes room for n_tokens more behind *position, which do not fit there, in a context that slides. Drops half of what follows the sinks,
 * or as much as is needed, and moves the rest there. *position is then the number of tokens left. The session's own position changes with
 * it, and the logits become invalid. */
void rbe__session_slide(rbe_session *session, uint32_t n_tokens, uint32_t *position);

/* What a call that fails has to restore. Tokens behind the position need nothing: they are ignored. */
typedef struct rbe__undo {
    uint32_t position;
    int has_logits;
    uint8_t planes[RBE_PLANES_KINDS];
    uint8_t *kept; /* the tokens of the context, then what the blocks keep of it; NULL: nothing has moved */
} rbe__undo;

/* The session as it is. */
rbe__undo rbe__undo_begin(const rbe_session *session);

/* Keeps the context, which is about to slide. Once only. RBE_ERROR_MEMORY: nothing has changed. */
rbe_status rbe__undo_keep(rbe__undo *undo, const rbe_session *session);

/* Restores the session. The logits must not have been computed meanwhile. */
void rbe__undo_take_back(const rbe__undo *undo, rbe_session *session);
void rbe__undo_end(rbe__undo *undo);

#endif
