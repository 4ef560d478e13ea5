/* What a file says of its layers beyond docs/format.md's first keys ("Layer options"), and the part that makes older readers refuse it. */
#ifndef RBE_LAYER_OPTIONS_H
#define RBE_LAYER_OPTIONS_H

#include "model/config_values.h"
#include "model/model.h"

/* Reads config->layer_options; norm_place, position_kind and the sizes are there already. */
rbe_status rbe__layer_options_read(rbe__config_source from, rbe__config *config);

/* The part `layer_options` is there exactly where one of the keys is. */
rbe_status rbe__layer_options_check(const rbe_model *model, const char *path);

#endif
