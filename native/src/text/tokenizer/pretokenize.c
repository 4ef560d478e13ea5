#include "text/tokenizer/pretokenize.h"

#include <string.h>

#include "text/tokenizer/character.h"
#include "text/tokenizer/script_parts.h"
#include "text/tokenizer/tokenizer.h"

/* [^\s\p{L}\p{N}] */
static int is_mark(rbe__character c)
{
    return c.class != RBE__LETTER && c.class != RBE__NUMBER && c.class != RBE__SPACE && c.class != RBE__END;
}

/* The end of the run of characters of the same kind as `c`, which begins at `at`: letters, numbers or marks. */
static size_t run_end(const rbe__pieces *p, rbe__character c)
{
    int marks = is_mark(c);
    for (;;) {
        rbe__character next = rbe__look(p, c.end);
        if (marks ? !is_mark(next) : next.class != c.class) {
            return c.end;
        }
        c.end = next.end;
    }
}

/* The end of 's 't 're 've 'm 'll 'd at `at`, or 0. Case-insensitively U+017F, the long s, is an s too. */
static size_t contraction_end(const rbe__pieces *p, size_t at, int any_case)
{
    if (rbe__look(p, at).code != '\'') {
        return 0;
    }
    rbe__character first = rbe__look(p, at + 1);
    if (first.class != RBE__LETTER) {
        return 0;
    }
    rbe__character second = rbe__look(p, first.end);
    uint32_t a = first.code, b = second.class == RBE__LETTER ? second.code : 0;
    if (any_case) {
        a = a == 0x17F ? 's' : a < 128 ? a | 32 : a;
        b = b < 128 ? b | 32 : b;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd') {
        return first.end;
    }
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? second.end : 0;
}

/* \p{N}{1,n} at `c`, a number. */
static size_t digits_end(const rbe__pieces *p, rbe__character c, int n)
{
    for (rbe__character next = rbe__look(p, c.end); n > 1 && next.class == RBE__NUMBER; n--) {
        c = next;
        next = rbe__look(p, c.end);
    }
    return c.end;
}

/* [^\s\p{L}\p{N}]+[\r\n]* at `c`, the first of the marks; with `slashes` [\r\n/]*. */
static size_t marks_end(const rbe__pieces *p, rbe__character c, int slashes)
{
    size_t end = run_end(p, c);
    rbe__character next = rbe__look(p, end);
    while (rbe__is_newline(next) || (slashes && next.code == '/')) {
        end = next.end;
        next = rbe__look(p, end);
    }
    return end;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ (GPT-2, OpenAI) */
static size_t gpt2_end(const rbe__pieces *p)
{
    size_t end = contraction_end(p, p->position, 0);
    if (end > 0) {
        return end;
    }
    rbe__character c = rbe__look(p, p->position);
    if (c.code == ' ') {
        rbe__character next = rbe__look(p, c.end);
        if (next.class != RBE__SPACE && next.class != RBE__END) {
            c = next;
        }
    }
    return c.class == RBE__SPACE ? rbe__space_end(p, p->position, 0) : run_end(p, c);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * (Llama 3, Meta); Qwen2 has \p{N} without {1,3}. */
static size_t llama3_end(const rbe__pieces *p, int n_digits)
{
    size_t end = contraction_end(p, p->position, 1);
    if (end > 0) {
        return end;
    }
    rbe__character c = rbe__look(p, p->position);
    rbe__character next = rbe__look(p, c.end);
    if (c.class == RBE__LETTER) {
        return run_end(p, c);
    }
    if (c.class == RBE__NUMBER) {
        return digits_end(p, c, n_digits);
    }
    if (!rbe__is_newline(c) && next.class == RBE__LETTER) {
        return run_end(p, next);
    }
    if (is_mark(c) || (c.code == ' ' && is_mark(next))) {
        return marks_end(p, is_mark(c) ? c : next, 0);
    }
    return rbe__space_end(p, p->position, 1);
}

static int is_letter_or_mark(rbe__character c)
{
    return c.class == RBE__LETTER || c.class == RBE__MARK;
}

/* [^\s\p{L}\p{M}\p{N}] */
static int is_symbol(rbe__character c)
{
    return is_mark(c) && c.class != RBE__MARK;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * (Qwen3.5): marks of category M belong to words. One may be the character before a word, which ends where it would all the same. */
static size_t qwen35_end(const rbe__pieces *p)
{
    size_t end = contraction_end(p, p->position, 1);
    if (end > 0) {
        return end;
    }
    rbe__character c = rbe__look(p, p->position);
    rbe__character next = rbe__look(p, c.end);
    if (c.class == RBE__NUMBER) {
        return c.end;
    }
    if (is_letter_or_mark(c) || (!rbe__is_newline(c) && is_letter_or_mark(next))) {
        for (c = is_letter_or_mark(c) ? c : next, next = rbe__look(p, c.end); is_letter_or_mark(next); next = rbe__look(p, c.end)) {
            c = next;
        }
        return c.end;
    }
    if (!is_symbol(c) && !(c.code == ' ' && is_symbol(next))) {
        return rbe__space_end(p, p->position, 1);
    }
    for (c = is_symbol(c) ? c : next, next = rbe__look(p, c.end); is_symbol(next); next = rbe__look(p, c.end)) {
        c = next;
    }
    for (; rbe__is_newline(next); next = rbe__look(p, c.end)) {
        c = next;
    }
    return c.end;
}

/* Whether a letter is of one case or has none, or `c` is a mark of category M. */
static int is_cased(rbe__character c, rbe__class wanted)
{
    rbe__class class = rbe__cased_class_of(c.code);
    return class == wanted || class == RBE__LETTER || class == RBE__MARK;
}

/* The end of a word at `at`, or 0 where there is none. Let B be what has no case, [\p{Lm}\p{Lo}\p{M}]. A word is
 * [\p{Lu}\p{Lt}B]*[\p{Ll}B]+ where there is such a thing. The first part takes all that it can, and gives back for the
 * second: either a letter of lower case follows it, or the word ends with its last B. Otherwise a word is
 * [\p{Lu}\p{Lt}B]+[\p{Ll}B]*, of which capitals alone are left; `*capitals` says so. */
static size_t cased_word_end(const rbe__pieces *p, size_t at, int *capitals)
{
    size_t end = at, after_uncased = 0;
    rbe__character c = rbe__look(p, at);
    while (is_cased(c, RBE__UPPER)) {
        end = c.end;
        after_uncased = rbe__cased_class_of(c.code) == RBE__UPPER ? after_uncased : end;
        c = rbe__look(p, end);
    }
    const int lower = is_cased(c, RBE__LOWER);
    while (lower && is_cased(c, RBE__LOWER)) {
        end = c.end;
        c = rbe__look(p, end);
    }
    *capitals = !lower && after_uncased == 0 && end > at;
    return lower || *capitals ? end : after_uncased;
}

/* [^\r\n\p{L}\p{N}]?W(?i:'s|'t|'re|'ve|'m|'ll|'d)? where W is a word as above; 0 where the text has none here. A mark of
 * category M may be the character before the word, or its first one: capitals alone do not make it the former. */
static size_t o200k_word_end(const rbe__pieces *p, rbe__character c, int contractions)
{
    int capitals = 0;
    size_t end = 0;
    if (c.class != RBE__LETTER && c.class != RBE__NUMBER && !rbe__is_newline(c)) {
        end = cased_word_end(p, c.end, &capitals);
    }
    if (c.class == RBE__LETTER || (c.class == RBE__MARK && (end == 0 || capitals))) {
        end = cased_word_end(p, p->position, &capitals);
    }
    size_t contraction = end > 0 && contractions ? contraction_end(p, end, 1) : 0;
    return contraction > 0 ? contraction : end;
}

/* [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
 * [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
 * \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ (o200k, OpenAI); Mistral's Tekken has no contractions
 * and \p{N} without {1,3}. */
static size_t o200k_end(const rbe__pieces *p, int contractions, int n_digits)
{
    rbe__character c = rbe__look(p, p->position);
    size_t end = o200k_word_end(p, c, contractions);
    if (end > 0) {
        return end;
    }
    if (c.class == RBE__NUMBER) {
        return digits_end(p, c, n_digits);
    }
    rbe__character next = rbe__look(p, c.end);
    if (is_mark(c) || (c.code == ' ' && is_mark(next))) {
        return marks_end(p, is_mark(c) ? c : next, 1);
    }
    return rbe__space_end(p, p->position, 1);
}

/* Numbers stand alone, one character each; between them the GPT-2 expression (StarCoder, SmolLM). */
static size_t starcoder_end(rbe__pieces *p)
{
    if (p->position >= p->limit) {
        rbe__character c = rbe__read_character(p->text, p->bytes, p->position);
        if (c.class == RBE__NUMBER) {
            return c.end;
        }
        for (; c.class != RBE__NUMBER && c.class != RBE__END; c = rbe__read_character(p->text, p->bytes, c.end)) {
            p->limit = c.end;
        }
    }
    return gpt2_end(p);
}

/* What Rust calls punctuation: category P and the ASCII symbols. */
static int is_punctuation(rbe__character c)
{
    return c.class == RBE__PUNCTUATION || (c.class == RBE__SYMBOL && c.code < 128);
}

static int is_ascii_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* Runs of punctuation and what is between them; in each the GPT-2 expression; in its pieces the ASCII digits apart from
 * the rest, three at a time (Falcon). */
static size_t falcon_end(rbe__pieces *p)
{
    if (p->position >= p->limit) {
        rbe__character c = rbe__read_character(p->text, p->bytes, p->position);
        int punctuation = is_punctuation(c);
        for (; c.class != RBE__END && is_punctuation(c) == punctuation; c = rbe__read_character(p->text, p->bytes, c.end)) {
            p->limit = c.end;
        }
    }
    if (p->position >= p->piece_end) {
        p->piece_end = gpt2_end(p);
    }
    size_t end = p->position;
    int digits = is_ascii_digit(p->text[end]);
    while (end < p->piece_end && is_ascii_digit(p->text[end]) == digits && !(digits && end - p->position == 3)) {
        end++;
    }
    return end;
}

/* One run of spaces and what follows it up to the next: where this is used, no SentencePiece token extends further. */
static size_t spaces_end(const rbe__pieces *p)
{
    size_t end = p->position;
    while (end < p->bytes && p->text[end] == ' ') {
        end++;
    }
    while (end < p->bytes && p->text[end] != ' ') {
        end++;
    }
    return end;
}

/* A character and what follows it up to the next space. */
static size_t each_space_end(const rbe__pieces *p)
{
    const uint8_t *next = memchr(p->text + p->position + 1, ' ', p->bytes - p->position - 1);
    return next != NULL ? (size_t)(next - p->text) : p->bytes;
}

void rbe__pieces_begin(rbe__pieces *pieces, uint32_t split, const uint8_t *text, size_t bytes)
{
    int in_parts = split == RBE__SPLIT_STARCODER || split == RBE__SPLIT_FALCON || split == RBE__SPLIT_DEEPSEEK3 ||
                   split == RBE__SPLIT_SPARK;
    *pieces = (rbe__pieces){.split = split, .text = text, .bytes = bytes, .limit = in_parts ? 0 : bytes};
}

int rbe__pieces_next(rbe__pieces *pieces, size_t *begin, size_t *end)
{
    if (pieces->position == pieces->bytes) {
        return 0;
    }
    *begin = pieces->position;
    switch (pieces->split) {
    case RBE__SPLIT_SPACES: *end = spaces_end(pieces); break;
    case RBE__SPLIT_GPT2: *end = gpt2_end(pieces); break;
    case RBE__SPLIT_LLAMA3: *end = llama3_end(pieces, 3); break;
    case RBE__SPLIT_QWEN2: *end = llama3_end(pieces, 1); break;
    case RBE__SPLIT_QWEN35: *end = qwen35_end(pieces); break;
    case RBE__SPLIT_STARCODER: *end = starcoder_end(pieces); break;
    case RBE__SPLIT_FALCON: *end = falcon_end(pieces); break;
    case RBE__SPLIT_O200K: *end = o200k_end(pieces, 1, 3); break;
    case RBE__SPLIT_EACH_SPACE: *end = each_space_end(pieces); break;
    case RBE__SPLIT_TEKKEN: *end = o200k_end(pieces, 0, 1); break;
    case RBE__SPLIT_DEEPSEEK3: *end = rbe__script_parts_end(pieces, 3, 1); break;
    case RBE__SPLIT_SPARK: *end = rbe__script_parts_end(pieces, 1, 0); break;
    default: *end = pieces->bytes; break;
    }
    pieces->position = *end;
    return 1;
}
