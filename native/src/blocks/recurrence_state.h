/* What a recurrence keeps of a sequence after some positions: the matrices of its heads, [n_values][key_dim][value_dim], and behind them what its
 * convolutions have read last, [taps - 1][channels], the latest last, zeros before the first position. Channels are those of q, k and v. */
#ifndef RBE_RECURRENCE_STATE_H
#define RBE_RECURRENCE_STATE_H

#include "blocks/block.h"

/* Numbers of all heads, channels, and numbers in all. */
size_t rbe__recurrence_matrices(const rbe__recurrence_shape *shape);
uint32_t rbe__recurrence_channels(const rbe__recurrence_shape *shape);
size_t rbe__recurrence_values(const rbe__recurrence_shape *shape);

#define RBE_RECURRENCE_CHECKPOINTS 4u /* the most that are kept: the numbers are many */

/* A place for the numbers as they are after n_tokens of a pass. */
typedef struct rbe__recurrence_copy {
    uint32_t n_tokens;
    float *values;
} rbe__recurrence_copy;

/* How the numbers change in a pass that appends so many positions behind the first ones. */
typedef struct rbe__recurrence_step {
    const float *from; /* those before it; NULL: all are zero */
    float *to; /* where those behind it go, which may be the same place */
    rbe__recurrence_copy copies[RBE_RECURRENCE_CHECKPOINTS]; /* in ascending order */
    uint32_t n_copies;
} rbe__recurrence_step;

/* Begins such a pass. RBE_ERROR_ARGUMENT where the state of `first` positions is not there. It ends with rbe__recurrence_end. */
rbe_status rbe__recurrence_begin(const rbe__block_state *state, uint32_t first, uint32_t n_tokens, rbe__recurrence_step *out);
void rbe__recurrence_end(const rbe__block_state *state, uint32_t end);

/* Functions of the kind (block.h). */
void rbe__recurrence_take_state(const rbe__block *block, rbe__arena *arena, rbe_kv_type type, uint32_t context, rbe__block_state *out);
uint32_t rbe__recurrence_reach(const rbe__block_state *state, uint32_t n);
void rbe__recurrence_rewind(const rbe__block_state *state, uint32_t n);
void rbe__recurrence_mark(const rbe__block_state *state, uint32_t n, uint32_t n_tokens);
void rbe__recurrence_settle(const rbe__block_state *state, uint32_t n);
void rbe__recurrence_slide(const rbe__workspace *workspace, const rbe__block_state *state, const rbe__slide *slide);
rbe_status rbe__recurrence_visit(const rbe__block_state *state, uint32_t n_positions, rbe__kv_visit *visit, void *context);

#endif
