/* What the state of a recurrent block was at some positions, so that a sequence can go back without reading all of its tokens again. A checkpoint is
 * of the block's numbers after so many positions. It knows its position: what lies behind the position of the sequence is not looked at.
 *
 * Where a place for each RBE_CHECKPOINT_TOKENS positions of the context would take too much memory, there are fewer places, and checkpoints lie
 * further apart the longer the sequence is: at twice the distance wherever there would be more of them than places. */
#ifndef RBE_CHECKPOINTS_H
#define RBE_CHECKPOINTS_H

#include "base/arena.h"
#include "layers/kv_cache.h"

/* Where there are places enough, going back computes at most so many tokens again, twice as many in a context that slid: about one pass. */
#define RBE_CHECKPOINT_TOKENS 128u
#define RBE_NO_POSITION 0xFFFFFFFFu

typedef struct rbe__checkpoints {
    uint32_t n_places;
    size_t n_values; /* of each */
    uint32_t *positions; /* [n_places], RBE_NO_POSITION where there is none; never 0 */
    float *values; /* [n_places][n_values] */
} rbe__checkpoints;

/* Without any checkpoint, of at most most_places places, 1 at least. The arena may only measure. */
rbe__checkpoints rbe__checkpoints_take(rbe__arena *arena, uint32_t context, uint32_t most_places, size_t n_values);

/* How far apart checkpoints lie in a sequence of so many positions: a multiple of RBE_CHECKPOINT_TOKENS. */
uint32_t rbe__checkpoints_spacing(const rbe__checkpoints *checkpoints, uint32_t n_positions);

/* Positions first ... end - 1 are appended: forgets what lies behind `first`, and makes places for those checkpoints that are to lie behind it, at
 * multiples of the spacing of `end`, which is returned. */
uint32_t rbe__checkpoints_make_room(const rbe__checkpoints *checkpoints, uint32_t first, uint32_t end);

/* The numbers of a checkpoint at `position`, a multiple of RBE_CHECKPOINT_TOKENS above 0 that is in the context and has room, which the caller
 * writes. */
float *rbe__checkpoints_at(const rbe__checkpoints *checkpoints, uint32_t position);

/* The last checkpoint at or before `position`, which is then *found; NULL where there is none, and *found is 0. */
float *rbe__checkpoints_before(const rbe__checkpoints *checkpoints, uint32_t position, uint32_t *found);

/* Forgets those behind `position`. */
void rbe__checkpoints_drop(const rbe__checkpoints *checkpoints, uint32_t position);

/* The n positions behind `first` move down to those behind `to`, where the sequence then ends; what lies between is forgotten. */
void rbe__checkpoints_slide(const rbe__checkpoints *checkpoints, uint32_t first, uint32_t n, uint32_t to);

/* Calls visit for all that is kept at or before `position`, by position; sizes depend on the position alone. What is written in this way may make no
 * sense: who has written it drops what lies behind `position`. */
rbe_status rbe__checkpoints_visit(const rbe__checkpoints *checkpoints, uint32_t position, rbe__kv_visit *visit, void *context);

#endif
