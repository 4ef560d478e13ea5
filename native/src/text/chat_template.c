/* The common chat templates without Jinja: docs/runtime.md, "Templates without Python". The control tokens in the text of the model's
 * template identify its style. A template that does more than its style is detected too, and refused unless the addition is known. */
#include <string.h>

#include "base/status.h"
#include "rbe/chat.h"

typedef enum chat_style { CHATML, LLAMA2, LLAMA3, ZEPHYR, GEMMA, PLAIN, N_STYLES } chat_style;

static const char *const style_names[N_STYLES] = {"chatml", "llama2", "llama3", "zephyr", "gemma", "plain"};

typedef struct slice {
    const char *data;
    size_t bytes;
} slice;

typedef struct chat_format {
    chat_style style;
    slice default_system; /* ChatML: the system message where the messages hold none */
    int drops_thoughts;   /* ChatML: earlier answers keep only what comes after </think> */
    int merges_system;    /* Gemma: the system message goes before the first question; else it is refused */
    const char *bos, *eos;
} chat_format;

static slice text(const char *zero_terminated)
{
    return (slice){zero_terminated, strlen(zero_terminated)};
}

/* Where `what` begins in it, or NULL. */
static const char *find(slice in, const char *what)
{
    const size_t n = strlen(what);
    for (size_t i = 0; i + n <= in.bytes; i++) {
        if (memcmp(in.data + i, what, n) == 0) {
            return in.data + i;
        }
    }
    return NULL;
}

static slice behind(slice in, const char *from)
{
    return (slice){from, in.bytes - (size_t)(from - in.data)};
}

/* '<|im_start|>system\nYou are ...<|im_end|>' within one literal; an empty slice where there is none. */
static slice default_system(slice jinja)
{
    static const char *const starts[] = {"<|im_start|>system\\n", "<|im_start|>system\n"};
    for (int s = 0; s < 2; s++) {
        const char *at = jinja.data;
        while ((at = find(behind(jinja, at), starts[s])) != NULL) {
            at += strlen(starts[s]);
            const char *end = find(behind(jinja, at), "<|im_end|>");
            const slice between = {at, end ? (size_t)(end - at) : 0};
            if (between.bytes && !find(between, "'") && !find(between, "\"") && !find(between, "\\")) {
                return between;
            }
        }
    }
    return (slice){NULL, 0};
}

static int find_style(slice jinja, chat_format *format)
{
    if (jinja.bytes == 0) {
        format->style = PLAIN;
    } else if (find(jinja, "<|im_start|>")) {
        format->style = CHATML;
        format->default_system = default_system(jinja);
        format->drops_thoughts = find(jinja, "</think>") != NULL;
        return !find(jinja, "bos_token") && (format->drops_thoughts || (!find(jinja, "trim") && !find(jinja, "strip(")));
    } else if (find(jinja, "<|start_header_id|>")) {
        format->style = LLAMA3;
        return find(jinja, "Cutting Knowledge Date") == NULL; /* it writes today's date */
    } else if (find(jinja, "<start_of_turn>")) {
        format->style = GEMMA;
        format->merges_system = find(jinja, "first_user_prefix") != NULL;
    } else if (find(jinja, "[INST]") && find(jinja, "<<SYS>>")) {
        format->style = LLAMA2;
    } else if (find(jinja, "<|user|>") && find(jinja, "<|assistant|>") && find(jinja, "eos_token") && !find(jinja, "<|end|>")) {
        format->style = ZEPHYR;
    } else {
        return 0;
    }
    return 1;
}

static rbe_status choose(const rbe_chat_options *options, chat_format *format)
{
    const slice jinja = {options->jinja, options->jinja ? options->jinja_bytes : 0};
    *format = (chat_format){.bos = options->bos ? options->bos : "", .eos = options->eos ? options->eos : ""};
    if (!options->style) {
        return find_style(jinja, format)
                   ? RBE_OK
                   : rbe_fail(RBE_ERROR_UNSUPPORTED, "this chat template is none of chatml, llama2, llama3, zephyr, gemma; "
                                                     "name the one that is nearest");
    }
    for (int style = 0; style < N_STYLES; style++) {
        if (strcmp(options->style, style_names[style]) == 0) {
            format->style = (chat_style)style;
            return RBE_OK;
        }
    }
    return rbe_fail(RBE_ERROR_ARGUMENT, "there is no chat template `%.32s`; there are chatml, llama2, llama3, zephyr, gemma, plain",
                    options->style);
}

rbe_status rbe_chat_detect(const char *jinja, size_t jinja_bytes, const char **style)
{
    if (!style || (jinja_bytes && !jinja)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_chat_detect: jinja or style is NULL");
    }
    *style = NULL;
    const rbe_chat_options options = {.struct_bytes = sizeof options, .jinja = jinja, .jinja_bytes = jinja_bytes};
    chat_format format;
    RBE_TRY(choose(&options, &format));
    *style = style_names[format.style];
    return RBE_OK;
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

static slice strip(slice in)
{
    size_t n;
    while ((n = space_bytes((const unsigned char *)in.data, in.bytes)) != 0) {
        in.data += n;
        in.bytes -= n;
    }
    for (n = 1; n <= 3 && n <= in.bytes; n++) {
        if (space_bytes((const unsigned char *)in.data + in.bytes - n, n) == n) {
            in.bytes -= n;
            n = 0;
        }
    }
    return in;
}

typedef struct output {
    char *out;
    size_t capacity, bytes; /* bytes: all of it, also what did not fit */
    int marks;              /* rbe_chat_options.mark */
} output;

static void put_bytes(output *to, slice what)
{
    const size_t room = to->bytes < to->capacity ? to->capacity - to->bytes : 0;
    const size_t n = what.bytes < room ? what.bytes : room;
    if (n) {
        memcpy(to->out + to->bytes, what.data, n);
    }
    to->bytes += what.bytes;
}

static const char MARK[] = "\xFF";

/* What was said, without marks. */
static void put(output *to, slice what)
{
    const char *mark;
    while (to->marks && (mark = find(what, MARK)) != NULL) {
        put_bytes(to, (slice){what.data, (size_t)(mark - what.data)});
        what = behind(what, mark + 1);
    }
    put_bytes(to, what);
}

/* What the template itself writes: its start and its punctuation marked. */
static void put_text(output *to, const char *what)
{
    for (size_t n; *what; what += n) {
        n = 1 + strcspn(what + 1, "!\"$&',/:;<=>?@[\\]^_`{|}~");
        put_bytes(to, text(to->marks ? MARK : ""));
        put_bytes(to, (slice){what, n});
    }
}

/* "opening role middle content closing" */
static void put_turn(output *to, const char *opening, const char *role, const char *middle, slice content, const char *closing)
{
    put_text(to, opening);
    put_text(to, role);
    put_text(to, middle);
    put(to, content);
    put_text(to, closing);
}

static slice without_thoughts(slice content)
{
    const char *at = content.data;
    int found = 0;
    while ((at = find(behind(content, at), "</think>")) != NULL) {
        at += strlen("</think>");
        content = behind(content, at);
        found = 1;
    }
    while (found && content.bytes && content.data[0] == '\n') {
        content = behind(content, content.data + 1);
    }
    return content;
}

static int is(const rbe_chat_message *message, const char *role)
{
    return strcmp(message->role, role) == 0;
}

static slice content_of(const rbe_chat_message *message)
{
    return (slice){message->content, message->content_bytes};
}

static void put_chatml(output *to, const chat_format *format, const rbe_chat_message *messages, size_t n, int prompt)
{
    if (format->default_system.bytes && n && !is(&messages[0], "system")) {
        put_turn(to, "<|im_start|>", "system", "\n", format->default_system, "<|im_end|>\n");
    }
    for (size_t i = 0; i < n; i++) {
        const slice content = content_of(&messages[i]);
        const int drops = format->drops_thoughts && is(&messages[i], "assistant");
        put_turn(to, "<|im_start|>", messages[i].role, "\n", drops ? without_thoughts(content) : content, "<|im_end|>\n");
    }
    put_text(to, prompt ? "<|im_start|>assistant\n" : "");
}

static void put_llama3(output *to, const chat_format *format, const rbe_chat_message *messages, size_t n, int prompt)
{
    put_text(to, n ? format->bos : "");
    for (size_t i = 0; i < n; i++) {
        put_turn(to, "<|start_header_id|>", messages[i].role, "<|end_header_id|>\n\n", strip(content_of(&messages[i])), "<|eot_id|>");
    }
    put_text(to, prompt ? "<|start_header_id|>assistant<|end_header_id|>\n\n" : "");
}

static void put_zephyr(output *to, const chat_format *format, const rbe_chat_message *messages, size_t n, int prompt)
{
    for (size_t i = 0; i < n; i++) {
        put_turn(to, "<|", messages[i].role, "|>\n", content_of(&messages[i]), format->eos);
        put_text(to, "\n");
    }
    put_text(to, prompt && n ? "<|assistant|>\n" : "");
}

/* The system message is messages[-1], where there is one. */
static void put_llama2(output *to, const chat_format *format, const rbe_chat_message *messages, size_t n, int has_system)
{
    for (size_t i = 0; i < n; i++) {
        if (is(&messages[i], "assistant")) {
            put_turn(to, " ", "", "", strip(content_of(&messages[i])), " ");
            put_text(to, format->eos);
        } else {
            put_text(to, format->bos);
            put_text(to, "[INST] ");
            const slice content = strip(content_of(&messages[i]));
            if (i == 0 && has_system) { /* both together are stripped: in front there is nothing to strip */
                put_turn(to, "<<SYS>>\n", "", "", content_of(messages - 1), "\n<</SYS>>");
                const char *end = content.data + content.bytes;
                put_text(to, content.bytes ? "\n\n" : "");
                put(to, content.bytes ? (slice){messages[i].content, (size_t)(end - messages[i].content)} : content);
            } else {
                put(to, content);
            }
            put_text(to, " [/INST]");
        }
    }
}

static void put_gemma(output *to, const chat_format *format, const rbe_chat_message *messages, size_t n, int has_system, int prompt)
{
    put_text(to, format->bos);
    for (size_t i = 0; i < n; i++) {
        put_turn(to, "<start_of_turn>", is(&messages[i], "assistant") ? "model" : "user", "\n", (slice){NULL, 0}, "");
        if (i == 0 && has_system) {
            put(to, content_of(messages - 1));
            put_text(to, "\n\n");
        }
        put(to, strip(content_of(&messages[i])));
        put_text(to, "<end_of_turn>\n");
    }
    put_text(to, prompt ? "<start_of_turn>model\n" : "");
}

static void put_plain(output *to, const rbe_chat_message *messages, size_t n, int prompt)
{
    for (size_t i = 0; i < n; i++) {
        put_text(to, i ? "\n" : "");
        put_text(to, is(&messages[i], "user") ? "User: " : is(&messages[i], "assistant") ? "Assistant: " : "");
        put(to, strip(content_of(&messages[i])));
    }
    put_text(to, prompt ? (n ? "\nAssistant:" : "Assistant:") : "");
}

static rbe_status check_messages(const chat_format *format, const rbe_chat_message *messages, size_t n)
{
    const int alternates = format->style == LLAMA2 || format->style == GEMMA;
    const size_t first = n && messages[0].role && is(&messages[0], "system");
    for (size_t i = 0; i < n; i++) {
        const rbe_chat_message *message = &messages[i];
        if (!message->role || (message->content_bytes && !message->content) ||
            !(is(message, "system") || is(message, "user") || is(message, "assistant"))) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "message %zu: its role must be system, user or assistant, and its content not NULL", i);
        }
        if (alternates && i >= first && !is(message, (i - first) % 2 ? "assistant" : "user")) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "message %zu: with this template user and assistant take turns, the user first", i);
        }
    }
    if (first && format->style == GEMMA && !format->merges_system) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "this model's template takes no system message");
    }
    if (first && alternates && n == 1) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "with this template a system message needs a question behind it");
    }
    if (format->drops_thoughts && n && !is(&messages[n - 1], "user")) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "with this template the last message must be the user's");
    }
    return RBE_OK;
}

rbe_status rbe_chat_format(const rbe_chat_options *options, const rbe_chat_message *messages, size_t n_messages, char *out, size_t capacity,
                           size_t *n_bytes)
{
    if (!n_bytes || (n_messages && !messages) || (capacity && !out)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_chat_format: messages, out or n_bytes is NULL");
    }
    *n_bytes = 0;
    rbe_chat_options chosen = {0};
    chat_format format;
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    RBE_TRY(choose(&chosen, &format));
    RBE_TRY(check_messages(&format, messages, n_messages));
    output to = {out, capacity, 0, chosen.mark != 0};
    const int prompt = chosen.add_generation_prompt != 0;
    const size_t first = n_messages && is(&messages[0], "system");
    switch (format.style) {
    case CHATML: put_chatml(&to, &format, messages, n_messages, prompt); break;
    case LLAMA2: put_llama2(&to, &format, messages + first, n_messages - first, first != 0); break;
    case LLAMA3: put_llama3(&to, &format, messages, n_messages, prompt); break;
    case ZEPHYR: put_zephyr(&to, &format, messages, n_messages, prompt); break;
    case GEMMA: put_gemma(&to, &format, messages + first, n_messages - first, first != 0, prompt); break;
    default: put_plain(&to, messages, n_messages, prompt);
    }
    *n_bytes = to.bytes;
    return to.bytes <= capacity ? RBE_OK
                                : rbe_fail(RBE_ERROR_CAPACITY, "the prompt takes %zu bytes, room for %zu was given", to.bytes, capacity);
}
