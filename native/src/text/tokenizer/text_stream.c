/* From ids to text as it comes: bytes -> valid UTF-8 -> text that no stop sequence can still remove. */
#include "text/tokenizer/text_stream.h"

#include <stdlib.h>

#include "text/tokenizer/buffer.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/unicode.h"

typedef struct stop {
    size_t begin, bytes; /* in stop_text */
} stop;

struct rbe_text_stream {
    const rbe_tokenizer *tokenizer;
    rbe__buffer stop_text;
    stop *stops;
    size_t n_stops;
    rbe__buffer raw;  /* the beginning of a character */
    rbe__buffer held; /* valid text; its first `given` bytes were the result of the last call */
    size_t given;
    int stopped;
    int at_start;  /* no token came yet */
    int drop_space; /* the text began with BOS, and no byte of it came yet */
};

static rbe_status copy_stops(rbe_text_stream *s, const char *const *stops, size_t n_stops)
{
    s->stops = calloc(n_stops > 0 ? n_stops : 1, sizeof *s->stops);
    if (s->stops == NULL) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for %zu stop sequences", n_stops);
    }
    s->n_stops = n_stops;
    for (size_t i = 0; i < n_stops; i++) {
        if (stops[i] == NULL || stops[i][0] == 0) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "stop sequence %zu is empty", i);
        }
        size_t bytes = strlen(stops[i]);
        for (size_t at = 0; at < bytes;) {
            uint32_t code;
            at += rbe__utf8_next((const uint8_t *)stops[i] + at, bytes - at, &code);
            if (code == RBE__NOT_A_CHARACTER) {
                return rbe_fail(RBE_ERROR_ARGUMENT, "stop sequence %zu is not valid UTF-8", i);
            }
        }
        s->stops[i] = (stop){s->stop_text.bytes, bytes};
        RBE_TRY(rbe__buffer_append(&s->stop_text, stops[i], bytes));
    }
    return RBE_OK;
}

rbe_status rbe_text_stream_create(const rbe_tokenizer *tokenizer, const char *const *stops, size_t n_stops, rbe_text_stream **out)
{
    if (out != NULL) {
        *out = NULL;
    }
    if (tokenizer == NULL || out == NULL || (stops == NULL && n_stops > 0)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_text_stream_create: an argument is NULL");
    }
    rbe_text_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a text stream");
    }
    stream->tokenizer = tokenizer;
    stream->at_start = 1;
    rbe_status status = copy_stops(stream, stops, n_stops);
    if (status != RBE_OK) {
        rbe_text_stream_free(stream);
        return status;
    }
    *out = stream;
    return RBE_OK;
}

void rbe_text_stream_free(rbe_text_stream *stream)
{
    if (stream != NULL) {
        rbe__buffer_free(&stream->stop_text);
        rbe__buffer_free(&stream->raw);
        rbe__buffer_free(&stream->held);
        free(stream->stops);
        free(stream);
    }
}

/* Moves from `raw` to `held` all that is decided: characters, and U+FFFD for what can never become one. */
static void move_characters(rbe_text_stream *s, int all)
{
    size_t at = 0;
    while (at < s->raw.bytes) {
        uint32_t code;
        int length = rbe__utf8_scan(s->raw.data + at, s->raw.bytes - at, &code);
        if (length == 0) {
            if (!all) {
                break;
            }
            length = -(int)(s->raw.bytes - at);
        }
        s->held.bytes += rbe__utf8_write(length > 0 ? code : 0xFFFD, s->held.data + s->held.bytes);
        at += (size_t)(length > 0 ? length : -length);
    }
    s->raw.bytes -= at;
    if (s->raw.bytes > 0) {
        memmove(s->raw.data, s->raw.data + at, s->raw.bytes);
    }
}

/* Looks for the stop sequence that is complete first, among those that end after the first `checked` bytes of the held
 * text; of those with the same end the longest. Cuts the text before it. */
static void find_stop(rbe_text_stream *s, size_t checked)
{
    for (size_t end = checked + 1; end <= s->held.bytes; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < s->n_stops; i++) {
            size_t bytes = s->stops[i].bytes;
            if (bytes > longest && bytes <= end && memcmp(s->held.data + end - bytes, s->stop_text.data + s->stops[i].begin, bytes) == 0) {
                longest = bytes;
            }
        }
        if (longest > 0) {
            s->stopped = 1;
            s->held.bytes = end - longest;
            s->raw.bytes = 0;
            return;
        }
    }
}

/* The length of the longest end of the held text that is the beginning of a stop sequence. */
static size_t pending_stop(const rbe_text_stream *s)
{
    size_t longest = 0;
    for (size_t i = 0; i < s->n_stops; i++) {
        size_t bytes = s->stops[i].bytes - 1 < s->held.bytes ? s->stops[i].bytes - 1 : s->held.bytes;
        for (; bytes > longest; bytes--) {
            if (memcmp(s->held.data + s->held.bytes - bytes, s->stop_text.data + s->stops[i].begin, bytes) == 0) {
                longest = bytes;
            }
        }
    }
    return longest;
}

static void drop_given(rbe_text_stream *s)
{
    if (s->given > 0) {
        s->held.bytes -= s->given;
        memmove(s->held.data, s->held.data + s->given, s->held.bytes);
        s->given = 0;
    }
}

static void give(rbe_text_stream *s, size_t bytes, const char **text, size_t *text_bytes)
{
    s->given = bytes;
    *text = bytes > 0 ? (const char *)s->held.data : "";
    *text_bytes = bytes;
}

rbe_status rbe__text_stream_reserve(rbe_text_stream *stream, size_t *most_bytes)
{
    const size_t longest = stream->tokenizer->longest, written = 3 * (stream->raw.bytes + longest);
    RBE_TRY(rbe__buffer_reserve(&stream->held, written));
    RBE_TRY(rbe__buffer_reserve(&stream->raw, longest));
    *most_bytes = stream->held.bytes - stream->given + written;
    return RBE_OK;
}

/* Whether a stream that begins with this token is a text from its beginning, which has a space in front. Encoders and encoder-decoders begin
 * with control tokens that are no BOS: [CLS], the padding of T5. */
static int begins_text(const rbe_tokenizer *t, uint32_t token)
{
    const int encoder = t->algorithm == RBE__WORD_PIECES || t->algorithm == RBE__UNIGRAM;
    const int spaced = t->algorithm == RBE__WORD_PIECES || t->space_prefix != RBE__PREFIX_NONE;
    return spaced && (token == t->bos || (encoder && rbe__token_type(t, token) == RBE__CONTROL));
}

rbe_status rbe_text_stream_push(rbe_text_stream *stream, uint32_t token, const char **text, size_t *text_bytes, int *stopped)
{
    if (stream == NULL || text == NULL || text_bytes == NULL || stopped == NULL) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_text_stream_push: an argument is NULL");
    }
    drop_given(stream);
    give(stream, 0, text, text_bytes);
    *stopped = stream->stopped;
    const rbe_tokenizer *tokenizer = stream->tokenizer;
    const char *bytes;
    size_t n_bytes;
    RBE_TRY(rbe_token_bytes(tokenizer, token, 0, &bytes, &n_bytes));
    if (stream->stopped) {
        return RBE_OK;
    }
    /* Every byte becomes at most the 3 of U+FFFD. */
    RBE_TRY(rbe__buffer_reserve(&stream->held, 3 * (stream->raw.bytes + n_bytes)));
    RBE_TRY(rbe__buffer_reserve(&stream->raw, n_bytes));
    if (stream->at_start) {
        stream->drop_space = begins_text(tokenizer, token);
        stream->at_start = 0;
    }
    if (stream->drop_space && n_bytes > 0) {
        stream->drop_space = 0;
        if (bytes[0] == ' ') {
            bytes++;
            n_bytes--;
        }
    }
    size_t checked = stream->held.bytes;
    RBE_TRY(rbe__buffer_append(&stream->raw, bytes, n_bytes));
    move_characters(stream, 0);
    find_stop(stream, checked);
    *stopped = stream->stopped;
    give(stream, stream->stopped ? stream->held.bytes : stream->held.bytes - pending_stop(stream), text, text_bytes);
    return RBE_OK;
}

rbe_status rbe_text_stream_finish(rbe_text_stream *stream, const char **text, size_t *text_bytes)
{
    if (stream == NULL || text == NULL || text_bytes == NULL) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_text_stream_finish: an argument is NULL");
    }
    drop_given(stream);
    give(stream, 0, text, text_bytes);
    RBE_TRY(rbe__buffer_reserve(&stream->held, 3 * stream->raw.bytes));
    if (!stream->stopped) {
        size_t checked = stream->held.bytes;
        move_characters(stream, 1);
        find_stop(stream, checked);
        give(stream, stream->held.bytes, text, text_bytes);
    }
    stream->stopped = 0;
    stream->at_start = 1;
    stream->drop_space = 0;
    return RBE_OK;
}
