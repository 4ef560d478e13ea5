/* What a short convolution keeps of a sequence: what it has read of the latest positions, and checkpoints. */
#ifndef RBE_CONVOLUTION_STATE_H
#define RBE_CONVOLUTION_STATE_H

#include "blocks/block.h"

/* The row [width] of a position; NULL where it is not there. */
const float *rbe__convolution_row(const rbe__block_state *state, uint32_t position);

/* Stores rows [n][width] at `stride` of positions first ... first + n - 1, which follow what was stored before. */
void rbe__convolution_store(const rbe__block_state *state, uint32_t first, uint32_t n, const float *rows, size_t stride);

/* Functions of the kind (block.h). */
void rbe__convolution_take_state(const rbe__block *block, rbe__arena *arena, rbe_kv_type type, uint32_t context, rbe__block_state *out);
uint32_t rbe__convolution_reach(const rbe__block_state *state, uint32_t n);
void rbe__convolution_rewind(const rbe__block_state *state, uint32_t n);
void rbe__convolution_mark(const rbe__block_state *state, uint32_t n, uint32_t n_tokens);
void rbe__convolution_settle(const rbe__block_state *state, uint32_t n);
void rbe__convolution_slide(const rbe__workspace *workspace, const rbe__block_state *state, const rbe__slide *slide);
rbe_status rbe__convolution_visit(const rbe__block_state *state, uint32_t n_positions, rbe__kv_visit *visit, void *context);

#endif
