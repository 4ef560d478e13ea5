/* Which kind of block stands first in each layer (docs/format.md, "Layers of several kinds"): metadata, and the part that makes older readers
 * refuse the file. */
#ifndef RBE_LAYER_KINDS_H
#define RBE_LAYER_KINDS_H

#include "model/config_values.h"
#include "model/model.h"

/* Of a file whose other hyper-parameters were read. */
rbe_status rbe__layer_kinds_read(rbe__config_source from, rbe__config *config);

/* What stands first in layer `index`, once that has been read. */
rbe__mixer rbe__layer_mixer(const rbe__config *config, uint32_t index);

/* Of a model whose hyper-parameters were read: the part `layer_kinds` is there exactly where the kinds are. */
rbe_status rbe__layer_kinds_check(const rbe_model *model, const char *path);

#endif
