/* What a file says of an encoder whose text its layers attend to, and of positions by distance (docs/format.md, "Encoder-decoders"). */
#ifndef RBE_ENCODER_DECODER_CONFIG_H
#define RBE_ENCODER_DECODER_CONFIG_H

#include "blocks/bind.h"
#include "model/config_values.h"
#include "model/model.h"

/* After the rest of the hyper-parameters has been read. */
rbe_status rbe__encoder_decoder_config_read(rbe__config_source from, rbe__config *out);

/* A tensor [heads][distances]. The binder keeps the first failure. */
void rbe__bind_distances(rbe__binder *binder, const char *name, const rbe__config *config, rbe__stack *stack);

/* Binds model->encoder, once the model's own stack is bound. shape: that of the decoder's layers. */
rbe_status rbe__encoder_decoder_bind(rbe__binder *binder, const rbe__layer_shape *shape, rbe_model *model);

/* Of a bound model: the part `encoder_decoder` is there exactly where there is an encoder. */
rbe_status rbe__encoder_decoder_check(const rbe_model *model, const char *path);

#endif
