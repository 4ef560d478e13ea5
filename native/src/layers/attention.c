#include <math.h>
#include <string.h>

#include "layers/layers.h"

static size_t kv_offset(const rbe__kv_layer *cache, uint32_t kv_head, uint32_t position)
{
    return ((size_t)kv_head * cache->context + position) * cache->head_dim * (cache->f32 ? 4 : 2);
}

void rbe__kv_store(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t position, const float *k, const float *v)
{
    uint32_t dim = cache->head_dim;
    for (uint32_t h = 0; h < cache->n_kv_heads; h++) {
        uint8_t *key = (uint8_t *)cache->keys + kv_offset(cache, h, position);
        uint8_t *value = (uint8_t *)cache->values + kv_offset(cache, h, position);
        if (cache->f32) {
            memcpy(key, k + h * dim, dim * sizeof *k);
            memcpy(value, v + h * dim, dim * sizeof *v);
        } else {
            kernels->to_half(k + h * dim, dim, (uint16_t *)(void *)key);
            kernels->to_half(v + h * dim, dim, (uint16_t *)(void *)value);
        }
    }
}

void rbe__softcap(float *x, size_t n, float cap)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = cap * tanhf(x[i] / cap);
    }
}

static void softmax(float *x, uint32_t n)
{
    float most = x[0], total = 0;
    for (uint32_t i = 1; i < n; i++) {
        most = x[i] > most ? x[i] : most;
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - most);
        total += x[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] /= total;
    }
}

typedef struct attend_call {
    rbe__workspace *workspace;
    const rbe__attention *attention;
} attend_call;

/* One head of one token. */
static void attend_item(void *context, uint32_t item, uint32_t thread)
{
    const attend_call *call = context;
    const rbe__attention *attention = call->attention;
    const rbe__kv_layer *cache = attention->cache;
    const rbe_kernels *kernels = call->workspace->kernels;
    float *scores = call->workspace->threads[thread].scores;
    uint32_t token = item / attention->n_heads, head = item % attention->n_heads;
    uint32_t end = attention->first_position + token + 1;
    uint32_t begin = attention->window && end > attention->window ? end - attention->window : 0;
    uint32_t n = end - begin;
    uint32_t kv_head = head / (attention->n_heads / cache->n_kv_heads);
    size_t at = ((size_t)token * attention->n_heads + head) * cache->head_dim;
    const uint8_t *keys = (const uint8_t *)cache->keys + kv_offset(cache, kv_head, begin);
    const uint8_t *values = (const uint8_t *)cache->values + kv_offset(cache, kv_head, begin);

    (cache->f32 ? kernels->scores_f32 : kernels->scores_f16)(attention->q + at, keys, cache->head_dim, n, scores);
    for (uint32_t i = 0; i < n; i++) {
        scores[i] *= attention->scale;
    }
    if (attention->softcap != 0.0f) {
        rbe__softcap(scores, n, attention->softcap);
    }
    softmax(scores, n);
    (cache->f32 ? kernels->mix_f32 : kernels->mix_f16)(scores, values, cache->head_dim, n, attention->out + at);
}

void rbe__attend(rbe__workspace *workspace, const rbe__attention *attention)
{
    attend_call call = {workspace, attention};
    rbe__pool_run(workspace->pool, attention->n_tokens * attention->n_heads, attend_item, &call);
}
