/* `rbe run`: continues one prompt, or answers to it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "commands.h"
#include "output.h"
#include "platform/platform.h"
#include "platform/program.h"
#include "power_options.h"
#include "rbe/encoder_decoder.h"

#define TEMPERATURE 0.8 /* the default of llama.cpp */

static const char usage[] =
    "usage: rbe run FILE [-p TEXT] [options]\n"
    "\n"
    "Continues a prompt; an encoder-decoder answers to it. Only what the model adds is written to standard output.\n"
    "\n"
    "  FILE                   a .rbe file, as made by `rbe pack`\n"
    "  -p, --prompt TEXT      the prompt; `-` or nothing: standard input\n"
    "  --raw                  what the command in Python needs to continue a text, and this one always does\n"
    "  --temp T               temperature; 0: the likeliest token always (0.8)\n"
    "  --json                 write one JSON object when done\n"
    "  -v, --verbose          times, memory and seed, on standard error\n";
static const char example[] = "\n"
                              "example:\n"
                              "  rbe run smol.rbe -p \"Once upon a time\" -n 100 --temp 0.8 --seed 7\n"
                              "  echo \"The capital of France is\" | rbe run -m smol.rbe -n 8 --temp 0\n"
                              "  rbe run smol.rbe -p \"Once upon a time\" --power saver -v\n";

typedef struct run_state {
    model_options options;
    power_options power;
    governing governing;
    const char *prompt;
    int raw;     /* as it always is: this program has no template for one question */
    char *input; /* the prompt, where it came from standard input */
    rbe_session_options session_options;
    rbe_sampling_options sampling;
    int has_temperature; /* 1: the caller has said one */
    rbe_model *model;
    rbe_session *session;
    uint32_t *tokens;
    size_t n_tokens;
    char *text; /* what was generated, for --json */
    size_t text_bytes, text_capacity;
    int has_text;
    double started, opened; /* seconds */
} run_state;

static double seconds(void)
{
    return 1e-9 * (double)rbe__nanoseconds();
}

/* Standard input to its end, without one last newline. NULL, behind a line, without memory. */
static char *read_input(size_t *bytes)
{
    size_t capacity = 4096, n = 0;
    char *text = malloc(capacity);
    while (text && (n += fread(text + n, 1, capacity - n, stdin)) == capacity) {
        char *grown = realloc(text, capacity *= 2);
        if (!grown) {
            free(text);
        }
        text = grown;
    }
    if (!text) {
        fail(EXIT_FAILED, "out of memory; use a shorter prompt");
    }
    *bytes = n - (n > 0 && text && text[n - 1] == '\n');
    return text;
}

static int find_prompt(run_state *run, span *prompt)
{
    *prompt = span_of(run->prompt);
    if (!run->prompt && rbe__is_terminal(RBE_STREAM_IN)) {
        return fail(EXIT_USAGE, "there is no prompt; give one with -p or on standard input");
    }
    if (!run->prompt || strcmp(run->prompt, "-") == 0) {
        run->input = read_input(&prompt->bytes);
        prompt->text = run->input;
    }
    if (!prompt->text) {
        return EXIT_FAILED;
    }
    return prompt->bytes ? 0 : fail(EXIT_USAGE, "the prompt is empty; give some text to continue, with -p or on standard input");
}

static void show_switch(const char *line, void *user)
{
    (void)user;
    note("%s", line);
}

static int prepare(run_state *run, const model_source *source, span prompt)
{
    int code = open_fitting(&run->options, source, &run->session_options, &run->model);
    code = code ? code : require_tokenizer(run->model, source->path);
    if (code) {
        return code;
    }
    run->opened = seconds();
    code = begin_governing(&run->power, run->model, 0, run->options.verbose ? show_switch : NULL, NULL, &run->governing);
    code = code ? code : limit_session(&run->governing, &run->options, run->model, run->options.verbose, &run->session_options);
    if (code) {
        return code;
    }
    const size_t capacity = prompt.bytes + 16; /* a token is at least a byte; a few more at the ends */
    run->tokens = malloc(capacity * sizeof *run->tokens);
    if (!run->tokens) {
        return fail(EXIT_FAILED, "out of memory; use a shorter prompt");
    }
    rbe_session_info info = {.struct_bytes = sizeof info};
    rbe_status status = rbe_session_create(run->model, &run->session_options, &run->session);
    if (status == RBE_OK) {
        status = rbe_session_get_info(run->session, &info);
    }
    if (status == RBE_OK) {
        status = rbe_tokenize(rbe_model_tokenizer(run->model), prompt.text, prompt.bytes, RBE_TOKENIZE_SPECIAL_PREFIX, run->tokens,
                              capacity, &run->n_tokens);
    }
    if (status != RBE_OK) {
        return fail_with(status);
    }
    code = govern(&run->governing, run->session);
    if (code) {
        return code;
    }
    choose_threads(&run->options, run->model, run->session);
    if (!run->session_options.sink_tokens && run->n_tokens > info.context_tokens) {
        return fail(EXIT_FAILED, "the prompt has %zu tokens and the context holds %u; shorten it or make the context larger", run->n_tokens,
                    info.context_tokens);
    }
    return 0;
}

/* An encoder-decoder reads the prompt at once. What it says begins with a token of its own, and is the likeliest unless the caller wants other. */
static int encode_prompt(run_state *run)
{
    rbe_encoder_decoder_info kind = {.struct_bytes = sizeof kind};
    rbe_status status = rbe_model_get_encoder_decoder_info(run->model, &kind);
    if (status == RBE_OK && kind.is_encoder_decoder) {
        status = rbe_session_encode(run->session, run->tokens, run->n_tokens, NULL, NULL);
        run->tokens[0] = kind.start_token;
        run->n_tokens = 1;
        run->sampling.temperature = run->has_temperature ? run->sampling.temperature : 0;
    }
    return status == RBE_OK ? 0 : fail_with(status);
}

static int take(void *user, span piece)
{
    run_state *run = user;
    run->has_text = 1;
    if (!run->options.json) {
        return write_text(piece);
    }
    if (piece.bytes > run->text_capacity - run->text_bytes) {
        const size_t capacity = 2 * run->text_capacity + piece.bytes + 256;
        char *grown = realloc(run->text, capacity);
        if (!grown) {
            return fail(EXIT_FAILED, "out of memory; use a smaller model or context");
        }
        run->text = grown;
        run->text_capacity = capacity;
    }
    memcpy(run->text + run->text_bytes, piece.text, piece.bytes);
    run->text_bytes += piece.bytes;
    return 0;
}

static void write_json(const run_state *run, const statistics *found)
{
    fputs("{\"text\": ", stdout);
    json_text((span){run->text, run->text_bytes});
    fputs(", \"tokens\": [", stdout);
    for (uint32_t i = 0; i < found->n_generated; i++) {
        printf(i ? ", %u" : "%u", found->tokens[i]);
    }
    printf("], \"seed\": %llu, ", (unsigned long long)run->options.seed.value);
    json_statistics(found);
    puts("}");
}

/* What -v says of a cold start (tools/cold_start.py reads it). */
static void report(const run_state *run, const statistics *found)
{
    rbe_session_info session = {.struct_bytes = sizeof session};
    rbe_model_info model = {.struct_bytes = sizeof model};
    if (rbe_session_get_info(run->session, &session) != RBE_OK || rbe_model_get_info(run->model, &model) != RBE_OK) {
        return;
    }
    note_statistics(found);
    note_energy(&run->governing, "");
    note("open %.1f ms, prefill %zu tokens %.1f ms, first token %.1f ms after start", 1e3 * (run->opened - run->started), found->n_prompt,
         1e3 * found->prompt_seconds, 1e3 * (found->first_token - run->started));
    note("file %.2f MB, %s KV cache %.2f MB, other session memory %.2f MB, peak resident %.2f MB, %u threads, %s kernels",
         (double)model.file_bytes / 1e6, kv_names[session.kv_type], (double)session.kv_bytes / 1e6,
         (double)(session.arena_bytes - session.kv_bytes) / 1e6, (double)rbe__peak_resident_bytes() / 1e6, session.n_threads,
         model.kernel_set);
}

static int generate(run_state *run)
{
    statistics found;
    const int64_t n = run->options.predict;
    const rbe_generation_options options = {.struct_bytes = sizeof options,
                                            .sampling = &run->sampling,
                                            .max_tokens = n < 0 ? 0 : (uint32_t)n,
                                            .stops = run->options.stops.text,
                                            .n_stops = run->options.stops.n};
    const answer_request request = {.session = run->session,
                                    .prompt = run->tokens,
                                    .n_prompt = run->n_tokens,
                                    .options = &options,
                                    .changes = &run->options.changes,
                                    .reading = "reading the prompt",
                                    .take = take,
                                    .user = run};
    const int code = give_answer(&request, &found);
    if (run->has_text && !run->options.json) {
        putchar('\n');
        fflush(stdout);
    }
    if (code == 0 && run->options.json) {
        write_json(run, &found);
    }
    if (code == 0 && found.finish == RBE_FINISH_CONTEXT) {
        rbe_session_info info = {.struct_bytes = sizeof info};
        (void)rbe_session_get_info(run->session, &info);
        note("the context of %u tokens is full, so the text was cut; -c makes it larger", info.context_tokens);
    }
    if (code == 0 && run->options.verbose) {
        report(run, &found);
    }
    free(found.tokens);
    return code;
}

static int continue_prompt(run_state *run, const model_source *carried)
{
    model_source source;
    span prompt;
    if (run->options.json) {
        report_as_json();
    }
    const double temperature = run->options.temperature;
    int code = choose_model(&run->options, carried, "run FILE -p TEXT", &source);
    code = code ? code : check_model_options(&run->options, TEMPERATURE, &run->session_options, &run->sampling);
    run->has_temperature = run->options.temperature == temperature;
    code = code ? code : check_power_options(&run->power);
    code = code ? code : find_prompt(run, &prompt);
    if (code == 0 && run->options.verbose) {
        note("seed %llu", (unsigned long long)run->options.seed.value);
    }
    code = code ? code : prepare(run, &source, prompt);
    code = code ? code : encode_prompt(run);
    return code ? code : generate(run);
}

int command_run(int argc, char **argv, const model_source *carried)
{
    run_state run = {.options = default_model_options(256), .power = default_power_options(POWER_PERFORMANCE), .started = seconds()};
    const option rows[] = {
        {"-p", "--prompt", OPTION_TEXT, &run.prompt, NULL},
        {NULL, "--raw", OPTION_FLAG, &run.raw, NULL},
        MODEL_OPTION_ROWS(run.options),
        POWER_OPTION_ROWS(run.power),
        {0},
    };
    const command_line line = {
        .command = "run", .usage = {usage, model_options_help, power_help_pinned, example}, .options = rows, .file = &run.options.file};
    int code;
    if (!read_command_line(&line, argc, argv, &code)) {
        code = continue_prompt(&run, carried);
    }
    rbe_session_free(run.session);
    end_governing(&run.governing);
    rbe_model_close(run.model);
    free(run.tokens);
    free(run.text);
    free(run.input);
    return code;
}
