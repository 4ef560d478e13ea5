/* Conversations into text without Jinja: docs/runtime.md, "Templates without Python". What a template writes is told by a chat form, a table
 * that was proven to be equal to it (docs/format.md, "Chat forms"). */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "rbe/chat.h"
#include "text/chat_form.h"

typedef rbe__slice slice;

static slice text(const char *zero_terminated)
{
    return (slice){zero_terminated, strlen(zero_terminated)};
}

static slice behind(slice in, const char *from)
{
    return (slice){from, in.bytes - (size_t)(from - in.data)};
}

/* Bytes of the white space that `data` begins with, as str.strip() of Python has it; 0: none. */
static size_t space_bytes(const unsigned char *data, size_t n)
{
    if (n >= 1 && (data[0] == ' ' || (data[0] >= 0x09 && data[0] <= 0x0D) || (data[0] >= 0x1C && data[0] <= 0x1F))) {
        return 1;
    }
    if (n >= 2 && data[0] == 0xC2 && (data[1] == 0x85 || data[1] == 0xA0)) {
        return 2;
    }
    if (n < 3) {
        return 0;
    }
    const uint32_t three = (uint32_t)data[0] << 16 | (uint32_t)data[1] << 8 | data[2];
    const int is_space = three == 0xE19A80 || (three >= 0xE28080 && three <= 0xE2808A) || three == 0xE280A8 || three == 0xE280A9 ||
                         three == 0xE280AF || three == 0xE2819F || three == 0xE38080;
    return is_space ? 3 : 0;
}

/* The content without the white space, or the newlines, at its ends. */
static slice trimmed(slice in, rbe__chat_trim trim)
{
    const int newlines = trim == RBE__CHAT_NEWLINES || trim == RBE__CHAT_LEFT_NEWLINES;
    size_t n = 0;
    if (trim == RBE__CHAT_STRIP || trim == RBE__CHAT_LEFT || newlines) {
        while (in.bytes && (n = newlines ? in.data[0] == '\n' : space_bytes((const unsigned char *)in.data, in.bytes)) != 0) {
            in = behind(in, in.data + n);
        }
    }
    if (trim == RBE__CHAT_NEWLINES) {
        while (in.bytes && in.data[in.bytes - 1] == '\n') {
            in.bytes--;
        }
    } else if (trim == RBE__CHAT_STRIP || trim == RBE__CHAT_RIGHT) {
        for (n = 1; n <= 3 && n <= in.bytes; n++) {
            if (space_bytes((const unsigned char *)in.data + in.bytes - n, n) == n) {
                in.bytes -= n;
                n = 0;
            }
        }
    }
    return in;
}

/* Where what is behind an escaped word begins in the content, for the last of them; NULL where it holds none. */
static const char *behind_last(slice content, slice word)
{
    for (size_t from = content.bytes + 1; from-- > 0;) {
        slice rest = word, at = behind(content, content.data + from);
        char byte, escape;
        int same = 1;
        while (same && rbe__chat_next(&rest, &byte, &escape)) {
            same = at.bytes && at.data[0] == byte;
            at = same ? behind(at, at.data + 1) : at;
        }
        if (same) {
            return at.data;
        }
    }
    return NULL;
}

typedef struct output {
    char *out;
    size_t capacity, bytes; /* bytes: all of it, also what did not fit */
    int marks; /* rbe_chat_options.mark */
    slice bos, eos;
} output;

static void put_byte(output *to, char byte)
{
    if (to->bytes < to->capacity) {
        to->out[to->bytes] = byte;
    }
    to->bytes++;
}

static const char MARK = '\xFF';

/* What was said, without marks. */
static void put(output *to, slice what)
{
    for (size_t i = 0; i < what.bytes; i++) {
        if (!to->marks || what.data[i] != MARK) {
            put_byte(to, what.data[i]);
        }
    }
}

/* The punctuation of what the template itself writes is marked, as in rbe_edge/runtime/marked_text.py. */
static void put_own_byte(output *to, char byte)
{
    static const char marked[] = "!\"$&',/:;<=>?@[\\]^_`{|}~";
    if (to->marks && memchr(marked, byte, sizeof marked - 1)) {
        put_byte(to, MARK);
    }
    put_byte(to, byte);
}

static void put_own(output *to, slice what)
{
    for (size_t i = 0; i < what.bytes; i++) {
        put_own_byte(to, what.data[i]);
    }
}

/* A text of the form. What is behind "\?" is left out where the content that follows is blank. */
static void put_text(output *to, slice escaped, int is_blank)
{
    char byte, escape;
    while (rbe__chat_next(&escaped, &byte, &escape) && !(escape == '?' && is_blank)) {
        switch (escape) {
        case 'b': put_own(to, to->bos); break;
        case 'e': put_own(to, to->eos); break;
        case '?': break;
        default: put_own_byte(to, byte);
        }
    }
}

static const char *const role_names[RBE__CHAT_N_ROLES] = {"system", "user", "assistant"};

/* Its number, or RBE__CHAT_N_ROLES where there is none. */
static uint32_t role_of(const rbe_chat_message *message)
{
    uint32_t role = 0;
    while (role < RBE__CHAT_N_ROLES && (!message->role || strcmp(message->role, role_names[role]) != 0)) {
        role++;
    }
    return role;
}

static rbe_status check_message(const rbe__chat_form *form, const rbe_chat_message *message, size_t i)
{
    const uint32_t role = role_of(message);
    if (role == RBE__CHAT_N_ROLES || (message->content_bytes && !message->content)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "message %zu: its role must be system, user or assistant, and its content not NULL", i);
    }
    for (uint32_t w = 0; w < form->n_never && message->content_bytes; w++) {
        const slice never = form->never[w];
        const int is_cut = role == RBE__CHAT_ASSISTANT && form->thoughts.bytes == never.bytes &&
                           memcmp(form->thoughts.data, never.data, never.bytes) == 0; /* what is behind it holds none */
        if (!is_cut && behind_last((slice){message->content, message->content_bytes}, never)) {
            return rbe_fail(RBE_ERROR_UNSUPPORTED, "message %zu: with this template it may not hold %.*s; take that out", i,
                            (int)(never.bytes < 64 ? never.bytes : 64), never.data);
        }
    }
    return RBE_OK;
}

/* Why a form has no step. i: of the message behind it. */
static rbe_status refuse_step(const rbe__chat_form *form, uint32_t from, uint32_t to, size_t i)
{
    if (to == RBE__CHAT_SYSTEM) {
        return form->steps[RBE__CHAT_START][RBE__CHAT_SYSTEM].text.data
                   ? rbe_fail(RBE_ERROR_ARGUMENT, "message %zu: with this template a system message comes first", i)
                   : rbe_fail(RBE_ERROR_UNSUPPORTED, "this model's template takes no system message");
    }
    if (to < RBE__CHAT_N_ROLES) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "message %zu: with this template user and assistant take turns, the user first", i);
    }
    if (from == RBE__CHAT_SYSTEM) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "with this template a system message needs a question behind it");
    }
    return to == RBE__CHAT_PROMPT || from == RBE__CHAT_ASSISTANT
               ? rbe_fail(RBE_ERROR_UNSUPPORTED, "with this template the last message must be the user's")
               : rbe_fail(RBE_ERROR_UNSUPPORTED, "with this template add_generation_prompt must be 1");
}

static slice content_of(const rbe__chat_form *form, const rbe_chat_message *message, uint32_t role, rbe__chat_trim trim)
{
    const slice content = trimmed(message->content_bytes ? (slice){message->content, message->content_bytes} : text(""), trim);
    const char *at = role == RBE__CHAT_ASSISTANT && form->thoughts.data ? behind_last(content, form->thoughts) : NULL;
    return at ? trimmed(behind(content, at), form->thoughts_trim) : content;
}

static rbe_status put_conversation(output *to, const rbe__chat_form *form, const rbe_chat_message *messages, size_t n, int prompt)
{
    uint32_t from = RBE__CHAT_START;
    for (size_t i = 0; i < n; i++) {
        RBE_TRY(check_message(form, &messages[i], i));
        const uint32_t role = role_of(&messages[i]);
        const slice own = form->steps[from][role].text;
        if (!own.data) {
            return refuse_step(form, from, role, i);
        }
        const rbe__chat_trim trim = form->steps[from][role].trim;
        const slice content = content_of(form, &messages[i], role, trim);
        put_text(to, own, trimmed(content, RBE__CHAT_STRIP).bytes == 0);
        put(to, content);
        from = role;
    }
    const uint32_t end = prompt ? RBE__CHAT_PROMPT : RBE__CHAT_END;
    if (!form->steps[from][end].text.data) {
        return refuse_step(form, from, end, n);
    }
    put_text(to, form->steps[from][end].text, 0);
    return RBE_OK;
}

static const rbe__known_form *known_template(slice jinja)
{
    const uint64_t hash = rbe__chat_template_hash(jinja);
    for (size_t i = 0; i < rbe__n_known_templates; i++) {
        if (rbe__known_templates[i].hash == hash) {
            return &rbe__known_forms[rbe__known_templates[i].form];
        }
    }
    return NULL;
}

static const rbe__known_form *known_style(const char *style)
{
    for (size_t i = 0; i < rbe__n_known_forms; i++) {
        if (strcmp(style, rbe__known_forms[i].style) == 0) {
            return &rbe__known_forms[i];
        }
    }
    return NULL;
}

static rbe_status unknown_template(void)
{
    return rbe_fail(RBE_ERROR_UNSUPPORTED,
                    "this file holds no proven form of its chat template, which is no template that the library knows; "
                    "pack the model again");
}

static rbe_status unknown_style(const char *style)
{
    char names[128] = "";
    for (size_t i = 0; i < rbe__n_known_forms; i++) {
        const char *name = rbe__known_forms[i].style;
        const size_t used = strlen(names);
        if (!strstr(names, name) && used + strlen(name) + 2 < sizeof names) {
            strcpy(names + used, used ? ", " : "");
            strcat(names, name);
        }
    }
    return rbe_fail(RBE_ERROR_ARGUMENT, "there is no chat template `%.32s`; there are %s", style, names);
}

/* The form that the file holds. */
static rbe_status read_form(slice text, slice jinja, rbe__chat_form *form)
{
    RBE_TRY(rbe__chat_form_parse(text, form));
    if (form->template_hash != rbe__chat_template_hash(jinja)) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "this file's chat form was made of another chat template; pack the model again");
    }
    if (form->none.data) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "nothing is proven of this model's chat template: %.*s",
                        (int)(form->none.bytes < 400 ? form->none.bytes : 400), form->none.data);
    }
    return RBE_OK;
}

static rbe_status choose(const rbe_chat_options *options, rbe__chat_form *form)
{
    const slice jinja = options->jinja && options->jinja_bytes ? (slice){options->jinja, options->jinja_bytes} : text("");
    if (!options->style && options->form && options->form_bytes) {
        return read_form((slice){options->form, options->form_bytes}, jinja, form);
    }
    const rbe__known_form *known = options->style ? known_style(options->style) : known_template(jinja);
    if (!known) {
        return options->style ? unknown_style(options->style) : unknown_template();
    }
    return rbe__chat_form_parse(text(known->form), form);
}

rbe_status rbe_chat_detect(const char *jinja, size_t jinja_bytes, const char **style)
{
    if (!style || (jinja_bytes && !jinja)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_chat_detect: jinja or style is NULL");
    }
    const rbe__known_form *known = known_template(jinja_bytes ? (slice){jinja, jinja_bytes} : text(""));
    *style = known ? known->style : NULL;
    return known ? RBE_OK : unknown_template();
}

rbe_status rbe_chat_format(const rbe_chat_options *options, const rbe_chat_message *messages, size_t n_messages, char *out, size_t capacity,
                           size_t *n_bytes)
{
    if (!n_bytes || (n_messages && !messages) || (capacity && !out)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_chat_format: messages, out or n_bytes is NULL");
    }
    *n_bytes = 0;
    rbe_chat_options chosen = {0};
    rbe__chat_form form;
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    RBE_TRY(choose(&chosen, &form));
    if (n_messages == 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_chat_format: a conversation has at least one message");
    }
    output to = {.out = out,
                 .capacity = capacity,
                 .marks = chosen.mark != 0,
                 .bos = text(chosen.bos ? chosen.bos : ""),
                 .eos = text(chosen.eos ? chosen.eos : "")};
    RBE_TRY(put_conversation(&to, &form, messages, n_messages, chosen.add_generation_prompt != 0));
    *n_bytes = to.bytes;
    return to.bytes <= capacity ? RBE_OK
                                : rbe_fail(RBE_ERROR_CAPACITY, "the prompt takes %zu bytes, room for %zu was given", to.bytes, capacity);
}

/* Whether a marked text begins with a text that is not empty, as the template's own: with its punctuation marked. */
static int begins_with_own(const char *marked, size_t bytes, const char *own)
{
    size_t at = 0;
    for (const char *c = own; *c; c++) {
        const int is_marked = at < bytes && marked[at] == '\xFF';
        at += (size_t)is_marked;
        if (at >= bytes || marked[at] != *c || (!is_marked && ispunct((unsigned char)*c) && !strchr("%#+-.*()", *c))) {
            return 0;
        }
        at++;
    }
    return *own != 0;
}

rbe_status rbe_chat_tokens(const rbe_tokenizer *tokenizer, const rbe_chat_options *options, const rbe_chat_message *messages,
                           size_t n_messages, uint32_t *tokens, size_t capacity, size_t *n_tokens)
{
    if (!n_tokens || (capacity && !tokens)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_chat_tokens: tokens or n_tokens is NULL");
    }
    if (!tokenizer) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "the model's file holds no tokenizer; pack it again with one");
    }
    *n_tokens = 0;
    rbe_chat_options marked = {0};
    size_t bytes;
    RBE_TRY(rbe__copy_options(&marked, sizeof marked, options));
    marked.struct_bytes = sizeof marked;
    marked.mark = 1;
    rbe_status status = rbe_chat_format(&marked, messages, n_messages, NULL, 0, &bytes);
    if (status != RBE_OK && status != RBE_ERROR_CAPACITY) {
        return status;
    }
    char *written = malloc(bytes + 1);
    if (!written) {
        return rbe_fail(RBE_ERROR_MEMORY, "out of memory: a prompt of %zu bytes", bytes);
    }
    status = rbe_chat_format(&marked, messages, n_messages, written, bytes, &bytes);
    if (status == RBE_OK) {
        const uint32_t prefix = marked.bos && begins_with_own(written, bytes, marked.bos) ? 0u : (uint32_t)RBE_TOKENIZE_SPECIAL_PREFIX;
        status = rbe_tokenize(tokenizer, written, bytes, RBE_TOKENIZE_MARKED | prefix, tokens, capacity, n_tokens);
    }
    free(written);
    return status;
}
