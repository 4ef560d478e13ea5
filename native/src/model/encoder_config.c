#include "model/encoder_config.h"

#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "blocks/encoder_ends.h"
#include "model/parts.h"
#include "rbe/encoder.h"

static const char *const activations[] = {[RBE_ACTIVATION_SILU] = "silu",           [RBE_ACTIVATION_GELU] = "gelu",
                                          [RBE_ACTIVATION_GELU_TANH] = "gelu_tanh", [RBE_ACTIVATION_RELU] = "relu",
                                          [RBE_ACTIVATION_RELU2] = "relu2",         [RBE_ACTIVATION_TANH] = "tanh",
                                          [RBE_ACTIVATION_NONE] = "none",           NULL};

/* `pooled.activations`: a word for each layer, separated by one space. */
static rbe_status read_activations(rbe__config_source from, rbe__encoder_config *out)
{
    const rbe_metadata *entry = rbe__config_find(from, "pooled.activations");
    if (!entry && out->n_pooled_layers == 0) {
        return RBE_OK;
    }
    const int is_text = entry && entry->type == RBE_VALUE_STRING;
    const char *at = is_text ? entry->data : NULL;
    size_t left = is_text ? entry->count : 0;
    uint32_t n = 0;
    while (left) {
        const char *space = memchr(at, ' ', left);
        const size_t bytes = space ? (size_t)(space - at) : left, taken = bytes + (space != NULL);
        const int found = rbe__config_word(at, bytes, activations);
        if (found < 0 || n == out->n_pooled_layers || (space && taken == left)) {
            break;
        }
        out->pooled_activations[n++] = (rbe__activation)found;
        at += taken;
        left -= taken;
    }
    return left == 0 && n == out->n_pooled_layers
               ? RBE_OK
               : rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `pooled.activations` is not %u words, each a name of an activation function",
                          from.path, out->n_pooled_layers);
}

static rbe_status read_pooled(rbe__config_source from, rbe__encoder_config *out)
{
    static const char *const poolings[] = {[RBE_POOLING_CLS - 1] = "cls",
                                           [RBE_POOLING_MEAN - 1] = "mean",
                                           [RBE_POOLING_LAST - 1] = "last",
                                           [RBE_POOLING_MAX - 1] = "max",
                                           NULL};
    static const char *const kinds[] = {"embedding", "classes", NULL};
    const int has_pooling = rbe__pack_metadata(from.pack, "pooling") != NULL;
    int pooling;
    uint32_t normalizes;
    RBE_TRY(rbe__config_choice(from, "pooling", poolings, 1, &pooling));
    RBE_TRY(rbe__config_u64(from, "pooled.layers", 0, RBE_MOST_POOLED_LAYERS, 1, &out->n_pooled_layers));
    RBE_TRY(read_activations(from, out));
    RBE_TRY(rbe__config_u64(from, "pooled.normalize", 0, 1, 1, &normalizes));
    RBE_TRY(rbe__config_choice(from, "pooled.kind", kinds, 1, &out->is_classes));
    out->normalizes = normalizes != 0;
    if (has_pooling) {
        out->pooling = (uint32_t)pooling + 1;
    } else if (out->n_pooled_layers || out->normalizes || out->is_classes) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `pooling` is missing, and keys `pooled.` are there", from.path);
    }
    return RBE_OK;
}

rbe_status rbe__encoder_config_read(rbe__config_source from, rbe__encoder_config *out)
{
    static const char *const directions[] = {"causal", "both", NULL};
    static const char *const head_kinds[] = {"masked", "none", NULL};
    const int has_kind = rbe__pack_metadata(from.pack, "head.kind") != NULL;
    int head_kind, activation;
    RBE_TRY(rbe__config_choice(from, "attention.direction", directions, 1, &out->both));
    RBE_TRY(rbe__config_u64(from, "segments", 0, 255, 1, &out->n_segments));
    RBE_TRY(rbe__config_choice(from, "head.kind", head_kinds, 1, &head_kind));
    RBE_TRY(rbe__config_choice(from, "head.activation", activations, 1, &activation));
    out->head_kind = has_kind ? (rbe__head_kind)(RBE_HEAD_MASKED + head_kind) : RBE_HEAD_WORDS;
    out->head_activation = rbe__pack_metadata(from.pack, "head.activation") ? (rbe__activation)activation : RBE_ACTIVATION_NONE;
    return read_pooled(from, out);
}

static void bind_word_head(rbe__binder *binder, const rbe__config *config, rbe__stack *stack)
{
    rbe__word_head *head = &stack->word_head;
    head->activation = config->encoder.head_activation;
    head->dense = rbe__bind_projection(binder, "head.dense", config->width, config->width, 1);
    head->norm = rbe__bind_norm(binder, "head.norm", config->width, 1);
    const int has_any = head->dense.weight || head->norm.weight || head->activation != RBE_ACTIVATION_NONE;
    if (binder->status == RBE_OK && has_any && config->encoder.head_kind != RBE_HEAD_MASKED) {
        binder->status = rbe_fail(
            RBE_ERROR_FORMAT, "%s: there is something before the head of words, and metadata `head.kind` is not `masked`", binder->path);
    }
}

/* Layer after layer: each is as wide as its matrix has rows. */
static void bind_pooled(rbe__binder *binder, const rbe__config *config, rbe__stack *stack)
{
    const rbe__encoder_config *encoder = &config->encoder;
    rbe__pooled *pooled = &stack->pooled;
    uint32_t width = config->width;
    pooled->pooling = encoder->pooling;
    pooled->normalize = encoder->normalizes;
    for (uint32_t i = 0; i < encoder->n_pooled_layers && binder->status == RBE_OK; i++) {
        char name[32], norm[32];
        snprintf(name, sizeof name, "pooled.%u", i);
        snprintf(norm, sizeof norm, "pooled.%u.norm", i);
        const rbe__tensor *tensor = binder->find(binder->context, name);
        const uint32_t rows = tensor ? tensor->rows : 1;
        if (rows > 1u << 20) {
            binder->status = rbe_fail(RBE_ERROR_FORMAT, "%s: tensor `%s` has %u rows; a pooled layer has at most %u", binder->path, name,
                                      rows, 1u << 20);
            return;
        }
        rbe__pooled_layer *layer = &pooled->layers[pooled->n_layers++];
        layer->projection = rbe__bind_projection(binder, name, rows, width, 0);
        layer->activation = encoder->pooled_activations[i];
        layer->norm = rbe__bind_norm(binder, norm, rows, 1);
        width = rows;
    }
}

void rbe__encoder_bind(rbe__binder *binder, const rbe__config *config, rbe__stack *stack)
{
    if (config->encoder.n_segments) {
        stack->segments = rbe__bind_tensor(binder, "segments", config->encoder.n_segments, config->width, 0);
    }
    stack->embedding_norm = rbe__bind_norm(binder, "embedding.norm", config->width, 1);
    bind_word_head(binder, config, stack);
    bind_pooled(binder, config, stack);
}

/* What a reader that knows no encoders would compute wrongly, or refuse for another reason. */
static int needs_part(const rbe_model *model)
{
    const rbe__encoder_config *encoder = &model->config.encoder;
    return encoder->both || model->config.norm_place == RBE_NORM_POST || encoder->n_segments || model->stack.embedding_norm.weight ||
           encoder->head_kind != RBE_HEAD_WORDS || encoder->n_pooled_layers;
}

static rbe_status check_labels(const rbe_model *model, const char *path)
{
    const rbe_metadata *labels = rbe__pack_metadata(&model->pack, "labels");
    rbe_encoder_info info = {.struct_bytes = sizeof info};
    RBE_TRY(rbe_model_get_encoder_info(model, &info));
    if (!labels) {
        return RBE_OK;
    }
    uint32_t n = 1;
    for (uint32_t i = 0; labels->type == RBE_VALUE_STRING && i < labels->count; i++) {
        n += ((const char *)labels->data)[i] == '\n';
    }
    return labels->type == RBE_VALUE_STRING && info.is_classes && n == info.n_pooled
               ? RBE_OK
               : rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `labels` is not the names of the classes, one a line", path);
}

rbe_status rbe__encoder_check(const rbe_model *model, const char *path)
{
    const int has_part = rbe__pack_requires(&model->pack, RBE_PART_ENCODER);
    if (has_part != needs_part(model)) {
        return rbe_fail(RBE_ERROR_FORMAT,
                        has_part ? "%s: it has the part `encoder`, and its metadata say nothing of an encoder"
                                 : "%s: its metadata are those of an encoder, and it lacks the part `encoder`",
                        path);
    }
    return check_labels(model, path);
}

rbe_status rbe_model_get_encoder_info(const rbe_model *model, rbe_encoder_info *info)
{
    if (!model) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_get_encoder_info: model is NULL");
    }
    const rbe__encoder_config *encoder = &model->config.encoder;
    const rbe_encoder_info known = {
        .is_encoder = encoder->both != 0,
        .pooling = encoder->pooling,
        .n_pooled = encoder->pooling == RBE_POOLING_NONE ? 0 : rbe__pooled_width(&model->stack),
        .is_classes = encoder->is_classes != 0,
        .is_normalized = encoder->normalizes != 0,
        .n_segments = encoder->n_segments,
        .has_word_head = encoder->head_kind == RBE_HEAD_MASKED,
        .context_tokens = model->config.context,
    };
    return rbe__give_info("rbe_model_get_encoder_info", info, &known, sizeof known);
}
