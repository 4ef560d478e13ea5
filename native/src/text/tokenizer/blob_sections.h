/* Taking a tokenizer blob apart, section by section. */
#ifndef RBE_TOKENIZER_BLOB_SECTIONS_H
#define RBE_TOKENIZER_BLOB_SECTIONS_H

#include "text/tokenizer/tokenizer.h"

/* What is left of a blob: sections are taken from its beginning. */
typedef struct rbe__sections {
    const uint8_t *at;
    size_t left;
} rbe__sections;

/* Takes `count` items and the padding to 4 bytes behind them. RBE_ERROR_FORMAT where the blob is shorter. */
rbe_status rbe__take_section(rbe__sections *from, const char *name, size_t count, size_t item_bytes, const uint8_t **out);

/* RBE_ERROR_FORMAT unless least <= value <= most. field: for the message, here and below. */
rbe_status rbe__check_range(const char *field, uint32_t value, uint32_t least, uint32_t most);

/* `values` rise from 0 to `last`, by at most `step`. */
rbe_status rbe__check_rising(const char *field, const uint8_t *values, size_t count, uint32_t last, uint32_t step);

/* ---- what version 2 adds (blob_version2.c) ---- */

enum { RBE__VERSION2_HEADER_BYTES = 192 };

/* The sections between the special tokens and the attributes. `blob` has a whole header of version 2. */
rbe_status rbe__take_pieces(rbe__sections *from, const uint8_t *blob, rbe_tokenizer *tokenizer);

/* The sections behind those of version 1. */
rbe_status rbe__take_steps(rbe__sections *from, const uint8_t *blob, rbe_tokenizer *tokenizer);

/* Checks what was taken, once offsets and text are known to be right. */
rbe_status rbe__check_version2(rbe_tokenizer *tokenizer);

#endif
