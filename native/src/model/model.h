/* A model: hyper-parameters and a stack of blocks over views of its tensors, all checked against one another at opening. Immutable, but for
 * what is known of its checksums. */
#ifndef RBE_MODEL_H
#define RBE_MODEL_H

#include "base/memory_pool.h"
#include "blocks/block.h"
#include "model/pack_reader.h"
#include "model/verification.h"
#include "weights/weight_cache.h"

/* Which head of words a file has: that of a decoder, one that fills in words, or none. */
typedef enum rbe__head_kind { RBE_HEAD_WORDS, RBE_HEAD_MASKED, RBE_HEAD_NONE } rbe__head_kind;

/* What docs/format.md says of encoders, with the same names. All zero: a decoder. */
typedef struct rbe__encoder_config {
    int both; /* attention.direction */
    uint32_t n_segments;
    rbe__head_kind head_kind;
    rbe__activation head_activation;
    uint32_t pooling; /* rbe_pooling */
    uint32_t n_pooled_layers;
    rbe__activation pooled_activations[RBE_MOST_POOLED_LAYERS];
    int normalizes, is_classes;
} rbe__encoder_config;

/* What docs/format.md says of layer options. All zero: a file has none. */
typedef struct rbe__layer_options {
    int has_any;
    rbe__head_options heads; /* without_rope is read where the layers are bound */
    int parallel;
} rbe__layer_options;

/* What docs/format.md says of mixtures of experts, with the same names. n 0: no layer has experts. */
typedef struct rbe__experts_config {
    uint32_t n, n_used, feed_forward;
    rbe__expert_score score;
    int normalizes;
    float scale;
    const rbe_metadata *layers; /* experts.layers; NULL: all layers have experts */
    uint32_t shared; /* 0: no feed-forward part stands beside them */
    int shared_share;
} rbe__experts_config;

/* What docs/format.md says of layers of several shapes and of layer embeddings. Arrays are NULL where all layers are as the whole model says. */
typedef struct rbe__layers_config {
    const rbe_metadata *head_dims, *kv_heads, *feed_forwards, *shared_states, *values_are_keys; /* layer.* */
    int value_norm; /* attention.value_norm */
    int several; /* 1: any of these is there */
    uint32_t embedding_width; /* layer_embedding.*; 0: none */
    float embedding_scale, embedding_sum_scale, embedding_epsilon;
} rbe__layers_config;

/* position.kind */
typedef enum rbe__position_kind { RBE_POSITION_ROPE, RBE_POSITION_LEARNED, RBE_POSITION_RELATIVE } rbe__position_kind;

/* docs/format.md, "Metadata keys", with the same names. */
typedef struct rbe__config {
    uint32_t n_layers, width, n_vocabulary, context;
    uint32_t n_heads, n_kv_heads, head_dim, feed_forward; /* of layers that differ, the most that one has */
    rbe__layers_config layers;
    rbe__norm_kind norm_kind;
    float norm_epsilon;
    rbe__norm_place norm_place;
    rbe__position_kind position_kind;
    float rope_attention_factor, rope_long_attention_factor;
    uint32_t rope_long_from; /* 0: never */
    float attention_scale, attention_softcap, logit_softcap; /* softcap 0: off */
    rbe__activation activation;
    int gated;
    float embedding_scale;
    rbe__encoder_config encoder;
    rbe__layer_options layer_options;
    rbe__experts_config experts;
    uint32_t encoder_layers; /* of the encoder whose text the layers attend to; 0: none */
    uint32_t decoder_start; /* the token that begins an answer, with those */
    const rbe_metadata *layer_kinds; /* layer.kinds; NULL: all layers are attention */
    uint32_t convolution_taps; /* 0: no layer is a short convolution */
    rbe__recurrence_shape recurrence; /* recurrence.*; taps 0: no layer is a recurrence */
    float recurrence_epsilon; /* 0: that of the other norms */
    uint32_t checksum; /* CRC-32 over keys and values of the file's hyper-parameters; one that is absent does not count */
} rbe__config;

struct rbe_model {
    rbe__pack pack;
    rbe_kernels kernels;
    rbe__config config;
    rbe__stack stack;
    rbe__stack encoder; /* whose text these layers attend to; layers NULL: none */
    rbe_tokenizer *tokenizer;
    uint8_t *signs; /* those of all tensors */
    float *ones; /* stack.ones; NULL: none */
    rbe__residency residency;
    rbe__weight_cache *cache; /* NULL: no row is kept */
    rbe__verification *verification; /* NULL: checksums are skipped; changes behind a constant model */
    rbe__memory_pool *memory; /* of its sessions' arenas; changes behind a constant model */
    uint64_t n_parameters;
    rbe_log_callback log;
    void *log_user;
};

/* Fills config from the metadata; every value in its range. */
rbe_status rbe__config_read(const rbe__pack *pack, const rbe_kernels *kernels, const char *path, rbe__config *out);

/* Opens the index alone: hyper-parameters, tensors and the stack of blocks are there, no data and no tokenizer. For the sizes of sessions, which
 * cannot be run. Closed by rbe_model_close. */
rbe_status rbe__model_open_index(const char *path, const rbe_model_options *options, rbe_model **out);

/* What the model takes beside the file and the cache of generated rows: lists of the index, signs, layers. */
uint64_t rbe__model_own_bytes(const rbe_model *model);

#define RBE_KEY_WINDOWS "attention.windows"
#define RBE_KEY_ROPE_TABLES "rope.tables"
#define RBE_KEY_ROTARY_LAYERS "position.rotary_layers"

/* An optional array of one u64 per layer, each at most `most`; NULL data where absent. */
rbe_status rbe__layer_array_read(const rbe__pack *pack, const char *path, const char *key, uint32_t n_layers, uint32_t most,
                                 const rbe_metadata **out);
uint32_t rbe__layer_array_value(const rbe_metadata *array, uint32_t layer);

#endif
