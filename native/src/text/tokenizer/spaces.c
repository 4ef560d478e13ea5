#include "text/tokenizer/spaces.h"

int rbe__is_escaped_space(const uint8_t *text, size_t bytes)
{
    return bytes >= 3 && text[0] == 0xE2 && text[1] == 0x96 && text[2] == 0x81;
}

int rbe__has_escaped_space(const uint8_t *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (rbe__is_escaped_space(text + i, bytes - i)) {
            return 1;
        }
    }
    return 0;
}

rbe_status rbe__unescape_append(rbe__buffer *out, const uint8_t *text, size_t bytes)
{
    RBE_TRY(rbe__buffer_reserve(out, bytes));
    for (size_t at = 0; at < bytes; at++) {
        int escaped = rbe__is_escaped_space(text + at, bytes - at);
        out->data[out->bytes++] = escaped ? ' ' : text[at];
        at += escaped ? 2 : 0;
    }
    return RBE_OK;
}

/* Whether U+2581 counts as a space before the tokens of the prepared text are found. */
static int unescapes(const rbe_tokenizer *t)
{
    return (t->flags & RBE__ESCAPED_SPACES) != 0 && (t->flags & RBE__LATE_SPACES) == 0;
}

int rbe__spaces_change(const rbe_tokenizer *t, const uint8_t *text, size_t bytes)
{
    return t->space_prefix == RBE__PREFIX_TEXT || (t->flags & RBE__COLLAPSE_SPACES) != 0 ||
           (unescapes(t) && rbe__has_escaped_space(text, bytes));
}

static void put(rbe__buffer *out, rbe__buffer *out_marks, int byte, int mark)
{
    out->data[out->bytes++] = (uint8_t)byte;
    if (out_marks != NULL) {
        out_marks->data[out_marks->bytes++] = (uint8_t)mark;
    }
}

rbe_status rbe__spaces_append(rbe__buffer *out, rbe__buffer *out_marks, const rbe_tokenizer *t, const uint8_t *text, const uint8_t *marks,
                              size_t bytes)
{
    int collapse = (t->flags & RBE__COLLAPSE_SPACES) != 0, escaped = unescapes(t);
    size_t begin = out->bytes, at = 0;
    while (collapse && at < bytes && text[at] == ' ') {
        at++;
    }
    if (at == bytes &&
        (collapse || t->space_prefix != RBE__PREFIX_TEXT)) { /* normalization may leave nothing; SentencePiece puts a space */
        return RBE_OK;
    }
    RBE_TRY(rbe__buffer_reserve(out, bytes - at + 1));
    out_marks = marks != NULL ? out_marks : NULL;
    if (out_marks != NULL) {
        RBE_TRY(rbe__buffer_reserve(out_marks, bytes - at + 1));
    }
    if (t->space_prefix == RBE__PREFIX_TEXT && !((t->flags & RBE__PREFIX_UNLESS_SPACE) != 0 && at < bytes && text[at] == ' ')) {
        put(out, out_marks, ' ', 0);
    }
    for (int after_space = 0; at < bytes; at++) {
        int mark = marks != NULL && marks[at];
        if (escaped && rbe__is_escaped_space(text + at, bytes - at)) {
            put(out, out_marks, ' ', mark); /* not a space to SentencePiece yet, so it does not collapse */
            at += 2;
            after_space = 0;
        } else if (!(collapse && after_space && text[at] == ' ')) {
            put(out, out_marks, text[at], mark);
            after_space = text[at] == ' ';
        }
    }
    while (collapse && out->bytes > begin && out->data[out->bytes - 1] == ' ') {
        out->bytes--;
    }
    return RBE_OK;
}
