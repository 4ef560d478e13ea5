/* What the blocks of a stack keep of one sequence. It counts positions and does not hold the tokens. */
#ifndef RBE_STATE_H
#define RBE_STATE_H

#include "blocks/block.h"

typedef struct rbe__state {
    const rbe__stack *stack;
    rbe__block_state *blocks; /* [stack->n_states] */
    uint32_t context;         /* positions there is room for; so many tokens of an encoder's text too */
    uint32_t n_text;          /* tokens of this text; 0: none */
    rbe_kv_type type;
    const float *rope_frequencies; /* the stack's, near or long by the context */
    float rope_factor;
    uint8_t planes[RBE_PLANES_KINDS]; /* the least that a pass has read for it, RBE_MAX_PLANES where all */
} rbe__state;

/* Empties the state: it has no positions, and no plane was read for it. An encoder's text stays. */
void rbe__state_clear(rbe__state *state);

/* A state without positions; its memory is taken by rbe__state_take, called once to measure and once for real. */
rbe__state rbe__state_of(const rbe__stack *stack, rbe_kv_type type, uint32_t context);
void rbe__state_take(rbe__state *state, rbe__arena *arena);

/* The same with the memory of one layer, which all layers share: for texts that run through a layer whole before the next one begins. */
void rbe__state_take_one_layer(rbe__state *state, rbe__arena *arena);

/* Its blocks keep so many tokens of an encoder's text; 0: none. */
void rbe__state_set_text(rbe__state *state, uint32_t n_text);

/* 1 where its rotary frequencies are those for long contexts. */
int rbe__state_is_long(const rbe__state *state);

/* How many of the first n positions, which are in the sequence, every block can go back to, at most n. The tokens from there to n have to run
 * again. */
uint32_t rbe__state_reach(const rbe__state *state, uint32_t n);

/* Goes back to as many, and returns them. */
uint32_t rbe__state_rewind(const rbe__state *state, uint32_t n);

/* Before a call that appends n_tokens to n positions and may be taken back: the state reaches n until the next mark, and is then as it was. */
void rbe__state_mark(const rbe__state *state, uint32_t n, uint32_t n_tokens);

/* rbe__state_visit has written all that the blocks keep of n positions. */
void rbe__state_settle(const rbe__state *state, uint32_t n);

/* Moves the n positions from `first` on down to `to`. The angles of their rotation are written to cosines and sines
 * [n_rope_tables][rope_pairs] at angle_stride. */
void rbe__state_slide(const rbe__state *state, const rbe__workspace *workspace, uint32_t first, uint32_t n, uint32_t to, float *cosines,
                      float *sines, size_t angle_stride);

/* Calls visit for every piece of memory that holds the first n positions, which it reaches, always in the same order and with the same sizes for
 * the same n, until visit fails. What is to be written is settled with 0 before it, and with n behind it. */
rbe_status rbe__state_visit(const rbe__state *state, uint32_t n_positions, rbe__kv_visit *visit, void *context);

/* The visit that adds the bytes to a uint64_t, its context. It cannot fail, and those that show pieces know it: they make none for it. */
rbe__kv_visit *rbe__state_count(void);

/* Visits that cannot fail. context: a pointer into a buffer (uint8_t *, const uint8_t *), to which or from which a piece is copied, and which then
 * stands behind it. */
rbe__kv_visit rbe__state_copy_out, rbe__state_copy_in;

#endif
