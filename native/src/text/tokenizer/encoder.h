/* Where the ids of a text go, and the scratch memory of what finds them. */
#ifndef RBE_TOKENIZER_ENCODER_H
#define RBE_TOKENIZER_ENCODER_H

#include "text/tokenizer/tokenizer.h"

/* Serves all pieces of a call. Zero-initialise, set the first three. */
typedef struct rbe__encoder {
    const rbe_tokenizer *tokenizer;
    uint32_t *tokens;
    size_t capacity;
    size_t count; /* of all tokens, also of those beyond the capacity */
    int after_unknown;
    struct rbe__symbol *symbols; /* byte pairs: the symbols of a piece, and the merges that may come */
    size_t symbols_capacity;
    struct rbe__candidate *heap;
    size_t heap_count, heap_capacity;
    struct rbe__node *nodes; /* Unigram: the best way to each place of a piece */
    size_t nodes_capacity;
} rbe__encoder;

static inline void rbe__encoder_put(rbe__encoder *encoder, uint32_t token)
{
    if (encoder->count < encoder->capacity) {
        encoder->tokens[encoder->count] = token;
    }
    encoder->count++;
    encoder->after_unknown = 0;
}

/* Whether each byte has a token of its own to fall back to. */
int rbe__has_byte_tokens(const rbe_tokenizer *tokenizer, const uint8_t *text, size_t bytes);

/* Puts what stands for text[0, bytes) that is no token: a token for each byte where all of them have one, else the unknown token, if there
 * is one; with RBE__FUSE_UNKNOWN not behind another. */
void rbe__encoder_put_unknown(rbe__encoder *encoder, const uint8_t *text, size_t bytes);

void rbe__encoder_free(rbe__encoder *encoder);

#endif
