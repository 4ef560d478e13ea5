/* The characters of a text that is cut into pieces. */
#ifndef RBE_TOKENIZER_CHARACTER_H
#define RBE_TOKENIZER_CHARACTER_H

#include "text/tokenizer/pretokenize.h"
#include "text/tokenizer/unicode.h"

/* One character of the text; `end` is where the next one begins. At the limit the class is RBE__END. */
typedef struct rbe__character {
    uint32_t code;
    uint32_t class;
    size_t end;
} rbe__character;

enum { RBE__END = 99 };

static inline rbe__character rbe__read_character(const uint8_t *text, size_t limit, size_t at)
{
    rbe__character c = {0, RBE__END, at};
    if (at < limit) {
        c.end = at + rbe__utf8_next(text + at, limit - at, &c.code);
        c.class = rbe__class_of(c.code);
    }
    return c;
}

static inline rbe__character rbe__look(const rbe__pieces *p, size_t at)
{
    return rbe__read_character(p->text, p->limit, at);
}

static inline int rbe__is_newline(rbe__character c)
{
    return c.code == '\n' || c.code == '\r';
}

/* \s+(?!\S)|\s+ : all of the white space at `at`, but for its last character where text follows and it is not the only
 * one. With `lines`, \s*[\r\n]+ goes first: up to the last end of a line among it. */
static inline size_t rbe__space_end(const rbe__pieces *p, size_t at, int lines)
{
    size_t last = at, after_newline = 0;
    rbe__character c = rbe__look(p, at);
    while (c.class == RBE__SPACE) {
        if (rbe__is_newline(c)) {
            after_newline = c.end;
        }
        last = at;
        at = c.end;
        c = rbe__look(p, at);
    }
    if (lines && after_newline > 0) {
        return after_newline;
    }
    return c.class == RBE__END || last == p->position ? at : last;
}

#endif
