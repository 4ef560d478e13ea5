#include "model/experts_config.h"

#include <stdlib.h>

#include "base/status.h"
#include "model/parts.h"

#define KEY_LAYERS "experts.layers"
#define KEY_SHARED "experts.shared"
#define KEY_SHARE "experts.shared.share"
#define MOST_EXPERTS 4096u
#define MOST_WIDTH (1u << 22)

rbe_status rbe__experts_config_read(rbe__config_source from, rbe__config *config)
{
    static const char *const scores[] = {[RBE_SCORE_SOFTMAX] = "softmax", [RBE_SCORE_SIGMOID] = "sigmoid", NULL};
    static const char *const others[] = {"experts.used",
                                         "experts.feed_forward",
                                         "experts.score",
                                         "experts.normalize",
                                         "experts.scale",
                                         KEY_LAYERS,
                                         KEY_SHARED,
                                         KEY_SHARE,
                                         NULL};
    rbe__experts_config *out = &config->experts;
    int score;
    uint32_t normalizes, share;
    RBE_TRY(rbe__config_u64(from, "experts", 1, MOST_EXPERTS, 1, &out->n));
    if (!out->n) {
        for (uint32_t i = 0; others[i]; i++) {
            if (rbe__pack_metadata(from.pack, others[i])) {
                return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `experts` is missing, and `%s` is there", from.path, others[i]);
            }
        }
        return RBE_OK;
    }
    RBE_TRY(rbe__config_u64(from, "experts.used", 1, out->n, 0, &out->n_used));
    RBE_TRY(rbe__config_u64(from, "experts.feed_forward", 1, MOST_WIDTH, 0, &out->feed_forward));
    RBE_TRY(rbe__config_choice(from, "experts.score", scores, 0, &score));
    RBE_TRY(rbe__config_u64(from, "experts.normalize", 0, 1, 1, &normalizes));
    RBE_TRY(rbe__config_f64(from, "experts.scale", 0, 1, &out->scale));
    (void)rbe__config_find(from, KEY_LAYERS);
    RBE_TRY(rbe__layer_array_read(from.pack, from.path, KEY_LAYERS, config->n_layers, 1, &out->layers));
    RBE_TRY(rbe__config_u64(from, KEY_SHARED, 1, MOST_WIDTH, 1, &out->shared));
    RBE_TRY(rbe__config_u64(from, KEY_SHARE, 0, 1, 1, &share));
    if (share && !out->shared) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `" KEY_SHARED "` is missing, and `" KEY_SHARE "` is there", from.path);
    }
    out->score = (rbe__expert_score)score;
    out->normalizes = normalizes != 0;
    out->shared_share = share != 0;
    return RBE_OK;
}

static int has_experts(const rbe_model *model, uint32_t layer)
{
    const rbe__experts_config *experts = &model->config.experts;
    return experts->n && (!experts->layers || rbe__layer_array_value(experts->layers, layer));
}

static uint64_t count_before(const rbe_model *model, uint32_t end_layer)
{
    uint64_t n = 0;
    for (uint32_t i = model->stack.first_layer; i < end_layer; i++) {
        n += has_experts(model, i) ? model->config.experts.n : 0;
    }
    return n;
}

uint64_t rbe__experts_count(const rbe_model *model)
{
    return count_before(model, model->stack.end_layer);
}

rbe_status rbe__experts_take(rbe_model *model, const char *path)
{
    if (!model->config.experts.n) {
        return RBE_OK;
    }
    const uint64_t n = rbe__experts_count(model);
    if (n > model->pack.n_tensors) { /* each has two at least */
        return rbe_fail(RBE_ERROR_FORMAT, "%s: its layers have %llu experts and the file has %u tensors", path, (unsigned long long)n,
                        model->pack.n_tensors);
    }
    model->stack.experts = calloc(n ? (size_t)n : 1, sizeof *model->stack.experts);
    return model->stack.experts ? RBE_OK : rbe_fail(RBE_ERROR_MEMORY, "%s: no memory for %llu experts", path, (unsigned long long)n);
}

rbe__experts_shape rbe__experts_of_layer(const rbe_model *model, uint32_t layer)
{
    const rbe__config *config = &model->config;
    if (!has_experts(model, layer)) {
        return (rbe__experts_shape){0};
    }
    const uint64_t first = count_before(model, layer);
    return (rbe__experts_shape){
        .n = config->experts.n,
        .n_used = config->experts.n_used,
        .width = config->experts.feed_forward,
        .activation = config->activation,
        .gated = config->gated,
        .score = config->experts.score,
        .normalizes = config->experts.normalizes,
        .scale = config->experts.scale,
        .shared_width = config->experts.shared,
        .shared_has_share = config->experts.shared_share,
        .experts = model->stack.experts + first,
        .first_expert = (uint32_t)first,
    };
}

/* From the first to the last byte of what a token reads of an expert. */
static rbe__expert_area area_of(const rbe_model *model, const rbe__expert *expert)
{
    const rbe__tensor *const matrices[] = {expert->gate.weight, expert->up.weight, expert->down.weight};
    uint64_t first = UINT64_MAX, end = 0;
    for (int i = 0; i < 3; i++) {
        if (matrices[i]) {
            const uint64_t offset = (uint64_t)(matrices[i]->data - model->pack.file.data);
            first = offset < first ? offset : first;
            end = offset + matrices[i]->data_bytes > end ? offset + matrices[i]->data_bytes : end;
        }
    }
    return (rbe__expert_area){first, end - first};
}

rbe_status rbe__experts_limit(rbe_model *model)
{
    const uint64_t n = rbe__experts_count(model);
    if (!model->residency.expert_bytes || !n) {
        return RBE_OK;
    }
    rbe__expert_area *areas = calloc((size_t)n, sizeof *areas);
    if (!areas) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for the list of %llu experts", (unsigned long long)n);
    }
    for (uint64_t e = 0; e < n; e++) {
        areas[e] = area_of(model, &model->stack.experts[e]);
    }
    const rbe_status status = rbe__expert_pages_create(&model->pack.file, areas, (uint32_t)n, model->residency.expert_bytes,
                                                       &model->stack.expert_pages);
    if (status != RBE_OK) {
        free(areas);
    }
    return status;
}

rbe_status rbe__experts_check(const rbe_model *model, const char *path)
{
    const int has_part = rbe__pack_requires(&model->pack, RBE_PART_EXPERTS);
    if (has_part != (model->config.experts.n != 0)) {
        return rbe_fail(RBE_ERROR_FORMAT,
                        has_part ? "%s: it has the part `experts`, and its metadata say nothing of experts"
                                 : "%s: its metadata name experts, and it lacks the part `experts`",
                        path);
    }
    const int has_shared = rbe__pack_requires(&model->pack, RBE_PART_SHARED_EXPERT);
    if (has_shared != (model->config.experts.shared != 0)) {
        return rbe_fail(RBE_ERROR_FORMAT,
                        has_shared ? "%s: it has the part `shared_expert`, and its metadata say nothing of one"
                                   : "%s: its metadata name a shared expert, and it lacks the part `shared_expert`",
                        path);
    }
    if (has_part && model->config.encoder_layers) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: an encoder-decoder with experts is not computed", path);
    }
    return RBE_OK;
}
