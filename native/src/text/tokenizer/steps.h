/* Normalization as a list of steps: version 2 of the blob. */
#ifndef RBE_TOKENIZER_STEPS_H
#define RBE_TOKENIZER_STEPS_H

#include "text/tokenizer/buffer.h"
#include "text/tokenizer/tokenizer.h"

/* Makes of text[0, bytes) what the steps of the tokenizer make of it, in *out; *other is scratch. Bytes that are no valid UTF-8 go with
 * RBE__STEP_CLEAN, become U+FFFD with SentencePiece's map of characters, and stay otherwise. Linear in the length. RBE_ERROR_ARGUMENT where
 * the text becomes more than 64 times as long or too long to be counted. */
rbe_status rbe__run_steps(const rbe_tokenizer *tokenizer, rbe__buffer *out, rbe__buffer *other, const uint8_t *text, size_t bytes);

#endif
