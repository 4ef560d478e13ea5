/* Finds special tokens in text. A search costs O(length x log n) at each place. */
#include "text/tokenizer/special.h"

#include "text/tokenizer/token_list.h"
#include "text/tokenizer/unicode.h"

/* Whether a mark stands before the first byte, spaces apart, and before each punctuation byte. The text of a message may stand within a
 * token only as `user` does in <|user|>. The punctuation of "%+.3f" and "%(name)s" is never marked. */
static int is_own(const uint8_t *text, const uint8_t *marks, size_t n)
{
    static const char punctuation[] = "!\"$&',/:;<=>?@[\\]^_`{|}~";
    size_t i = 0;
    while (i < n && text[i] == ' ' && !marks[i]) {
        i++;
    }
    if (i == n || !marks[i]) {
        return 0;
    }
    for (; i < n; i++) {
        if (!marks[i] && memchr(punctuation, text[i], sizeof punctuation - 1)) {
            return 0;
        }
    }
    return 1;
}

/* Whether a token may stand for the `length` bytes at `at`. */
static int may_stand(const rbe__search *s, uint32_t token, size_t at, size_t length)
{
    uint32_t type = rbe__token_type(s->tokenizer, token);
    int control = type == RBE__CONTROL || type == RBE__UNKNOWN;
    if ((s->tokenizer->flags & RBE__ADDED_TOKENS) == 0 && type != (s->prepared ? RBE__USER_DEFINED : RBE__CONTROL)) {
        return 0;
    }
    return !control || (s->marks != NULL ? is_own(s->text + at, s->marks + at, length) : s->control);
}

/* The longest token with which text[at, bytes) begins; its length, or 0. */
static size_t longest_at(const rbe__search *s, size_t at, uint32_t *token)
{
    rbe__walk walk = rbe__walk_begin(s->tokenizer, &s->tokenizer->added[s->prepared]);
    size_t longest = 0;
    uint32_t found;
    while (at + walk.depth < s->bytes && rbe__walk_on(&walk, s->text[at + walk.depth], &found)) {
        if (found != RBE_NO_TOKEN && may_stand(s, found, at, walk.depth)) {
            longest = walk.depth;
            *token = found;
        }
    }
    return longest;
}

/* The beginning of the character that ends at `end`, `end` > `from`, and the character. Not before `from`. */
static size_t character_before(const uint8_t *text, size_t from, size_t end, uint32_t *character)
{
    size_t begin = end - 1;
    while (begin > from && end - begin < 4 && (text[begin] & 0xC0) == 0x80) {
        begin--;
    }
    if (begin + rbe__utf8_next(text + begin, end - begin, character) == end) {
        return begin;
    }
    *character = RBE__NOT_A_CHARACTER;
    return end - 1;
}

/* Whether a character is white space that tokens strip. In a prepared text a space stands for U+2581, which is none. */
static int is_stripped(const rbe__search *s, uint32_t character)
{
    const uint32_t early = RBE__ADDED_TOKENS | RBE__ESCAPED_SPACES;
    if (s->prepared && character == ' ' && (s->tokenizer->flags & (early | RBE__LATE_SPACES)) == early) {
        return 0;
    }
    return rbe__class_of(character) == RBE__SPACE;
}

/* The beginning of the white space that ends at `end`, not before `from`. */
static size_t white_space_before(const rbe__search *s, size_t from, size_t end)
{
    uint32_t character;
    while (end > from) {
        size_t begin = character_before(s->text, from, end, &character);
        if (!is_stripped(s, character)) {
            break;
        }
        end = begin;
    }
    return end;
}

/* The end of the white space that begins at `begin`. A run is measured once, however many of its parts are tokens. */
static size_t white_space_after(rbe__search *s, size_t begin)
{
    if (begin >= s->spaces && begin < s->spaces_end) {
        return s->spaces_end;
    }
    s->spaces = begin;
    while (begin < s->bytes) {
        uint32_t character;
        size_t length = rbe__utf8_next(s->text + begin, s->bytes - begin, &character);
        if (!is_stripped(s, character)) {
            break;
        }
        begin += length;
    }
    return s->spaces_end = begin;
}

/* Whether letters, digits or the like stand beside text[begin, end). */
static int is_part_of_word(const rbe__search *s, size_t begin, size_t end)
{
    uint32_t character;
    if (begin > 0) {
        character_before(s->text, 0, begin, &character);
        if (rbe__is_word(character)) {
            return 1;
        }
    }
    return end < s->bytes && (rbe__utf8_next(s->text + end, s->bytes - end, &character), rbe__is_word(character));
}

int rbe__next_special(rbe__search *s, rbe__match *match)
{
    for (size_t length; s->at < s->bytes; s->at += length > 0 ? length : 1) {
        const size_t at = s->at;
        length = longest_at(s, at, &match->token);
        uint32_t attributes = length > 0 ? s->tokenizer->attributes[match->token] : 0;
        if (length == 0 || ((attributes & RBE__SINGLE_WORD) != 0 && is_part_of_word(s, at, at + length))) {
            continue;
        }
        const size_t given = s->given;
        match->end = (attributes & RBE__STRIP_RIGHT) != 0 ? white_space_after(s, at + length) : at + length;
        match->begin = at;
        if ((attributes & RBE__STRIP_LEFT) != 0) {
            match->begin = at > given ? white_space_before(s, given, at) : given;
            if (match->begin >= match->end) {
                continue; /* the token before has stripped it, all of it white space: package tokenizers gives no token either */
            }
        }
        s->given = match->end;
        s->at = (s->tokenizer->flags & RBE__ADDED_TOKENS) != 0 ? at + length : match->end;
        return 1;
    }
    return 0;
}
