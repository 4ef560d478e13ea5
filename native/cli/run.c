#if defined(__APPLE__)
#define _DARWIN_C_SOURCE /* ru_maxrss, which macOS counts in bytes and Linux in units of 1024 */
#define RESIDENT_UNIT 1.0
#else
#define RESIDENT_UNIT 1024.0
#endif
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "commands.h"

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

typedef struct run_state {
    rbe_model *model;
    rbe_session *session;
    rbe_sampler *sampler;
    rbe_generation *generation;
    uint32_t *tokens;
    size_t n_prompt;
    double opened, prefilled, first_token, finished; /* seconds, monotonic */
    uint32_t n_generated;
} run_state;

static int prepare(run_state *run, const cli_arguments *a)
{
    rbe_model_info info;
    if (!open_model_with_tokenizer(a, &run->model, &info)) {
        return 1;
    }
    run->opened = seconds(CLOCK_MONOTONIC);
    const rbe_tokenizer *tokenizer = rbe_model_tokenizer(run->model);
    size_t bytes = strlen(a->prompt), capacity = bytes + 8; /* a token is at least a byte; a few more at the ends */
    run->tokens = malloc(capacity * sizeof *run->tokens);
    if (!run->tokens) {
        fprintf(stderr, "rbe-cli: no memory for the prompt\n");
        return 1;
    }
    if (rbe_tokenize(tokenizer, a->prompt, bytes, RBE_TOKENIZE_SPECIAL_PREFIX | RBE_TOKENIZE_PARSE_SPECIAL, run->tokens, capacity,
                     &run->n_prompt) != RBE_OK ||
        rbe_session_create(run->model, &a->session, &run->session) != RBE_OK ||
        rbe_sampler_create(info.n_vocabulary, &a->sampling, &run->sampler) != RBE_OK ||
        rbe_session_append(run->session, run->tokens, run->n_prompt, NULL, NULL) != RBE_OK) {
        return report_failure();
    }
    run->prefilled = seconds(CLOCK_MONOTONIC);
    return 0;
}

static int generate(run_state *run, const cli_arguments *a)
{
    const rbe_generation_options options = {.struct_bytes = sizeof options, .sampler = run->sampler, .max_tokens = a->n_tokens};
    rbe_generation_event event = {.struct_bytes = sizeof event};
    if (rbe_generation_create(run->session, &options, &run->generation) != RBE_OK) {
        return report_failure();
    }
    while (a->n_tokens && event.finish == RBE_FINISH_NONE) {
        if (rbe_generation_step(run->generation, &event) != RBE_OK) {
            return report_failure();
        }
        run->first_token = run->first_token != 0 ? run->first_token : seconds(CLOCK_MONOTONIC);
        run->n_generated += event.token != RBE_NO_TOKEN && event.finish != RBE_FINISH_END;
        write_text(event.text, event.text_bytes);
        write_text(event.rest, event.rest_bytes);
    }
    putchar('\n');
    run->finished = seconds(CLOCK_MONOTONIC);
    return 0;
}

static void report(const run_state *run, double started)
{
    rbe_session_info session = {.struct_bytes = sizeof session};
    rbe_model_info model = {.struct_bytes = sizeof model};
    struct rusage usage;
    if (rbe_session_get_info(run->session, &session) != RBE_OK || rbe_model_get_info(run->model, &model) != RBE_OK ||
        getrusage(RUSAGE_SELF, &usage) != 0) {
        return;
    }
    double decode = run->finished - run->first_token;
    fprintf(stderr, "open %.1f ms, prefill %zu tokens %.1f ms, first token %.1f ms after start, decode %.1f tokens/s\n",
            1e3 * (run->opened - started), run->n_prompt, 1e3 * (run->prefilled - run->opened), 1e3 * (run->first_token - started),
            run->n_generated > 1 && decode > 0 ? (run->n_generated - 1) / decode : 0.0);
    fprintf(stderr,
            "file %.2f MB, KV cache %.2f MB, other session memory %.2f MB, peak resident %.2f MB, %" PRIu32 " threads, %s kernels\n",
            (double)model.file_bytes / 1e6, (double)session.kv_bytes / 1e6, (double)(session.arena_bytes - session.kv_bytes) / 1e6,
            (double)usage.ru_maxrss * RESIDENT_UNIT / 1e6, session.n_threads, model.kernel_set);
}

int command_run(int argc, char **argv)
{
    double started = seconds(CLOCK_MONOTONIC);
    cli_arguments arguments;
    if (!read_arguments(&arguments, 128, argc, argv)) {
        return EXIT_USAGE;
    }
    if (!arguments.path || !arguments.prompt || !arguments.prompt[0]) {
        fprintf(stderr, "rbe-cli: name a .rbe file and a prompt that is not empty: rbe-cli run FILE -p PROMPT\n");
        return EXIT_USAGE;
    }
    run_state run = {0};
    int code = prepare(&run, &arguments);
    if (code == 0) {
        code = generate(&run, &arguments);
    }
    if (code == 0 && arguments.verbose) {
        report(&run, started);
    }
    rbe_generation_free(run.generation);
    rbe_sampler_free(run.sampler);
    rbe_session_free(run.session);
    free(run.tokens);
    rbe_model_close(run.model);
    return code;
}
