#include "blocks/bind.h"

#include <stdio.h>

#include "base/status.h"

const rbe__tensor *rbe__bind_tensor(rbe__binder *binder, const char *name, uint32_t rows, uint32_t cols, int optional)
{
    if (binder->status != RBE_OK) {
        return NULL;
    }
    const rbe__tensor *tensor = binder->find(binder->context, name);
    if (!tensor) {
        if (!optional) {
            binder->status = rbe_fail(RBE_ERROR_FORMAT, "%s: tensor `%s` is missing", binder->path, name);
        }
        return NULL;
    }
    if (tensor->rows != rows || tensor->cols != cols) {
        binder->status = rbe_fail(RBE_ERROR_FORMAT, "%s: tensor `%.*s` is %u x %u; the hyper-parameters make it %u x %u", binder->path,
                                  (int)tensor->name_bytes, tensor->name, tensor->rows, tensor->cols, rows, cols);
        return NULL;
    }
    return tensor;
}

const float *rbe__bind_vector(rbe__binder *binder, const char *name, uint32_t n, int optional)
{
    const rbe__tensor *tensor = rbe__bind_tensor(binder, name, 1, n, optional);
    if (tensor && tensor->kind != RBE_KIND_F32) {
        binder->status = rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: tensor `%s` is a vector and not fp32", binder->path, name);
    }
    return tensor ? (const float *)(const void *)tensor->data : NULL;
}

rbe__norm rbe__bind_norm(rbe__binder *binder, const char *name, uint32_t width, int optional)
{
    char bias[64];
    snprintf(bias, sizeof bias, "%s.bias", name);
    rbe__norm norm = {rbe__bind_vector(binder, name, width, optional), rbe__bind_vector(binder, bias, width, 1)};
    return norm;
}

void rbe__bind_block_norms(rbe__binder *binder, const char *place, const rbe__layer_shape *shape, int optional, rbe__block *block)
{
    char name[64];
#define NAME(part) (snprintf(name, sizeof name, "%s." part, place), name)
    if (shape->norm_place == RBE_NORM_POST) {
        block->stream_norm = rbe__bind_norm(binder, NAME("stream_norm"), shape->width, 0);
        return;
    }
    if (shape->norm_place != RBE_NORM_AFTER) {
        block->norm = rbe__bind_norm(binder, NAME("norm"), shape->width, optional);
    }
    if (shape->norm_place != RBE_NORM_PRE) {
        block->post_norm = rbe__bind_norm(binder, NAME("post_norm"), shape->width, 0);
    }
#undef NAME
}

rbe__projection rbe__bind_projection(rbe__binder *binder, const char *name, uint32_t rows, uint32_t cols, int optional)
{
    char bias[64];
    snprintf(bias, sizeof bias, "%s.bias", name);
    rbe__projection projection = {rbe__bind_tensor(binder, name, rows, cols, optional), rbe__bind_vector(binder, bias, rows, 1)};
    binder->has_rows_only |= projection.weight && rbe__tensor_by_row(projection.weight);
    binder->has_grouped |= projection.weight && rbe__tensor_is_grouped(projection.weight);
    return projection;
}

void rbe__bind_dense(rbe__binder *binder, const rbe__tensor *tensor)
{
    if (binder->status == RBE_OK && tensor && !rbe__tensor_is_dense(tensor)) {
        binder->status = rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: tensor `%.*s` is neither fp32 nor of 16 bits", binder->path,
                                  (int)tensor->name_bytes, tensor->name);
    }
}

void rbe__bind_shared_rotation(rbe__binder *binder, const rbe__projection *const *projections, int n)
{
    const rbe__tensor *first = NULL;
    for (int i = 0; i < n && binder->status == RBE_OK; i++) {
        const rbe__tensor *tensor = projections[i]->weight;
        if (!tensor || !rbe__tensor_is_trellis(tensor)) {
            continue;
        }
        if (first && (first->rotation_block != tensor->rotation_block || first->seed != tensor->seed)) {
            binder->status = rbe_fail(RBE_ERROR_FORMAT, "%s: tensors `%.*s` and `%.*s` read one activation and have different rotations",
                                      binder->path, (int)first->name_bytes, first->name, (int)tensor->name_bytes, tensor->name);
        }
        first = tensor;
    }
}

/* That of the first bound layer which reads the same source, or one more. */
static void choose_state(rbe__stack *stack, uint32_t index, uint32_t source, rbe__block *block)
{
    block->shares_state = block->kind == &rbe__attention_kind && source != index;
    for (uint32_t i = stack->first_layer; block->shares_state && i < index; i++) {
        const rbe__block *first = &stack->layers[i].blocks[0];
        if (first->kind == &rbe__attention_kind && first->as.attention.shape.source == source) {
            block->state = first->state;
            return;
        }
    }
    block->state = stack->n_states++;
}

void rbe__bind_layer(rbe__binder *binder, uint32_t index, const rbe__layer_shape *shape, rbe__stack *stack)
{
    static const rbe__block_kind *const mixers[] = {[RBE_MIXER_ATTENTION] = &rbe__attention_kind,
                                                    [RBE_MIXER_CONVOLUTION] = &rbe__convolution_kind,
                                                    [RBE_MIXER_DELTA_NET] = &rbe__recurrence_kind,
                                                    [RBE_MIXER_STATE_SPACE] = &rbe__recurrence_kind};
    const rbe__block_kind *const kinds[] = {mixers[shape->mixer], shape->crosses ? &rbe__cross_kind : NULL,
                                            shape->experts.n ? &rbe__experts_kind : &rbe__feed_forward_kind,
                                            shape->layer_embedding.width ? &rbe__layer_embedding_kind : NULL};
    rbe__layer *layer = &stack->layers[index];
    for (uint32_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!kinds[i]) {
            continue;
        }
        rbe__block *block = &layer->blocks[layer->n_blocks++];
        *block = (rbe__block){.kind = kinds[i], .width = shape->width, .norm_kind = shape->norm_kind, .norm_epsilon = shape->norm_epsilon};
        block->first_operation = RBE_OPERATION_BLOCKS;
        for (const rbe__block_kind *const *kind = rbe__block_kinds; *kind != block->kind; kind++) {
            block->first_operation += (*kind)->n_operations;
        }
        block->reads = shape->parallel && i > 0 ? RBE_READS_LAYER_INPUT : RBE_READS_STREAM; /* for the first both are the same */
        if (block->kind->take_state && !(stack->both && stack->n_states)) {
            choose_state(stack, index, shape->attention.source, block);
        }
        block->kind->bind(binder, index, shape, block);
    }
}
