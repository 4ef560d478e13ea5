/* Tokens sorted by their texts. Those that begin as a text does are a range, which narrows with every byte: a step costs O(log n), and
 * opening builds nothing. */
#ifndef RBE_TOKENIZER_TOKEN_LIST_H
#define RBE_TOKENIZER_TOKEN_LIST_H

#include "text/tokenizer/tokenizer.h"

/* A way into a list, byte by byte. */
typedef struct rbe__walk {
    const rbe_tokenizer *tokenizer;
    const rbe__token_list *list;
    uint32_t low, high; /* entries that begin with the bytes so far */
    size_t depth;       /* how many those are */
} rbe__walk;

static inline rbe__walk rbe__walk_begin(const rbe_tokenizer *tokenizer, const rbe__token_list *list)
{
    return (rbe__walk){tokenizer, list, 0, list->n, 0};
}

/* Goes on by one byte. 0 if no text begins so: the walk is then over. *token: the token whose text ends here, or RBE_NO_TOKEN. */
int rbe__walk_on(rbe__walk *walk, uint8_t byte, uint32_t *token);

/* The token of this very text, or RBE_NO_TOKEN. */
uint32_t rbe__list_find(const rbe_tokenizer *tokenizer, const rbe__token_list *list, const uint8_t *text, size_t bytes);

/* Checks a list (ids below n_tokens, texts of 1 to `most` bytes, rising, none twice) and fills its `begin`. name: for messages. */
rbe_status rbe__list_check(const char *name, const rbe_tokenizer *tokenizer, rbe__token_list *list, size_t most);

#endif
