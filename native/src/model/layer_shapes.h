/* What a file says of layers that differ in their shapes, and of embeddings for each layer (docs/format.md, "Layers of several shapes", "Layer
 * embeddings"): metadata, tensors, and the parts that make older readers refuse it. */
#ifndef RBE_LAYER_SHAPES_H
#define RBE_LAYER_SHAPES_H

#include "blocks/bind.h"
#include "model/config_values.h"
#include "model/model.h"

/* Every number is in its range, and a layer that reads the keys and values of another has its heads. Behind all other keys. */
rbe_status rbe__layer_shapes_read(rbe__config_source from, rbe__config *out);

/* What is said of layer `index`, into a shape of what the whole model says. n_rope_pairs: of the rotary tables. */
void rbe__layer_shapes_apply(const rbe__config *config, uint32_t index, uint32_t n_rope_pairs, rbe__layer_shape *shape);

/* The scale of the stream behind a layer. The binder keeps the first failure, here and below. */
void rbe__layer_scale_bind(rbe__binder *binder, uint32_t index, rbe__stack *stack);

/* Where bound layers find what later ones read in a row between calls, how wide such a row is, and the tensors before the layers. */
rbe_status rbe__layer_shapes_bind(rbe__binder *binder, rbe_model *model);

/* Of a bound model: the parts `layer_shapes` and `layer_embeddings` are there exactly where the format asks for them. */
rbe_status rbe__layer_shapes_check(const rbe_model *model, const char *path);

#endif
