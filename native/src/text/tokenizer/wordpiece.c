#include "text/tokenizer/wordpiece.h"

#include "text/tokenizer/token_list.h"
#include "text/tokenizer/unicode.h"

/* The punctuation of BERT: that of Unicode, and all of ASCII that is neither letter, digit, space nor control character. */
static int is_punctuation(uint32_t character)
{
    if (character < 0x80) {
        return character > ' ' && character < 0x7F && !(character - '0' < 10 || (character | 32) - 'a' < 26);
    }
    return rbe__class_of(character) == RBE__PUNCTUATION;
}

/* The length of the longest token of a list with which text[0, bytes) begins, or 0. */
static size_t longest(const rbe_tokenizer *t, const rbe__token_list *list, const uint8_t *text, size_t bytes, uint32_t *token)
{
    rbe__walk walk = rbe__walk_begin(t, list);
    size_t found = 0;
    uint32_t here;
    while (walk.depth < bytes && rbe__walk_on(&walk, text[walk.depth], &here)) {
        if (here != RBE_NO_TOKEN) {
            found = walk.depth;
            *token = here;
        }
    }
    return found;
}

static void encode_word(rbe__encoder *e, const uint8_t *text, size_t bytes, size_t n_characters)
{
    const rbe_tokenizer *t = e->tokenizer;
    const size_t before = e->count;
    size_t at = 0;
    while (n_characters <= t->longest_word && at < bytes) {
        uint32_t token = RBE_NO_TOKEN;
        const size_t length = longest(t, &t->pieces[at > 0], text + at, bytes - at, &token);
        if (length == 0) {
            break;
        }
        rbe__encoder_put(e, token);
        at += length;
    }
    if (at < bytes) {
        e->count = before;
        if (t->unknown != RBE_NO_TOKEN) {
            rbe__encoder_put(e, t->unknown);
        }
    }
}

void rbe__encode_words(rbe__encoder *e, const uint8_t *text, size_t bytes)
{
    size_t begin = 0, n_characters = 0, length;
    for (size_t at = 0; at < bytes; at += length) {
        uint32_t character;
        length = rbe__utf8_next(text + at, bytes - at, &character);
        const int space = rbe__class_of(character) == RBE__SPACE, alone = is_punctuation(character);
        if (!space && !alone) {
            n_characters++;
            continue;
        }
        if (n_characters > 0) {
            encode_word(e, text + begin, at - begin, n_characters);
        }
        if (alone) {
            encode_word(e, text + at, length, 1);
        }
        begin = at + length;
        n_characters = 0;
    }
    if (n_characters > 0) {
        encode_word(e, text + begin, bytes - begin, n_characters);
    }
}
