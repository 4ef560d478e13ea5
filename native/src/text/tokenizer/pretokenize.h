/* Cuts text into the pieces inside which tokens may merge: the regular expressions that the models' tokenizers were
 * trained with, written out as state machines (docs/tokenizers.md, "Pre-tokenizers"). */
#ifndef RBE_TOKENIZER_PRETOKENIZE_H
#define RBE_TOKENIZER_PRETOKENIZE_H

#include <stddef.h>
#include <stdint.h>

typedef struct rbe__pieces {
    uint32_t split; /* RBE__SPLIT_... */
    const uint8_t *text;
    size_t bytes;
    size_t position;  /* where the next piece begins */
    size_t limit;     /* the end of the part that the expression sees as the whole text */
    size_t piece_end; /* of the expression's piece, of which a part was already given (Falcon) */
} rbe__pieces;

/* `text` must stay valid while pieces are taken. */
void rbe__pieces_begin(rbe__pieces *pieces, uint32_t split, const uint8_t *text, size_t bytes);

/* The next piece is text[*begin, *end), never empty; pieces follow one another without gaps. 0 at the end. */
int rbe__pieces_next(rbe__pieces *pieces, size_t *begin, size_t *end);

#endif
