#include "text/tokenizer/script_parts.h"

#include "text/tokenizer/character.h"

/* [\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF], none of them a number */
static int is_han_or_kana(rbe__character c)
{
    return c.class != RBE__END && ((c.code >= 0x4E00 && c.code <= 0x9FA5) || (c.code >= 0x3040 && c.code <= 0x30FF));
}

/* [\p{L}\p{M}] */
static int is_of_word(rbe__character c)
{
    return c.class == RBE__LETTER || c.class == RBE__MARK;
}

/* [\p{P}\p{S}] */
static int is_sign(rbe__character c)
{
    return c.class == RBE__PUNCTUATION || c.class == RBE__SYMBOL;
}

static int is_ascii_letter(rbe__character c)
{
    return (c.code | 32) >= 'a' && (c.code | 32) <= 'z' && c.class != RBE__END;
}

/* The end of the run that `c` begins. */
static size_t run_of(const rbe__pieces *p, rbe__character c, int (*is_of_run)(rbe__character))
{
    for (rbe__character next = rbe__look(p, c.end); is_of_run(next); next = rbe__look(p, c.end)) {
        c = next;
    }
    return c.end;
}

/* What no alternative matches goes together: characters of category C before which no word stands. */
static size_t rest_end(const rbe__pieces *p, rbe__character c)
{
    for (rbe__character next = rbe__look(p, c.end); next.class == RBE__OTHER && !is_of_word(rbe__look(p, next.end));
         next = rbe__look(p, c.end)) {
        c = next;
    }
    return c.end;
}

/* [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ in a
 * part without numbers; without `newlines` no [\r\n]* behind signs, and [\r\n] in place of \s*[\r\n]+. */
static size_t part_end(const rbe__pieces *p, int newlines)
{
    const rbe__character c = rbe__look(p, p->position), next = rbe__look(p, c.end);
    if (is_sign(c) && c.code < 128 && is_ascii_letter(next)) {
        return run_of(p, next, is_ascii_letter);
    }
    if (is_of_word(c)) {
        return run_of(p, c, is_of_word);
    }
    if (!is_sign(c) && !rbe__is_newline(c) && is_of_word(next)) {
        return run_of(p, next, is_of_word);
    }
    if (is_sign(c) || (c.code == ' ' && is_sign(next))) {
        size_t end = run_of(p, is_sign(c) ? c : next, is_sign);
        for (rbe__character line = rbe__look(p, end); newlines && rbe__is_newline(line); line = rbe__look(p, end)) {
            end = line.end;
        }
        return end;
    }
    if (rbe__is_newline(c) && !newlines) {
        return c.end;
    }
    return c.class == RBE__SPACE ? rbe__space_end(p, p->position, newlines) : rest_end(p, c);
}

size_t rbe__script_parts_end(rbe__pieces *p, int n_digits, int newlines)
{
    if (p->position >= p->limit) {
        rbe__character c = rbe__read_character(p->text, p->bytes, p->position);
        if (c.class == RBE__NUMBER) {
            for (; n_digits > 0 && c.class == RBE__NUMBER; n_digits--) {
                p->limit = c.end;
                c = rbe__read_character(p->text, p->bytes, c.end);
            }
            return p->limit;
        }
        const int apart = is_han_or_kana(c);
        for (; c.class != RBE__END && c.class != RBE__NUMBER && is_han_or_kana(c) == apart;
             c = rbe__read_character(p->text, p->bytes, c.end)) {
            p->limit = c.end;
        }
    }
    return part_end(p, newlines);
}
