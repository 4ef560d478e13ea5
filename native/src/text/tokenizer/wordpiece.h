/* WordPiece (Y. Wu and others, 2016), as BERT has it. */
#ifndef RBE_TOKENIZER_WORDPIECE_H
#define RBE_TOKENIZER_WORDPIECE_H

#include "text/tokenizer/encoder.h"

/* Puts the tokens of a text without special tokens: words lie between white space, and each punctuation character is one. Of a word first the longest token, then the longest of those that continue words, and so on; a word that cannot be taken apart so,
 * or has more characters than longest_word, is the unknown token. Linear in the length. */
void rbe__encode_words(rbe__encoder *encoder, const uint8_t *text, size_t bytes);

#endif
