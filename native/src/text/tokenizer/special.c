/* Finds special tokens in text. They are sorted by their bytes. Those that begin as the text does are a range, which narrows with every
 * byte: a search costs O(length x log n) at each place, and opening costs nothing. */
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/unicode.h"

/* The byte of special token `index` at `depth`, or -1 where it has ended. */
static int byte_at(const rbe_tokenizer *t, uint32_t index, size_t depth)
{
    size_t bytes;
    const uint8_t *text = rbe__token_text(t, rbe__u32(t->special, index), &bytes);
    return depth < bytes ? text[depth] : -1;
}

/* The first index in [low, high) whose byte at `depth` is `least` or more; they share the bytes before. */
static uint32_t lower_bound(const rbe_tokenizer *t, uint32_t low, uint32_t high, size_t depth, int least)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (byte_at(t, middle, depth) < least) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The longest token of `type` with which text[0, bytes) begins; its length, or 0. */
static size_t longest_at(const rbe_tokenizer *t, uint32_t type, const uint8_t *text, size_t bytes, uint32_t *token)
{
    uint32_t low = t->special_begin[text[0]], high = t->special_begin[text[0] + 1];
    size_t longest = 0;
    for (size_t depth = 0; low < high; depth++) {
        /* The shortest of the range comes first; the list has no token twice. */
        uint32_t first = rbe__u32(t->special, low);
        if (byte_at(t, low, depth + 1) < 0 && rbe__token_type(t, first) == type) {
            longest = depth + 1;
            *token = first;
        }
        if (depth + 1 == bytes) {
            break;
        }
        low = lower_bound(t, low, high, depth + 1, text[depth + 1]);
        high = lower_bound(t, low, high, depth + 1, text[depth + 1] + 1);
    }
    return longest;
}

/* The beginning of the white space that ends at `end`, not before `from`. */
static size_t white_space_before(const uint8_t *text, size_t from, size_t end)
{
    while (end > from) {
        size_t begin = end - 1;
        while (begin > from && end - begin < 4 && (text[begin] & 0xC0) == 0x80) {
            begin--;
        }
        uint32_t character;
        if (begin + rbe__utf8_next(text + begin, end - begin, &character) != end || rbe__class_of(character) != RBE__SPACE) {
            break;
        }
        end = begin;
    }
    return end;
}

static size_t white_space_after(const uint8_t *text, size_t bytes, size_t begin)
{
    while (begin < bytes) {
        uint32_t character;
        size_t length = rbe__utf8_next(text + begin, bytes - begin, &character);
        if (rbe__class_of(character) != RBE__SPACE) {
            break;
        }
        begin += length;
    }
    return begin;
}

int rbe__special_at(const rbe_tokenizer *t, uint32_t type, const uint8_t *text, size_t bytes, size_t from, size_t at, rbe__match *match)
{
    const size_t length = at < bytes ? longest_at(t, type, text + at, bytes - at, &match->token) : 0;
    if (length == 0) {
        return 0;
    }
    uint32_t attributes = t->attributes[match->token];
    match->begin = (attributes & RBE__STRIP_LEFT) != 0 ? white_space_before(text, from, at) : at;
    match->end = at + length;
    if ((attributes & RBE__STRIP_RIGHT) != 0) {
        match->end = white_space_after(text, bytes, match->end);
    }
    return 1;
}

int rbe__next_special(const rbe_tokenizer *t, uint32_t type, const uint8_t *text, size_t bytes, size_t from, rbe__match *match)
{
    for (size_t at = from; at < bytes; at++) {
        if (rbe__special_at(t, type, text, bytes, from, at, match)) {
            return 1;
        }
    }
    return 0;
}
