#include "text/tokenizer/spaces.h"

/* U+2581, with which SentencePiece writes a space inside tokens. */
static int is_escaped_space(const uint8_t *text, size_t bytes)
{
    return bytes >= 3 && text[0] == 0xE2 && text[1] == 0x96 && text[2] == 0x81;
}

int rbe__spaces_change(const rbe_tokenizer *t, const uint8_t *text, size_t bytes)
{
    if (t->space_prefix == RBE__PREFIX_TEXT || (t->flags & RBE__COLLAPSE_SPACES) != 0) {
        return 1;
    }
    for (size_t i = 0; (t->flags & RBE__ESCAPED_SPACES) != 0 && i < bytes; i++) {
        if (is_escaped_space(text + i, bytes - i)) {
            return 1;
        }
    }
    return 0;
}

rbe_status rbe__spaces_append(rbe__buffer *out, const rbe_tokenizer *t, const uint8_t *text, size_t bytes)
{
    int collapse = (t->flags & RBE__COLLAPSE_SPACES) != 0, escaped = (t->flags & RBE__ESCAPED_SPACES) != 0;
    size_t begin = out->bytes, at = 0;
    while (collapse && at < bytes && text[at] == ' ') {
        at++;
    }
    if (at == bytes) {
        return RBE_OK;
    }
    RBE_TRY(rbe__buffer_reserve(out, bytes - at + 1));
    int prefix = t->space_prefix == RBE__PREFIX_TEXT && !((t->flags & RBE__PREFIX_UNLESS_SPACE) != 0 && text[at] == ' ');
    if (prefix) {
        out->data[out->bytes++] = ' ';
    }
    for (int after_space = 0; at < bytes; at++) {
        if (escaped && is_escaped_space(text + at, bytes - at)) {
            out->data[out->bytes++] = ' '; /* not a space to SentencePiece yet, so it does not collapse */
            at += 2;
            after_space = 0;
        } else if (!(collapse && after_space && text[at] == ' ')) {
            out->data[out->bytes++] = text[at];
            after_space = text[at] == ' ';
        }
    }
    while (collapse && out->bytes > begin && out->data[out->bytes - 1] == ' ') {
        out->bytes--;
    }
    return RBE_OK;
}
