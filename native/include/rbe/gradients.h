/* gradients.h: the gradient of a loss by everything that a model learns, layer by layer. docs/gradients.md.
 *
 * For packers and for tuning; running a model needs none of it. The model's matrices are fp32 (rbe pack --bits 32). The caller keeps the hidden
 * states before every layer and behind the last one (rbe_session_embed, rbe_session_run_layers) and goes backwards: rbe_gradients_head,
 * rbe_gradients_layer for the last layer to the first, rbe_gradients_embedding. (Of an encoder-decoder: the same with
 * rbe_gradients_cross_layer, then the encoder's rbe_gradients_norm and rbe_gradients_layer.) Each call computes its layer again from the hidden
 * states, so that memory is that of one layer. Of a mixture, matrices of experts are shown for each window apart with those of its tokens that have
 * chosen the expert (n_tokens is their number); what no token has chosen is not shown. All is fp32; sums have a fixed order, so that bits depend
 * neither on the number of threads nor on the processor.
 *
 * A call takes n_tokens tokens in windows of window_tokens (0: one window of all), each a text of its own from position 0 on; the last one may be
 * shorter. The loss is the sum over the tokens. The conventions are those of rbe.h. An rbe_gradients is used by one thread at a time, in
 * callbacks by that thread; any thread may cancel.
 */
#ifndef RBE_GRADIENTS_H
#define RBE_GRADIENTS_H

#include "rbe/rbe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rbe_gradients rbe_gradients;

typedef struct rbe_gradients_options {
    size_t struct_bytes;
    uint32_t most_tokens;     /* of one call, 1 to 65536; 0: 512 */
    uint32_t
        context_tokens; /* of the longest window, at most the model's; 0: most_tokens, or the model's where that is less. It decides, as for a
                               * session, which rotary table is used */
    uint32_t n_threads; /* 1 to 64; 0: all cores */
    uint32_t gains; /* 1: compute rbe_gradient.gains too */
    uint32_t encoder; /* 1: of the encoder in front of a decoder (encoder_decoder.h), whose layers count from 0 */
} rbe_gradients_options;

/* Takes all memory but that of products: 4 (7 width + 7 heads x head_dim + 6 kv_heads x head_dim + 4 feed_forward, and 12 width where layers are
 * short convolutions) bytes per token, each the most that a layer has; for each thread 4 (160 + 2 head_dim) per token of a window, and at most 128 MB
 * for logits. Where layers are recurrent, with keys = key_heads x key_dim and inner = value_heads x value_dim, 4 (2 width + 8 keys + 10 inner +
 * 2 value_heads x key_dim + 2 key_heads + 10 value_heads) bytes per token more, and for each thread 4 (2 sqrt(window) + 2) key_dim x value_dim. For a mixture of experts 4 (3 width + 3 experts + 3 used, and 3 with a share) bytes per token more, and feed_forward is the widest part or expert. Cross
 * attention adds 4 (3 width + 6 heads x head_dim + 4 kv_heads x head_dim) per token. options may be NULL. RBE_ERROR_UNSUPPORTED where a matrix is not
 * fp32, RBE_ERROR_ARGUMENT where there is no such encoder. Free it before the model is closed. */
RBE_API rbe_status rbe_gradients_create(const rbe_model *model, const rbe_gradients_options *options, rbe_gradients **out);
RBE_API void rbe_gradients_free(rbe_gradients *gradients);

/* Makes the call that runs, or else the next one, return RBE_ERROR_CANCELLED. What it was to write is then of no use. Any thread. */
RBE_API void rbe_gradients_cancel(rbe_gradients *gradients);

/* Takes a cancel back that came when no call ran any more. Not during a call. */
RBE_API void rbe_gradients_uncancel(rbe_gradients *gradients);

/* One matrix, or rows of it, or one vector (a norm or a bias). The gradient of a matrix is d^T x: the caller sums it (rbe_gradients_add), or makes
 * of the two what it needs. Everything is valid during the call only. */
typedef struct rbe_gradient {
    size_t struct_bytes;
    const char *name; /* of the tensor, zero-terminated; a tied lm_head is `embedding` */
    uint32_t layer; /* the number of layers: of the head */
    uint32_t rows, cols; /* of the tensor; rows 1 of a vector */
    uint32_t first_row; /* of a matrix: the rows that d is of are first_row ... first_row + n_rows - 1; the head comes in several parts */
    uint32_t n_rows;
    uint32_t n_tokens;
    uint32_t window_tokens; /* of each window but perhaps the last; never 0 */
    const float *x; /* [n_tokens][cols] what the matrix reads; NULL: a vector, or the taps of a convolution */
    const float
        *d; /* [n_tokens][n_rows] gradient by what the matrix gives; of a vector its gradient [cols], summed over the tokens, and so of taps
                     * [rows][cols] */
    const float *gains; /* [n_rows] gradient by a factor of each row, at 1; NULL unless asked for */
} rbe_gradient;

/* A non-zero return cancels. */
typedef int (*rbe_gradient_callback)(const rbe_gradient *gradient, void *user);

#define RBE_DRAW_TOKEN 0xFFFFFFFEu

/* hidden: float[n_tokens][width] behind the last layer. labels[n]: the token that should follow; RBE_NO_TOKEN: none, no loss; RBE_DRAW_TOKEN is
 * replaced by one drawn from the model's own prediction by draw n of `seed`. nats[n] = -log p(label), 0 where there is none; may be NULL. d_hidden:
 * the gradient by hidden. `show`, which may be NULL, is shown the head, its bias and the last norm. RBE_ERROR_ARGUMENT for a label that is none, RBE_ERROR_UNSUPPORTED where there is no head of words. */
RBE_API rbe_status rbe_gradients_head(rbe_gradients *gradients, const float *hidden, size_t n_tokens, uint32_t window_tokens,
                                      uint32_t *labels, uint64_t seed, double *nats, float *d_hidden, rbe_gradient_callback show,
                                      void *user);

/* The same toward what a source predicts: the loss of token n, nats[n], is the divergence KL(source || model), summed over the whole vocabulary.
 * source_hidden: float[n_tokens][the source's width] behind its last layer; its lm_head is fp32, its vocabulary of the same size. nats or d_hidden
 * may be NULL; without d_hidden nothing is shown, and a third of the work is saved. The first call takes memory like that for logits again. It reads
 * the source, and changes nothing of it. A divergence of zero is so up to rounding, about 1e-6. RBE_ERROR_ARGUMENT where the vocabularies differ,
 * RBE_ERROR_UNSUPPORTED where the source's lm_head is not fp32, RBE_ERROR_MEMORY. */
RBE_API rbe_status rbe_gradients_head_toward(rbe_gradients *gradients, const float *hidden, const rbe_model *source,
                                             const float *source_hidden, size_t n_tokens, uint32_t window_tokens, double *nats,
                                             float *d_hidden, rbe_gradient_callback show, void *user);

/* d_hidden, the gradient behind the last norm, becomes that before it, behind the last layer, where hidden: float[n_tokens][width] is; the same where
 * the model has no last norm. For what is made of hidden states without a head of words, such as a vector for a text. `show` may be NULL. */
RBE_API rbe_status rbe_gradients_norm(rbe_gradients *gradients, const float *hidden, size_t n_tokens, uint32_t window_tokens,
                                      float *d_hidden, rbe_gradient_callback show, void *user);

/* hidden: float[n_tokens][width] before the layer. d_hidden: the gradient behind the layer, replaced by that before it. `show` may be NULL. */
RBE_API rbe_status rbe_gradients_layer(rbe_gradients *gradients, uint32_t layer, const float *hidden, size_t n_tokens,
                                       uint32_t window_tokens, float *d_hidden, rbe_gradient_callback show, void *user);

/* The texts that windows of an answer belong to, in their order, one for each window. Both sizes are at most those of the windows of a call. */
typedef struct rbe_gradients_text {
    size_t struct_bytes;
    const float *hidden; /* [n_tokens][width] behind the encoder's last norm, all texts */
    float *d_hidden; /* the same: the gradient by these is added to it */
    uint32_t n_tokens;
    uint32_t window_tokens; /* of each text but perhaps the last; 0: one text of all */
} rbe_gradients_text;

/* rbe_gradients_layer of a decoder that answers to texts: text->d_hidden += what this layer adds to the gradient by the encoder's hidden states.
 * Cleared before the last layer, it is complete behind the first one, and what rbe_gradients_norm of the encoder's gradients begins with.
 * RBE_ERROR_ARGUMENT where there are not as many texts as windows, or text is NULL. */
RBE_API rbe_status rbe_gradients_cross_layer(rbe_gradients *gradients, uint32_t layer, const float *hidden, size_t n_tokens,
                                             uint32_t window_tokens, const rbe_gradients_text *text, float *d_hidden,
                                             rbe_gradient_callback show, void *user);

/* hidden: float[n_tokens][width] before the layer becomes that behind it; with the number of layers, what stands behind the last norm. text: as of
 * rbe_gradients_cross_layer, but for d_hidden, which may be NULL; NULL where no text is read. What the layers of an encoder in front of a decoder
 * are given, no session shows. RBE_ERROR_UNSUPPORTED where layers need more of a token than hidden states (layer_embeddings.h). */
RBE_API rbe_status rbe_gradients_forward(rbe_gradients *gradients, uint32_t layer, float *hidden, size_t n_tokens, uint32_t window_tokens,
                                         const rbe_gradients_text *text);

/* Adds to embedding [n_vocabulary][width], and to positions [context of the model][width], the gradient by what the tokens looked up. Either may be
 * NULL; positions must be where the model's are not learned. */
RBE_API rbe_status rbe_gradients_embedding(rbe_gradients *gradients, const uint32_t *tokens, size_t n_tokens, uint32_t window_tokens,
                                           const float *d_hidden, float *embedding, float *positions);

/* sum[rows][cols] += d^T x over d [n_tokens][rows] and x [n_tokens][cols], token by token in ascending order. May be called in a callback. */
RBE_API rbe_status rbe_gradients_add(rbe_gradients *gradients, const float *x, const float *d, size_t n_tokens, uint32_t rows,
                                     uint32_t cols, float *sum);

/* Rows of a matrix, with what it reads and the gradient by what they give, as of an rbe_gradient. */
typedef struct rbe_curvature_rows {
    size_t struct_bytes;
    const float *x; /* [n_tokens][cols] */
    const float *d; /* [n_tokens][n_rows] */
    uint32_t n_tokens; /* as of a call, at most most_tokens */
    uint32_t window_tokens; /* 0: one window of all */
    uint32_t n_rows, cols;
} rbe_curvature_rows;

/* sum[cols][cols] += the sum over windows of G^T G, of which the lower triangle is written, and up to 63 values above it; G = d^T x is the gradient
 * of the window by these rows. Where labels are drawn from the model it is, over the windows, the Fisher matrix of the divergence between what the
 * model predicts and what it predicts with other weights, summed over the rows (docs/gradients.md). In a fixed order. Takes memory for the call,
 * 4 window (window + cols) bytes. May be called in a callback. RBE_ERROR_ARGUMENT for NULL and sizes of 0, RBE_ERROR_CONTEXT for more tokens than
 * these gradients were made for, RBE_ERROR_MEMORY. */
RBE_API rbe_status rbe_gradients_add_curvature(rbe_gradients *gradients, const rbe_curvature_rows *rows, float *sum);

#ifdef __cplusplus
}
#endif
#endif
