/* `rbe chat`: a conversation line by line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "commands.h"
#include "conversation.h"
#include "output.h"
#include "platform/program.h"
#include "power_options.h"

#define TEMPERATURE 0.7 /* as of the Python command */
#define MOST_TEMPLATE_BYTES (1u << 20)

static const char usage[] = "usage: rbe chat FILE [options]\n"
                            "\n"
                            "Talks to a model, line by line.\n"
                            "\n"
                            "  FILE                   a .rbe file, as made by `rbe pack`\n"
                            "  --system TEXT          what the model is told before the conversation\n"
                            "  --temp T               temperature; 0: the likeliest token always (0.7)\n"
                            "  --template STYLE       chatml, llama2, llama3, zephyr, gemma or plain, whatever the file says\n"
                            "  --chat-template-file F a Jinja template, not the model's; the library must know it\n"
                            "  --plain, --new         as it is here: line by line, and a new conversation\n"
                            "  --json                 write one JSON object per answer\n"
                            "  -v, --verbose          seed, times and speed, on standard error\n";
static const char example[] =
    "\n"
    "example:\n"
    "  rbe chat smol.rbe --system \"You answer in one sentence.\" -v\n"
    "  printf 'Hello!\\nTell me a story.\\n' | rbe chat smol.rbe --temp 0\n"
    "\n"
    "  /help    these lines          /reset   forget the conversation          /quit    leave\n"
    "  /power   the power mode and why; /power saver (or another mode) overrides, /power auto follows the battery\n"
    "  Ctrl-C stops the answer; a second Ctrl-C, or Ctrl-D, leaves; so do /bye, /exit and, on a terminal, exit and quit.\n";

#define HELP \
    "/reset forgets the conversation, /power shows or sets the power mode, /quit leaves. Ctrl-C stops an answer; a second Ctrl-C, or Ctrl-D, leaves."

typedef struct chat_state {
    model_options options;
    power_options power;
    governing governing;
    int is_answering; /* the line on the terminal may hold part of an answer */
    const char *system, *style, *template_file;
    int plain, new; /* what it is in any case */
    char *template;
    rbe_session_options session_options;
    rbe_sampling_options sampling;
    rbe_model *model;
    rbe_session *session;
    conversation conversation;
    uint32_t context;
    char *line, *text; /* a question; an answer, as the model gave it */
    size_t line_capacity, text_bytes, text_capacity;
    size_t n_blank;     /* white space that the answer begins with, which is not shown */
    uint32_t n_dropped; /* turns, for this answer */
} chat_state;

/* Room for `bytes` at the end; 0 behind a line. */
static int grow(char **text, size_t *capacity, size_t n, size_t bytes)
{
    if (bytes > *capacity - n) {
        const size_t larger = 2 * *capacity + bytes + 256;
        char *grown = realloc(*text, larger);
        if (!grown) {
            fail(EXIT_FAILED, "out of memory; use a smaller model or context");
            return 0;
        }
        *text = grown;
        *capacity = larger;
    }
    return 1;
}

static int take(void *user, span piece)
{
    chat_state *c = user;
    if (!grow(&c->text, &c->text_capacity, c->text_bytes, piece.bytes)) {
        return EXIT_FAILED;
    }
    memcpy(c->text + c->text_bytes, piece.text, piece.bytes);
    const int had_begun = c->text_bytes > c->n_blank;
    c->text_bytes += piece.bytes;
    if (!had_begun) {
        const span shown = strip_left(piece);
        c->n_blank += piece.bytes - shown.bytes;
        if (shown.bytes && c->n_dropped) {
            char what[64] = "the oldest turn";
            if (c->n_dropped > 1) {
                snprintf(what, sizeof what, "the %u oldest turns", c->n_dropped);
            }
            note("the context is full: %s of the conversation had to be forgotten; -c makes it larger", what);
        }
        piece = shown;
    }
    return c->options.json || !piece.bytes ? 0 : write_text(piece);
}

static void write_json(const chat_state *c, const statistics *found)
{
    fputs("{\"role\": \"assistant\", \"content\": ", stdout);
    json_text((span){c->text + c->n_blank, c->text_bytes - c->n_blank});
    printf(", \"dropped_turns\": %u, ", c->n_dropped);
    json_statistics(found);
    puts("}");
    fflush(stdout);
}

/* One answer; EXIT_STOPPED where Ctrl-C ended it. */
static int answer(chat_state *c, span question, const uint32_t *tokens, size_t n_tokens)
{
    const int64_t n = c->options.predict;
    const rbe_generation_options options = {.struct_bytes = sizeof options,
                                            .sampling = &c->sampling,
                                            .max_tokens = n < 0 ? 0 : (uint32_t)n,
                                            .stops = c->options.stops.text,
                                            .n_stops = c->options.stops.n};
    const answer_request request = {.session = c->session,
                                    .prompt = tokens,
                                    .n_prompt = n_tokens,
                                    .options = &options,
                                    .changes = &c->options.changes,
                                    .reading = "reading",
                                    .take = take,
                                    .user = c};
    statistics found;
    c->text_bytes = c->n_blank = 0;
    begin_energy(&c->governing);
    c->is_answering = !c->options.json;
    int code = give_answer(&request, &found);
    c->is_answering = 0;
    if (!c->options.json) {
        putchar('\n');
        fflush(stdout);
    }
    const span text = {c->text, c->text_bytes};
    if ((code == 0 || code == EXIT_STOPPED) && strip(text).bytes && remember_turn(&c->conversation, question, text, c->n_dropped)) {
        code = EXIT_FAILED;
    }
    if (code == 0 && c->options.json) {
        write_json(c, &found);
    }
    if (code == 0 && found.finish == RBE_FINISH_CONTEXT) {
        note("the context of %u tokens is full, so the answer was cut; -c makes it larger", c->context);
    }
    if (code == 0 && c->options.verbose) {
        note_statistics(&found);
        note_energy(&c->governing, "");
    }
    free(found.tokens);
    return code;
}

/* A question that does not fit, or that the template refuses, fails alone: EXIT_FAILED. */
static int turn(chat_state *c, span question)
{
    size_t n_tokens;
    const uint32_t most = c->options.predict < 0 ? 0 : (uint32_t)c->options.predict;
    uint32_t *tokens = prompt_of(&c->conversation, question, c->context, most, &n_tokens, &c->n_dropped);
    const int code = tokens ? answer(c, question, tokens, n_tokens) : EXIT_FAILED;
    free(tokens);
    return code;
}

/* `/power`, and the mode behind it, "" where there is none. */
static void obey_power(chat_state *c, const char *mode)
{
    const uint32_t wanted = mode[0] ? power_named(mode) : 0;
    if (!mode[0]) {
        note_energy(&c->governing, "");
    } else if (!power_names[wanted]) {
        note("there is no power mode %s; give auto, performance, balanced, saver or emergency", mode);
    } else if (rbe_governor_override(c->governing.governor, wanted) != RBE_OK) {
        note("%s", rbe_last_error());
    } else {
        note("power: %s from the next token on", mode);
    }
}

/* Whether the line was a command rather than something to say: a word behind a slash, and for /power one more. */
static int obey(chat_state *c, span line)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    char word[32] = "";
    if (line.bytes < 2 || line.bytes >= sizeof word || line.text[0] != '/') {
        return 0;
    }
    memcpy(word, line.text, line.bytes);
    const int is_power = strcmp(word, "/power") == 0 || strncmp(word, "/power ", 7) == 0;
    const char *const mode = is_power ? word + 6 + strspn(word + 6, " ") : "";
    if (is_power ? mode[strspn(mode, letters)] : word[1 + strspn(word + 1, letters)]) {
        return 0;
    }
    if (is_power) {
        obey_power(c, mode);
    } else if (strcmp(word, "/help") == 0) {
        note("%s", HELP);
    } else if (strcmp(word, "/reset") == 0) {
        forget_conversation(&c->conversation);
        note("the conversation is forgotten");
    } else {
        note("there is no command %s; %s", word, HELP);
    }
    return 1;
}

/* The next line without its newline. 0 at the end of the input, -1 behind a line without memory. */
static int read_line(chat_state *c, span *line)
{
    size_t n = 0;
    int byte;
    while ((byte = getchar()) != EOF && byte != '\n') {
        if (!grow(&c->line, &c->line_capacity, n, 1)) {
            return -1;
        }
        c->line[n++] = (char)byte;
    }
    *line = strip((span){c->line, n});
    return byte != EOF || n > 0;
}

/* Whether the person goes: where one types, `exit` and `quit` say so too, as in a shell. */
static int leaves(span line, int on_terminal)
{
    static const char *const words[] = {"/quit", "/bye", "/exit", "exit", "quit"};
    for (size_t i = 0; i < (on_terminal ? 5u : 3u); i++) {
        if (line.bytes == strlen(words[i]) && memcmp(line.text, words[i], line.bytes) == 0) {
            return 1;
        }
    }
    return 0;
}

static int converse(chat_state *c)
{
    const int on_terminal = rbe__is_terminal(RBE_STREAM_IN);
    span line;
    int found, code = 0;
    for (;;) {
        if (on_terminal) {
            fputs("> ", stderr);
            fflush(stderr);
        }
        found = read_line(c, &line);
        if (found <= 0) {
            break;
        }
        if (leaves(line, on_terminal)) {
            return 0;
        }
        code = line.bytes == 0 || obey(c, line) ? 0 : turn(c, line);
        if (code == EXIT_STOPPED && on_terminal) {
            note("stopped; press Ctrl-C again, or Ctrl-D, to leave");
        }
        if (code == EXIT_FAILED && !on_terminal) { /* on a terminal the person says something else */
            return code;
        }
    }
    if (on_terminal) {
        fputc('\n', stderr);
    }
    return found < 0 ? EXIT_FAILED : 0;
}

/* A line beside the answer: on a terminal it does not stand behind half a sentence. */
static void show_switch(const char *line, void *user)
{
    const chat_state *c = user;
    if (c->is_answering && c->text_bytes > c->n_blank && rbe__is_terminal(RBE_STREAM_ERROR)) {
        fflush(stdout);
        fputc('\n', stderr);
    }
    note("%s", line);
}

static int read_template(chat_state *c, span *jinja)
{
    *jinja = (span){NULL, 0};
    if (!c->template_file) {
        return 0;
    }
    FILE *file = fopen(c->template_file, "rb");
    c->template = malloc(MOST_TEMPLATE_BYTES + 1);
    size_t n = file && c->template ? fread(c->template, 1, MOST_TEMPLATE_BYTES + 1, file) : 0;
    const int is_read = file && c->template && !ferror(file) && n <= MOST_TEMPLATE_BYTES;
    if (file) {
        fclose(file);
    }
    *jinja = (span){c->template, n};
    return is_read ? 0 : fail(EXIT_USAGE, "%s: cannot be read; give a chat template in UTF-8", c->template_file);
}

static int prepare(chat_state *c, const model_source *carried)
{
    model_source source;
    span jinja;
    rbe_session_info info = {.struct_bytes = sizeof info};
    int code = choose_model(&c->options, carried, "chat FILE", &source);
    code = code ? code : check_model_options(&c->options, TEMPERATURE, &c->session_options, &c->sampling);
    code = code ? code : check_power_options(&c->power);
    code = code ? code : read_template(c, &jinja);
    if (code == 0 && c->options.verbose) {
        note("seed %llu", (unsigned long long)c->options.seed.value);
    }
    code = code ? code : open_fitting(&c->options, &source, &c->session_options, &c->model);
    code = code ? code : require_tokenizer(c->model, source.path);
    code = code ? code : require_conversation(c->model, source.path);
    code = code ? code : begin_conversation(&c->conversation, c->model, c->style, jinja, span_of(c->system));
    if (code) {
        return code;
    }
    code = begin_governing(&c->power, c->model, 1, show_switch, c, &c->governing);
    code = code ? code : limit_session(&c->governing, &c->options, c->model, 1, &c->session_options);
    if (code) {
        return code;
    }
    rbe_status status = rbe_session_create(c->model, &c->session_options, &c->session);
    if (status == RBE_OK) {
        status = rbe_session_get_info(c->session, &info);
    }
    if (status != RBE_OK) {
        return fail_with(status);
    }
    code = govern(&c->governing, c->session);
    if (code) {
        return code;
    }
    choose_threads(&c->options, c->model, c->session);
    c->context = info.context_tokens;
    if (c->conversation.has_no_template) {
        note("this model has no chat template, so it continues what you say instead of answering; --template and --chat-template-file give "
             "it one");
    }
    if (rbe__is_terminal(RBE_STREAM_IN)) {
        char path[512];
        one_line(span_of(source.path), path, sizeof path);
        fprintf(stderr, "rbe chat: %s. " HELP "\n", path);
    }
    return 0;
}

int command_chat(int argc, char **argv, const model_source *carried)
{
    chat_state c = {.options = default_model_options(512), .power = default_power_options(POWER_AUTO)};
    const option rows[] = {
        {"-p", "--prompt", OPTION_REFUSED, "a question on the command line is for the command in Python; pipe it into this one", NULL},
        {NULL, "--system", OPTION_TEXT, &c.system, NULL},
        {NULL, "--template", OPTION_TEXT, &c.style, NULL},
        {NULL, "--chat-template-file", OPTION_TEXT, &c.template_file, NULL},
        {NULL, "--plain", OPTION_FLAG, &c.plain, NULL},
        {NULL, "--new", OPTION_FLAG, &c.new, NULL},
        MODEL_OPTION_ROWS(c.options),
        POWER_OPTION_ROWS(c.power),
        {0},
    };
    const command_line line = {
        .command = "chat", .usage = {usage, model_options_help, power_help_follows, example}, .options = rows, .file = &c.options.file};
    int code;
    if (!read_command_line(&line, argc, argv, &code)) {
        if (c.options.json) {
            report_as_json();
        }
        code = prepare(&c, carried);
        code = code ? code : converse(&c);
    }
    end_conversation(&c.conversation);
    rbe_session_free(c.session);
    end_governing(&c.governing);
    rbe_model_close(c.model);
    free(c.template);
    free(c.line);
    free(c.text);
    return code;
}
