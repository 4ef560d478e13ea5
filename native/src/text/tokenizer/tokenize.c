/* From text to ids: control tokens cut the text into stretches, user-defined tokens cut those into fragments, and the
 * pre-tokenizer cuts these into the pieces that are encoded (docs/tokenizers.md, "From text to tokens"). */
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/pretokenize.h"
#include "text/tokenizer/spaces.h"
#include "text/tokenizer/unicode.h"

enum { MARK = 0xFF }; /* before what may be a control token: RBE_TOKENIZE_MARKED */

typedef struct job {
    const rbe_tokenizer *tokenizer;
    rbe__encoder encoder;
    rbe__buffer unmarked, stretch, fragment; /* scratch */
    int at_start;                  /* nothing of the text was encoded yet */
} job;

/* Text without special tokens. */
static rbe_status encode_fragment(job *j, const uint8_t *text, size_t bytes)
{
    const rbe_tokenizer *t = j->tokenizer;
    if (bytes == 0) {
        return RBE_OK;
    }
    int prefix = t->space_prefix == RBE__PREFIX_FRAGMENT || (t->space_prefix == RBE__PREFIX_FIRST && j->at_start);
    prefix = prefix && !((t->flags & RBE__PREFIX_UNLESS_SPACE) != 0 && text[0] == ' ');
    int normalize = (t->flags & RBE__NFC) != 0 && !rbe__nfc_is_certain(text, bytes);
    if (prefix || normalize) {
        j->fragment.bytes = 0;
        RBE_TRY(rbe__buffer_append(&j->fragment, " ", prefix));
        RBE_TRY(normalize ? rbe__nfc_append(&j->fragment, text, bytes) : rbe__buffer_append(&j->fragment, text, bytes));
        text = j->fragment.data;
        bytes = j->fragment.bytes;
    }
    j->at_start = 0;
    rbe__pieces pieces;
    rbe__pieces_begin(&pieces, t->split, text, bytes);
    size_t begin, end;
    while (rbe__pieces_next(&pieces, &begin, &end)) {
        RBE_TRY(rbe__encode_piece(&j->encoder, text + begin, end - begin));
    }
    return RBE_OK;
}

/* Text without control tokens. */
static rbe_status encode_stretch(job *j, const uint8_t *text, size_t bytes)
{
    if (rbe__spaces_change(j->tokenizer, text, bytes)) {
        j->stretch.bytes = 0;
        RBE_TRY(rbe__spaces_append(&j->stretch, j->tokenizer, text, bytes));
        text = j->stretch.data;
        bytes = j->stretch.bytes;
    }
    if (bytes == 0) {
        return RBE_OK;
    }
    size_t at = 0;
    rbe__match match;
    while (rbe__next_special(j->tokenizer, RBE__USER_DEFINED, text, bytes, at, &match)) {
        RBE_TRY(encode_fragment(j, text + at, match.begin - at));
        rbe__encoder_put(&j->encoder, match.token);
        j->at_start = 0;
        at = match.end;
    }
    return encode_fragment(j, text + at, bytes - at);
}

/* Text up to a control token, and the token. */
static rbe_status encode_up_to(job *j, const uint8_t *text, size_t *at, const rbe__match *match)
{
    RBE_TRY(encode_stretch(j, text + *at, match->begin - *at));
    rbe__encoder_put(&j->encoder, match->token);
    j->at_start = 0;
    *at = match->end;
    return RBE_OK;
}

/* Whether a mark stands before each punctuation byte of a token of so many bytes, the first of which follows a mark. The text of a message
 * may stand within a token only as `user` does in <|user|>. The punctuation of "%+.3f" and "%(name)s" is never marked. */
static int is_own(const uint8_t *text, size_t n)
{
    static const char punctuation[] = "!\"$&',/:;<=>?@[\\]^_`{|}~";
    int marked = 1;
    for (; n > 0; text++) {
        if (*text == MARK) {
            marked = 1;
        } else if (!marked && memchr(punctuation, *text, sizeof punctuation - 1)) {
            return 0;
        } else {
            marked = 0;
            n--;
        }
    }
    return 1;
}

/* Control tokens only where they are marked. */
static rbe_status encode_marked(job *j, const uint8_t *text, size_t bytes)
{
    for (size_t i = 0, run; i < bytes; i += run + 1) {
        const uint8_t *mark = memchr(text + i, MARK, bytes - i);
        run = mark ? (size_t)(mark - (text + i)) : bytes - i;
        RBE_TRY(rbe__buffer_append(&j->unmarked, text + i, run));
    }
    const uint8_t *unmarked = j->unmarked.data;
    const size_t n = j->unmarked.bytes;
    if (n == 0) {
        return RBE_OK;
    }
    size_t at = 0, n_marks = 0;
    rbe__match match;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == MARK) {
            const size_t place = i - n_marks++;
            size_t length;
            if (place >= at && rbe__special_at(j->tokenizer, RBE__CONTROL, unmarked, n, at, place, &match) &&
                (rbe__token_text(j->tokenizer, match.token, &length), is_own(text + i + 1, length))) {
                RBE_TRY(encode_up_to(j, unmarked, &at, &match));
            }
        }
    }
    return encode_stretch(j, unmarked + at, n - at);
}

static rbe_status encode_all(job *j, const uint8_t *text, size_t bytes, uint32_t flags)
{
    size_t at = 0;
    rbe__match match;
    if ((flags & RBE_TOKENIZE_MARKED) != 0) {
        return encode_marked(j, text, bytes);
    }
    while ((flags & RBE_TOKENIZE_PARSE_SPECIAL) != 0 && rbe__next_special(j->tokenizer, RBE__CONTROL, text, bytes, at, &match)) {
        RBE_TRY(encode_up_to(j, text, &at, &match));
    }
    return encode_stretch(j, text + at, bytes - at);
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
    job work = {.tokenizer = tokenizer, .at_start = 1};
    work.encoder.tokenizer = tokenizer;
    work.encoder.tokens = tokens;
    work.encoder.capacity = capacity;
    rbe_status status = encode(&work, (const uint8_t *)(text != NULL ? text : ""), text_bytes, flags);
    *n_tokens = status == RBE_OK ? work.encoder.count : 0;
    rbe__encoder_free(&work.encoder);
    rbe__buffer_free(&work.unmarked);
    rbe__buffer_free(&work.stretch);
    rbe__buffer_free(&work.fragment);
    if (status == RBE_OK && *n_tokens > capacity) {
        return rbe_fail(RBE_ERROR_CAPACITY, "%zu tokens do not fit into %zu places", *n_tokens, capacity);
    }
    return status;
}
