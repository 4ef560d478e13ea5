/* A layer is made of blocks. A kind of block is one file with one table of functions. A stack is the layers of a model with what comes
 * before and after them. All of it is immutable once bound. */
#ifndef RBE_BLOCK_H
#define RBE_BLOCK_H

#include "blocks/checkpoints.h"
#include "blocks/routing.h"
#include "layers/attention.h"
#include "layers/linear.h"
#include "weights/expert_pages.h"
#include "weights/projection.h"

typedef struct rbe__block rbe__block;
typedef struct rbe__block_kind rbe__block_kind;
typedef struct rbe__binder rbe__binder;
typedef struct rbe__pass rbe__pass;

/* What one norm of q or k is of: a head, all with the same weights; a head, each with weights of its own; or the heads of a token as one vector. */
typedef enum rbe__head_norm_span { RBE_HEAD_NORM_SHARED, RBE_HEAD_NORM_EACH, RBE_HEAD_NORM_WHOLE } rbe__head_norm_span;

/* How q and k are normed and turned, where they are (docs/format.md, "Layer options"). All zero: RMS of each head, then rotary positions. */
typedef struct rbe__head_options {
    rbe__norm_kind norm_kind;
    rbe__head_norm_span norm_span;
    int norms_after_rope; /* of each head, with the same weights */
    int without_rope;     /* 1: rotary positions turn other layers only */
    float temperature;    /* q is multiplied by 1 + temperature log(1 + floor(position / temperature_tokens)); 0: it is not */
    uint32_t temperature_tokens;
} rbe__head_options;

/* Heads of a block that attends. window: tokens seen, the current one counted, on both sides so many where `both`; 0: all. */
typedef struct rbe__attention_shape {
    uint32_t n_heads, n_kv_heads, head_dim;
    uint32_t window, rope_table, rope_pairs; /* pairs of a head that turn */
    float scale, softcap; /* softcap 0: off */
    int both;             /* 1: tokens see those behind them too */
    int value_norm;       /* 1: values have an RMS norm of each head, without weights */
    int values_are_keys;  /* 1: no matrix of values: they are keys as these come out of theirs */
    uint32_t source;      /* the layer whose keys and values it reads: its own, or an earlier one */
    const rbe__distances *distances; /* of the stack; NULL: none */
    rbe__head_options options;
} rbe__attention_shape;

typedef struct rbe__feed_forward_shape {
    uint32_t width; /* between the two matrices */
    rbe__activation activation;
    int gated;
} rbe__feed_forward_shape;

/* What the first block of a layer is (docs/format.md, `layer.kinds`). */
typedef enum rbe__mixer { RBE_MIXER_ATTENTION, RBE_MIXER_CONVOLUTION, RBE_MIXER_DELTA_NET, RBE_MIXER_STATE_SPACE } rbe__mixer;

#define RBE_MOST_TAPS 32u /* of a short convolution, and of a recurrence */
#define RBE_MOST_RECURRENCE_DIM 512u

/* The last two of these mixers: heads that keep a matrix of a sequence. Value head h has the key head h / (n_values / n_keys). */
typedef struct rbe__recurrence_shape {
    rbe__mixer rule; /* how a token changes the matrix: RBE_MIXER_DELTA_NET or RBE_MIXER_STATE_SPACE */
    uint32_t n_keys, n_values; /* heads; n_values is a multiple of n_keys */
    uint32_t key_dim, value_dim; /* of a head; 1 to RBE_MOST_RECURRENCE_DIM */
    uint32_t taps; /* of its convolutions; 1 to RBE_MOST_TAPS */
} rbe__recurrence_shape;

/* The block behind the feed-forward one that adds what the layer's part of a token's row of a table gives; width 0: none. */
typedef struct rbe__layer_embedding_shape {
    uint32_t width;
    rbe__activation activation;
} rbe__layer_embedding_shape;

/* Where a block is normed: before it, before it and before the sum, behind the sum, or before the sum alone. */
typedef enum rbe__norm_place { RBE_NORM_PRE, RBE_NORM_SANDWICH, RBE_NORM_POST, RBE_NORM_AFTER } rbe__norm_place;

/* What the hyper-parameters say of one layer (docs/format.md, "Metadata keys"). */
typedef struct rbe__layer_shape {
    uint32_t width;
    rbe__norm_kind norm_kind;
    float norm_epsilon;
    rbe__norm_place norm_place;
    rbe__mixer mixer;
    rbe__attention_shape attention;
    uint32_t convolution_taps;
    rbe__recurrence_shape recurrence; /* rule: that of layers of recurrences, whatever this layer is */
    float recurrence_epsilon; /* of the norm of what its heads give; 0: that of the other norms */
    int crosses; /* 1: a block that attends to an encoder's text stands between these two */
    int parallel; /* 1: the feed-forward block reads what stands before the layer, too */
    rbe__feed_forward_shape feed_forward;
    rbe__experts_shape experts; /* n not 0: these stand in place of the feed-forward block */
    rbe__layer_embedding_shape layer_embedding;
} rbe__layer_shape;

typedef struct rbe__attention_block {
    rbe__attention_shape shape;
    const float *q_norm, *k_norm; /* [head_dim], with other spans [heads * head_dim]; or NULL */
    rbe__norm inner_norm;         /* of what o reads */
    rbe__projection q, k, v, o;
    rbe__projection gate; /* [n_heads] or [n_heads * head_dim] numbers, whose logistic function multiplies what a head gives; NULL: none */
} rbe__attention_block;

/* Of B, C and x, thirds of what `in` gives: out(C * convolution(B * x)), where the convolution sums up each channel of the latest `taps` tokens. */
typedef struct rbe__convolution_block {
    rbe__projection in, taps, out; /* taps [width][taps], the latest token's last; a bias of each channel */
} rbe__convolution_block;

/* out of what heads read from matrices that go along the positions (docs/format.md, "Layers of several kinds"). */
typedef struct rbe__recurrence_block {
    rbe__recurrence_shape shape;
    rbe__projection q, k; /* [n_keys * key_dim][width] */
    rbe__projection v, gate; /* [n_values * value_dim][width] */
    rbe__projection q_taps, k_taps, v_taps; /* as q, k and v: [rows][taps], dense, the latest token's last */
    rbe__projection decay; /* [n_values][width], dense, with a bias */
    rbe__projection beta; /* the same, of delta nets, without one; weight NULL: none */
    const float *rate; /* [n_values], positive */
    const float *skip; /* [n_values], of state spaces; NULL: none */
    rbe__norm gated_norm; /* [value_dim] for all heads (delta nets), or [n_values * value_dim] */
    float epsilon; /* of that norm */
    rbe__projection o; /* [width][n_values * value_dim] */
} rbe__recurrence_block;

typedef struct rbe__feed_forward_block {
    rbe__feed_forward_shape shape;
    rbe__norm inner_norm; /* of what down reads */
    rbe__projection gate, up, down;
} rbe__feed_forward_block;

typedef struct rbe__experts_block {
    rbe__experts_shape shape;
    rbe__projection router; /* dense, without bias */
    const float *choice_bias; /* [n], counts for the choice alone; NULL: none */
    rbe__feed_forward_block shared; /* what it gives is added to the sum of the experts; up.weight NULL: none */
    rbe__projection share; /* one number, whose logistic function multiplies that; dense, without bias; NULL: none */
} rbe__experts_block;

typedef struct rbe__layer_embedding_block {
    rbe__layer_embedding_shape shape;
    uint32_t first; /* of the layer's values in a row of layer inputs */
    rbe__projection gate, output;
} rbe__layer_embedding_block;

/* What a block reads: the residual stream as it is, or as it was when the layer began (blocks of a layer side by side). */
typedef enum rbe__block_input { RBE_READS_STREAM, RBE_READS_LAYER_INPUT } rbe__block_input;

/* x + post_norm(block(norm(x))), and then stream_norm of that; a norm without weights is left out. */
struct rbe__block {
    const rbe__block_kind *kind;
    uint32_t width;
    rbe__norm_kind norm_kind;
    float norm_epsilon;
    rbe__norm norm, post_norm, stream_norm;
    rbe__block_input reads;
    uint32_t
        state; /* which state of a sequence it uses, below n_states: its own, one that an earlier block keeps, or of an encoder the only one */
    int shares_state; /* 1: an earlier block's, which it reads and does not append to */
    uint32_t stream_at; /* of the state's keys in a row between calls, values behind them; 0: no other layer reads them */
    uint32_t first_operation; /* of its kind, in a profile */
    union {
        rbe__attention_block attention; /* cross attention too, which has no norms of heads */
        rbe__convolution_block convolution;
        rbe__recurrence_block recurrence;
        rbe__feed_forward_block feed_forward;
        rbe__experts_block experts;
        rbe__layer_embedding_block layer_embedding;
    } as;
};

#define RBE_MAX_LAYER_BLOCKS 4u

typedef struct rbe__layer {
    rbe__block blocks[RBE_MAX_LAYER_BLOCKS];
    uint32_t n_blocks; /* 0: not bound */
    const float *scale; /* of the stream behind it, one number; NULL: none */
} rbe__layer;

/* What a short convolution has read of the latest positions, and at checkpoints. Position p stands in row (p + *shift) % RBE_CONVOLUTION_ROWS, if
 * anywhere: a row knows its position. Rows of positions that are not in the sequence yet are not looked at. */
#define RBE_CONVOLUTION_ROWS 64u
typedef struct rbe__convolution_state {
    uint32_t *positions; /* [RBE_CONVOLUTION_ROWS] */
    uint32_t *shift;
    float *rows; /* [RBE_CONVOLUTION_ROWS][width] */
    uint32_t *call; /* [2] where the last call began, RBE_NO_POSITION where that is forgotten; how many of these rows it has written over */
    uint32_t *call_positions; /* and those rows as they were: [RBE_CONVOLUTION_ROWS], from the place of its first position on */
    float *call_rows;
    rbe__checkpoints checkpoints; /* of the rows of the last taps - 1 positions, zeros before the first */
} rbe__convolution_state;

/* What a recurrence keeps of a sequence: numbers (recurrence_state.h) after so many positions, in two places. The first pass of a call reads one
 * and writes the other, so that the call can be taken back, and a step of one token copies nothing. */
typedef struct rbe__recurrence_state {
    uint32_t *positions; /* [2] after which the numbers of a place are; RBE_NO_POSITION: nothing stands there */
    uint32_t *latest; /* which place is that of the sequence */
    uint32_t *call; /* where a call began whose first pass has not come yet; else RBE_NO_POSITION */
    float *values[2];
    rbe__checkpoints checkpoints; /* of the same numbers */
} rbe__recurrence_state;

/* What a sequence keeps of one block between passes. Blocks without memory of their own have none. */
typedef struct rbe__block_state {
    const rbe__block *block; /* that keeps it */
    rbe__kv_layer kv;
    rbe__convolution_state convolution;
    rbe__recurrence_state recurrence;
    uint32_t n_text; /* tokens of an encoder's text, which cross attention keeps; 0 in the states of other blocks */
} rbe__block_state;

/* A move of the n positions of a state from `first` on down to `to`. What depends on a position is rotated (rbe__kv_turn) by the angles
 * of each rope table: cosines, sines [n_rope_tables] at angle_stride. n_pairs 0: positions are not rotary. */
typedef struct rbe__slide {
    uint32_t first, n, to;
    const float *cosines, *sines;
    size_t angle_stride;
    uint32_t n_pairs;
} rbe__slide;

/* The functions of a kind. Those of a state are NULL where the kind keeps none. */
struct rbe__block_kind {
    /* Finds the block's tensors by name and checks their shapes, block->norm and the like included. The binder keeps the first failure. */
    void (*bind)(rbe__binder *binder, uint32_t layer, const rbe__layer_shape *shape, rbe__block *block);

    /* Width of what its last matrix reads, NULL: that of the stream; of a head, NULL: it has none; bytes of scratch for a pass of n_tokens, with
     * `context` as rbe__pass has it, SIZE_MAX where they are more than there can be. */
    uint32_t (*inner_width)(const rbe__block *block);
    uint32_t (*head_dim)(const rbe__block *block);
    size_t (*scratch_bytes)(const rbe__block *block, uint32_t n_tokens, uint32_t context);

    /* Runs the pass's rows through the block: appends to the block's state, and adds the result to the residual stream. */
    rbe_status (*forward)(rbe__pass *pass, const rbe__block *block, uint32_t layer);

    /* Appends the pass's rows to the states of their runs, and nothing else. The rows come from another stack; a block that shares the
     * state reads them later. */
    rbe_status (*fill)(rbe__pass *pass, const rbe__block *block);

    /* Stores what the block keeps of an encoder's text: the pass's rows are its hidden states behind the last norm, and their positions those
     * of the text. NULL: it keeps nothing of that. */
    rbe_status (*fill_text)(rbe__pass *pass, const rbe__block *block);

    /* Takes the state's memory from the arena, which may only measure. */
    void (*take_state)(const rbe__block *block, rbe__arena *arena, rbe_kv_type type, uint32_t context, rbe__block_state *out);

    /* How many of the first n positions, which are in the sequence, the state can go back to: at most n, and 0 always. The caller computes the rest
     * again from the tokens. */
    uint32_t (*reach)(const rbe__block_state *state, uint32_t n);

    /* Goes back to n positions, which it can reach. NULL: nothing is to be done. */
    void (*rewind)(const rbe__block_state *state, uint32_t n);

    /* The sequence has n positions, and a call begins to append n_tokens: until the next mark, or until it goes back elsewhere, the state can go back
     * to n positions, and is then as it was. NULL: it always can. */
    void (*mark)(const rbe__block_state *state, uint32_t n, uint32_t n_tokens);

    /* `visit` has written all that the state is to hold, of n positions; 0: it holds none. NULL: nothing else is to be done. */
    void (*settle)(const rbe__block_state *state, uint32_t n);

    void (*slide)(const rbe__workspace *workspace, const rbe__block_state *state, const rbe__slide *slide);

    /* Calls visit for every piece of memory that holds n positions, which the state can reach, always in the same order and with the same sizes for
     * the same n. Saving, restoring and copying all use it. A state that is written in this way is settled with 0 before it, and with n
     * behind it. */
    rbe_status (*visit)(const rbe__block_state *state, uint32_t n_positions, rbe__kv_visit *visit, void *context);

    /* Bytes of weights that a step of one row reads, with so many planes or RBE_SKIP. */
    uint64_t (*read_bytes)(const rbe__block *block, uint32_t planes);

    uint32_t matrices; /* RBE_PLANES_*: the kind of its matrices */
    const char *const *operations; /* of a profile, by name, n_operations */
    uint32_t n_operations;
};

/* Kinds in the order of their operations in a profile, ending with NULL. */
extern const rbe__block_kind *const rbe__block_kinds[];
extern const rbe__block_kind rbe__attention_kind, rbe__cross_kind, rbe__convolution_kind, rbe__recurrence_kind, rbe__feed_forward_kind,
    rbe__experts_kind, rbe__layer_embedding_kind;

/* The name of an operation of a profile; NULL past the last. */
const char *rbe__operation_name(uint32_t operation);

/* What stands before the head of an encoder that was taught to fill in words: h -> norm(activation(dense(h))). */
typedef struct rbe__word_head {
    rbe__projection dense; /* weight NULL: none, and no activation */
    rbe__activation activation;
    rbe__norm norm; /* weight NULL: none */
} rbe__word_head;

/* norm(activation(W x + b)) */
typedef struct rbe__pooled_layer {
    rbe__projection projection;
    rbe__activation activation;
    rbe__norm norm; /* weight NULL: none */
} rbe__pooled_layer;

#define RBE_MOST_POOLED_LAYERS 8u

/* What is made of the hidden states of a text: one vector of them, and dense layers. */
typedef struct rbe__pooled {
    uint32_t pooling; /* rbe_pooling */
    rbe__pooled_layer layers[RBE_MOST_POOLED_LAYERS];
    uint32_t n_layers;
    int normalize; /* 1: at the end it is scaled to length 1 */
} rbe__pooled;

/* What layers are given of each token, besides the stream: for each of the stack's layers `width` values
 * sum_scale (norm(projection(h)) + scale row), h the hidden states before the first layer and row that of the table. */
typedef struct rbe__layer_inputs {
    const rbe__tensor *table; /* [n_vocabulary][n]; NULL: none */
    rbe__projection projection; /* [n][width of the stack] */
    rbe__norm norm; /* of each layer's values */
    uint32_t width, n; /* of one layer, of all */
    float epsilon, scale, sum_scale;
} rbe__layer_inputs;

/* The layers and what stands before and behind them. */
typedef struct rbe__stack {
    const rbe_kernels *kernels;
    uint32_t width, n_vocabulary;
    const rbe__tensor *embedding, *positions; /* positions NULL unless learned */
    const rbe__tensor *segments; /* NULL: none */
    float embedding_scale;
    rbe__norm embedding_norm; /* of the sum of these; weight NULL: none */
    rbe__layer_inputs layer_inputs;
    const float *ones; /* as many as the widest head, where values are normed */
    uint32_t stream_width; /* of a row between calls: hidden states, layer inputs, and keys and values that later layers read */
    int both; /* 1: an encoder: tokens see those behind them. Its layers share one state, of a whole text, one after the other */
    int crosses; /* 1: its layers attend to an encoder's text too */
    rbe__distances distances; /* n 0: none */
    uint32_t n_rope_tables, rope_pairs;
    const float *rope_frequencies; /* [n_rope_tables][rope_pairs]; NULL unless rotary */
    const float *rope_long_frequencies; /* the same for contexts longer than rope_long_from, or NULL */
    uint32_t rope_long_from;
    float rope_factor, rope_long_factor;
    rbe__layer *layers;
    rbe__expert *experts; /* of all layers; NULL: none */
    rbe__expert_pages *expert_pages; /* which of them stay in memory; NULL: there is no limit */
    uint32_t n_layers, n_states;
    uint32_t first_layer, end_layer; /* those that are bound */
    uint32_t first_reader; /* from this layer on none appends to a state; n_layers: the last one does */
    rbe__norm_kind norm_kind;
    float norm_epsilon;
    rbe__norm norm; /* weight NULL: none */
    rbe__word_head word_head; /* before lm_head */
    rbe__projection lm_head; /* the embedding where tied; weight NULL: there is no head of words */
    rbe__pooled pooled;
    float logit_softcap; /* 0: off */
    int has_scales; /* 1: some layer has a scale */
    int has_rows_only; /* some projection is of a kind of rbe__tensor_by_row */
    int has_grouped; /* and of rbe__tensor_is_grouped */
    const rbe__residency *residency;
} rbe__stack;

#endif
