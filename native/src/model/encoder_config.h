/* What a file says of encoders (docs/format.md, "Encoders"): metadata, tensors, and the part that makes older readers refuse it. */
#ifndef RBE_ENCODER_CONFIG_H
#define RBE_ENCODER_CONFIG_H

#include "blocks/bind.h"
#include "model/config_values.h"
#include "model/model.h"

rbe_status rbe__encoder_config_read(rbe__config_source from, rbe__encoder_config *out);

/* The tensors before and behind the layers that only encoders have. The binder keeps the first failure. */
void rbe__encoder_bind(rbe__binder *binder, const rbe__config *config, rbe__stack *stack);

/* Of a bound model: the part `encoder` is there exactly where the format asks for it, and labels are as many as classes. */
rbe_status rbe__encoder_check(const rbe_model *model, const char *path);

#endif
