#include "model/layer_kinds.h"

#include "base/status.h"
#include "model/parts.h"
#include "model/recurrence_config.h"

#define KEY_KINDS "layer.kinds"
#define KEY_TAPS "convolution.taps"

rbe_status rbe__layer_kinds_read(rbe__config_source from, rbe__config *config)
{
    const rbe_metadata *kinds;
    const int has_taps = rbe__pack_metadata(from.pack, KEY_TAPS) != NULL;
    int has[RBE_MIXER_STATE_SPACE + 1] = {0};
    (void)rbe__config_find(from, KEY_KINDS);
    RBE_TRY(rbe__config_u64(from, KEY_TAPS, 1, RBE_MOST_TAPS, 1, &config->convolution_taps));
    RBE_TRY(rbe__layer_array_read(from.pack, from.path, KEY_KINDS, config->n_layers, RBE_MIXER_STATE_SPACE, &kinds));
    for (uint32_t i = 0; kinds && i < config->n_layers; i++) {
        has[rbe__layer_array_value(kinds, i)] = 1;
    }
    if (has_taps != has[RBE_MIXER_CONVOLUTION]) {
        return rbe_fail(RBE_ERROR_FORMAT,
                        "%s: layers of short convolutions and the metadata `" KEY_TAPS "` belong together, and one is missing", from.path);
    }
    if (kinds && (config->encoder.both || config->encoder_layers)) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: an encoder or an encoder-decoder with `" KEY_KINDS "` is not computed", from.path);
    }
    if (has[RBE_MIXER_DELTA_NET] && has[RBE_MIXER_STATE_SPACE]) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: delta nets and state spaces in one file (metadata `" KEY_KINDS "`) are not computed",
                        from.path);
    }
    config->layer_kinds = kinds;
    return rbe__recurrence_read(from,
                                has[RBE_MIXER_DELTA_NET]     ? RBE_MIXER_DELTA_NET
                                : has[RBE_MIXER_STATE_SPACE] ? RBE_MIXER_STATE_SPACE
                                                             : RBE_MIXER_ATTENTION,
                                &config->recurrence, &config->recurrence_epsilon);
}

rbe__mixer rbe__layer_mixer(const rbe__config *config, uint32_t index)
{
    return (rbe__mixer)rbe__layer_array_value(config->layer_kinds, index);
}

rbe_status rbe__layer_kinds_check(const rbe_model *model, const char *path)
{
    const int has_part = rbe__pack_requires(&model->pack, RBE_PART_LAYER_KINDS);
    if (has_part == (model->config.layer_kinds != NULL)) {
        return RBE_OK;
    }
    return rbe_fail(RBE_ERROR_FORMAT,
                    has_part ? "%s: it has the part `layer_kinds`, and its metadata `" KEY_KINDS "` are missing"
                             : "%s: it has the metadata `" KEY_KINDS "`, and lacks the part `layer_kinds`",
                    path);
}
