/* layer_embeddings.h: models whose layers need more of a token than the hidden states: an embedding for each layer, and keys and values that
 * several layers read (docs/format.md, "Layers of several shapes", "Layer embeddings").
 *
 * Between the calls of rbe_session_embed, rbe_session_run_layers and rbe_gradients_layer a token is then a row of rbe_model_stream_width values:
 * the hidden states, float[width], and behind them what later layers need. The conventions are those of rbe.h.
 */
#ifndef RBE_LAYER_EMBEDDINGS_H
#define RBE_LAYER_EMBEDDINGS_H

#include "rbe/gradients.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a callback of rbe_session_run_layers is shown besides rbe_capture_point: the inputs of `layer_embedding.gate` and `.projection`. */
enum { RBE_CAPTURE_LAYER_GATE = 8, RBE_CAPTURE_LAYER_OUTPUT = 9 };

/* Values of a token's row between calls of layers: the width, where layers need nothing else. 0 for NULL. Any thread. */
RBE_API uint32_t rbe_model_stream_width(const rbe_model *model);

/* From the gradient d_hidden, float[n_tokens][stream width], before the first layer: its first `width` values become the gradient by the
 * embedding alone, for rbe_gradients_embedding; `show`, which may be NULL, is shown `layer_embedding.projection` and `layer_embedding.norm`. table:
 * [n_vocabulary][layers x width of a layer's] or NULL: the gradient by the rows that were looked up is added. RBE_ERROR_UNSUPPORTED where the model
 * has no layer embeddings, or a matrix of them is not fp32. */
RBE_API rbe_status rbe_gradients_layer_embeddings(rbe_gradients *gradients, const uint32_t *tokens, size_t n_tokens, uint32_t window_tokens,
                                                  float *d_hidden, float *table, rbe_gradient_callback show, void *user);

#ifdef __cplusplus
}
#endif

#endif
