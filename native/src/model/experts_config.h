/* What a file says of mixtures of experts (docs/format.md, "Mixtures of experts"): metadata, and the part that makes older readers refuse it. */
#ifndef RBE_EXPERTS_CONFIG_H
#define RBE_EXPERTS_CONFIG_H

#include "model/config_values.h"
#include "model/model.h"

rbe_status rbe__experts_config_read(rbe__config_source from, rbe__config *config);

/* How many experts the layers that are opened have in all. */
uint64_t rbe__experts_count(const rbe_model *model);

/* Takes the memory for them, once the layers that are opened are chosen. Fails where the file has too few tensors. */
rbe_status rbe__experts_take(rbe_model *model, const char *path);

/* Those of a layer; n 0: it has none. */
rbe__experts_shape rbe__experts_of_layer(const rbe_model *model, uint32_t layer);

/* Of a bound model: begins to keep those in memory that are used most, where memory is limited. */
rbe_status rbe__experts_limit(rbe_model *model);

/* Of a bound model: the parts `experts` and `shared_expert` are there exactly where the format asks for them. */
rbe_status rbe__experts_check(const rbe_model *model, const char *path);

#endif
