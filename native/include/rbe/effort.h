/* effort.h: how much of a model a session reads for a token: fewer planes of some layers' matrices, or none, for less time and energy and
 * worse answers. Power modes are such efforts, of which the loss was measured (docs/power.md). It may change between any two tokens. Conventions
 * are those of rbe.h.
 *
 * Results are the same bits on every machine for the same effort of every token. A layer whose attention is left out still writes its keys and
 * values, so that later tokens may read them with any other effort; so contexts can be saved, slid, copied and taken back as always.
 */
#ifndef RBE_EFFORT_H
#define RBE_EFFORT_H

#include "rbe/rbe.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { RBE_SKIP = 255 };

typedef struct rbe_effort {
    size_t struct_bytes;
    uint32_t embedding, lm_head; /* planes that are read, 1 to 4; 0: all. A tied embedding has both roles, each with its own number */
    uint32_t n_layers; /* of the lists: the model's; 0: all of every layer, the lists are not read */
    const uint8_t *
        attention; /* [n_layers] of each layer's attention, or what stands in its place: planes, 1 to 4; 0: all; RBE_SKIP: it is left out */
    const uint8_t *feed_forward; /* the same of the step behind it */
} rbe_effort;

/* From the next call on; copied. NULL: everything. It replaces planes of rbe_session_options and rbe_session_configure, and these replace it. On
 * failure nothing has changed. */
RBE_API rbe_status rbe_session_set_effort(rbe_session *session, const rbe_effort *effort);

/* on: 1: each session of a batch is stepped with its own effort, 0: all with the batch's planes. A step then runs once for each effort that
 * occurs, and sessions with the same one share what is generated. Once the first is through, the step is not cancelled: the next one is. */
RBE_API rbe_status rbe_batch_follow_sessions(rbe_batch *batch, uint32_t on);

/* Bytes of weights that a step of one token reads with an effort, NULL: with all: matrices with their scales, and a row of the embedding.
 * Rows that a weight cache keeps and norms do not count. */
RBE_API rbe_status rbe_model_effort_bytes(const rbe_model *model, const rbe_effort *effort, uint64_t *bytes);

#ifdef __cplusplus
}
#endif

#endif
