/* How SentencePiece prepares the spaces of a text. */
#ifndef RBE_TOKENIZER_SPACES_H
#define RBE_TOKENIZER_SPACES_H

#include "text/tokenizer/buffer.h"
#include "text/tokenizer/tokenizer.h"

/* 1 if rbe__spaces_append would change this text between control tokens. */
int rbe__spaces_change(const rbe_tokenizer *tokenizer, const uint8_t *text, size_t bytes);

/* Appends the text with the space prefix of RBE__PREFIX_TEXT, with U+2581 turned into spaces where the vocabulary
 * writes spaces so, and with single spaces only where the tokenizer collapses them. */
rbe_status rbe__spaces_append(rbe__buffer *out, const rbe_tokenizer *tokenizer, const uint8_t *text, size_t bytes);

#endif
