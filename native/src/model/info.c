/* What a model tells about itself: the header, its metadata and tensors, the memory it takes. */
#include "base/status.h"
#include "model/model.h"

rbe_status rbe_model_get_info(const rbe_model *model, rbe_model_info *info)
{
    if (!model) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_get_info: model is NULL");
    }
    const rbe_model_info known = {
        .file_bytes = model->pack.file.bytes,
        .n_parameters = model->n_parameters,
        .format_version = model->pack.version,
        .n_metadata = model->pack.n_metadata,
        .n_tensors = model->pack.n_tensors,
        .n_layers = model->config.n_layers,
        .width = model->config.width,
        .n_vocabulary = model->config.n_vocabulary,
        .context_tokens = model->config.context,
        .kernel_set = model->kernels.name,
    };
    return rbe__give_info("rbe_model_get_info", info, &known, sizeof known);
}

rbe_status rbe_model_get_memory(const rbe_model *model, rbe_model_memory *out)
{
    if (!model) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_get_memory: model is NULL");
    }
    const rbe__memory_pool_counts sessions = rbe__memory_pool_statistics(model->memory);
    const rbe__cache_statistics cache = rbe__weight_cache_statistics(model->cache);
    const rbe_model_memory known = {
        .sessions_in_use = sessions.in_use,
        .sessions_peak = sessions.peak,
        .sessions_held = sessions.held,
        .sessions_taken = sessions.taken,
        .sessions_reused = sessions.reused,
        .cache_limit = cache.limit,
        .cache_used = cache.used,
        .cache_hits = cache.hits,
        .cache_misses = cache.misses,
        .resident_limit = model->residency.limit,
        .resident_pinned = model->residency.pinned_bytes,
    };
    return rbe__give_info("rbe_model_get_memory", out, &known, sizeof known);
}

void rbe_model_trim_memory(const rbe_model *model)
{
    if (model) {
        rbe__memory_pool_trim(model->memory);
    }
}

const rbe_tokenizer *rbe_model_tokenizer(const rbe_model *model)
{
    return model ? model->tokenizer : NULL;
}

rbe_status rbe_model_metadata(const rbe_model *model, uint32_t index, rbe_metadata *out)
{
    if (!model || !out || index >= model->pack.n_metadata) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_metadata: no entry %u", index);
    }
    *out = model->pack.metadata[index];
    return RBE_OK;
}

rbe_status rbe_model_tensor(const rbe_model *model, uint32_t index, rbe_tensor_info *out)
{
    if (!model || index >= model->pack.n_tensors) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_tensor: no tensor %u", index);
    }
    const rbe__tensor *tensor = &model->pack.tensors[index];
    rbe_tensor_info known = {
        .name = tensor->name,
        .name_bytes = tensor->name_bytes,
        .kind = tensor->kind,
        .rows = tensor->rows,
        .cols = tensor->cols,
        .rotation_block = tensor->rotation_block,
        .seed = tensor->seed,
        .n_planes = tensor->n_planes,
        .error = tensor->error,
        .data_bytes = tensor->data_bytes,
    };
    for (uint32_t p = 0; p < tensor->n_planes; p++) {
        known.plane_bits[p] = tensor->planes[p].bits;
    }
    return rbe__give_info("rbe_model_tensor", out, &known, sizeof known);
}

rbe_status rbe_model_tensor_rows(const rbe_model *model, uint32_t index, uint32_t first_row, uint32_t n_rows, float *out)
{
    if (!model || !out || index >= model->pack.n_tensors) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_tensor_rows: no tensor %u", index);
    }
    const rbe__tensor *tensor = &model->pack.tensors[index];
    if (first_row > tensor->rows || n_rows > tensor->rows - first_row) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_tensor_rows: rows %u + %u of %u", first_row, n_rows, tensor->rows);
    }
    RBE_TRY(rbe__verification_wait(model->verification, NULL, NULL));
    for (uint32_t r = 0; r < n_rows; r++) {
        rbe__tensor_row(&model->kernels, tensor, 0, first_row + r, out + (size_t)r * tensor->cols);
        rbe__residency_release_all(&model->residency);
    }
    return RBE_OK;
}
