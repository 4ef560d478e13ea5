/* How much of a stack a pass reads: the planes of each layer's matrices, and blocks that are left out. Less is faster, and worse. */
#ifndef RBE_BLOCKS_EFFORT_H
#define RBE_BLOCKS_EFFORT_H

#include "base/arena.h"
#include "blocks/block.h"
#include "rbe/effort.h"

typedef struct rbe__effort {
    uint32_t embedding, lm_head; /* planes; 0: all */
    uint8_t *attention, *feed_forward; /* [n_layers] planes, 0: all; RBE_SKIP. NULL: all of every layer */
} rbe__effort;

/* Takes the lists, which then say that all is read; called once to measure and once for real. */
void rbe__effort_take(rbe__effort *effort, uint32_t n_layers, rbe__arena *arena);

/* The same planes in every layer, by kind of matrix. */
void rbe__effort_set(rbe__effort *effort, uint32_t n_layers, const uint32_t planes[RBE_PLANES_KINDS]);

/* `to` has lists of its own. */
void rbe__effort_copy(rbe__effort *to, const rbe__effort *from, uint32_t n_layers);

/* Both have lists. */
int rbe__effort_equal(const rbe__effort *one, const rbe__effort *other, uint32_t n_layers);

/* Planes of a kind in one layer, and in all: the least that is read where anything is, RBE_MAX_PLANES where all are. */
uint32_t rbe__effort_of_layer(const rbe__effort *effort, uint32_t kind, uint32_t layer);
uint32_t rbe__effort_least(const rbe__effort *effort, uint32_t kind, uint32_t first_layer, uint32_t end_layer);

/* Bytes of a tensor's data that are read with at most so many planes (0: all). */
uint64_t rbe__tensor_read_bytes(const rbe__tensor *tensor, uint32_t most_planes);

/* Bytes of weights that a step of one token reads: matrices with their scales, and one row of the embedding. */
uint64_t rbe__effort_bytes(const rbe__stack *stack, const rbe__effort *effort);

#endif
