/* From the tensors of a file to the stack of blocks that a pass runs. */
#ifndef RBE_BINDING_H
#define RBE_BINDING_H

#include "model/model.h"

/* Reads config and fills the stack of a model whose pack, kernels and residency are set: layers first_layer ...
 * first_layer + n_layers - 1; n_layers 0: all from first_layer on. */
rbe_status rbe__model_bind(rbe_model *model, const char *path, uint32_t first_layer, uint32_t n_layers);

#endif
