#include <math.h>
#include <string.h>

#include "base/status.h"
#include "kernels/checksum.h"
#include "model/model.h"

typedef struct source {
    const rbe__pack *pack;
    const char *path;
    const rbe__crc *crc;
    uint32_t *checksum; /* of what was found so far */
} source;

/* NULL where there is none. */
static const rbe_metadata *find(source from, const char *key)
{
    const rbe_metadata *entry = rbe__pack_metadata(from.pack, key);
    if (entry) {
        const uint32_t facts[2] = {entry->type, entry->count};
        const size_t value_bytes = entry->type == RBE_VALUE_STRING ? 1 : 8;
        *from.checksum = rbe__crc_update(from.crc, *from.checksum, entry->key, entry->key_bytes);
        *from.checksum = rbe__crc_update(from.crc, *from.checksum, facts, sizeof facts);
        *from.checksum = rbe__crc_update(from.crc, *from.checksum, entry->data, value_bytes * entry->count);
    }
    return entry;
}

static rbe_status read_u64(source from, const char *key, uint64_t least, uint64_t most, int optional, uint32_t *out)
{
    const rbe_metadata *entry = find(from, key);
    *out = 0;
    if (!entry && optional) {
        return RBE_OK;
    }
    if (!entry || entry->type != RBE_VALUE_U64) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `%s` is missing or no whole number", from.path, key);
    }
    uint64_t value;
    memcpy(&value, entry->data, sizeof value);
    if (value < least || value > most) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `%s` is %llu; it must be %llu to %llu", from.path, key, (unsigned long long)value,
                        (unsigned long long)least, (unsigned long long)most);
    }
    *out = (uint32_t)value;
    return RBE_OK;
}

/* Optional, with a default; within +-1e9 and not below `least`. */
static rbe_status read_f64(source from, const char *key, double least, double otherwise, float *out)
{
    const rbe_metadata *entry = find(from, key);
    *out = (float)otherwise;
    if (!entry) {
        return RBE_OK;
    }
    double value = NAN;
    if (entry->type == RBE_VALUE_F64) {
        memcpy(&value, entry->data, sizeof value);
    }
    if (!(value >= least && value <= 1e9)) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `%s` is no number from %g to 1e9", from.path, key, least);
    }
    *out = (float)value;
    return RBE_OK;
}

/* The index of the string among `choices`, which end with NULL. */
static rbe_status read_choice(source from, const char *key, const char *const *choices, int *out)
{
    const rbe_metadata *entry = find(from, key);
    *out = 0;
    if (!entry || entry->type != RBE_VALUE_STRING) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `%s` is missing or no string", from.path, key);
    }
    for (int i = 0; choices[i]; i++) {
        if (entry->count == strlen(choices[i]) && memcmp(entry->data, choices[i], entry->count) == 0) {
            *out = i;
            return RBE_OK;
        }
    }
    return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: metadata `%s` has a value this build does not know; a newer rbe_edge may read it",
                    from.path, key);
}

rbe_status rbe__config_read(const rbe__pack *pack, const rbe_kernels *kernels, const char *path, rbe__config *out)
{
    static const char *const norm_kinds[RBE_N_NORM_KINDS + 1] = {[RBE_NORM_RMS] = "rms", [RBE_NORM_LAYER] = "layer"};
    static const char *const norm_places[] = {"pre", "sandwich", NULL};
    static const char *const position_kinds[] = {"rope", "learned", NULL};
    static const char *const activations[] = {"silu", "gelu", "gelu_tanh", NULL};
    rbe__crc crc;
    const source from = {pack, path, &crc, &out->checksum};
    int norm_kind, activation;
    uint32_t gated;
    memset(out, 0, sizeof *out);
    rbe__crc_init(kernels, &crc);
    RBE_TRY(read_u64(from, "layers", 1, 4096, 0, &out->n_layers));
    RBE_TRY(read_u64(from, "width", 1, 1u << 20, 0, &out->width));
    RBE_TRY(read_u64(from, "vocabulary", 1, 1u << 24, 0, &out->n_vocabulary));
    RBE_TRY(read_u64(from, "context", 1, 1u << 27, 0, &out->context));
    RBE_TRY(read_u64(from, "heads", 1, 4096, 0, &out->n_heads));
    RBE_TRY(read_u64(from, "kv_heads", 1, out->n_heads, 0, &out->n_kv_heads));
    RBE_TRY(read_u64(from, "head_dim", 1, RBE_MAX_HEAD_DIM, 0, &out->head_dim));
    RBE_TRY(read_u64(from, "feed_forward", 1, 1u << 22, 0, &out->feed_forward));
    if (out->n_heads % out->n_kv_heads != 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `kv_heads` (%u) does not divide `heads` (%u)", path, out->n_kv_heads, out->n_heads);
    }
    RBE_TRY(read_choice(from, "norm.kind", norm_kinds, &norm_kind));
    RBE_TRY(read_choice(from, "norm.place", norm_places, &out->sandwich_norms));
    RBE_TRY(read_f64(from, "norm.epsilon", 0, 1e-5, &out->norm_epsilon));
    RBE_TRY(read_choice(from, "position.kind", position_kinds, &out->learned_positions));
    RBE_TRY(read_f64(from, "rope.attention_factor", 0, 1, &out->rope_attention_factor));
    RBE_TRY(read_u64(from, "rope.long_from", 0, 1u << 27, 1, &out->rope_long_from));
    RBE_TRY(read_f64(from, "rope.long_attention_factor", 0, 1, &out->rope_long_attention_factor));
    RBE_TRY(read_f64(from, "attention.scale", 0, 1.0 / sqrt(out->head_dim), &out->attention_scale));
    RBE_TRY(read_f64(from, "attention.softcap", 0, 0, &out->attention_softcap));
    RBE_TRY(read_f64(from, "logit.softcap", 0, 0, &out->logit_softcap));
    RBE_TRY(read_choice(from, "feed_forward.activation", activations, &activation));
    RBE_TRY(read_u64(from, "feed_forward.gated", 0, 1, 0, &gated));
    RBE_TRY(read_f64(from, "embedding.scale", 0, 1, &out->embedding_scale));
    (void)find(from, RBE_KEY_WINDOWS); /* read where the layers are bound */
    (void)find(from, RBE_KEY_ROPE_TABLES);
    out->norm_kind = (rbe__norm_kind)norm_kind;
    out->activation = (rbe__activation)activation;
    out->gated = gated != 0;
    return RBE_OK;
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
