#include "model/layer_shapes.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"
#include "model/layer_kinds.h"
#include "model/parts.h"
#include "rbe/layer_embeddings.h"

#define MOST_WIDTH (1u << 20)

/* One number for each layer under an optional key, each from `least` to `most`. */
static rbe_status read_array(rbe__config_source from, const rbe__config *config, const char *key, uint32_t least, uint32_t most,
                             const rbe_metadata **out)
{
    (void)rbe__config_find(from, key);
    RBE_TRY(rbe__layer_array_read(from.pack, from.path, key, config->n_layers, most, out));
    for (uint32_t i = 0; *out && i < config->n_layers; i++) {
        if (rbe__layer_array_value(*out, i) < least) {
            return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `%s`: %u for layer %u is less than %u", from.path, key,
                            rbe__layer_array_value(*out, i), i, least);
        }
    }
    return RBE_OK;
}

static uint32_t of_layer(const rbe_metadata *array, uint32_t layer, uint32_t otherwise)
{
    return array ? rbe__layer_array_value(array, layer) : otherwise;
}

static uint32_t kv_values(const rbe__config *config, uint32_t layer)
{
    return of_layer(config->layers.head_dims, layer, config->head_dim) * of_layer(config->layers.kv_heads, layer, config->n_kv_heads);
}

static rbe_status check_layers(rbe__config_source from, const rbe__config *config)
{
    const rbe__layers_config *layers = &config->layers;
    for (uint32_t i = 0; i < config->n_layers; i++) {
        const uint32_t kv_heads = of_layer(layers->kv_heads, i, config->n_kv_heads), source = of_layer(layers->shared_states, i, i);
        if (config->n_heads % kv_heads != 0) {
            return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `layer.kv_heads`: %u of layer %u do not divide `heads` (%u)", from.path,
                            kv_heads, i, config->n_heads);
        }
        if (source != i && (rbe__layer_mixer(config, i) != RBE_MIXER_ATTENTION ||
                            (source < i && rbe__layer_mixer(config, source) != RBE_MIXER_ATTENTION))) {
            return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `layer.shared_states`: layers %u and %u are not both attention", from.path, i,
                            source);
        }
        if (source > i || of_layer(layers->shared_states, source, source) != source) {
            return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `layer.shared_states`: layer %u reads layer %u, which keeps none before it",
                            from.path, i, source);
        }
        if (of_layer(layers->head_dims, i, config->head_dim) != of_layer(layers->head_dims, source, config->head_dim) ||
            kv_heads != of_layer(layers->kv_heads, source, config->n_kv_heads)) {
            return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `layer.shared_states`: layers %u and %u have different heads", from.path, i,
                            source);
        }
    }
    return RBE_OK;
}

static rbe_status read_embeddings(rbe__config_source from, rbe__config *out)
{
    rbe__layers_config *layers = &out->layers;
    RBE_TRY(rbe__config_u64(from, "layer_embedding.width", 1, MOST_WIDTH, 1, &layers->embedding_width));
    RBE_TRY(rbe__config_f64(from, "layer_embedding.scale", 0, 1, &layers->embedding_scale));
    RBE_TRY(rbe__config_f64(from, "layer_embedding.sum_scale", 0, 1, &layers->embedding_sum_scale));
    RBE_TRY(rbe__config_f64(from, "layer_embedding.epsilon", 0, (double)out->norm_epsilon, &layers->embedding_epsilon));
    if ((uint64_t)layers->embedding_width * out->n_layers > 1u << 28) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `layer_embedding.width` is %u, too many for %u layers", from.path,
                        layers->embedding_width, out->n_layers);
    }
    return RBE_OK;
}

rbe_status rbe__layer_shapes_read(rbe__config_source from, rbe__config *out)
{
    rbe__layers_config *layers = &out->layers;
    uint32_t value_norm;
    RBE_TRY(read_array(from, out, "layer.head_dims", 1, out->head_dim, &layers->head_dims));
    RBE_TRY(read_array(from, out, "layer.kv_heads", 1, out->n_kv_heads, &layers->kv_heads));
    RBE_TRY(read_array(from, out, "layer.feed_forwards", 1, out->feed_forward, &layers->feed_forwards));
    RBE_TRY(read_array(from, out, "layer.shared_states", 0, out->n_layers - 1, &layers->shared_states));
    RBE_TRY(read_array(from, out, "layer.values_are_keys", 0, 1, &layers->values_are_keys));
    RBE_TRY(rbe__config_u64(from, "attention.value_norm", 0, 1, 1, &value_norm));
    RBE_TRY(read_embeddings(from, out));
    RBE_TRY(check_layers(from, out));
    layers->value_norm = value_norm != 0;
    layers->several = layers->head_dims || layers->kv_heads || layers->feed_forwards || layers->shared_states || layers->values_are_keys ||
                      layers->value_norm;
    if ((layers->several || layers->embedding_width) && (out->encoder.both || out->encoder_layers)) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: an encoder with layers of several shapes or layer embeddings is not supported",
                        from.path);
    }
    if (layers->shared_states &&
        out->layer_options.heads.norms_after_rope) { /* a cached key has no weights: they are those of its reader */
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: shared keys and values with norms behind rotary positions are not supported",
                        from.path);
    }
    if (layers->embedding_width && out->layer_options.parallel) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: layer embeddings beside blocks side by side (`layer.parallel`) are not supported",
                        from.path);
    }
    return RBE_OK;
}

void rbe__layer_shapes_apply(const rbe__config *config, uint32_t index, uint32_t n_rope_pairs, rbe__layer_shape *shape)
{
    const rbe__layers_config *layers = &config->layers;
    rbe__attention_shape *attention = &shape->attention;
    attention->head_dim = of_layer(layers->head_dims, index, config->head_dim);
    attention->n_kv_heads = of_layer(layers->kv_heads, index, config->n_kv_heads);
    attention->rope_pairs = n_rope_pairs < attention->head_dim / 2 ? n_rope_pairs : attention->head_dim / 2;
    attention->source = of_layer(layers->shared_states, index, index);
    attention->values_are_keys = of_layer(layers->values_are_keys, index, 0) != 0;
    attention->value_norm = layers->value_norm;
    shape->feed_forward.width = of_layer(layers->feed_forwards, index, config->feed_forward);
    shape->layer_embedding.width = layers->embedding_width;
    shape->layer_embedding.activation = config->activation;
}

void rbe__layer_scale_bind(rbe__binder *binder, uint32_t index, rbe__stack *stack)
{
    char name[64];
    snprintf(name, sizeof name, "layers.%u.scale", index);
    stack->layers[index].scale = rbe__bind_vector(binder, name, 1, 1);
    stack->has_scales |= stack->layers[index].scale != NULL;
}

/* Where keys and values of each layer that others read stand in a row; at: of the layers, 0 where none does. Returns the row's width. */
static uint64_t place_shared(const rbe__config *config, uint32_t first, uint32_t *at)
{
    uint64_t width = first;
    for (uint32_t i = 0; i < config->n_layers; i++) {
        const uint32_t source = of_layer(config->layers.shared_states, i, i);
        if (source != i && at[source] == 0) {
            at[source] = (uint32_t)width;
            width += 2 * (uint64_t)kv_values(config, source);
            if (width > UINT32_MAX) {
                return width;
            }
        }
    }
    return width;
}

static rbe_status place_rows(const char *path, rbe_model *model)
{
    const rbe__config *config = &model->config;
    rbe__stack *stack = &model->stack;
    uint32_t *at = calloc(config->n_layers, sizeof *at);
    if (!at) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory for %u layers", path, config->n_layers);
    }
    const uint64_t width = place_shared(config, stack->width + stack->layer_inputs.n, at);
    for (uint32_t i = stack->first_layer; i < stack->end_layer; i++) {
        rbe__block *block = &stack->layers[i].blocks[0];
        block->stream_at = block->kind == &rbe__attention_kind ? at[block->as.attention.shape.source] : 0;
    }
    free(at);
    stack->stream_width = (uint32_t)width;
    return width > UINT32_MAX ? rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `layer.shared_states` name more layers than there can be", path)
                              : RBE_OK;
}

static void find_readers(rbe__stack *stack)
{
    stack->first_reader = stack->n_layers;
    for (uint32_t i = stack->end_layer; i > stack->first_layer && stack->layers[i - 1].blocks[0].shares_state; i--) {
        stack->first_reader = i - 1;
    }
}

static rbe_status make_ones(const char *path, rbe_model *model)
{
    const uint32_t n = model->config.head_dim;
    if (!model->config.layers.value_norm) {
        return RBE_OK;
    }
    model->ones = malloc(n * sizeof *model->ones);
    if (!model->ones) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory for its norms", path);
    }
    for (uint32_t i = 0; i < n; i++) {
        model->ones[i] = 1.0f;
    }
    model->stack.ones = model->ones;
    return RBE_OK;
}

rbe_status rbe__layer_shapes_bind(rbe__binder *binder, rbe_model *model)
{
    const rbe__config *config = &model->config;
    rbe__layer_inputs *inputs = &model->stack.layer_inputs;
    if (config->layers.embedding_width) {
        inputs->width = config->layers.embedding_width;
        inputs->n = inputs->width * config->n_layers;
        inputs->scale = config->layers.embedding_scale;
        inputs->sum_scale = config->layers.embedding_sum_scale;
        inputs->epsilon = config->layers.embedding_epsilon;
        inputs->table = rbe__bind_tensor(binder, "layer_embedding", config->n_vocabulary, inputs->n, 0);
        inputs->projection = rbe__bind_projection(binder, "layer_embedding.projection", inputs->n, config->width, 0);
        inputs->norm = rbe__bind_norm(binder, "layer_embedding.norm", inputs->width, 0);
        RBE_TRY(binder->status);
    }
    find_readers(&model->stack);
    RBE_TRY(place_rows(binder->path, model));
    return make_ones(binder->path, model);
}

static rbe_status check_part(const rbe_model *model, const char *path, const char *name, int needs)
{
    const int has_part = rbe__pack_requires(&model->pack, name);
    if (has_part == needs) {
        return RBE_OK;
    }
    return rbe_fail(RBE_ERROR_FORMAT,
                    has_part ? "%s: it has the part `%s`, and its metadata and tensors ask for none"
                             : "%s: its metadata or tensors ask for the part `%s`, and it lacks that",
                    path, name);
}

rbe_status rbe__layer_shapes_check(const rbe_model *model, const char *path)
{
    const rbe__layers_config *layers = &model->config.layers;
    const int is_whole = model->stack.end_layer - model->stack.first_layer == model->config.n_layers;
    if (is_whole || layers->several) { /* scales of layers that are not bound were not looked for */
        RBE_TRY(check_part(model, path, RBE_PART_LAYER_SHAPES, layers->several || model->stack.has_scales));
    }
    return check_part(model, path, RBE_PART_LAYER_EMBEDDINGS, layers->embedding_width != 0);
}

uint32_t rbe_model_stream_width(const rbe_model *model)
{
    return model ? model->stack.stream_width : 0;
}
