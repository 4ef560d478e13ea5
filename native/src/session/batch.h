/* A batch: what sessions stepped together share, a pass and lists of who takes part. */
#ifndef RBE_BATCH_H
#define RBE_BATCH_H

#include "session/session.h"

/* A session that takes part in a step. */
typedef struct rbe__batch_member {
    rbe_session *session;
    size_t place; /* among the sessions of the call */
    int slides;   /* 1: its context slides for the step */
    rbe__undo undo;
} rbe__batch_member;

/* Called before a step of these sessions, on the thread of the step, and may change their efforts and the batch's threads, and wait. */
typedef void rbe__before_decode(void *context, rbe_batch *batch, rbe_session *const *sessions, size_t n);

struct rbe_batch {
    const rbe_model *model;
    rbe__pass pass;
    rbe__arena arena;
    size_t arena_bytes;
    uint32_t max_sessions;
    rbe__effort own_effort; /* of the options */
    int follows_sessions; /* 1: each session is stepped with its own effort instead */
    rbe__before_decode *before; /* NULL: nothing */
    void *before_context;
    rbe__batch_member *members; /* [max_sessions], and so the rest */
    rbe__run *runs;
    uint32_t *tokens;

    /* Of a step of generations: what they have drawn, for rbe_batch_decode. */
    rbe_session **stepped;
    uint32_t *drawn;
    rbe_status *outcomes;
    size_t *places; /* among the generations of the call */
};

/* Bytes of a batch of a model of which the index alone may be open. 0: the defaults. */
uint64_t rbe__batch_measure(const rbe_model *model, uint32_t max_sessions, uint32_t n_threads);

#endif
