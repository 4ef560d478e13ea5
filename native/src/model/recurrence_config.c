#include "model/recurrence_config.h"

#include <math.h>

#include "base/status.h"

#define MOST_HEADS 4096u
#define KEY_EPSILON "recurrence.epsilon"

static const char *const keys[] = {"recurrence.key_heads", "recurrence.value_heads", "recurrence.key_dim", "recurrence.value_dim",
                                   "recurrence.taps"};

enum { N_KEYS = sizeof keys / sizeof keys[0] };

rbe_status rbe__recurrence_read(rbe__config_source from, rbe__mixer rule, rbe__recurrence_shape *out, float *epsilon)
{
    uint32_t *const values[N_KEYS] = {&out->n_keys, &out->n_values, &out->key_dim, &out->value_dim, &out->taps};
    const uint32_t most[N_KEYS] = {MOST_HEADS, MOST_HEADS, RBE_MOST_RECURRENCE_DIM, RBE_MOST_RECURRENCE_DIM, RBE_MOST_TAPS};
    const int is_there = rule != RBE_MIXER_ATTENTION;
    *out = (rbe__recurrence_shape){.rule = rule};
    if (!is_there && rbe__pack_metadata(from.pack, KEY_EPSILON)) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `" KEY_EPSILON "` without layers of delta nets or state spaces", from.path);
    }
    RBE_TRY(rbe__config_f64(from, KEY_EPSILON, 0, 0, epsilon));
    for (int i = 0; i < N_KEYS; i++) {
        if ((rbe__pack_metadata(from.pack, keys[i]) != NULL) != is_there) {
            return rbe_fail(RBE_ERROR_FORMAT,
                            "%s: layers of delta nets or state spaces and the metadata `%s` belong together, and one is missing", from.path,
                            keys[i]);
        }
        RBE_TRY(rbe__config_u64(from, keys[i], 1, most[i], !is_there, values[i]));
    }
    if (is_there && out->n_values % out->n_keys != 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: metadata `recurrence.key_heads` (%u) does not divide `recurrence.value_heads` (%u)",
                        from.path, out->n_keys, out->n_values);
    }
    return RBE_OK;
}

rbe_status rbe__recurrence_check(const rbe_model *model, const char *path)
{
    const rbe__stack *stack = &model->stack;
    for (uint32_t i = stack->first_layer; !model->pack.index_only && i < stack->end_layer; i++) {
        const rbe__block *block = &stack->layers[i].blocks[0];
        for (uint32_t h = 0; block->kind == &rbe__recurrence_kind && h < block->as.recurrence.shape.n_values; h++) {
            const float rate = block->as.recurrence.rate[h];
            if (!(rate > 0.0f && isfinite(rate))) {
                return rbe_fail(RBE_ERROR_FORMAT, "%s: tensor `layers.%u.recurrence.rate` has a number that is not finite and positive",
                                path, i);
            }
        }
    }
    return RBE_OK;
}
