/* The block of cross attention: queries of the answer's tokens, keys and values of the text that each window answers to. */
#include "base/status.h"
#include "gradients/gradients.h"

static const char *name_of(const rbe_gradients *gradients, char name[RBE_GRADIENT_NAME_BYTES], uint32_t layer, const char *part)
{
    return rbe__gradient_name(gradients, name, layer, "cross", part);
}

static rbe__attend_call attend_call(const rbe_gradients *gradients, const rbe__attention_shape *shape)
{
    const rbe_gradients_text *text = gradients->text;
    return (rbe__attend_call){shape,          &gradients->cross,   gradients->n, gradients->window,
                              text->n_tokens, text->window_tokens, .sees_all = 1};
}

/* What goes through matrices next: the tokens of the texts in place of those of the answers, and the other way round. */
typedef struct tokens {
    uint32_t n, window;
} tokens;

static tokens turn_to(rbe_gradients *gradients, tokens next)
{
    const tokens before = {gradients->n, gradients->window};
    gradients->n = next.n;
    gradients->window = next.window;
    return before;
}

static tokens of_text(const rbe_gradients *gradients)
{
    return (tokens){gradients->text->n_tokens, gradients->text->window_tokens};
}

static rbe_status keys_forward(const rbe_gradients *gradients, const rbe__attention_block *cross)
{
    const uint32_t rows = cross->shape.n_kv_heads * cross->shape.head_dim;
    RBE_TRY(rbe__matrix_forward(gradients, &cross->k, 0, rows, gradients->text->hidden, gradients->cross.k));
    return rbe__matrix_forward(gradients, &cross->v, 0, rows, gradients->text->hidden, gradients->cross.v);
}

rbe_status rbe__cross_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out)
{
    const rbe__attention_block *cross = &block->as.attention;
    rbe__attention_memory *memory = &gradients->cross;
    const rbe__attend_call attend = attend_call(gradients, &cross->shape);
    memory->input = rbe__read_stream(gradients, block, layer, x, memory->normed);
    RBE_TRY(rbe__matrix_forward(gradients, &cross->q, 0, cross->shape.n_heads * cross->shape.head_dim, memory->input, memory->q));
    const tokens answers = turn_to(gradients, of_text(gradients));
    const rbe_status status = keys_forward(gradients, cross);
    (void)turn_to(gradients, answers);
    RBE_TRY(status);
    RBE_TRY(rbe__attend_forward(gradients, &attend));
    return rbe__branch_forward(gradients, block, &cross->o, memory->mixed, memory->branch, NULL, x, out);
}

/* text->d_hidden += what comes back through keys and values. */
static rbe_status keys_backward(rbe_gradients *gradients, const rbe__attention_block *cross, uint32_t layer)
{
    const rbe__attention_memory *memory = &gradients->cross;
    const rbe_gradients_text *text = gradients->text;
    char name[RBE_GRADIENT_NAME_BYTES];
    const rbe__matrix k = {&cross->k, name_of(gradients, name, layer, "k"), layer, text->hidden, memory->k};
    RBE_TRY(rbe__matrix_backward(gradients, &k, memory->d_k, 1, text->d_hidden));
    const rbe__matrix v = {&cross->v, name_of(gradients, name, layer, "v"), layer, text->hidden, memory->v};
    return rbe__matrix_backward(gradients, &v, memory->d_v, 1, text->d_hidden);
}

rbe_status rbe__cross_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d)
{
    const rbe__attention_block *cross = &block->as.attention;
    const rbe__attention_memory *memory = &gradients->cross;
    const rbe__attend_call attend = attend_call(gradients, &cross->shape);
    char name[RBE_GRADIENT_NAME_BYTES];
    const float *d_branch;
    RBE_TRY(rbe__branch_backward(gradients, block, layer, "cross", memory->branch, NULL, d, &d_branch));
    const rbe__matrix o = {&cross->o, name_of(gradients, name, layer, "o"), layer, memory->mixed, memory->branch};
    RBE_TRY(rbe__matrix_backward(gradients, &o, d_branch, 0, memory->d_mixed));
    RBE_TRY(rbe__attend_backward(gradients, &attend));
    const rbe__matrix q = {&cross->q, name_of(gradients, name, layer, "q"), layer, memory->input, memory->q};
    RBE_TRY(rbe__matrix_backward(gradients, &q, memory->d_q, 0, gradients->d_normed));
    RBE_TRY(rbe__read_stream_backward(gradients, block, layer, "cross", x, d));
    const tokens answers = turn_to(gradients, of_text(gradients));
    const rbe_status status = keys_backward(gradients, cross, layer);
    (void)turn_to(gradients, answers);
    return status;
}
