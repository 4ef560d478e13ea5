/* What the parts of the backward pass work in. All activations are fp32 [token][values]. Work is shared by rows, or by columns of sums over
 * tokens, which go up in double precision: results depend neither on the number of threads nor on the kernel set. */
#ifndef RBE_GRADIENTS_GRADIENTS_H
#define RBE_GRADIENTS_GRADIENTS_H

#include <stdatomic.h>

#include "blocks/state.h"
#include "gradients/dense_product.h"
#include "gradients/prediction.h"
#include "gradients/recurrence.h"
#include "parallel/thread_pool.h"
#include "rbe/gradients.h"

#define RBE_GRADIENT_NAME_BYTES 80u /* more than any name of a tensor */
#define RBE_QUERY_TILE 32u /* queries that one thread does at once */

/* Of one attention block. Projections as they come out of their matrices lie in *_raw; q, k and v are what attention reads. */
typedef struct rbe__attention_memory {
    float *normed, *branch; /* [n][width] */
    float *summed; /* the same, where a norm of the stream follows; else NULL */
    const float *input; /* what the matrices read: normed, or what stands before the block */
    float *inner_normed; /* as what the last matrix reads, where a norm stands before that; else NULL */
    const float *output_input; /* what it reads */
    float *q_raw, *q, *mixed; /* [n][heads * head_dim] */
    float *k_raw, *k, *v_raw, *v; /* [n][kv_heads * head_dim] */
    float *q_turned, *k_turned; /* as q and k: behind rotary positions, where a norm follows those; else NULL */
    float *d_mixed, *d_q, *key_parts, *value_parts; /* as q; the last two: gradients of keys and values by query head */
    float *d_k, *d_v; /* as k */
    float *gate_raw, *gates,
        *d_gate; /* [n][rows of the gate]: as it comes out of its matrix, its logistic function, the gradient of the first */
    float *gated; /* as mixed: times the gates; NULL without a gate */
} rbe__attention_memory;

/* Of one short convolution. */
typedef struct rbe__convolution_memory {
    float *normed, *branch, *summed; /* as of attention, and so the next */
    const float *input;
    float *thirds, *d_thirds; /* [n][3][width] B, C and x */
    float *read, *sum, *mixed; /* [n][width] B * x; what the convolution gives of that; C * that */
    float *d_mixed; /* the same; later by the sum */
    float *d_read; /* where `sum` is, which nothing reads any more */
    float *d_taps; /* [width][taps] */
} rbe__convolution_memory;

typedef struct rbe__feed_forward_memory {
    float *normed, *branch; /* [n][width] */
    float *summed; /* as of attention, and so the next */
    const float *input;
    float *inner_normed;
    const float *output_input;
    float *gate, *up, *active, *d; /* [n][inner] */
} rbe__feed_forward_memory;

/* Of one block of experts, beside that of a feed-forward block, which holds what one expert computes. n_used: of each token. */
typedef struct rbe__experts_memory {
    float *logits, *scores, *d_logits; /* [n][experts] */
    float *keys; /* [experts] */
    uint32_t *chosen; /* [n][n_used] */
    float *weights, *d_weights; /* the same */
    uint32_t *tokens, *places; /* [n] those of one expert, and where they stand in `chosen` */
    float *rows, *given, *d_rows; /* [n][width] what it reads and gives */
    float *share_raw, *share,
        *d_share; /* [n] of a shared part: as it comes out of its matrix, its logistic function, the gradient of the first */
} rbe__experts_memory;

typedef struct rbe__layer_embedding_memory {
    float *input, *gate, *active, *d; /* [n][width of a layer's] */
    float *branch; /* [n][width] */
} rbe__layer_embedding_memory;

/* Of one thread. n: tokens of the longest window, a multiple of 16. */
typedef struct rbe__tile_memory {
    float *weights, *slopes, *capped; /* [RBE_QUERY_TILE][n] */
    float *queries; /* [RBE_QUERY_TILE][head_dim] */
    float *weights_across, *slopes_across; /* [n][RBE_QUERY_TILE] */
    float *keys_across, *values_across; /* [head_dim][n] */
    float *ones; /* [n] */
} rbe__tile_memory;

typedef struct rbe__head_memory {
    uint32_t most_logits; /* that `logits` has room for; a test may take less */
    rbe__prediction own;
    struct rbe__token_draw *draws; /* [n] */
    float *states, *inner,
        *active; /* [n][width] within a head that fills in words: behind the last norm, the matrix, the function; else NULL */

    /* Taken when a source is first given. */
    rbe__arena source_arena;
    uint32_t source_width; /* of the widest source so far; 0: none */
    rbe__prediction source;
    double *shares; /* [n][blocks of the vocabulary] of the divergence */
} rbe__head_memory;

struct rbe_gradients {
    const rbe_model *model;
    const rbe__stack *stack;
    rbe__thread_pool *thread_pool;
    atomic_int cancelled;
    int wants_gains;
    uint32_t most_tokens, context;
    uint32_t window_tokens; /* of the longest window that a call may have */
    rbe__arena arena;
    const char *prefix; /* of the names of a layer's tensors, and of the last norm */
    float *middle, *behind; /* [n][width] the stream behind the first block of a layer, and behind the second where there are three */
    float *d_layer; /* the same: the gradient behind a layer whose blocks stand side by side; else NULL */
    float *narrow, *d_narrow; /* the same, of rows of a call that hold more than hidden states; else NULL */
    float *inputs, *d_inputs; /* [n][values of all layer inputs]; NULL where there are none */
    float *d_normed, *d_branch; /* [n][width] */
    float *statistics; /* [n * heads][2] shift and scale of norms */
    float *vector, *second_vector; /* [widest or the vocabulary] gradients of vectors */
    float *cosines, *sines, *back_sines; /* [n_rope_tables][window_tokens][rope_pairs]; back_sines: with the opposite sign */
    rbe__attention_memory attention, cross; /* cross: k, v and their gradients are of a text; it has no *_raw */
    rbe__convolution_memory convolution; /* where a layer is a short convolution */
    rbe__recurrence_memory recurrence; /* where one is recurrent */
    rbe__recurrence_tile recurrence_tiles[RBE_MAX_THREADS];
    rbe__feed_forward_memory feed_forward;
    rbe__experts_memory experts; /* not taken where no layer has experts */
    rbe__layer_embedding_memory layer_embedding;
    rbe__tile_memory tiles[RBE_MAX_THREADS];
    rbe__head_memory head;

    /* Of the call that runs. */
    uint32_t n, window;
    const rbe_gradients_text *text; /* which cross attention reads; NULL: none */
    const float *rows; /* [n][stream_width] of a layer, and the gradient behind it */
    float *d_rows;
    rbe_gradient_callback show;
    void *user;
};

/* A matrix with the name that a caller knows it by, and what it read and gave. */
typedef struct rbe__matrix {
    const rbe__projection *projection;
    const char *name;
    uint32_t layer;
    const float *x, *y; /* of all tokens */
} rbe__matrix;

/* RBE_ERROR_CONTEXT where a call may not have so many tokens, in windows of so many (0: one of all); else *window: tokens of each. */
rbe_status rbe__gradients_fit(const rbe_gradients *gradients, size_t n_tokens, uint32_t window_tokens, uint32_t *window);

/* Checks and keeps what every call is given. After RBE_OK the call returns what rbe__gradients_end makes of its status. */
rbe_status rbe__gradients_begin(rbe_gradients *gradients, int has_arrays, size_t n_tokens, uint32_t window_tokens,
                                rbe_gradient_callback show, void *user);
rbe_status rbe__gradients_end(rbe_gradients *gradients, rbe_status status);

/* 1, or RBE_ERROR_CANCELLED, where the call was cancelled, until it returns. Any thread may ask the first. */
int rbe__gradients_stopped(const rbe_gradients *gradients);
rbe_status rbe__gradients_check(const rbe_gradients *gradients);

/* Takes everything; called once to measure and once for real. Then what stays as it is. The layers are of those that have gradients. */
void rbe__gradients_take(rbe_gradients *gradients);
void rbe__gradients_fill(rbe_gradients *gradients);

/* The first block of a kind; NULL: there is none. */
const rbe__block *rbe__first_block(const rbe__stack *stack, const rbe__block_kind *kind);

/* The head's part of the memory, which comes behind that of the blocks, and what sources took. */
void rbe__head_take(rbe_gradients *gradients);
void rbe__head_free(rbe_gradients *gradients);

/* Between hidden states and what the lm_head reads, which is left in d_normed by its gradient (head_input.c). d_hidden may be d. */
void rbe__head_input_take(rbe_gradients *gradients);
rbe_status rbe__head_input(const rbe_gradients *gradients, const float *hidden, float *normed);
rbe_status rbe__head_input_backward(rbe_gradients *gradients, const float *hidden, float *d_hidden);
void rbe__last_norm_forward(const rbe_gradients *gradients, const rbe__stack *stack, const float *hidden, float *normed);
rbe_status rbe__last_norm_backward(rbe_gradients *gradients, const float *hidden, const float *d, float *d_hidden);

/* ---- matrices ---------------------------------------------------------------------------------------------------- */

/* c[m][n] (+)= a b, in pieces between which a cancel is seen. */
rbe_status rbe__gradients_multiply(const rbe_gradients *gradients, const rbe__dense_product_call *call);

/* y[n][n_rows] = x W^T + bias, of rows first_row ... */
rbe_status rbe__matrix_forward(const rbe_gradients *gradients, const rbe__projection *projection, uint32_t first_row, uint32_t n_rows,
                               const float *x, float *y);

/* Shows the gradient of a whole matrix of a layer, and of its bias, and goes back through it: d_x[n][cols] (+)= d W */
rbe_status rbe__matrix_backward(rbe_gradients *gradients, const rbe__matrix *matrix, const float *d, int add, float *d_x);

/* Shows a gradient to the caller, who may stop. Sets what all have in common. Callers look first whether there is anybody to show it to. */
rbe_status rbe__gradients_show(const rbe_gradients *gradients, rbe_gradient gradient);

/* sum[n][channels] = bias + the causal convolution of each channel of x, window by window; taps [channels][taps], the latest token's last. */
void rbe__taps_forward(const rbe_gradients *gradients, const rbe__projection *taps, const float *x, float *sum);

/* d_x, where d is not, = the gradient by x of d, that by the sums. Shows taps, by d_taps [channels][taps], and bias. */
rbe_status rbe__taps_backward(rbe_gradients *gradients, const rbe__matrix *taps, const float *d, float *d_taps, float *d_x);

/* Shows a vector [cols] of a layer: the sum over the tokens of d[n][cols]. Nothing where there is nobody to show it to. */
rbe_status rbe__vector_show(rbe_gradients *gradients, const char *name, uint32_t layer, const float *d, uint32_t cols);

/* ---- sums over tokens ---------------------------------------------------------------------------------------------- */

/* out[c] = sum over rows n of a[n][c] (b[n][c] - shift[c]); with b NULL of a[n][c], and with shift NULL of a[n][c] b[n][c]. */
typedef struct rbe__column_sum {
    const float *a, *b, *shift;
    size_t n_rows;
    uint32_t cols;
    float *out;
} rbe__column_sum;
void rbe__sum_columns(const rbe_gradients *gradients, const rbe__column_sum *sum);

/* table[row of n][c] += d[n][c] scale for the tokens of the call, one after the other. rows: of each token, its place in the window where that is
 * NULL. */
typedef struct rbe__row_sum {
    const uint32_t *rows;
    const float *d; /* [n][d_stride] */
    size_t d_stride;
    uint32_t cols; /* of the table */
    float scale;
    float *table;
} rbe__row_sum;
void rbe__add_rows(const rbe_gradients *gradients, const rbe__row_sum *sum);

/* RBE_ERROR_ARGUMENT where one of the call's tokens is not in the vocabulary. */
rbe_status rbe__gradients_check_tokens(const rbe_gradients *gradients, const uint32_t *tokens);

/* sums[n_tokens][n_sums][dim]: of parts [n_tokens][n_parts][dim] those of every n_parts / n_sums heads, which share one, in ascending order. */
typedef struct rbe__parts {
    const float *values;
    uint32_t n_tokens, n_parts, n_sums, dim;
} rbe__parts;
void rbe__join_parts(const rbe_gradients *gradients, const rbe__parts *parts, float *sums);

/* ---- norms ---------------------------------------------------------------------------------------------------------- */

/* n_rows vectors of `cols`: y = norm(x), which may be x. Row r has weights [cols] from r % n_weights * cols on; n_weights 0 is 1. */
typedef struct rbe__norm_call {
    rbe__norm_kind kind;
    const rbe__norm *norm;
    float epsilon;
    uint32_t cols, n_weights;
    size_t n_rows;
    const float *x;
    const char *name;
    uint32_t layer;
} rbe__norm_call;
void rbe__norm_forward(const rbe_gradients *gradients, const rbe__norm_call *call, float *y);

/* d_x (+)= the gradient by x of d_y; d_x may be d_y where it is not added. Shows weight and bias, where the call has a name. */
rbe_status rbe__norm_backward(rbe_gradients *gradients, const rbe__norm_call *call, const float *d_y, int add, float *d_x);

/* ---- blocks --------------------------------------------------------------------------------------------------------- */

/* active[i] = activation(gate[i]) up[i], or activation(up[i]) where gate is NULL; n values. */
void rbe__activation_forward(const rbe_gradients *gradients, rbe__activation kind, const float *gate, const float *up, size_t n,
                             float *active);

/* d, the gradient of that, becomes that of up, and d_gate that of gate where gate is not NULL. */
void rbe__activation_backward(const rbe_gradients *gradients, rbe__activation kind, const float *gate, const float *up, size_t n, float *d,
                              float *d_gate);

/* n queries in windows, and as many windows of keys. sees_all: each query sees all keys of its window. */
typedef struct rbe__attend_call {
    const rbe__attention_shape *shape;
    const rbe__attention_memory *memory;
    uint32_t n, window, n_keys, key_window;
    int sees_all;
} rbe__attend_call;

/* mixed = softmax(q k^T) v, window by window. */
rbe_status rbe__attend_forward(rbe_gradients *gradients, const rbe__attend_call *call);

/* d_q, d_k and d_v from d_mixed. */
rbe_status rbe__attend_backward(rbe_gradients *gradients, const rbe__attend_call *call);

/* "layers.LAYER.PLACE.PART", of an encoder before a decoder "encoder.layers...". */
const char *rbe__gradient_name(const rbe_gradients *gradients, char name[RBE_GRADIENT_NAME_BYTES], uint32_t layer, const char *place,
                               const char *part);

/* The call of one of a block's norms, before the block or behind it. */
rbe__norm_call rbe__block_norm(const rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const rbe__norm *norm,
                               const float *x, const char *name);

/* What the block's matrices read: x itself where no norm stands before the block, else `normed`, its norm. */
const float *rbe__read_stream(const rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *normed);

/* d += the gradient of d_normed, that by what the matrices read. place: the block's part of names. */
rbe_status rbe__read_stream_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const char *place, const float *x,
                                     float *d);

/* What the block's last matrix reads: x [n][cols] itself where no norm stands before it, else `normed`, its norm; and d, the gradient by that,
 * becomes that by x. */
const float *rbe__inner_norm_forward(const rbe_gradients *gradients, const rbe__block *block, const rbe__norm *norm, uint32_t cols,
                                     const float *x, float *normed);
rbe_status rbe__inner_norm_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const char *place,
                                    const rbe__norm *norm, uint32_t cols, const float *x, float *d);

/* branch = what the block's last matrix gives of its input; summed = x + that, normed where a norm stands behind the block; out = the norm of
 * the stream of that. out may be NULL; without such a norm `summed` may be, and out is the sum. */
rbe_status rbe__branch_forward(rbe_gradients *gradients, const rbe__block *block, const rbe__projection *projection, const float *input,
                               float *branch, float *summed, const float *x, float *out);

/* The part of this behind the product. */
rbe_status rbe__branch_sum(rbe_gradients *gradients, const rbe__block *block, const float *branch, float *summed, const float *x,
                           float *out);

/* d, the gradient behind the block, becomes that by the sum; *d_branch = that by the branch: d itself where no norm stands between. */
rbe_status rbe__branch_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const char *place, const float *branch,
                                const float *summed, float *d, const float **d_branch);

/* out = x + the block, where out is not NULL; and keeps what the backward pass needs. */
rbe_status rbe__attention_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out);
rbe_status rbe__cross_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out);
void rbe__experts_take_memory(rbe_gradients *gradients, const rbe__experts_shape *shape);
rbe_status rbe__experts_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out);
rbe_status rbe__convolution_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out);
rbe_status rbe__recurrence_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out);
rbe_status rbe__feed_forward_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out);

/* The matrices of a feed-forward part up to what its down reads, which is left in feed_forward.output_input. input: what gate and up read. */
rbe_status rbe__feed_forward_inner(rbe_gradients *gradients, const rbe__block *block, const rbe__feed_forward_block *feed_forward,
                                   const float *input);

/* The way back through them and through down, which gave `given`: d_normed (+)= the gradient by what gate and up read. d: that by `given`. */
typedef struct rbe__feed_forward_back {
    const rbe__feed_forward_block *feed_forward;
    const char *place; /* of its names */
    const float *given, *d;
    int add;
} rbe__feed_forward_back;
rbe_status rbe__feed_forward_inner_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer,
                                            const rbe__feed_forward_back *back);

/* d, the gradient behind the block, becomes that before it. */
rbe_status rbe__attention_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d);
rbe_status rbe__cross_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d);
rbe_status rbe__experts_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d);
rbe_status rbe__convolution_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d);
rbe_status rbe__recurrence_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d);
rbe_status rbe__feed_forward_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d);

/* The same of the layer's part of the layer inputs, which it reads of gradients->rows, and whose gradient it writes to d_rows. */
rbe_status rbe__layer_embedding_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out);
rbe_status rbe__layer_embedding_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d);

/* Of one token, d_logits [experts], the gradient by the router's logits, from d_weights [n_used], that by the weights of the experts that it has
 * chosen. scores, chosen: as rbe__route leaves them. */
void rbe__scores_backward(const rbe__experts_shape *shape, const float *scores, const uint32_t *chosen, const float *d_weights,
                          float *d_logits);

/* Memory of layer embeddings, where the stack has them. */
void rbe__layer_embedding_take(rbe_gradients *gradients);

#endif
