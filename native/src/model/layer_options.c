#include "model/layer_options.h"

#include "base/status.h"
#include "model/parts.h"

static int has_key(rbe__config_source from)
{
    static const char *const keys[] = {
        RBE_KEY_ROTARY_LAYERS,   "attention.norm_span",          "attention.norm_kind", "attention.norm_after_rope",
        "attention.temperature", "attention.temperature_tokens", "layer.parallel"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (rbe__pack_metadata(from.pack, keys[i])) {
            return 1;
        }
    }
    return 0;
}

static rbe_status read_temperature(rbe__config_source from, rbe__head_options *out)
{
    const int has_tokens = rbe__pack_metadata(from.pack, "attention.temperature_tokens") != NULL;
    RBE_TRY(rbe__config_f64(from, "attention.temperature", 0, 0, &out->temperature));
    RBE_TRY(rbe__config_u64(from, "attention.temperature_tokens", 1, 1u << 27, 1, &out->temperature_tokens));
    return has_tokens == (rbe__pack_metadata(from.pack, "attention.temperature") != NULL)
               ? RBE_OK
               : rbe_fail(RBE_ERROR_FORMAT,
                          "%s: metadata `attention.temperature` and `attention.temperature_tokens` belong together, and one is missing",
                          from.path);
}

rbe_status rbe__layer_options_read(rbe__config_source from, rbe__config *config)
{
    static const char *const kinds[RBE_N_NORM_KINDS + 1] = {[RBE_NORM_RMS] = "rms", [RBE_NORM_LAYER] = "layer"};
    static const char *const spans[] = {
        [RBE_HEAD_NORM_SHARED] = "head", [RBE_HEAD_NORM_EACH] = "each", [RBE_HEAD_NORM_WHOLE] = "whole", NULL};
    rbe__layer_options *out = &config->layer_options;
    int kind, span;
    uint32_t after_rope, parallel;
    out->has_any = has_key(from) || config->norm_place == RBE_NORM_AFTER;
    (void)rbe__config_find(from, RBE_KEY_ROTARY_LAYERS); /* read where the layers are bound */
    RBE_TRY(rbe__config_choice(from, "attention.norm_kind", kinds, 1, &kind));
    RBE_TRY(rbe__config_choice(from, "attention.norm_span", spans, 1, &span));
    RBE_TRY(rbe__config_u64(from, "attention.norm_after_rope", 0, 1, 1, &after_rope));
    RBE_TRY(rbe__config_u64(from, "layer.parallel", 0, 1, 1, &parallel));
    RBE_TRY(read_temperature(from, &out->heads));
    out->heads.norm_kind = (rbe__norm_kind)kind;
    out->heads.norm_span = (rbe__head_norm_span)span;
    out->heads.norms_after_rope = after_rope != 0;
    out->parallel = parallel != 0;
    if (after_rope && (kind != RBE_NORM_RMS || span != RBE_HEAD_NORM_SHARED)) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED,
                        "%s: norms behind rotary positions are RMS of each head with the same weights; this file's are not", from.path);
    }
    if (parallel && config->norm_place != RBE_NORM_PRE) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED,
                        "%s: blocks side by side (`layer.parallel`) have norms before them; this file says otherwise", from.path);
    }
    return RBE_OK;
}

rbe_status rbe__layer_options_check(const rbe_model *model, const char *path)
{
    const int has_part = rbe__pack_requires(&model->pack, RBE_PART_LAYER_OPTIONS);
    if (has_part == model->config.layer_options.has_any) {
        return RBE_OK;
    }
    return rbe_fail(RBE_ERROR_FORMAT,
                    has_part ? "%s: it has the part `layer_options`, and its metadata name none"
                             : "%s: its metadata have layer options, and it lacks the part `layer_options`",
                    path);
}
