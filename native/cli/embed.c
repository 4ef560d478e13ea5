/* `rbe embed`: a vector for each text, one JSON object a line. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "platform/program.h"
#include "rbe/encoder.h"

#define AT_ONCE 32u /* texts of one call, whose vectors are then written */

static const char usage[] = "usage: rbe embed FILE [TEXT ...] [options]\n"
                            "\n"
                            "Writes a vector of length 1 for each text, one JSON object a line: {\"text\": ..., \"embedding\": [...]}.\n"
                            "\n"
                            "  FILE                   a .rbe file of an encoder, or of a decoder made for embeddings\n"
                            "  TEXT                   a text; `-` or none: the lines of standard input\n"
                            "  --pooling NAME         cls, mean, last or max, in place of the file's\n"
                            "  --cut                  what is too long loses its end; else it is an error\n"
                            "  -t, --threads N        threads; 0: one per fast core (0)\n"
                            "  -b, --batch-size N     tokens that run at once, 1 to 512; 0: the default (0)\n"
                            "  --max-memory SIZE      of the file in memory at a time\n"
                            "\n"
                            "example:\n"
                            "  rbe embed minilm.rbe \"A cat sits on a mat.\" \"Prices rose again.\"\n"
                            "  rbe embed minilm.rbe < lines.txt > vectors.jsonl\n";

static const char *const pooling_names[] = {"cls", "mean", "last", "max", NULL}; /* from RBE_POOLING_CLS on */
#define POOLING_OF_FILE UINT32_MAX

typedef struct embed_state {
    const char *path;
    texts given;
    uint32_t pooling; /* of pooling_names, or POOLING_OF_FILE */
    int cut;
    int64_t threads, batch;
    uint64_t max_memory;
    rbe_model *model;
    rbe_encoder *encoder;
    rbe_encoder_info info;
    uint32_t n_numbers;
    size_t n_after; /* tokens that the tokenizer puts behind a text */
    uint64_t n_before; /* texts that were written */
    progress_line progress;

    /* Those of one call; texts and tokens are from malloc. */
    char *text[AT_ONCE];
    rbe_encoder_text tokens[AT_ONCE];
    uint32_t n;
    float *vectors; /* [AT_ONCE][n_numbers] */
} embed_state;

static rbe_status tokenize(const rbe_model *model, const char *text, uint32_t flags, uint32_t **tokens, size_t *n)
{
    const size_t bytes = strlen(text), capacity = bytes + 16; /* a token is at least a byte; a few more at the ends */
    *tokens = malloc(capacity * sizeof **tokens);
    return *tokens ? rbe_tokenize(rbe_model_tokenizer(model), text, bytes, flags, *tokens, capacity, n)
                   : rbe_fail(RBE_ERROR_MEMORY, "out of memory; use shorter texts");
}

/* What stands behind a text of one letter stands behind every text. */
static rbe_status count_after(const rbe_model *model, size_t *n_after)
{
    uint32_t *plain = NULL, *whole = NULL;
    size_t n_plain = 0, n_whole = 0, before = 0;
    rbe_status status = tokenize(model, "a", 0, &plain, &n_plain);
    status = status == RBE_OK ? tokenize(model, "a", RBE_TOKENIZE_SPECIAL_PREFIX, &whole, &n_whole) : status;
    while (status == RBE_OK && before + n_plain < n_whole && memcmp(whole + before, plain, n_plain * sizeof *plain) != 0) {
        before++;
    }
    *n_after = status == RBE_OK ? n_whole - n_plain - before : 0;
    free(plain);
    free(whole);
    return status;
}

/* The shortest digits that give the float again. */
static void write_float(float value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) { /* NOLINT(cert-err34-c): it was written above */
            break;
        }
    }
    fputs(isfinite(value) ? text : "null", stdout);
}

static void write_vector(const embed_state *s, uint32_t index)
{
    float *vector = s->vectors + (size_t)index * s->n_numbers;
    double sum = 0;
    for (uint32_t i = 0; i < s->n_numbers; i++) {
        sum += (double)vector[i] * vector[i];
    }
    const double length = sum > 0 && !s->info.is_normalized ? sqrt(sum) : 1;
    fputs("{\"text\": ", stdout);
    json_text(span_of(s->text[index]));
    fputs(", \"embedding\": [", stdout);
    for (uint32_t i = 0; i < s->n_numbers; i++) {
        fputs(i ? ", " : "", stdout);
        write_float((float)(vector[i] / length));
    }
    fputs("]}\n", stdout);
}

static void free_texts(embed_state *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        free(s->text[i]);
        free((void *)s->tokens[i].tokens);
    }
    s->n = 0;
}

static int run_texts(embed_state *s)
{
    begin_interruptible(NULL);
    s->progress = begin_progress("embedding");
    const rbe_status status = rbe_encoder_pool(s->encoder, s->tokens, s->n, s->vectors, on_progress, &s->progress);
    end_progress(&s->progress);
    end_interruptible();
    for (uint32_t i = 0; status == RBE_OK && i < s->n; i++) {
        write_vector(s, i);
    }
    s->n_before += s->n;
    free_texts(s);
    return status == RBE_OK ? finish_output(0) : fail_with(status);
}

/* Takes the text, which is from malloc, and runs those that wait where there are enough. */
static int add_text(embed_state *s, char *text)
{
    uint32_t *tokens = NULL;
    size_t n = 0;
    const uint64_t number = s->n_before + s->n + 1;
    const uint32_t most = s->info.context_tokens;
    const rbe_status status = tokenize(s->model, text, RBE_TOKENIZE_SPECIAL_PREFIX, &tokens, &n);
    s->text[s->n] = text;
    s->tokens[s->n++] = (rbe_encoder_text){.tokens = tokens};
    if (status != RBE_OK) {
        return fail_with(status);
    }
    if (n > most && !s->cut) {
        return fail(EXIT_FAILED, "text %" PRIu64 ": it has %zu tokens, and this model takes at most %u; shorten it, or add --cut", number,
                    n, most);
    }
    if (n > most) {
        const size_t after = s->n_after < most ? s->n_after : most;
        memmove(tokens + most - after, tokens + n - after, after * sizeof *tokens);
        n = most;
    }
    if (n == 0) {
        return fail(EXIT_FAILED, "text %" PRIu64 " is empty; leave it out", number);
    }
    s->tokens[s->n - 1].n_tokens = n;
    return s->n == AT_ONCE ? run_texts(s) : 0;
}

/* The next line of standard input, from malloc and without white space at its ends; NULL at the end. */
static char *read_line(void)
{
    size_t capacity = 256, n = 0;
    char *line = malloc(capacity);
    int c = 0;
    while (line && (c = getchar()) != EOF && c != '\n') {
        if (n + 1 == capacity) {
            char *grown = realloc(line, capacity *= 2);
            if (!grown) {
                free(line);
            }
            line = grown;
        }
        if (line) {
            line[n++] = c ? (char)c : ' ';
        }
    }
    if (!line || (c == EOF && n == 0)) {
        free(line);
        return NULL;
    }
    line[n] = 0;
    const span kept = strip((span){line, n});
    memmove(line, kept.text, kept.bytes);
    line[kept.bytes] = 0;
    return line;
}

static int add_lines(embed_state *s)
{
    char *line;
    int code = 0;
    while (!code && (line = read_line()) != NULL) {
        if (line[0]) {
            code = add_text(s, line);
        } else {
            free(line);
        }
    }
    return code;
}

static int add_given(embed_state *s)
{
    int code = 0;
    for (uint32_t i = 0; !code && i < s->given.n; i++) {
        const size_t bytes = strlen(s->given.text[i]) + 1;
        char *copy = malloc(bytes);
        if (!copy) {
            return fail(EXIT_FAILED, "out of memory; use shorter texts");
        }
        code = add_text(s, memcpy(copy, s->given.text[i], bytes));
    }
    return code;
}

/* A default prompt is not put before the texts: that is said, since other programs put it there. */
static void mention_prompt(const rbe_model *model)
{
    static const char key[] = "embedding.default_prompt";
    rbe_metadata entry;
    for (uint32_t i = 0; rbe_model_metadata(model, i, &entry) == RBE_OK; i++) {
        if (entry.key_bytes == sizeof key - 1 && memcmp(entry.key, key, sizeof key - 1) == 0) {
            note("this model's default prompt is not put before the texts; put it there yourself");
        }
    }
}

static int prepare(embed_state *s)
{
    const model_source source = {.path = s->path};
    const rbe_encoder_options options = {.struct_bytes = sizeof options,
                                         .n_threads = (uint32_t)s->threads,
                                         .pass_tokens = (uint32_t)s->batch,
                                         .pooling = s->pooling == POOLING_OF_FILE ? RBE_POOLING_NONE : RBE_POOLING_CLS + s->pooling};
    rbe_model_info model = {.struct_bytes = sizeof model};
    s->info.struct_bytes = sizeof s->info;
    int code = check_session_options(0, s->threads, s->batch, 0, 0);
    code = code ? code : open_model(&source, NULL, 0, s->max_memory, &s->model);
    code = code ? code : require_tokenizer(s->model, s->path);
    if (code) {
        return code;
    }
    rbe_status status = rbe_model_get_info(s->model, &model);
    status = status == RBE_OK ? rbe_model_get_encoder_info(s->model, &s->info) : status;
    if (status == RBE_OK && s->info.is_classes) {
        return fail(EXIT_FAILED, "%s gives scores of classes, which are no embedding; give another model", s->path);
    }
    if (status == RBE_OK && !s->info.pooling && s->pooling == POOLING_OF_FILE) {
        return fail(EXIT_FAILED, "%s was not trained to embed texts; give a sentence encoder, or take its states with --pooling mean",
                    s->path);
    }
    status = status == RBE_OK ? rbe_encoder_create(s->model, &options, &s->encoder) : status;
    status = status == RBE_OK ? count_after(s->model, &s->n_after) : status;
    s->n_numbers = s->info.n_pooled ? s->info.n_pooled : model.width;
    s->vectors = status == RBE_OK ? malloc((size_t)AT_ONCE * s->n_numbers * sizeof *s->vectors) : NULL;
    if (status == RBE_OK && !s->vectors) {
        return fail(EXIT_FAILED, "out of memory");
    }
    mention_prompt(s->model);
    return status == RBE_OK ? 0 : fail_with(status);
}

int command_embed(int argc, char **argv)
{
    static embed_state s = {.pooling = POOLING_OF_FILE};
    int code;
    const option rows[] = {
        {NULL, "--pooling", OPTION_CHOICE, &s.pooling, pooling_names}, {NULL, "--cut", OPTION_FLAG, &s.cut, NULL},
        {"-t", "--threads", OPTION_WHOLE, &s.threads, NULL},           {"-b", "--batch-size", OPTION_WHOLE, &s.batch, NULL},
        {NULL, "--max-memory", OPTION_SIZE, &s.max_memory, NULL},      {0},
    };
    const command_line line = {.command = "embed", .usage = {usage}, .options = rows, .file = &s.path, .rest = &s.given};
    if (read_command_line(&line, argc, argv, &code)) {
        return code;
    }
    const int is_input = s.given.n == 0 || (s.given.n == 1 && strcmp(s.given.text[0], "-") == 0);
    if (!s.path) {
        return fail(EXIT_USAGE, "there is no model; give a .rbe file: rbe embed FILE [TEXT ...]");
    }
    if (s.given.n == 0 && rbe__is_terminal(RBE_STREAM_IN)) {
        return fail(EXIT_USAGE, "there is no text; give some, or - for the lines of standard input");
    }
    code = prepare(&s);
    code = code ? code : is_input ? add_lines(&s) : add_given(&s);
    code = code || s.n == 0 ? code : run_texts(&s);
    free_texts(&s);
    free(s.vectors);
    rbe_encoder_free(s.encoder);
    rbe_model_close(s.model);
    return code;
}
