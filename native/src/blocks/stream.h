/* Rows between calls of layers: hidden states, and behind them what later layers need of each token besides. A row has stack->stream_width
 * values: width of the stream, the layer inputs (rbe__layer_inputs), and keys and values that layers read of an earlier one. */
#ifndef RBE_STREAM_H
#define RBE_STREAM_H

#include "blocks/pass.h"

/* The layer inputs of the pass's rows from their tokens and `hidden`, the states before the first layer. Nothing where the stack has none. */
void rbe__layer_inputs_compute(rbe__pass *pass);

/* Bytes of the pass's scratch that it needs. */
size_t rbe__layer_inputs_scratch(const rbe__pass *pass);

/* The pass's rows from rows [n_tokens][stream_width]: keys and values that layers first_layer ... end_layer - 1 read of layers before these
 * go to the states of the runs. */
void rbe__stream_read(rbe__pass *pass, const float *rows, uint32_t first_layer, uint32_t end_layer);

/* The other way: hidden states as they are now, and keys and values that these layers stored. embedded: layer inputs too. */
void rbe__stream_write(rbe__pass *pass, float *rows, uint32_t first_layer, uint32_t end_layer, int embedded);

/* Leaves the unread rows of the pass's only run out of what follows; all of them may be. */
void rbe__pass_leave_unread(rbe__pass *pass);

#endif
