/* encoder.h: texts into numbers: hidden states, one vector per text, and words that fit into gaps. Of encoders (BERT and its relatives), whose
 * tokens see those behind them too, and of decoders that were trained for embeddings. docs/encoders.md. Conventions are those of rbe.h.
 *
 * Texts are token ids, complete with the special tokens that the model wants (RBE_TOKENIZE_SPECIAL_PREFIX). Several texts run in one pass, one
 * after the other without padding; a text that is longer than a pass runs layer by layer. What a text gives is the same bits alone or in any
 * company, with any number of threads and any pass_tokens.
 */
#ifndef RBE_ENCODER_H
#define RBE_ENCODER_H

#include "rbe/rbe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Which vector stands for a text: that of its first token, the mean of all, that of its last token, the largest of each number. */
typedef enum rbe_pooling {
    RBE_POOLING_NONE = 0,
    RBE_POOLING_CLS = 1,
    RBE_POOLING_MEAN = 2,
    RBE_POOLING_LAST = 3,
    RBE_POOLING_MAX = 4
} rbe_pooling;

typedef struct rbe_encoder_info {
    size_t struct_bytes;
    uint32_t is_encoder; /* 1: tokens see those behind them; 0: a decoder, which writes text too */
    uint32_t pooling; /* rbe_pooling of the file */
    uint32_t n_pooled; /* numbers that rbe_encoder_pool gives per text; 0: the file says nothing of pooling */
    uint32_t is_classes; /* 1: they are scores of classes, before a softmax; 0: an embedding */
    uint32_t is_normalized; /* 1: they are scaled to length 1 */
    uint32_t n_segments; /* kinds of tokens, as in a pair of texts; 0: none */
    uint32_t has_word_head; /* 1: rbe_encoder_word_logits */
    uint32_t context_tokens; /* of the longest text */
} rbe_encoder_info;

RBE_API rbe_status rbe_model_get_encoder_info(const rbe_model *model, rbe_encoder_info *info);

/* Runs texts through a model. One thread uses it at a time; any thread may cancel. */
typedef struct rbe_encoder rbe_encoder;

typedef struct rbe_encoder_options {
    size_t struct_bytes;
    uint32_t n_threads; /* 0: one per fast physical core, within the control group's quota; 1 to 64 */
    uint32_t pass_tokens; /* tokens of a pass, 1 to 512; 0: 64, or 128 where the cache has room for it */
    uint32_t n_planes; /* planes read of each trellis tensor, 1 to 4, the first ones; 0: all it has */
    uint32_t planes[4]; /* by RBE_PLANES_*: the same for one kind of matrix; 0: n_planes. Pooled layers and those before the head of words
                               * count as RBE_PLANES_LM_HEAD */
    uint32_t profile; /* 1: measure where the time goes, for rbe_encoder_get_profile */
    uint32_t pooling; /* rbe_pooling, in place of the file's; 0: the file's */
} rbe_encoder_options;

/* Takes all that passes need from one allocation; a text longer than a pass takes memory for its call, 4 (width + 2 kv_heads x head_dim) bytes
 * per token. options may be NULL. RBE_ERROR_UNSUPPORTED for a model of which a part of the layers is open, and for one with layers of
 * several shapes or kinds, or layer embeddings. Free it before the model is closed. */
RBE_API rbe_status rbe_encoder_create(const rbe_model *model, const rbe_encoder_options *options, rbe_encoder **out);
RBE_API void rbe_encoder_free(rbe_encoder *encoder);

typedef struct rbe_encoder_text {
    const uint32_t *tokens; /* n_tokens in the vocabulary, 1 to context_tokens */
    const uint8_t *segments; /* [n_tokens], each below n_segments (0 where the model has none); NULL: all 0 */
    size_t n_tokens;
} rbe_encoder_text;

/* The hidden states behind the last norm, float[sum of n_tokens][width], text by text. n may be 0. progress counts tokens and may be NULL.
 * RBE_ERROR_CONTEXT: a text is too long, RBE_ERROR_ARGUMENT: it has no token, or one that is not in the vocabulary; the message has its index. On
 * any failure what was written is of no use. */
RBE_API rbe_status rbe_encoder_hidden(rbe_encoder *encoder, const rbe_encoder_text *texts, size_t n, float *hidden,
                                      rbe_progress_callback progress, void *user);

/* One vector for each text, float[n][n_pooled]: pooled, through the file's dense layers, and normalized where the file says so. The same errors,
 * and RBE_ERROR_UNSUPPORTED where neither the file nor the options name a pooling: n_pooled is then the width with one. */
RBE_API rbe_status rbe_encoder_pool(rbe_encoder *encoder, const rbe_encoder_text *texts, size_t n, float *pooled,
                                    rbe_progress_callback progress, void *user);

/* What the model would write at n positions of a text: logits float[n][n_vocabulary]. RBE_ERROR_ARGUMENT for a position that the text has not,
 * RBE_ERROR_UNSUPPORTED for a model without such a head. */
RBE_API rbe_status rbe_encoder_word_logits(rbe_encoder *encoder, const rbe_encoder_text *text, const uint32_t *positions, size_t n,
                                           float *logits);

/* Makes the call that runs on the encoder, or else the next one, return RBE_ERROR_CANCELLED; the other takes that back where no call has obeyed
 * yet. Any thread. */
RBE_API void rbe_encoder_cancel(rbe_encoder *encoder);
RBE_API void rbe_encoder_uncancel(rbe_encoder *encoder);

/* As rbe_session_get_profile. */
RBE_API rbe_status rbe_encoder_get_profile(const rbe_encoder *encoder, rbe_profile_entry *entries, size_t capacity, size_t *n_entries);

#ifdef __cplusplus
}
#endif
#endif
