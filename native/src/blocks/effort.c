#include "blocks/effort.h"

#include <string.h>

void rbe__effort_take(rbe__effort *effort, uint32_t n_layers, rbe__arena *arena)
{
    effort->attention = rbe__arena_take(arena, n_layers, 1);
    effort->feed_forward = rbe__arena_take(arena, n_layers, 1);
    if (arena->memory) {
        memset(effort->attention, 0, n_layers);
        memset(effort->feed_forward, 0, n_layers);
    }
    effort->embedding = effort->lm_head = 0;
}

void rbe__effort_set(rbe__effort *effort, uint32_t n_layers, const uint32_t planes[RBE_PLANES_KINDS])
{
    memset(effort->attention, (int)planes[RBE_PLANES_ATTENTION], n_layers);
    memset(effort->feed_forward, (int)planes[RBE_PLANES_FEED_FORWARD], n_layers);
    effort->embedding = planes[RBE_PLANES_EMBEDDING];
    effort->lm_head = planes[RBE_PLANES_LM_HEAD];
}

static void copy_list(uint8_t *to, const uint8_t *from, uint32_t n_layers)
{
    if (from) {
        memcpy(to, from, n_layers);
    } else {
        memset(to, 0, n_layers);
    }
}

void rbe__effort_copy(rbe__effort *to, const rbe__effort *from, uint32_t n_layers)
{
    copy_list(to->attention, from->attention, n_layers);
    copy_list(to->feed_forward, from->feed_forward, n_layers);
    to->embedding = from->embedding;
    to->lm_head = from->lm_head;
}

int rbe__effort_equal(const rbe__effort *one, const rbe__effort *other, uint32_t n_layers)
{
    return one->embedding == other->embedding && one->lm_head == other->lm_head &&
           memcmp(one->attention, other->attention, n_layers) == 0 && memcmp(one->feed_forward, other->feed_forward, n_layers) == 0;
}

uint32_t rbe__effort_of_layer(const rbe__effort *effort, uint32_t kind, uint32_t layer)
{
    const uint8_t *list = kind == RBE_PLANES_ATTENTION ? effort->attention : effort->feed_forward;
    return list ? list[layer] : 0;
}

uint32_t rbe__effort_least(const rbe__effort *effort, uint32_t kind, uint32_t first_layer, uint32_t end_layer)
{
    uint32_t least = RBE_MAX_PLANES;
    if (kind == RBE_PLANES_EMBEDDING || kind == RBE_PLANES_LM_HEAD) {
        const uint32_t planes = kind == RBE_PLANES_EMBEDDING ? effort->embedding : effort->lm_head;
        return planes ? planes : least;
    }
    for (uint32_t i = first_layer; i < end_layer; i++) {
        const uint32_t planes = rbe__effort_of_layer(effort, kind, i);
        least = planes && planes < least ? planes : least;
    }
    return least;
}

uint64_t rbe__tensor_read_bytes(const rbe__tensor *tensor, uint32_t most_planes)
{
    if (!tensor || !rbe__tensor_is_trellis(tensor)) {
        return tensor ? tensor->data_bytes : 0;
    }
    const rbe__bands bands = rbe__tensor_bands(tensor);
    uint64_t bytes = 0;
    for (uint32_t b = 0; b < bands.n; b++) {
        const rbe__tensor *band = &bands.first[b];
        for (uint32_t p = 0; p < rbe__planes_read(band, most_planes); p++) {
            bytes += rbe__stream_bytes(&band->layout, band->planes[p].bits) + 2ull * band->rows;
        }
    }
    return bytes;
}

uint64_t rbe__effort_bytes(const rbe__stack *stack, const rbe__effort *effort)
{
    uint64_t bytes = rbe__tensor_read_bytes(stack->lm_head.weight, effort->lm_head);
    if (stack->embedding) {
        bytes += rbe__tensor_read_bytes(stack->embedding, effort->embedding) / stack->embedding->rows;
    }
    if (stack->layer_inputs.table) {
        bytes += rbe__tensor_read_bytes(stack->layer_inputs.table, effort->embedding) / stack->layer_inputs.table->rows;
        bytes += rbe__tensor_read_bytes(stack->layer_inputs.projection.weight, effort->embedding);
    }
    for (uint32_t i = stack->first_layer; i < stack->end_layer; i++) {
        for (uint32_t b = 0; b < stack->layers[i].n_blocks; b++) {
            const rbe__block *block = &stack->layers[i].blocks[b];
            bytes += block->kind->read_bytes(block, rbe__effort_of_layer(effort, block->kind->matrices, i));
        }
    }
    return bytes;
}
