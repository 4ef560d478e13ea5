#include "model/binding.h"

#include <stdlib.h>

#include "base/status.h"
#include "blocks/bind.h"
#include "model/encoder_config.h"
#include "model/encoder_decoder_config.h"
#include "model/experts_config.h"
#include "model/layer_kinds.h"
#include "model/layer_options.h"
#include "model/layer_shapes.h"
#include "model/recurrence_config.h"

static const rbe__tensor *find_tensor(const void *context, const char *name)
{
    return rbe__pack_tensor(context, name);
}

/* The rotary tables, which the packer made. */
static void bind_rope(rbe__binder *binder, const rbe__pack *pack, const rbe__config *config, rbe__stack *stack)
{
    const rbe__tensor *table = binder->status == RBE_OK ? rbe__pack_tensor(pack, "rope.frequencies") : NULL;
    if (binder->status != RBE_OK) {
        return;
    }
    if (!table || table->kind != RBE_KIND_F32 || table->rows > 256 || table->cols > config->head_dim / 2) {
        binder->status = rbe_fail(RBE_ERROR_FORMAT, "%s: tensor `rope.frequencies` is missing, not fp32 or of a wrong shape", binder->path);
        return;
    }
    stack->n_rope_tables = table->rows;
    stack->rope_pairs = table->cols;
    stack->rope_frequencies = (const float *)(const void *)table->data;
    if (config->rope_long_from) {
        const rbe__tensor *far = rbe__bind_tensor(binder, "rope.long_frequencies", table->rows, table->cols, 0);
        if (far && far->kind != RBE_KIND_F32) {
            binder->status = rbe_fail(RBE_ERROR_FORMAT, "%s: tensor `rope.long_frequencies` is not fp32", binder->path);
        } else if (far) {
            stack->rope_long_frequencies = (const float *)(const void *)far->data;
        }
    }
}

static rbe__layer_shape shape_of(const rbe__config *config)
{
    return (rbe__layer_shape){
        .width = config->width,
        .norm_kind = config->norm_kind,
        .norm_epsilon = config->norm_epsilon,
        .norm_place = config->norm_place,
        .attention = {.n_heads = config->n_heads,
                      .n_kv_heads = config->n_kv_heads,
                      .head_dim = config->head_dim,
                      .scale = config->attention_scale,
                      .softcap = config->attention_softcap,
                      .both = config->encoder.both,
                      .options = config->layer_options.heads},
        .convolution_taps = config->convolution_taps,
        .recurrence = config->recurrence,
        .recurrence_epsilon = config->recurrence_epsilon,
        .crosses = config->encoder_layers != 0,
        .parallel = config->layer_options.parallel,
        .feed_forward = {.width = config->feed_forward, .activation = config->activation, .gated = config->gated},
    };
}

static rbe_status bind_layers(rbe__binder *binder, rbe_model *model)
{
    const rbe__config *config = &model->config;
    rbe__stack *stack = &model->stack;
    const rbe_metadata *windows, *tables, *rotary;
    const uint32_t last_table = stack->n_rope_tables ? stack->n_rope_tables - 1 : 0;
    RBE_TRY(rbe__layer_array_read(&model->pack, binder->path, RBE_KEY_WINDOWS, config->n_layers, 1u << 27, &windows));
    RBE_TRY(rbe__layer_array_read(&model->pack, binder->path, RBE_KEY_ROPE_TABLES, config->n_layers, last_table, &tables));
    RBE_TRY(rbe__layer_array_read(&model->pack, binder->path, RBE_KEY_ROTARY_LAYERS, config->n_layers, 1, &rotary));
    RBE_TRY(rbe__experts_take(model, binder->path));
    for (uint32_t i = stack->first_layer; i < stack->end_layer && binder->status == RBE_OK; i++) {
        rbe__layer_shape shape = shape_of(config);
        shape.attention.options.without_rope = rotary && !rbe__layer_array_value(rotary, i);
        shape.mixer = rbe__layer_mixer(config, i);
        shape.attention.distances = stack->distances.n ? &stack->distances : NULL;
        shape.attention.window = rbe__layer_array_value(windows, i);
        shape.attention.rope_table = rbe__layer_array_value(tables, i);
        shape.experts = rbe__experts_of_layer(model, i);
        rbe__layer_shapes_apply(config, i, stack->rope_pairs, &shape);
        rbe__bind_layer(binder, i, &shape, stack);
        rbe__layer_scale_bind(binder, i, stack);
    }
    return binder->status;
}

/* What stands before and behind the layers. */
static void bind_ends(rbe__binder *binder, const rbe__config *config, rbe__stack *stack)
{
    const int has_head = config->encoder.head_kind != RBE_HEAD_NONE;
    stack->norm = rbe__bind_norm(binder, "norm", config->width, config->norm_place == RBE_NORM_POST);
    if (has_head) {
        stack->lm_head = rbe__bind_projection(binder, "head", config->n_vocabulary, config->width, 1);
    }
    if (has_head && !stack->lm_head.weight) {
        stack->lm_head.weight = stack->embedding;
        binder->has_rows_only |= stack->embedding && rbe__tensor_by_row(stack->embedding);
        binder->has_grouped |= stack->embedding && rbe__tensor_is_grouped(stack->embedding);
    }
    rbe__encoder_bind(binder, config, stack);
}

/* Everything is bound: of which kinds the matrices are that the binder has seen. */
static void note_kinds(const rbe__binder *binder, rbe_model *model)
{
    model->stack.has_rows_only = model->encoder.has_rows_only = binder->has_rows_only;
    model->stack.has_grouped = model->encoder.has_grouped = binder->has_grouped;
}

static rbe_status choose_layers(const rbe__config *config, uint32_t first_layer, uint32_t n_layers, rbe__stack *stack)
{
    if (first_layer >= config->n_layers || n_layers > config->n_layers - first_layer) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "layers %u + %u of %u", first_layer, n_layers, config->n_layers);
    }
    stack->first_layer = first_layer;
    stack->end_layer = n_layers ? first_layer + n_layers : config->n_layers;
    return RBE_OK;
}

static rbe__stack stack_of(const rbe_model *model)
{
    const rbe__config *config = &model->config;
    return (rbe__stack){
        .kernels = &model->kernels,
        .width = config->width,
        .n_vocabulary = config->n_vocabulary,
        .embedding_scale = config->embedding_scale,
        .both = config->encoder.both,
        .crosses = config->encoder_layers != 0,
        .rope_long_from = config->rope_long_from,
        .rope_factor = config->rope_attention_factor,
        .rope_long_factor = config->rope_long_attention_factor,
        .n_layers = config->n_layers,
        .norm_kind = config->norm_kind,
        .norm_epsilon = config->norm_epsilon,
        .logit_softcap = config->logit_softcap,
        .residency = model->residency.limit ? &model->residency : NULL,
    };
}

rbe_status rbe__model_bind(rbe_model *model, const char *path, uint32_t first_layer, uint32_t n_layers)
{
    RBE_TRY(rbe__config_read(&model->pack, &model->kernels, path, &model->config));
    RBE_TRY(rbe__layer_kinds_check(model, path));
    const rbe__config *config = &model->config;
    rbe__stack *stack = &model->stack;
    *stack = stack_of(model);
    RBE_TRY(choose_layers(config, first_layer, n_layers, stack));
    if (config->n_layers > model->pack.n_tensors) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `layers` is %u and the file has %u tensors", path, config->n_layers,
                        model->pack.n_tensors);
    }
    stack->layers = calloc(config->n_layers, sizeof *stack->layers);
    if (!stack->layers) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory for %u layers", path, config->n_layers);
    }
    rbe__binder binder = {.find = find_tensor, .context = &model->pack, .path = path, .prefix = ""};
    stack->embedding = rbe__bind_tensor(&binder, "embedding", config->n_vocabulary, config->width, 0);
    switch (config->position_kind) {
    case RBE_POSITION_ROPE: bind_rope(&binder, &model->pack, config, stack); break;
    case RBE_POSITION_LEARNED: stack->positions = rbe__bind_tensor(&binder, "positions", config->context, config->width, 0); break;
    case RBE_POSITION_RELATIVE: rbe__bind_distances(&binder, "positions.relative", config, stack); break;
    }
    RBE_TRY(binder.status);
    RBE_TRY(bind_layers(&binder, model));
    bind_ends(&binder, config, stack);
    RBE_TRY(binder.status);
    RBE_TRY(rbe__layer_shapes_bind(&binder, model));
    if (config->encoder_layers) {
        const rbe__layer_shape shape = shape_of(config);
        RBE_TRY(rbe__encoder_decoder_bind(&binder, &shape, model));
    }
    note_kinds(&binder, model);
    RBE_TRY(rbe__layer_options_check(model, path));
    RBE_TRY(rbe__experts_check(model, path));
    RBE_TRY(rbe__experts_limit(model));
    RBE_TRY(rbe__encoder_check(model, path));
    RBE_TRY(rbe__recurrence_check(model, path));
    RBE_TRY(rbe__layer_shapes_check(model, path));
    return rbe__encoder_decoder_check(model, path);
}
