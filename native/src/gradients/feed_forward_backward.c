/* The feed-forward block: down(activation(gate(norm(x))) up(norm(x))), with a norm behind it where the model has one. Its matrices are those of a
 * part beside experts, too. */
#include "base/status.h"
#include "gradients/gradients.h"

rbe_status rbe__feed_forward_inner(rbe_gradients *gradients, const rbe__block *block, const rbe__feed_forward_block *feed_forward,
                                   const float *input)
{
    rbe__feed_forward_memory *memory = &gradients->feed_forward;
    const uint32_t inner = feed_forward->shape.width;
    const float *gate = feed_forward->shape.gated ? memory->gate : NULL;
    memory->input = input;
    if (gate) {
        RBE_TRY(rbe__matrix_forward(gradients, &feed_forward->gate, 0, inner, input, memory->gate));
    }
    RBE_TRY(rbe__matrix_forward(gradients, &feed_forward->up, 0, inner, input, memory->up));
    rbe__activation_forward(gradients, feed_forward->shape.activation, gate, memory->up, (size_t)gradients->n * inner, memory->active);
    memory->output_input = rbe__inner_norm_forward(gradients, block, &feed_forward->inner_norm, inner, memory->active,
                                                   memory->inner_normed);
    return RBE_OK;
}

rbe_status rbe__feed_forward_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out)
{
    const rbe__feed_forward_block *feed_forward = &block->as.feed_forward;
    const rbe__feed_forward_memory *memory = &gradients->feed_forward;
    const float *input = rbe__read_stream(gradients, block, layer, x, memory->normed);
    RBE_TRY(rbe__feed_forward_inner(gradients, block, feed_forward, input));
    return rbe__branch_forward(gradients, block, &feed_forward->down, memory->output_input, memory->branch, memory->summed, x, out);
}

rbe_status rbe__feed_forward_inner_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer,
                                            const rbe__feed_forward_back *back)
{
    const rbe__feed_forward_block *feed_forward = back->feed_forward;
    const rbe__feed_forward_memory *memory = &gradients->feed_forward;
    const uint32_t inner = feed_forward->shape.width;
    const int gated = feed_forward->shape.gated;
    char name[RBE_GRADIENT_NAME_BYTES];
    rbe__gradient_name(gradients, name, layer, back->place, "down");
    const rbe__matrix down = {&feed_forward->down, name, layer, memory->output_input, back->given};
    RBE_TRY(rbe__matrix_backward(gradients, &down, back->d, 0, memory->d));
    RBE_TRY(rbe__inner_norm_backward(gradients, block, layer, back->place, &feed_forward->inner_norm, inner, memory->active, memory->d));
    float *d_gate = memory->active; /* which nothing reads any more */
    rbe__activation_backward(gradients, feed_forward->shape.activation, gated ? memory->gate : NULL, memory->up,
                             (size_t)gradients->n * inner, memory->d, d_gate);
    rbe__gradient_name(gradients, name, layer, back->place, "up");
    const rbe__matrix up = {&feed_forward->up, name, layer, memory->input, memory->up};
    RBE_TRY(rbe__matrix_backward(gradients, &up, memory->d, back->add, gradients->d_normed));
    if (gated) {
        rbe__gradient_name(gradients, name, layer, back->place, "gate");
        const rbe__matrix gate = {&feed_forward->gate, name, layer, memory->input, memory->gate};
        RBE_TRY(rbe__matrix_backward(gradients, &gate, d_gate, 1, gradients->d_normed));
    }
    return RBE_OK;
}

rbe_status rbe__feed_forward_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d)
{
    const rbe__feed_forward_memory *memory = &gradients->feed_forward;
    const float *d_branch;
    RBE_TRY(rbe__branch_backward(gradients, block, layer, "feed_forward", memory->branch, memory->summed, d, &d_branch));
    const rbe__feed_forward_back back = {&block->as.feed_forward, "feed_forward", memory->branch, d_branch, 0};
    RBE_TRY(rbe__feed_forward_inner_backward(gradients, block, layer, &back));
    return rbe__read_stream_backward(gradients, block, layer, "feed_forward", x, d);
}
