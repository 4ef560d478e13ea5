#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "model/binding.h"
#include "model/experts_config.h"
#include "model/modes.h"
#include "model/residency_plan.h"

#define ALL_ROLES (RBE_CACHE_EMBEDDINGS | RBE_CACHE_ATTENTION | RBE_CACHE_FEED_FORWARD)

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
        for (uint32_t b = 0; b < tensors[i].n_bands; b++) {
            model->pack.bands[(tensors[i].bands - model->pack.bands) + b].signs = tensors[i].signs;
        }
    }
    return RBE_OK;
}

static rbe_status open_tokenizer(rbe_model *model, const char *path)
{
    const rbe__blob *blob = rbe__pack_blob(&model->pack, "tokenizer");
    if (!blob) {
        return RBE_OK;
    }
    RBE_TRY(rbe_tokenizer_open(blob->data, (size_t)blob->bytes, &model->tokenizer));
    if (rbe_tokenizer_size(model->tokenizer) > model->config.n_vocabulary) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: wrong tokenizer: it has %u tokens and the model %u", path,
                        rbe_tokenizer_size(model->tokenizer), model->config.n_vocabulary);
    }
    return RBE_OK;
}

static rbe_status open_pack(rbe_model *model, const char *path, const rbe_model_options *options, int index_only)
{
    return index_only ? rbe__pack_open_index(path, &model->kernels, &model->pack)
                      : rbe__pack_open(path, &model->kernels, options, &model->pack);
}

static rbe_status open_into(rbe_model *model, const char *path, const rbe_model_options *options, int index_only)
{
    const char *set = options->kernel_set ? options->kernel_set : rbe__kernels_best(options->without_amx != 0);
    if (options->without_amx && rbe__kernels_use_amx(set)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "kernel set `%s` uses AMX, and without_amx is set; choose one of the two", set);
    }
    if (rbe__kernels_select(set, &model->kernels) != 0) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "kernel set `%s` is unknown or this processor cannot run it", set);
    }
    model->log = options->log;
    model->log_user = options->log_user;
    RBE_TRY(rbe__memory_pool_create(&model->memory));
    RBE_TRY(open_pack(model, path, options, index_only));
    RBE_TRY(rbe__residency_plan(&model->pack, path, options->max_resident_bytes, &model->residency));
    RBE_TRY(rbe__weight_cache_create(model->pack.tensors, model->pack.n_tensors, options->cache_roles ? options->cache_roles : ALL_ROLES,
                                     options->cache_bytes, &model->cache));
    RBE_TRY(make_signs(model, path));
    RBE_TRY(rbe__model_bind(model, path, options->first_layer, options->n_layers));
    const rbe_metadata *parameters = rbe__pack_metadata(&model->pack, "parameters");
    if (parameters && parameters->type == RBE_VALUE_U64) {
        memcpy(&model->n_parameters, parameters->data, sizeof model->n_parameters);
    }
    if (!index_only) {
        RBE_TRY(rbe__modes_check(model, path));
        RBE_TRY(open_tokenizer(model, path));
        if (!options->skip_checksums) {
            const int sparing = options->max_resident_bytes != 0;
            RBE_TRY(rbe__verification_begin(&model->pack, &model->kernels, path, sparing, &model->verification));
        }
        log_opened(model, path);
        rbe__residency_release_all(&model->residency);
    }
    return RBE_OK;
}

static rbe_status open_model(const char *path, const rbe_model_options *options, int index_only, rbe_model **out)
{
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
    rbe_status status = open_into(model, path, &chosen, index_only);
    if (status != RBE_OK) {
        rbe_model_close(model);
        return status;
    }
    *out = model;
    return RBE_OK;
}

rbe_status rbe_model_open(const char *path, const rbe_model_options *options, rbe_model **out)
{
    if (!path || !out) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_open: path or out is NULL");
    }
    return open_model(path, options, 0, out);
}

rbe_status rbe__model_open_index(const char *path, const rbe_model_options *options, rbe_model **out)
{
    return open_model(path, options, 1, out);
}

rbe_status rbe_model_verify(const rbe_model *model, rbe_progress_callback progress, void *user)
{
    if (!model) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_verify: model is NULL");
    }
    return rbe__verification_wait(model->verification, progress, user);
}

uint64_t rbe__model_own_bytes(const rbe_model *model)
{
    const rbe__pack *pack = &model->pack;
    uint64_t bytes = sizeof *model + (uint64_t)(model->config.n_layers + model->config.encoder_layers) * sizeof *model->stack.layers;
    bytes += pack->n_metadata * sizeof *pack->metadata + pack->n_codebooks * sizeof *pack->codebooks + pack->n_blobs * sizeof *pack->blobs;
    bytes += pack->n_parts * sizeof *pack->parts + rbe__experts_count(model) * sizeof *model->stack.experts;
    bytes += model->ones ? model->config.head_dim * sizeof *model->ones : 0;
    bytes += pack->n_tensors * (sizeof *pack->tensors + sizeof *pack->tensors_by_name) + pack->n_bands * sizeof *pack->bands;
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        const rbe__tensor *tensor = &pack->tensors[i];
        bytes += tensor->rotation_block && !same_signs(pack->tensors, i) ? rbe__sign_bytes(tensor->cols) : 0;
        bytes += tensor->cache ? sizeof(uint32_t) * (uint64_t)tensor->rows : 0; /* the places of its rows in the cache */
    }
    return bytes;
}

void rbe_model_close(rbe_model *model)
{
    if (model) {
        rbe__verification_end(model->verification); /* which reads the file */
        rbe_tokenizer_close(model->tokenizer);
        free(model->stack.layers);
        free(model->stack.experts);
        rbe__expert_pages_free(model->stack.expert_pages);
        free(model->encoder.layers);
        free(model->signs);
        free(model->ones);
        rbe__weight_cache_free(model->cache);
        rbe__memory_pool_free(model->memory);
        rbe__pack_close(&model->pack);
        free(model);
    }
}
