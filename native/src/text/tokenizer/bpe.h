/* Byte pair encoding of one piece of text. */
#ifndef RBE_TOKENIZER_BPE_H
#define RBE_TOKENIZER_BPE_H

#include "text/tokenizer/tokenizer.h"

/* Where the ids go, and scratch memory that serves all pieces of a call. Zero-initialise, set the first four. */
typedef struct rbe__encoder {
    const rbe_tokenizer *tokenizer;
    uint32_t *tokens;
    size_t capacity;
    size_t count; /* of all tokens, also of those beyond the capacity */
    int after_unknown;
    struct rbe__symbol *symbols;
    size_t symbols_capacity;
    struct rbe__candidate *heap;
    size_t heap_count, heap_capacity;
} rbe__encoder;

static inline void rbe__encoder_put(rbe__encoder *encoder, uint32_t token)
{
    if (encoder->count < encoder->capacity) {
        encoder->tokens[encoder->count] = token;
    }
    encoder->count++;
    encoder->after_unknown = 0;
}

/* Puts the tokens of text[0, bytes), bytes < 2^31. O(n log n) for any text. RBE_ERROR_MEMORY. */
rbe_status rbe__encode_piece(rbe__encoder *encoder, const uint8_t *text, size_t bytes);

void rbe__encoder_free(rbe__encoder *encoder);

#endif
