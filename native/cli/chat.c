/* A conversation line by line: the model's template in C (rbe_chat_format), and a context that keeps what the turns have in common. */
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "rbe/chat.h"

#define ANSWER_ROOM 256u /* tokens kept for an answer when the history is fitted into the context, a quarter of it at most */

typedef struct chat {
    rbe_model *model;
    rbe_session *session;
    rbe_sampler *sampler; /* of all answers */
    rbe_chat_options format;
    int is_plain; /* no template: the next question's mark ends an answer */
    char *bos, *eos;
    uint32_t context, n_answer; /* tokens; of an answer, at most */
    rbe_chat_message *messages; /* contents are ours */
    size_t n_messages, most_messages;
    char *text;
    size_t text_bytes, text_capacity;
} chat;

static rbe_session *running; /* what Ctrl-C stops */
static volatile sig_atomic_t interrupted;

static void stop(int signal)
{
    (void)signal;
    interrupted = 1;
    rbe_session_cancel(running); /* stores one atomic number */
}

static int no_memory(void)
{
    fprintf(stderr, "rbe-cli: no memory for the conversation\n");
    return 1;
}

static char *copy_of(const void *data, size_t bytes)
{
    char *copy = malloc(bytes + 1);
    if (copy) {
        memcpy(copy, data, bytes);
        copy[bytes] = 0;
    }
    return copy;
}

/* content is taken over; 0 on success. */
static int add_message(chat *c, const char *role, char *content, size_t bytes)
{
    if (content && c->n_messages == c->most_messages) {
        size_t most = 2 * c->most_messages + 8;
        rbe_chat_message *grown = realloc(c->messages, most * sizeof *grown);
        c->most_messages = grown ? most : c->most_messages;
        c->messages = grown ? grown : c->messages;
        if (!grown) {
            free(content);
            content = NULL;
        }
    }
    if (!content) {
        return no_memory();
    }
    c->messages[c->n_messages++] = (rbe_chat_message){role, content, bytes};
    return 0;
}

static void forget_messages(chat *c, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++) {
        free((char *)(uintptr_t)c->messages[i].content);
    }
    memmove(c->messages + first, c->messages + first + n, (c->n_messages - first - n) * sizeof *c->messages);
    c->n_messages -= n;
}

/* Forgets the oldest question and what answers it; 0 where only the last question is left. */
static int forget_turn(chat *c)
{
    size_t first = strcmp(c->messages[0].role, "system") == 0, next = first + 1;
    while (next < c->n_messages && strcmp(c->messages[next].role, "user") != 0) {
        next++;
    }
    if (next >= c->n_messages) {
        return 0;
    }
    forget_messages(c, first, next - first);
    return 1;
}

/* Whether a marked text begins with a text that is not empty, as the template's own: with its punctuation marked. */
static int begins_with_own(const char *text, size_t bytes, const char *own)
{
    size_t at = 0;
    for (const char *c = own; *c; c++) {
        const int is_marked = at < bytes && text[at] == '\xFF';
        at += (size_t)is_marked;
        if (at >= bytes || text[at] != *c || (!is_marked && ispunct((unsigned char)*c) && !strchr("%#+-.*()", *c))) {
            return 0;
        }
        at++;
    }
    return *own != 0;
}

/* The prompt's tokens, to be freed; NULL on failure, which was reported. */
static uint32_t *prompt_tokens(chat *c, size_t *n_tokens)
{
    size_t bytes;
    rbe_status status = rbe_chat_format(&c->format, c->messages, c->n_messages, NULL, 0, &bytes);
    char *text = status == RBE_ERROR_CAPACITY || status == RBE_OK ? malloc(bytes + 1) : NULL;
    uint32_t *tokens = text ? malloc((bytes + 8) * sizeof *tokens) : NULL; /* a token is at least a byte; a few more at the ends */
    if (!tokens) {
        free(text);
        (void)(status == RBE_ERROR_CAPACITY || status == RBE_OK ? no_memory() : report_failure());
        return NULL;
    }
    status = rbe_chat_format(&c->format, c->messages, c->n_messages, text, bytes, &bytes);
    if (status == RBE_OK) {
        const int has_bos = begins_with_own(text, bytes, c->bos);
        status = rbe_tokenize(rbe_model_tokenizer(c->model), text, bytes, RBE_TOKENIZE_MARKED | (has_bos ? 0 : RBE_TOKENIZE_SPECIAL_PREFIX),
                              tokens, bytes + 8, n_tokens);
    }
    free(text);
    if (status != RBE_OK) {
        report_failure();
        free(tokens);
        return NULL;
    }
    return tokens;
}

/* The same, after the oldest turns were forgotten until the rest fits. */
static uint32_t *fitting_tokens(chat *c, size_t *n_tokens)
{
    const uint32_t room = c->context - (ANSWER_ROOM < c->context / 4 ? ANSWER_ROOM : c->context / 4);
    uint32_t n_dropped = 0;
    uint32_t *tokens;
    while ((tokens = prompt_tokens(c, n_tokens)) != NULL && *n_tokens > room) {
        free(tokens);
        if (!forget_turn(c)) {
            fprintf(stderr, "rbe-cli: the message takes %zu tokens and the context has room for %u; shorten it, or give -c\n", *n_tokens,
                    room);
            return NULL;
        }
        n_dropped++;
    }
    if (n_dropped) {
        fprintf(stderr, "rbe-cli: the context is full; the oldest %u turns were forgotten\n", n_dropped);
    }
    return tokens;
}

static int append_text(chat *c, const char *text, size_t bytes)
{
    write_text(text, bytes);
    if (bytes > c->text_capacity - c->text_bytes) {
        size_t capacity = 2 * c->text_capacity + bytes + 256;
        char *grown = realloc(c->text, capacity);
        if (!grown) {
            return no_memory();
        }
        c->text = grown;
        c->text_capacity = capacity;
    }
    if (bytes) {
        memcpy(c->text + c->text_bytes, text, bytes);
    }
    c->text_bytes += bytes;
    return 0;
}

/* Computes tokens behind those that the context holds already; 0 on success, -1 where Ctrl-C stopped it. */
static int read_prompt(chat *c, const uint32_t *tokens, size_t n_tokens)
{
    size_t n_held;
    rbe_status status = rbe_session_resume(c->session, tokens, n_tokens, &n_held);
    if (status == RBE_OK) {
        status = rbe_session_append(c->session, tokens + n_held, n_tokens - n_held, NULL, NULL);
    }
    return status == RBE_OK ? 0 : status == RBE_ERROR_CANCELLED ? -1 : report_failure();
}

/* 0 at its end, 1 on failure. Ctrl-C ends it, and what was said stays. */
static int generate(chat *c, rbe_generation *generation)
{
    rbe_generation_event event = {.struct_bytes = sizeof event};
    while (event.finish == RBE_FINISH_NONE) {
        rbe_status status = interrupted ? RBE_ERROR_CANCELLED : rbe_generation_step(generation, &event);
        if (status == RBE_ERROR_CANCELLED) {
            status = rbe_generation_end(generation, &event);
        }
        if (status != RBE_OK) {
            return report_failure();
        }
        if (append_text(c, event.text, event.text_bytes) || append_text(c, event.rest, event.rest_bytes)) {
            return 1;
        }
    }
    return 0;
}

static int answer(chat *c)
{
    static const char *const stops[] = {"\nUser:"};
    const rbe_generation_options options = {
        .struct_bytes = sizeof options, .sampler = c->sampler, .max_tokens = c->n_answer, .stops = stops, .n_stops = c->is_plain ? 1 : 0};
    rbe_generation *generation;
    c->text_bytes = 0;
    if (c->n_answer == 0) {
        return 0;
    }
    if (rbe_generation_create(c->session, &options, &generation) != RBE_OK) {
        return report_failure();
    }
    const int code = generate(c, generation);
    rbe_generation_free(generation);
    return code;
}

/* One question and its answer. 1 ends the program. */
static int turn(chat *c, const char *line, size_t bytes)
{
    size_t n_tokens;
    if (add_message(c, "user", copy_of(line, bytes), bytes)) {
        return 1;
    }
    uint32_t *tokens = fitting_tokens(c, &n_tokens);
    int code = tokens ? read_prompt(c, tokens, n_tokens) : -1;
    free(tokens);
    if (code != 0) { /* the question is forgotten */
        forget_messages(c, c->n_messages - 1, 1);
        interrupted = 0;
        return code > 0;
    }
    code = answer(c);
    putchar('\n');
    fflush(stdout);
    interrupted = 0;
    return code || add_message(c, "assistant", copy_of(c->text ? c->text : "", c->text_bytes), c->text_bytes);
}

/* A metadata text as it stands in the file; data NULL where there is none. */
static rbe_metadata metadata(const rbe_model *model, uint32_t n_metadata, const char *key)
{
    rbe_metadata entry;
    for (uint32_t i = 0; i < n_metadata; i++) {
        if (rbe_model_metadata(model, i, &entry) == RBE_OK && entry.type == RBE_VALUE_STRING && entry.key_bytes == strlen(key) &&
            memcmp(entry.key, key, entry.key_bytes) == 0) {
            return entry;
        }
    }
    return (rbe_metadata){0};
}

/* Whether the template can be written of a first question, with the system message where there is one; else says what to do. */
static int can_be_written(const chat *c, const char *system)
{
    const rbe_chat_message both[] = {{"system", system, system ? strlen(system) : 0}, {"user", "", 0}};
    size_t bytes;
    const rbe_status status = rbe_chat_format(&c->format, both + !system, system ? 2 : 1, NULL, 0, &bytes);
    if (status == RBE_OK || status == RBE_ERROR_CAPACITY) {
        return 1;
    }
    fprintf(stderr, "rbe-cli: %s; or use `rbe chat`, or give --template chatml, llama2, llama3, zephyr, gemma or plain\n",
            rbe_last_error());
    return 0;
}

static int prepare_template(chat *c, const cli_arguments *a, uint32_t n_metadata)
{
    const rbe_metadata jinja = metadata(c->model, n_metadata, "chat_template"), form = metadata(c->model, n_metadata, "chat_form"),
                       bos = metadata(c->model, n_metadata, "bos_token"), eos = metadata(c->model, n_metadata, "eos_token");
    c->bos = copy_of(bos.data ? bos.data : "", bos.count);
    c->eos = copy_of(eos.data ? eos.data : "", eos.count);
    c->format = (rbe_chat_options){.struct_bytes = sizeof c->format,
                                   .style = a->style,
                                   .jinja = jinja.data,
                                   .jinja_bytes = jinja.count,
                                   .bos = c->bos,
                                   .eos = c->eos,
                                   .add_generation_prompt = 1,
                                   .mark = 1,
                                   .form = form.data,
                                   .form_bytes = form.count};
    if (!c->bos || !c->eos) {
        return no_memory();
    }
    if (!can_be_written(c, a->system)) {
        return 1;
    }
    c->is_plain = a->style ? strcmp(a->style, "plain") == 0 : jinja.count == 0;
    return a->system && add_message(c, "system", copy_of(a->system, strlen(a->system)), strlen(a->system));
}

static int prepare(chat *c, const cli_arguments *a)
{
    rbe_model_info model;
    rbe_session_info session = {.struct_bytes = sizeof session};
    if (!open_model_with_tokenizer(a, &c->model, &model) || prepare_template(c, a, model.n_metadata)) {
        return 1;
    }
    if (rbe_session_create(c->model, &a->session, &c->session) != RBE_OK || rbe_session_get_info(c->session, &session) != RBE_OK ||
        rbe_sampler_create(model.n_vocabulary, &a->sampling, &c->sampler) != RBE_OK) {
        return report_failure();
    }
    c->context = session.context_tokens;
    c->n_answer = a->n_tokens;
    return 0;
}

static int converse(chat *c)
{
    char *line = NULL;
    size_t capacity = 0;
    int code = 0;
    while (code == 0) {
        fputs("> ", stderr);
        ssize_t bytes = getline(&line, &capacity, stdin);
        if (bytes < 0) {
            break;
        }
        bytes -= bytes > 0 && line[bytes - 1] == '\n';
        if (bytes > 0) {
            code = turn(c, line, (size_t)bytes);
        }
    }
    free(line);
    fputc('\n', stderr);
    return code;
}

int command_chat(int argc, char **argv)
{
    cli_arguments arguments;
    if (!read_arguments(&arguments, 512, argc, argv)) {
        return EXIT_USAGE;
    }
    if (!arguments.path) {
        fprintf(stderr, "rbe-cli: name a .rbe file: rbe-cli chat FILE\n");
        return EXIT_USAGE;
    }
    chat c = {0};
    int code = prepare(&c, &arguments);
    if (code == 0) {
        const struct sigaction action = {.sa_handler = stop}; /* without SA_RESTART: at the prompt it ends the program */
        running = c.session;
        sigaction(SIGINT, &action, NULL);
        code = converse(&c);
        signal(SIGINT, SIG_DFL);
    }
    forget_messages(&c, 0, c.n_messages);
    rbe_sampler_free(c.sampler);
    rbe_session_free(c.session);
    rbe_model_close(c.model);
    free(c.messages);
    free(c.text);
    free(c.bos);
    free(c.eos);
    return code;
}
