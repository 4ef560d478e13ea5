#include <string.h>

#include "text/chat_form.h"

static const char *const from_names[RBE__CHAT_N_FROM] = {"system", "user", "assistant", "start"};
static const char *const to_names[RBE__CHAT_N_TO] = {"system", "user", "assistant", "prompt", "end"};
static const char *const trim_names[] = {"as-is", "strip", "left", "right", "newlines", "left-newlines"};

/* The index of a word in a list of `n`; `n` where it is not there. */
static uint32_t index_of(rbe__slice word, const char *const *names, uint32_t n)
{
    uint32_t i = 0;
    while (i < n && (strlen(names[i]) != word.bytes || memcmp(names[i], word.data, word.bytes) != 0)) {
        i++;
    }
    return i;
}

/* Takes what is in front of the first `end`, and `end` itself, off the text; all of it where there is none. */
static rbe__slice take(rbe__slice *text, char end)
{
    const char *at = text->bytes ? memchr(text->data, end, text->bytes) : NULL;
    const rbe__slice taken = {text->data, at ? (size_t)(at - text->data) : text->bytes};
    const size_t skipped = taken.bytes + (at != NULL);
    *text = (rbe__slice){text->data + skipped, text->bytes - skipped};
    return taken;
}

int rbe__chat_next(rbe__slice *text, char *byte, char *escape)
{
    if (text->bytes == 0) {
        return 0;
    }
    *escape = text->data[0] == '\\' && text->bytes > 1 ? text->data[1] : 0;
    *byte = *escape == 'n' ? '\n' : text->data[0]; /* of "\\" as well */
    const size_t n = *escape ? 2 : 1;
    *text = (rbe__slice){text->data + n, text->bytes - n};
    return 1;
}

/* Whether all escapes of a text are known; `letters` are those that stand for something. */
static int is_escaped(rbe__slice text, const char *letters)
{
    char byte, escape;
    while (rbe__chat_next(&text, &byte, &escape)) {
        if (byte == '\\' && (escape == 0 || !strchr(letters, escape))) {
            return 0;
        }
    }
    return 1;
}

static int read_hash(rbe__slice digits, uint64_t *hash)
{
    *hash = 0;
    for (size_t i = 0; i < digits.bytes; i++) {
        const char c = digits.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return 0;
        }
        *hash = *hash << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return digits.bytes == 16;
}

/* "TRIM TEXT" */
static int read_trimmed(rbe__slice line, const char *letters, rbe__chat_trim *trim, rbe__slice *text)
{
    const uint32_t kind = index_of(take(&line, ' '), trim_names, 6);
    *trim = (rbe__chat_trim)kind;
    *text = line;
    return kind < 6 && is_escaped(line, letters);
}

static int is_word(rbe__slice word, const char *name)
{
    return index_of(word, &name, 1) == 0;
}

/* One line, without its end; 0 where it is not understood, or said twice. */
static int read_line(rbe__slice line, rbe__chat_form *form)
{
    static const char text_escapes[] = "n\\be?", word_escapes[] = "n\\";
    const rbe__slice word = take(&line, ' ');
    if (is_word(word, "template")) {
        return form->template_hash == 0 && read_hash(line, &form->template_hash) && form->template_hash != 0;
    }
    if (is_word(word, "never")) {
        if (form->n_never == RBE__CHAT_MOST_NEVER || line.bytes == 0 || !is_escaped(line, word_escapes)) {
            return 0;
        }
        form->never[form->n_never++] = line;
        return 1;
    }
    if (is_word(word, "none")) {
        const int is_first = !form->none.data;
        form->none = line;
        return is_first && line.bytes > 0;
    }
    if (is_word(word, "thoughts")) {
        return !form->thoughts.data && read_trimmed(line, word_escapes, &form->thoughts_trim, &form->thoughts) && form->thoughts.bytes > 0;
    }
    const uint32_t from = index_of(word, from_names, RBE__CHAT_N_FROM), to = index_of(take(&line, ' '), to_names, RBE__CHAT_N_TO);
    if (from == RBE__CHAT_N_FROM || to == RBE__CHAT_N_TO || form->steps[from][to].text.data) {
        return 0;
    }
    if (to < RBE__CHAT_N_ROLES) {
        return read_trimmed(line, text_escapes, &form->steps[from][to].trim, &form->steps[from][to].text);
    }
    form->steps[from][to].text = line;
    return is_escaped(line, "n\\be");
}

rbe_status rbe__chat_form_parse(rbe__slice text, rbe__chat_form *form)
{
    memset(form, 0, sizeof *form);
    for (uint32_t n = 1; text.bytes > 0; n++) {
        if (!read_line(take(&text, '\n'), form)) {
            return rbe_fail(RBE_ERROR_UNSUPPORTED, "line %u of this file's chat form is not understood; pack the model again", n);
        }
    }
    return RBE_OK;
}

uint64_t rbe__chat_template_hash(rbe__slice jinja)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < jinja.bytes; i++) {
        hash = (hash ^ (unsigned char)jinja.data[i]) * 0x100000001B3u;
    }
    return hash;
}
