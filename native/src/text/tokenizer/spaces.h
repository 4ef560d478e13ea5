/* How SentencePiece prepares the spaces of a text. */
#ifndef RBE_TOKENIZER_SPACES_H
#define RBE_TOKENIZER_SPACES_H

#include "text/tokenizer/buffer.h"
#include "text/tokenizer/tokenizer.h"

/* Whether a text begins with U+2581, with which SentencePiece writes a space inside tokens. */
int rbe__is_escaped_space(const uint8_t *text, size_t bytes);

/* Whether U+2581 stands in a text. */
int rbe__has_escaped_space(const uint8_t *text, size_t bytes);

/* Appends the text with U+2581 turned into spaces. */
rbe_status rbe__unescape_append(rbe__buffer *out, const uint8_t *text, size_t bytes);

/* 1 if rbe__spaces_append would change this stretch. */
int rbe__spaces_change(const rbe_tokenizer *tokenizer, const uint8_t *text, size_t bytes);

/* Appends the stretch with the space prefix of RBE__PREFIX_TEXT, with U+2581 turned into spaces where the vocabulary writes spaces so, unless
 * RBE__LATE_SPACES, and with single spaces only where the tokenizer collapses them. `marks`: NULL, or for each byte of the text whether a
 * mark stands before it; the same is then appended to out_marks. */
rbe_status rbe__spaces_append(rbe__buffer *out, rbe__buffer *out_marks, const rbe_tokenizer *tokenizer, const uint8_t *text,
                              const uint8_t *marks, size_t bytes);

#endif
