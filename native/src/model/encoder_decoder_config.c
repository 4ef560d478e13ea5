#include "model/encoder_decoder_config.h"

#include <stdlib.h>

#include "base/status.h"
#include "model/parts.h"
#include "rbe/encoder_decoder.h"

#define MOST_DISTANCES (1u << 20)

rbe_status rbe__encoder_decoder_config_read(rbe__config_source from, rbe__config *out)
{
    const int has_start = rbe__pack_metadata(from.pack, "decoder.start") != NULL;
    RBE_TRY(rbe__config_u64(from, "encoder.layers", 0, 4096, 1, &out->encoder_layers));
    RBE_TRY(rbe__config_u64(from, "decoder.start", 0, out->n_vocabulary - 1, 1, &out->decoder_start));
    if (has_start != (out->encoder_layers != 0)) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `encoder.layers` and `decoder.start` belong together, and one is missing",
                        from.path);
    }
    if (out->encoder_layers && (out->encoder.both || out->encoder.n_segments || out->encoder.head_kind != RBE_HEAD_WORDS ||
                                out->encoder.pooling || out->position_kind != RBE_POSITION_RELATIVE)) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED,
                        "%s: an encoder-decoder has causal layers with relative positions and a head of words; this file says otherwise",
                        from.path);
    }
    return RBE_OK;
}

void rbe__bind_distances(rbe__binder *binder, const char *name, const rbe__config *config, rbe__stack *stack)
{
    const rbe__tensor *tensor = binder->status == RBE_OK ? binder->find(binder->context, name) : NULL;
    if (binder->status != RBE_OK) {
        return;
    }
    if (!tensor || tensor->kind != RBE_KIND_F32 || tensor->rows != config->n_heads || tensor->cols > MOST_DISTANCES ||
        (stack->both && tensor->cols % 2 == 0)) {
        binder->status = rbe_fail(RBE_ERROR_FORMAT, "%s: tensor `%s` is missing, not fp32 or of a wrong shape", binder->path, name);
        return;
    }
    stack->distances = (rbe__distances){(const float *)(const void *)tensor->data, tensor->cols, stack->both ? tensor->cols / 2 : 0};
}

rbe_status rbe__encoder_decoder_bind(rbe__binder *binder, const rbe__layer_shape *shape, rbe_model *model)
{
    const rbe__config *config = &model->config;
    rbe__stack *stack = &model->encoder;
    rbe__layer_shape own = *shape;
    if (model->stack.end_layer - model->stack.first_layer != config->n_layers) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: an encoder-decoder is opened with all of its layers", binder->path);
    }
    if (config->encoder_layers > model->pack.n_tensors) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `encoder.layers` is %u and the file has %u tensors", binder->path,
                        config->encoder_layers, model->pack.n_tensors);
    }
    *stack = (rbe__stack){.kernels = model->stack.kernels,
                          .width = config->width,
                          .stream_width = config->width,
                          .n_vocabulary = 1, /* it has no head */
                          .embedding = model->stack.embedding,
                          .embedding_scale = config->embedding_scale,
                          .both = 1,
                          .n_layers = config->encoder_layers,
                          .end_layer = config->encoder_layers,
                          .norm_kind = config->norm_kind,
                          .norm_epsilon = config->norm_epsilon,
                          .residency = model->stack.residency};
    stack->layers = calloc(config->encoder_layers, sizeof *stack->layers);
    if (!stack->layers) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory for %u layers", binder->path, config->encoder_layers);
    }
    rbe__bind_distances(binder, "encoder.positions.relative", config, stack);
    own.crosses = 0;
    own.attention.both = 1;
    own.attention.distances = &stack->distances;
    binder->prefix = "encoder.";
    for (uint32_t i = 0; i < config->encoder_layers && binder->status == RBE_OK; i++) {
        rbe__bind_layer(binder, i, &own, stack);
    }
    stack->norm = rbe__bind_norm(binder, "encoder.norm", config->width, config->norm_place == RBE_NORM_POST);
    return binder->status;
}

rbe_status rbe__encoder_decoder_check(const rbe_model *model, const char *path)
{
    const int has_part = rbe__pack_requires(&model->pack, RBE_PART_ENCODER_DECODER);
    if (has_part == (model->config.encoder_layers != 0)) {
        return RBE_OK;
    }
    return rbe_fail(RBE_ERROR_FORMAT,
                    has_part ? "%s: it has the part `encoder_decoder`, and its metadata name no encoder"
                             : "%s: its metadata name an encoder, and it lacks the part `encoder_decoder`",
                    path);
}

rbe_status rbe_model_get_encoder_decoder_info(const rbe_model *model, rbe_encoder_decoder_info *info)
{
    if (!model) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_get_encoder_decoder_info: model is NULL");
    }
    const rbe_encoder_decoder_info known = {
        .is_encoder_decoder = model->config.encoder_layers != 0,
        .encoder_layers = model->config.encoder_layers,
        .start_token = model->config.encoder_layers ? model->config.decoder_start : RBE_NO_TOKEN,
    };
    return rbe__give_info("rbe_model_get_encoder_decoder_info", info, &known, sizeof known);
}
