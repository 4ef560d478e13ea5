/* SentencePiece's map of characters ("precompiled charsmap"): short texts, and what normalization makes of them. */
#ifndef RBE_TOKENIZER_CHARSMAP_H
#define RBE_TOKENIZER_CHARSMAP_H

#include "text/tokenizer/tokenizer.h"

/* Opens a map: u32 bytes of the double array, its units, then texts that end with a zero byte. RBE_ERROR_FORMAT where the sizes do not
 * hold, or a text is longer than RBE__MAX_REPLACEMENT_BYTES. The double array itself is checked while it is read. */
rbe_status rbe__charsmap_open(const uint8_t *data, size_t bytes, rbe__charsmap *out);

typedef struct rbe__mapped {
    size_t bytes;      /* of the text, that are replaced; 0: none */
    const uint8_t *to; /* by this */
    size_t to_bytes;
} rbe__mapped;

/* What stands for the beginning of text[0, bytes): by the longest key that it begins with, or by the shortest. */
rbe__mapped rbe__charsmap_find(const rbe__charsmap *map, const uint8_t *text, size_t bytes, int shortest);

/* 1 if a character is attached to the one before it: no cluster of characters (Unicode Standard Annex 29) begins with it. */
int rbe__extends_cluster(uint32_t code_point);

/* 1 if a character attaches the one behind it. */
int rbe__precedes_cluster(uint32_t code_point);

/* 1 if nothing is attached to a character. */
int rbe__ends_cluster(uint32_t code_point);

#endif
