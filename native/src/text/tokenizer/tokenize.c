/* From text to ids: the tokens that are found in the text as it was given cut it into stretches, those that are found in the prepared stretch
 * cut that into fragments, and the pre-tokenizer cuts these into the pieces that are encoded (docs/tokenizers.md, "From text to tokens"). */
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/pretokenize.h"
#include "text/tokenizer/spaces.h"
#include "text/tokenizer/special.h"
#include "text/tokenizer/steps.h"
#include "text/tokenizer/unicode.h"
#include "text/tokenizer/unigram.h"
#include "text/tokenizer/wordpiece.h"

enum { MARK = 0xFF }; /* before what may be a control token: RBE_TOKENIZE_MARKED */

/* A text and, for each byte, whether a mark stands before it. marks is NULL where the text came without. */
typedef struct marked_text {
    const uint8_t *text, *marks;
    size_t bytes;
} marked_text;

typedef struct scratch {
    rbe__buffer text, marks;
} scratch;

typedef struct job {
    const rbe_tokenizer *tokenizer;
    rbe__encoder encoder;
    scratch unmarked, spaced, normal;
    rbe__buffer fragment, word;
    int control; /* control tokens are looked for */
    int at_start; /* nothing of the text was encoded yet */
} job;

static rbe_status encode_pieces(job *j, uint32_t split, const uint8_t *text, size_t bytes)
{
    const int unigram = j->tokenizer->algorithm == RBE__UNIGRAM;
    rbe__pieces pieces;
    rbe__pieces_begin(&pieces, split, text, bytes);
    size_t begin, end;
    while (rbe__pieces_next(&pieces, &begin, &end)) {
        RBE_TRY(unigram ? rbe__encode_unigram(&j->encoder, text + begin, end - begin)
                        : rbe__encode_piece(&j->encoder, text + begin, end - begin));
    }
    return RBE_OK;
}

/* RBE__SPLIT_WHITE_SPACE of Unigram: each word between white space has a space in front, unless it begins with U+2581, and is cut again
 * before each U+2581. */
static rbe_status encode_each_word(job *j, const uint8_t *text, size_t bytes)
{
    const rbe_tokenizer *t = j->tokenizer;
    size_t begin = 0;
    for (size_t at = 0, length; at <= bytes; at += length) {
        uint32_t character = ' ';
        length = at < bytes ? rbe__utf8_next(text + at, bytes - at, &character) : 1;
        if (rbe__class_of(character) != RBE__SPACE) {
            continue;
        }
        if (at > begin) {
            const size_t word_bytes = at - begin;
            const int escaped = rbe__is_escaped_space(text + begin, word_bytes);
            j->word.bytes = 0;
            RBE_TRY(rbe__buffer_append(&j->word, " ", t->space_prefix != RBE__PREFIX_NONE && !escaped));
            RBE_TRY(rbe__unescape_append(&j->word, text + begin, word_bytes));
            RBE_TRY(encode_pieces(j, RBE__SPLIT_EACH_SPACE, j->word.data, j->word.bytes));
        }
        begin = at + length;
    }
    return RBE_OK;
}

/* Text without special tokens. */
static rbe_status encode_fragment(job *j, const uint8_t *text, size_t bytes)
{
    const rbe_tokenizer *t = j->tokenizer;
    if (bytes == 0) {
        return RBE_OK;
    }
    if (t->algorithm == RBE__WORD_PIECES) {
        rbe__encode_words(&j->encoder, text, bytes);
        return RBE_OK;
    }
    if (t->split == RBE__SPLIT_WHITE_SPACE) {
        return encode_each_word(j, text, bytes);
    }
    const int unescape = (t->flags & RBE__LATE_SPACES) != 0 && rbe__has_escaped_space(text, bytes);
    const int spaced = text[0] == ' ' || (unescape && rbe__is_escaped_space(text, bytes));
    int prefix = t->space_prefix == RBE__PREFIX_FRAGMENT || (t->space_prefix == RBE__PREFIX_FIRST && j->at_start);
    prefix = prefix && !((t->flags & RBE__PREFIX_UNLESS_SPACE) != 0 && spaced);
    const int normalize = (t->flags & (RBE__NFC | RBE__ADDED_TOKENS)) == RBE__NFC && !rbe__nfc_is_certain(text, bytes);
    if (prefix || unescape || normalize) {
        j->fragment.bytes = 0;
        RBE_TRY(rbe__buffer_append(&j->fragment, " ", prefix));
        if (unescape) {
            RBE_TRY(rbe__unescape_append(&j->fragment, text, bytes));
        } else {
            RBE_TRY(normalize ? rbe__nfc_append(&j->fragment, text, bytes) : rbe__buffer_append(&j->fragment, text, bytes));
        }
        text = j->fragment.data;
        bytes = j->fragment.bytes;
    }
    j->at_start = 0;
    return encode_pieces(j, t->split, text, bytes);
}

static marked_text view(const scratch *from, int marked)
{
    return (marked_text){from->text.data, marked ? from->marks.data : NULL, from->text.bytes};
}

/* Brings a stretch into NFC. No ASCII character joins what stands before it, so that the text may be cut before one that is marked; the mark
 * stays unless the character has become another. */
static rbe_status normalize_stretch(scratch *out, const marked_text *in)
{
    size_t end;
    for (size_t begin = 0; begin < in->bytes; begin = end) {
        end = in->marks != NULL ? begin + 1 : in->bytes;
        while (end < in->bytes && !(in->marks[end] && in->text[end] < 0x80)) {
            end++;
        }
        const size_t before = out->text.bytes;
        RBE_TRY(rbe__nfc_append(&out->text, in->text + begin, end - begin));
        if (in->marks != NULL) {
            const size_t more = out->text.bytes - before;
            RBE_TRY(rbe__buffer_reserve(&out->marks, more));
            memset(out->marks.data + out->marks.bytes, 0, more);
            out->marks.data[out->marks.bytes] = in->marks[begin] && out->text.data[before] == in->text[begin];
            out->marks.bytes += more;
        }
    }
    return RBE_OK;
}

/* What becomes of a stretch before the second search. */
static rbe_status prepare(job *j, marked_text *stretch)
{
    const rbe_tokenizer *t = j->tokenizer;
    if (t->n_steps > 0) {
        RBE_TRY(rbe__run_steps(t, &j->normal.text, &j->fragment, stretch->text, stretch->bytes));
        if (stretch->marks != NULL) { /* the steps may have moved every byte: no mark is left, and no control token is found below */
            j->normal.marks.bytes = 0;
            RBE_TRY(rbe__buffer_reserve(&j->normal.marks, j->normal.text.bytes));
            if (j->normal.text.bytes > 0) {
                memset(j->normal.marks.data, 0, j->normal.text.bytes);
            }
        }
        *stretch = view(&j->normal, stretch->marks != NULL);
    }
    if (rbe__spaces_change(t, stretch->text, stretch->bytes)) {
        j->spaced.text.bytes = j->spaced.marks.bytes = 0;
        RBE_TRY(rbe__spaces_append(&j->spaced.text, &j->spaced.marks, t, stretch->text, stretch->marks, stretch->bytes));
        *stretch = view(&j->spaced, stretch->marks != NULL);
    }
    const uint32_t early = RBE__NFC | RBE__ADDED_TOKENS;
    if ((t->flags & early) == early && !rbe__nfc_is_certain(stretch->text, stretch->bytes)) {
        j->normal.text.bytes = j->normal.marks.bytes = 0;
        RBE_TRY(normalize_stretch(&j->normal, stretch));
        *stretch = view(&j->normal, stretch->marks != NULL);
    }
    return RBE_OK;
}

/* Finds the tokens of one of the tokenizer's lists. What is between them goes on to the next step. */
static rbe_status encode_text(job *j, marked_text in, int prepared)
{
    rbe__search search = {j->tokenizer, prepared, j->control, in.text, in.bytes, in.marks, 0, 0, 0, 0};
    rbe__match match;
    for (int found = 1; found;) {
        const size_t from = search.given;
        found = rbe__next_special(&search, &match);
        const size_t to = found ? match.begin : in.bytes;
        if (to > from && prepared) {
            RBE_TRY(encode_fragment(j, in.text + from, to - from));
        } else if (to > from) {
            marked_text stretch = {in.text + from, in.marks != NULL ? in.marks + from : NULL, to - from};
            RBE_TRY(prepare(j, &stretch));
            RBE_TRY(encode_text(j, stretch, 1));
        }
        if (found) {
            rbe__encoder_put(&j->encoder, match.token);
            j->at_start = 0;
        }
    }
    return RBE_OK;
}

/* Parts a text from its marks. */
static rbe_status unmark(scratch *out, const uint8_t *text, size_t bytes)
{
    RBE_TRY(rbe__buffer_reserve(&out->text, bytes));
    RBE_TRY(rbe__buffer_reserve(&out->marks, bytes));
    int mark = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] != MARK) {
            out->text.data[out->text.bytes++] = text[i];
            out->marks.data[out->marks.bytes++] = (uint8_t)mark;
        }
        mark = text[i] == MARK;
    }
    return RBE_OK;
}

static rbe_status encode_all(job *j, const uint8_t *text, size_t bytes, uint32_t flags)
{
    if ((flags & RBE_TOKENIZE_MARKED) == 0) {
        return encode_text(j, (marked_text){text, NULL, bytes}, 0);
    }
    RBE_TRY(unmark(&j->unmarked, text, bytes));
    return encode_text(j, view(&j->unmarked, 1), 0);
}

static rbe_status encode(job *j, const uint8_t *text, size_t bytes, uint32_t flags)
{
    const rbe_tokenizer *t = j->tokenizer;
    for (uint32_t i = 0; (flags & RBE_TOKENIZE_SPECIAL_PREFIX) != 0 && i < t->n_before; i++) {
        rbe__encoder_put(&j->encoder, t->before[i]);
    }
    RBE_TRY(encode_all(j, text, bytes, flags));
    for (uint32_t i = 0; (flags & RBE_TOKENIZE_SPECIAL_PREFIX) != 0 && i < t->n_after; i++) {
        rbe__encoder_put(&j->encoder, t->after[i]);
    }
    return RBE_OK;
}

static void free_scratch(scratch *memory)
{
    rbe__buffer_free(&memory->text);
    rbe__buffer_free(&memory->marks);
}

rbe_status rbe_tokenize(const rbe_tokenizer *tokenizer, const char *text, size_t text_bytes, uint32_t flags, uint32_t *tokens,
                        size_t capacity, size_t *n_tokens)
{
    if (n_tokens != NULL) {
        *n_tokens = 0;
    }
    if (tokenizer == NULL || n_tokens == NULL || (text == NULL && text_bytes > 0) || (tokens == NULL && capacity > 0)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_tokenize: an argument is NULL");
    }
    if ((flags & ~(uint32_t)(RBE_TOKENIZE_SPECIAL_PREFIX | RBE_TOKENIZE_PARSE_SPECIAL | RBE_TOKENIZE_MARKED)) != 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_tokenize: unknown flags %#x", flags);
    }
    /* Symbols are numbered and measured with 32 bits; normalization makes a text three times as long at most. */
    if (text_bytes > UINT32_MAX / 4) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "a text of %zu bytes is too long to tokenize at once; cut it", text_bytes);
    }
    job work = {.tokenizer = tokenizer, .control = (flags & RBE_TOKENIZE_PARSE_SPECIAL) != 0, .at_start = 1};
    work.encoder.tokenizer = tokenizer;
    work.encoder.tokens = tokens;
    work.encoder.capacity = capacity;
    rbe_status status = encode(&work, (const uint8_t *)(text != NULL ? text : ""), text_bytes, flags);
    *n_tokens = status == RBE_OK ? work.encoder.count : 0;
    rbe__encoder_free(&work.encoder);
    free_scratch(&work.unmarked);
    free_scratch(&work.spaced);
    free_scratch(&work.normal);
    rbe__buffer_free(&work.fragment);
    rbe__buffer_free(&work.word);
    if (status == RBE_OK && *n_tokens > capacity) {
        return rbe_fail(RBE_ERROR_CAPACITY, "%zu tokens do not fit into %zu places", *n_tokens, capacity);
    }
    return status;
}
