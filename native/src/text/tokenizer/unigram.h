/* The tokens of a piece of text whose scores add up to most (T. Kudo, 2018). */
#ifndef RBE_TOKENIZER_UNIGRAM_H
#define RBE_TOKENIZER_UNIGRAM_H

#include "text/tokenizer/encoder.h"

static inline double rbe__score(const rbe_tokenizer *tokenizer, uint32_t token)
{
    if (tokenizer->score_bytes == 4) {
        float score;
        memcpy(&score, tokenizer->scores + (size_t)4 * token, sizeof score);
        return score;
    }
    double score;
    memcpy(&score, tokenizer->scores + (size_t)8 * token, sizeof score);
    return score;
}

/* Puts the tokens of text[0, bytes), bytes < 2^31, 0 among them. Linear in the length. RBE_ERROR_MEMORY. */
rbe_status rbe__encode_unigram(rbe__encoder *encoder, const uint8_t *text, size_t bytes);

#endif
