#include "text/tokenizer/steps.h"

#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/spaces.h"
#include "text/tokenizer/token_list.h"
#include "text/tokenizer/unicode.h"

enum { MAX_GROWTH = 64, FREE_GROWTH = 4096 }; /* U+FDFA becomes 11 times as long by NFKC */

/* A step at work on a text. */
typedef struct work {
    const rbe_tokenizer *tokenizer;
    const rbe__step *step;
    const uint8_t *text;
    size_t bytes;
    rbe__buffer *out;
    size_t most; /* bytes that the result may have */
} work;

static rbe_status put(work *w, const uint8_t *text, size_t bytes)
{
    if (bytes > w->most - w->out->bytes) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "normalizing makes a text of over %zu bytes; cut it", w->most);
    }
    return rbe__buffer_append(w->out, text, bytes);
}

static rbe_status put_character(work *w, uint32_t character)
{
    uint8_t bytes[4];
    return put(w, bytes, rbe__utf8_write(character, bytes));
}

/* The length of the longest user-defined token that begins at `at`, or 0. The text is written as the vocabulary writes it, with U+2581 for a
 * space: a space of the text is none yet. */
static size_t user_defined(const work *w, size_t at)
{
    const rbe_tokenizer *t = w->tokenizer;
    const int escaped = (t->flags & RBE__ESCAPED_SPACES) != 0;
    rbe__walk walk = rbe__walk_begin(t, &t->special);
    size_t longest = 0, length = 0;
    uint32_t token;
    while (at + length < w->bytes && !(escaped && w->text[at + length] == ' ')) {
        const int space = escaped && rbe__is_escaped_space(w->text + at + length, w->bytes - at - length);
        if (!rbe__walk_on(&walk, space ? ' ' : w->text[at + length], &token)) {
            break;
        }
        length += space ? 3 : 1;
        if (token != RBE_NO_TOKEN && rbe__token_type(t, token) == RBE__USER_DEFINED) {
            longest = length;
        }
    }
    return longest;
}

/* SentencePiece: the longest key at each place; what is no UTF-8 becomes U+FFFD. */
static rbe_status map_keys(work *w)
{
    for (size_t at = 0; at < w->bytes;) {
        uint32_t character;
        const size_t token_bytes = w->step->option == RBE__KEYS_BESIDE_TOKENS ? user_defined(w, at) : 0;
        if (token_bytes > 0) {
            RBE_TRY(put(w, w->text + at, token_bytes));
            at += token_bytes;
            continue;
        }
        const rbe__mapped mapped = rbe__charsmap_find(&w->tokenizer->charsmap, w->text + at, w->bytes - at, 0);
        if (mapped.bytes > 0) {
            RBE_TRY(put(w, mapped.to, mapped.to_bytes));
            at += mapped.bytes;
            continue;
        }
        const size_t length = rbe__utf8_next(w->text + at, w->bytes - at, &character);
        RBE_TRY(character == RBE__NOT_A_CHARACTER ? put_character(w, 0xFFFD) : put(w, w->text + at, length));
        at += length;
    }
    return RBE_OK;
}

/* The end of the cluster of characters that begins at `at`. */
static size_t cluster_end(const work *w, size_t at)
{
    uint32_t character, next;
    size_t end = at + rbe__utf8_next(w->text + at, w->bytes - at, &character);
    if (rbe__ends_cluster(character)) {
        return end + (character == '\r' && end < w->bytes && w->text[end] == '\n');
    }
    while (end < w->bytes) {
        const size_t length = rbe__utf8_next(w->text + end, w->bytes - end, &next);
        if (!rbe__extends_cluster(next) && !(rbe__precedes_cluster(character) && !rbe__ends_cluster(next))) {
            break;
        }
        character = next;
        end += length;
    }
    return end;
}

/* Package tokenizers: a cluster of less than 6 bytes is replaced as a whole by what stands for the shortest key that it begins with; in the
 * others, and where there is no such key, each character by itself. */
static rbe_status map_clusters(work *w)
{
    const rbe__charsmap *map = &w->tokenizer->charsmap;
    for (size_t at = 0, end; at < w->bytes; at = end) {
        end = cluster_end(w, at);
        rbe__mapped mapped = {0, NULL, 0};
        if (end - at < 6) {
            mapped = rbe__charsmap_find(map, w->text + at, end - at, 1);
        }
        if (mapped.bytes > 0) {
            RBE_TRY(put(w, mapped.to, mapped.to_bytes));
            continue;
        }
        while (at < end) {
            uint32_t character;
            const size_t length = rbe__utf8_next(w->text + at, end - at, &character);
            mapped = rbe__charsmap_find(map, w->text + at, length, 1);
            RBE_TRY(mapped.bytes > 0 ? put(w, mapped.to, mapped.to_bytes) : put(w, w->text + at, length));
            at += length;
        }
    }
    return RBE_OK;
}

#define NOTHING 0xFFFFFFFEu

/* What one character becomes, and what comes behind that, if anything. */
static uint32_t changed(const rbe__step *step, uint32_t character, uint32_t *behind)
{
    const rbe__class class = rbe__class_of(character);
    switch (step->kind) {
    case RBE__STEP_CLEAN:
        if (character == '\t' || character == '\n' || character == '\r') {
            return ' ';
        }
        if (character == RBE__NOT_A_CHARACTER || character == 0xFFFD || rbe__is_control(character)) {
            return NOTHING;
        }
        return class == RBE__SPACE ? ' ' : character;
    case RBE__STEP_DROP_MARKS: return (step->option != 0 ? class == RBE__MARK : rbe__is_nonspacing(character)) ? NOTHING : character;
    case RBE__STEP_LOWER: *behind = character == 0x130 ? 0x307 : NOTHING; return rbe__lower_of(character);
    default: return character;
    }
}

/* The blocks that BERT takes for Chinese characters, as package tokenizers has them. */
static int is_han(uint32_t character)
{
    static const uint32_t blocks[][2] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
                                         {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F}};
    for (size_t i = 0; character >= 0x3400 && i < sizeof blocks / sizeof *blocks; i++) {
        if (character >= blocks[i][0] && character <= blocks[i][1]) {
            return 1;
        }
    }
    return 0;
}

/* The steps that look at one character at a time. */
static rbe_status change_characters(work *w)
{
    size_t length;
    for (size_t at = 0; at < w->bytes; at += length) {
        uint32_t character, behind = NOTHING;
        length = rbe__utf8_next(w->text + at, w->bytes - at, &character);
        if (w->step->kind == RBE__STEP_SPACE_HAN) {
            const int han = is_han(character);
            RBE_TRY(put(w, (const uint8_t *)" ", (size_t)han));
            RBE_TRY(put(w, w->text + at, length));
            RBE_TRY(put(w, (const uint8_t *)" ", (size_t)han));
            continue;
        }
        const uint32_t becomes = changed(w->step, character, &behind);
        if (becomes == character) {
            RBE_TRY(put(w, w->text + at, length));
        } else if (becomes != NOTHING) {
            RBE_TRY(put_character(w, becomes));
        }
        if (behind != NOTHING) {
            RBE_TRY(put_character(w, behind));
        }
    }
    return RBE_OK;
}

/* The text without white space at its ends. */
static rbe_status strip(work *w)
{
    size_t begin = 0, end = w->bytes, last = 0;
    int within = 0;
    for (size_t at = 0, length; at < w->bytes; at += length) {
        uint32_t character;
        length = rbe__utf8_next(w->text + at, w->bytes - at, &character);
        if (rbe__class_of(character) != RBE__SPACE) {
            begin = within ? begin : at;
            within = 1;
            last = at + length;
        }
    }
    begin = (w->step->option & 1) == 0 ? 0 : within ? begin : w->bytes;
    end = (w->step->option & 2) == 0 ? end : last;
    return begin < end ? put(w, w->text + begin, end - begin) : RBE_OK;
}

static rbe_status replace(work *w)
{
    const rbe__step *step = w->step;
    for (size_t at = 0; at < w->bytes;) {
        size_t length = 1;
        int found;
        if (step->kind == RBE__STEP_SQUEEZE) {
            size_t end = at;
            while (end < w->bytes && w->text[end] == ' ') {
                end++;
            }
            found = end - at >= 2;
            length = found ? end - at : length;
        } else {
            found = step->from_bytes <= w->bytes - at && memcmp(w->text + at, step->from, step->from_bytes) == 0;
            length = found ? step->from_bytes : length;
        }
        RBE_TRY(found ? put(w, step->to, step->to_bytes) : put(w, w->text + at, length));
        at += length;
    }
    return RBE_OK;
}

static rbe_status run_step(work *w)
{
    switch (w->step->kind) {
    case RBE__STEP_CHARSMAP: return w->step->option == RBE__KEYS_OF_CLUSTERS ? map_clusters(w) : map_keys(w);
    case RBE__STEP_NFC: return rbe__nfc_append(w->out, w->text, w->bytes);
    case RBE__STEP_NFD: return rbe__nfd_append(w->out, w->text, w->bytes);
    case RBE__STEP_STRIP: return strip(w);
    case RBE__STEP_REPLACE:
    case RBE__STEP_SQUEEZE: return replace(w);
    default: return change_characters(w);
    }
}

rbe_status rbe__run_steps(const rbe_tokenizer *tokenizer, rbe__buffer *out, rbe__buffer *other, const uint8_t *text, size_t bytes)
{
    uint64_t most = (uint64_t)bytes * MAX_GROWTH + FREE_GROWTH;
    most = most < INT32_MAX ? most : INT32_MAX;
    out->bytes = 0;
    RBE_TRY(rbe__buffer_append(out, text, bytes));
    for (uint32_t i = 0; i < tokenizer->n_steps; i++) {
        const rbe__buffer before = *out;
        *out = *other;
        *other = before;
        out->bytes = 0;
        work w = {tokenizer, &tokenizer->steps[i], other->data, other->bytes, out, (size_t)most};
        RBE_TRY(run_step(&w));
        if (out->bytes > most) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "normalizing makes a text of over %zu bytes; cut it", (size_t)most);
        }
    }
    return RBE_OK;
}
