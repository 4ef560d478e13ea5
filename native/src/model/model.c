#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "model/residency_plan.h"

#define ALL_ROLES (RBE_CACHE_EMBEDDINGS | RBE_CACHE_ATTENTION | RBE_CACHE_FEED_FORWARD)

static rbe_status wrong_shape(const char *path, const rbe__tensor *tensor, uint32_t rows, uint32_t cols)
{
    return rbe_fail(RBE_ERROR_FORMAT, "%s: tensor `%.*s` is %u x %u; the hyper-parameters make it %u x %u", path, (int)tensor->name_bytes,
                    tensor->name, tensor->rows, tensor->cols, rows, cols);
}

/* A matrix of any kind and the bias "name.bias", which may be absent. */
typedef struct binder {
    rbe_model *model;
    const char *path;
    rbe_status status; /* of the first failure; later calls do nothing */
} binder;

static const rbe__tensor *bind_tensor(binder *b, const char *name, uint32_t rows, uint32_t cols, int optional)
{
    if (b->status != RBE_OK) {
        return NULL;
    }
    const rbe__tensor *tensor = rbe__pack_tensor(&b->model->pack, name);
    if (!tensor) {
        if (!optional) {
            b->status = rbe_fail(RBE_ERROR_FORMAT, "%s: tensor `%s` is missing", b->path, name);
        }
        return NULL;
    }
    if (tensor->rows != rows || tensor->cols != cols) {
        b->status = wrong_shape(b->path, tensor, rows, cols);
        return NULL;
    }
    return tensor;
}

static const float *bind_vector(binder *b, const char *name, uint32_t n, int optional)
{
    const rbe__tensor *tensor = bind_tensor(b, name, 1, n, optional);
    if (tensor && tensor->kind != RBE_KIND_F32) {
        b->status = rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: tensor `%s` is a vector and not fp32", b->path, name);
    }
    return tensor ? (const float *)(const void *)tensor->data : NULL;
}

static rbe__norm bind_norm(binder *b, const char *name)
{
    char bias[64];
    uint32_t width = b->model->config.width;
    snprintf(bias, sizeof bias, "%s.bias", name);
    rbe__norm norm = {bind_vector(b, name, width, 0), bind_vector(b, bias, width, 1)};
    return norm;
}

static rbe__projection bind_projection(binder *b, const char *name, uint32_t rows, uint32_t cols, int optional)
{
    char bias[64];
    snprintf(bias, sizeof bias, "%s.bias", name);
    rbe__projection projection = {bind_tensor(b, name, rows, cols, optional), bind_vector(b, bias, rows, 1)};
    b->model->has_rows_only |= projection.weight && rbe__tensor_by_row(projection.weight);
    return projection;
}

/* Tensors that read one activation are rotated alike, so that it is rotated once. */
static void check_shared_rotation(binder *b, const rbe__projection *const *projections, int n)
{
    const rbe__tensor *first = NULL;
    for (int i = 0; i < n && b->status == RBE_OK; i++) {
        const rbe__tensor *tensor = projections[i]->weight;
        if (!tensor || tensor->kind != RBE_KIND_TRELLIS) {
            continue;
        }
        if (first && (first->rotation_block != tensor->rotation_block || first->seed != tensor->seed)) {
            b->status = rbe_fail(RBE_ERROR_FORMAT, "%s: tensors `%.*s` and `%.*s` read one activation and have different rotations",
                                 b->path, (int)first->name_bytes, first->name, (int)tensor->name_bytes, tensor->name);
        }
        first = tensor;
    }
}

static void bind_layer(binder *b, uint32_t index)
{
    const rbe__config *config = &b->model->config;
    rbe__layer *layer = &b->model->layers[index];
    uint32_t width = config->width, head_dim = config->head_dim;
    uint32_t q_rows = config->n_heads * head_dim, kv_rows = config->n_kv_heads * head_dim;
    char name[64];
#define NAME(part) (snprintf(name, sizeof name, "layers.%u." part, index), name)
    layer->attention_norm = bind_norm(b, NAME("attention.norm"));
    layer->feed_forward_norm = bind_norm(b, NAME("feed_forward.norm"));
    if (config->sandwich_norms) {
        layer->attention_post_norm = bind_norm(b, NAME("attention.post_norm"));
        layer->feed_forward_post_norm = bind_norm(b, NAME("feed_forward.post_norm"));
    }
    layer->q_norm = bind_vector(b, NAME("attention.q_norm"), head_dim, 1);
    layer->k_norm = bind_vector(b, NAME("attention.k_norm"), head_dim, 1);
    layer->q = bind_projection(b, NAME("attention.q"), q_rows, width, 0);
    layer->k = bind_projection(b, NAME("attention.k"), kv_rows, width, 0);
    layer->v = bind_projection(b, NAME("attention.v"), kv_rows, width, 0);
    layer->o = bind_projection(b, NAME("attention.o"), width, q_rows, 0);
    if (config->gated) {
        layer->gate = bind_projection(b, NAME("feed_forward.gate"), config->feed_forward, width, 0);
    }
    layer->up = bind_projection(b, NAME("feed_forward.up"), config->feed_forward, width, 0);
    layer->down = bind_projection(b, NAME("feed_forward.down"), width, config->feed_forward, 0);
#undef NAME
    check_shared_rotation(b, (const rbe__projection *const[]){&layer->q, &layer->k, &layer->v}, 3);
    check_shared_rotation(b, (const rbe__projection *const[]){&layer->gate, &layer->up}, 2);
}

static void bind_rope(binder *b)
{
    rbe_model *model = b->model;
    const rbe__tensor *table = b->status == RBE_OK ? rbe__pack_tensor(&model->pack, "rope.frequencies") : NULL;
    if (b->status != RBE_OK) {
        return;
    }
    if (!table || table->kind != RBE_KIND_F32 || table->rows > 256 || table->cols > model->config.head_dim / 2) {
        b->status = rbe_fail(RBE_ERROR_FORMAT, "%s: tensor `rope.frequencies` is missing, not fp32 or of a wrong shape", b->path);
        return;
    }
    model->n_rope_tables = table->rows;
    model->rope_pairs = table->cols;
    model->rope_frequencies = (const float *)(const void *)table->data;
    if (model->config.rope_long_from) {
        const rbe__tensor *far = bind_tensor(b, "rope.long_frequencies", table->rows, table->cols, 0);
        if (far && far->kind != RBE_KIND_F32) {
            b->status = rbe_fail(RBE_ERROR_FORMAT, "%s: tensor `rope.long_frequencies` is not fp32", b->path);
        } else if (far) {
            model->rope_long_frequencies = (const float *)(const void *)far->data;
        }
    }
}

static rbe_status bind_layer_arrays(rbe_model *model, const char *path)
{
    const rbe__config *config = &model->config;
    const rbe_metadata *windows, *tables;
    uint32_t last_table = model->n_rope_tables ? model->n_rope_tables - 1 : 0;
    RBE_TRY(rbe__layer_array_read(&model->pack, path, "attention.windows", config->n_layers, 1u << 27, &windows));
    RBE_TRY(rbe__layer_array_read(&model->pack, path, "rope.tables", config->n_layers, last_table, &tables));
    for (uint32_t i = 0; i < config->n_layers; i++) {
        model->layers[i].window = rbe__layer_array_value(windows, i);
        model->layers[i].rope_table = rbe__layer_array_value(tables, i);
    }
    return RBE_OK;
}

static rbe_status bind_model(rbe_model *model, const char *path)
{
    RBE_TRY(rbe__config_read(&model->pack, path, &model->config));
    const rbe__config *config = &model->config;
    if (config->n_layers > model->pack.n_tensors) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `layers` is %u and the file has %u tensors", path, config->n_layers,
                        model->pack.n_tensors);
    }
    model->layers = calloc(config->n_layers, sizeof *model->layers);
    if (!model->layers) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory for %u layers", path, config->n_layers);
    }
    binder b = {model, path, RBE_OK};
    model->embedding = bind_tensor(&b, "embedding", config->n_vocabulary, config->width, 0);
    if (config->learned_positions) {
        model->positions = bind_tensor(&b, "positions", config->context, config->width, 0);
    } else {
        bind_rope(&b);
    }
    for (uint32_t i = 0; i < config->n_layers && b.status == RBE_OK; i++) {
        bind_layer(&b, i);
    }
    model->norm = bind_norm(&b, "norm");
    model->head = bind_projection(&b, "head", config->n_vocabulary, config->width, 1);
    if (!model->head.weight) {
        model->head.weight = model->embedding;
        model->has_rows_only |= model->embedding && rbe__tensor_by_row(model->embedding);
    }
    RBE_TRY(b.status);
    return bind_layer_arrays(model, path);
}

static void log_opened(const rbe_model *model, const char *path)
{
    if (model->log) {
        char message[512];
        snprintf(message, sizeof message, "%s: %u layers of width %u, %llu parameters, %s kernels", path, model->config.n_layers,
                 model->config.width, (unsigned long long)model->n_parameters, model->kernels.name);
        model->log(1, message, model->log_user);
    }
}

/* Tensors that read the same input have the same seed and stand near one another: they share. */
static const rbe__tensor *same_signs(const rbe__tensor *tensors, uint32_t index)
{
    const uint32_t first = index > 8 ? index - 8 : 0;
    for (uint32_t i = first; i < index; i++) {
        if (tensors[i].rotation_block && tensors[i].seed == tensors[index].seed && tensors[i].cols == tensors[index].cols) {
            return &tensors[i];
        }
    }
    return NULL;
}

/* A bit per column of every rotated input, instead of a random number per column and token. */
static rbe_status make_signs(rbe_model *model, const char *path)
{
    rbe__tensor *tensors = model->pack.tensors;
    size_t bytes = 0;
    for (uint32_t i = 0; i < model->pack.n_tensors; i++) {
        bytes += tensors[i].rotation_block && !same_signs(tensors, i) ? rbe__sign_bytes(tensors[i].cols) : 0;
    }
    uint8_t *next = model->signs = malloc(bytes ? bytes : 1);
    if (!next) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory for its index", path);
    }
    for (uint32_t i = 0; i < model->pack.n_tensors; i++) {
        const rbe__tensor *same = tensors[i].rotation_block ? same_signs(tensors, i) : NULL;
        if (same) {
            tensors[i].signs = same->signs;
        } else if (tensors[i].rotation_block) {
            rbe__sign_bits(tensors[i].seed, tensors[i].cols, next);
            tensors[i].signs = next;
            next += rbe__sign_bytes(tensors[i].cols);
        }
    }
    return RBE_OK;
}

static rbe_status open_into(rbe_model *model, const char *path, const rbe_model_options *options)
{
    if (rbe__kernels_select(options->kernel_set, &model->kernels) != 0) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "kernel set `%s` is unknown or this processor cannot run it", options->kernel_set);
    }
    model->log = options->log;
    model->log_user = options->log_user;
    RBE_TRY(rbe__memory_pool_create(&model->memory));
    RBE_TRY(rbe__pack_open(path, options->skip_checksums != 0, options->max_resident_bytes != 0, &model->pack));
    RBE_TRY(rbe__residency_plan(&model->pack, path, options->max_resident_bytes, &model->residency));
    RBE_TRY(rbe__weight_cache_create(model->pack.tensors, model->pack.n_tensors, options->cache_roles ? options->cache_roles : ALL_ROLES,
                                     options->cache_bytes, &model->cache));
    RBE_TRY(make_signs(model, path));
    RBE_TRY(bind_model(model, path));
    const rbe_metadata *parameters = rbe__pack_metadata(&model->pack, "parameters");
    if (parameters && parameters->type == RBE_VALUE_U64) {
        memcpy(&model->n_parameters, parameters->data, sizeof model->n_parameters);
    }
    const rbe__blob *blob = rbe__pack_blob(&model->pack, "tokenizer");
    if (blob) {
        RBE_TRY(rbe_tokenizer_open(blob->data, (size_t)blob->bytes, &model->tokenizer));
        if (rbe_tokenizer_size(model->tokenizer) > model->config.n_vocabulary) {
            return rbe_fail(RBE_ERROR_FORMAT, "%s: wrong tokenizer: it has %u tokens and the model %u", path,
                            rbe_tokenizer_size(model->tokenizer), model->config.n_vocabulary);
        }
    }
    log_opened(model, path);
    rbe__residency_release(&model->residency);
    return RBE_OK;
}

rbe_status rbe_model_open(const char *path, const rbe_model_options *options, rbe_model **out)
{
    if (!path || !out) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_open: path or out is NULL");
    }
    *out = NULL;
    rbe_model_options chosen = {0};
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    if (chosen.cache_roles > RBE_CACHE_NOTHING) {
        return rbe_fail(RBE_ERROR_ARGUMENT,
                        "rbe_model_open: cache_roles is neither a sum of RBE_CACHE_EMBEDDINGS, _ATTENTION and _FEED_FORWARD nor _NOTHING");
    }
    rbe_model *model = calloc(1, sizeof *model);
    if (!model) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a model");
    }
    rbe_status status = open_into(model, path, &chosen);
    if (status != RBE_OK) {
        rbe_model_close(model);
        return status;
    }
    *out = model;
    return RBE_OK;
}

void rbe_model_close(rbe_model *model)
{
    if (model) {
        rbe_tokenizer_close(model->tokenizer);
        free(model->layers);
        free(model->signs);
        rbe__weight_cache_free(model->cache);
        rbe__memory_pool_free(model->memory);
        rbe__pack_close(&model->pack);
        free(model);
    }
}
