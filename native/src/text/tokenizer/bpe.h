/* Byte pair encoding of one piece of text. */
#ifndef RBE_TOKENIZER_BPE_H
#define RBE_TOKENIZER_BPE_H

#include "text/tokenizer/encoder.h"

/* Puts the tokens of text[0, bytes), bytes < 2^31. O(n log n) for any text. RBE_ERROR_MEMORY. */
rbe_status rbe__encode_piece(rbe__encoder *encoder, const uint8_t *text, size_t bytes);

#endif
