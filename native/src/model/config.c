#include <math.h>
#include <string.h>

#include "base/status.h"
#include "model/config_values.h"
#include "model/encoder_config.h"
#include "model/encoder_decoder_config.h"
#include "model/experts_config.h"
#include "model/layer_kinds.h"
#include "model/layer_options.h"
#include "model/layer_shapes.h"

rbe_status rbe__config_read(const rbe__pack *pack, const rbe_kernels *kernels, const char *path, rbe__config *out)
{
    static const char *const norm_kinds[RBE_N_NORM_KINDS + 1] = {[RBE_NORM_RMS] = "rms", [RBE_NORM_LAYER] = "layer"};
    static const char *const norm_places[] = {"pre", "sandwich", "post", "after", NULL};
    static const char *const position_kinds[] = {"rope", "learned", "relative", NULL};
    static const char *const activations[] = {"silu", "gelu", "gelu_tanh", "relu", "relu2", NULL};
    rbe__crc crc;
    const rbe__config_source from = {pack, path, &crc, &out->checksum};
    int norm_kind, norm_place, position_kind, activation;
    uint32_t gated;
    memset(out, 0, sizeof *out);
    rbe__crc_init(kernels, &crc);
    RBE_TRY(rbe__config_u64(from, "layers", 1, 4096, 0, &out->n_layers));
    RBE_TRY(rbe__config_u64(from, "width", 1, 1u << 20, 0, &out->width));
    RBE_TRY(rbe__config_u64(from, "vocabulary", 1, 1u << 24, 0, &out->n_vocabulary));
    RBE_TRY(rbe__config_u64(from, "context", 1, 1u << 27, 0, &out->context));
    RBE_TRY(rbe__config_u64(from, "heads", 1, 4096, 0, &out->n_heads));
    RBE_TRY(rbe__config_u64(from, "kv_heads", 1, out->n_heads, 0, &out->n_kv_heads));
    RBE_TRY(rbe__config_u64(from, "head_dim", 1, RBE_MAX_HEAD_DIM, 0, &out->head_dim));
    RBE_TRY(rbe__config_u64(from, "feed_forward", 1, 1u << 22, 0, &out->feed_forward));
    if (out->n_heads % out->n_kv_heads != 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `kv_heads` (%u) does not divide `heads` (%u)", path, out->n_kv_heads, out->n_heads);
    }
    RBE_TRY(rbe__config_choice(from, "norm.kind", norm_kinds, 0, &norm_kind));
    RBE_TRY(rbe__config_choice(from, "norm.place", norm_places, 0, &norm_place));
    RBE_TRY(rbe__config_f64(from, "norm.epsilon", 0, 1e-5, &out->norm_epsilon));
    RBE_TRY(rbe__config_choice(from, "position.kind", position_kinds, 0, &position_kind));
    RBE_TRY(rbe__config_f64(from, "rope.attention_factor", 0, 1, &out->rope_attention_factor));
    RBE_TRY(rbe__config_u64(from, "rope.long_from", 0, 1u << 27, 1, &out->rope_long_from));
    RBE_TRY(rbe__config_f64(from, "rope.long_attention_factor", 0, 1, &out->rope_long_attention_factor));
    RBE_TRY(rbe__config_f64(from, "attention.scale", 0, 1.0 / sqrt(out->head_dim), &out->attention_scale));
    RBE_TRY(rbe__config_f64(from, "attention.softcap", 0, 0, &out->attention_softcap));
    RBE_TRY(rbe__config_f64(from, "logit.softcap", 0, 0, &out->logit_softcap));
    RBE_TRY(rbe__config_choice(from, "feed_forward.activation", activations, 0, &activation));
    RBE_TRY(rbe__config_u64(from, "feed_forward.gated", 0, 1, 0, &gated));
    RBE_TRY(rbe__config_f64(from, "embedding.scale", 0, 1, &out->embedding_scale));
    (void)rbe__config_find(from, RBE_KEY_WINDOWS); /* read where the layers are bound */
    (void)rbe__config_find(from, RBE_KEY_ROPE_TABLES);
    out->norm_kind = (rbe__norm_kind)norm_kind;
    out->norm_place = (rbe__norm_place)norm_place;
    out->activation = (rbe__activation)activation;
    out->gated = gated != 0;
    out->position_kind = (rbe__position_kind)position_kind;
    RBE_TRY(rbe__layer_options_read(from, out));
    RBE_TRY(rbe__experts_config_read(from, out));
    RBE_TRY(rbe__encoder_config_read(from, &out->encoder));
    RBE_TRY(rbe__encoder_decoder_config_read(from, out));
    RBE_TRY(rbe__layer_kinds_read(from, out));
    return rbe__layer_shapes_read(from, out);
}

rbe_status rbe__layer_array_read(const rbe__pack *pack, const char *path, const char *key, uint32_t n_layers, uint32_t most,
                                 const rbe_metadata **out)
{
    *out = rbe__pack_metadata(pack, key);
    if (!*out) {
        return RBE_OK;
    }
    if ((*out)->type != RBE_VALUE_U64_ARRAY || (*out)->count != n_layers) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `%s` is no array of %u numbers, one per layer", path, key, n_layers);
    }
    for (uint32_t i = 0; i < n_layers; i++) {
        uint64_t value;
        memcpy(&value, (const uint8_t *)(*out)->data + 8 * (size_t)i, sizeof value);
        if (value > most) {
            return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `%s`: %llu for layer %u is more than %u", path, key, (unsigned long long)value,
                            i, most);
        }
    }
    return RBE_OK;
}

uint32_t rbe__layer_array_value(const rbe_metadata *array, uint32_t layer)
{
    uint64_t value = 0;
    if (array) {
        memcpy(&value, (const uint8_t *)array->data + 8 * (size_t)layer, sizeof value);
    }
    return (uint32_t)value;
}
