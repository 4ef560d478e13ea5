/* encoder_decoder.h: models that read a text with an encoder and answer to it with a decoder (T5 and its relatives).
 * docs/encoder_decoders.md.
 * Conventions are those of rbe.h.
 *
 * A session of such a model has a text, which rbe_session_encode runs through the encoder once. Its context is the answer, which begins with
 * the start token and to which tokens are appended as to any other. Each layer keeps keys and values of the text. rbe_session_rewind and a
 * context that slides leave them alone; rbe_session_save, rbe_session_restore and rbe_session_copy take them along, with no token of the answer
 * too. Whatever appends or draws tokens fails with RBE_ERROR_ARGUMENT before a text is there.
 *
 * rbe_encoder_create (encoder.h) on such a model runs texts through the encoder alone.
 */
#ifndef RBE_ENCODER_DECODER_H
#define RBE_ENCODER_DECODER_H

#include "rbe/rbe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rbe_encoder_decoder_info {
    size_t struct_bytes;
    uint32_t is_encoder_decoder; /* 0: the rest says nothing */
    uint32_t encoder_layers;
    uint32_t start_token;        /* begins an answer */
} rbe_encoder_decoder_info;

RBE_API rbe_status rbe_model_get_encoder_decoder_info(const rbe_model *model, rbe_encoder_decoder_info *info);

/* The text that the session answers to, in place of the one before: token ids, complete with the special tokens that the model wants
 * (RBE_TOKENIZE_SPECIAL_PREFIX), 1 to context_tokens of the session. The context is empty afterwards. The encoder reads as many planes of its
 * layers as the session's effort reads of any layer at most, and uses the session's threads. For the time of the call it takes memory as an
 * encoder of pass_tokens does. progress counts tokens and may be NULL.
 *
 * RBE_ERROR_UNSUPPORTED: the model has no such encoder; RBE_ERROR_CONTEXT: the text is too long; RBE_ERROR_ARGUMENT: a token is not in the
 * vocabulary, or there is none; RBE_ERROR_CANCELLED after rbe_session_cancel. On any failure the session is as before. */
RBE_API rbe_status rbe_session_encode(rbe_session *session, const uint32_t *tokens, size_t n_tokens, rbe_progress_callback progress,
                                      void *user);

/* Tokens of the session's text; 0: none was encoded. */
RBE_API size_t rbe_session_text_tokens(const rbe_session *session);

#ifdef __cplusplus
}
#endif
#endif
