/* Where special tokens stand in a text. */
#ifndef RBE_TOKENIZER_SPECIAL_H
#define RBE_TOKENIZER_SPECIAL_H

#include "text/tokenizer/tokenizer.h"

/* A search through one text. Zero-initialise, set the first six. */
typedef struct rbe__search {
    const rbe_tokenizer *tokenizer;
    int prepared;         /* which of the tokenizer's lists is meant: 0 or 1 */
    int control;          /* control and unknown tokens count too */
    const uint8_t *text;
    size_t bytes;
    const uint8_t *marks; /* NULL, or for each byte of the text whether a mark stands before it. With marks a control token counts where it
                             is marked, and nowhere else: `control` says nothing then */
    size_t at; /* where the search goes on */
    size_t given; /* the end of what the tokens before have taken */
    size_t spaces, spaces_end; /* white space that was measured last */
} rbe__search;

typedef struct rbe__match {
    size_t begin, end; /* of what the token takes from the text, white space that it strips included */
    uint32_t token;
} rbe__match;

/* The next token: the leftmost, and there the longest; 0 if there is none. With RBE__ADDED_TOKENS a match may begin before the end of the one
 * before it: a token of white space is found in what that one has stripped, as package tokenizers does. */
int rbe__next_special(rbe__search *search, rbe__match *match);

#endif
