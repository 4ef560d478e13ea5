/* Tokens per second of a model: prefill of P tokens and decode of N behind them, median of R repetitions after one warm-up.
 *
 *     bench_model FILE [-p P] [-n N] [-t THREADS] [-r R] [--kernels SET] [--json]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "rbe/rbe.h"

#define MAX_REPETITIONS 101u

typedef struct settings {
    const char *path, *kernel_set;
    uint32_t n_prompt, n_generate, n_threads, repetitions;
    int json;
} settings;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int fail(void)
{
    fprintf(stderr, "bench_model: %s\n", rbe_last_error());
    return 1;
}

/* Seconds of one prefill and of one decode run. Token ids are arbitrary: the time does not depend on them. */
static int measure(rbe_session *session, const uint32_t *tokens, const settings *s, double *prefill, double *decode)
{
    if (rbe_session_rewind(session, 0) != RBE_OK) {
        return fail();
    }
    double start = now();
    if (rbe_session_append(session, tokens, s->n_prompt, NULL, NULL) != RBE_OK) {
        return fail();
    }
    double middle = now();
    for (uint32_t i = 0; i < s->n_generate; i++) {
        if (rbe_session_append(session, &tokens[i % s->n_prompt], 1, NULL, NULL) != RBE_OK) {
            return fail();
        }
    }
    *prefill = middle - start;
    *decode = now() - middle;
    return 0;
}

static int run(rbe_session *session, const uint32_t *tokens, const settings *s, double *prefill, double *decode)
{
    for (uint32_t r = 0; r <= s->repetitions; r++) { /* the first is the warm-up, overwritten by the second */
        uint32_t at = r ? r - 1 : 0;
        if (measure(session, tokens, s, &prefill[at], &decode[at]) != 0) {
            return 1;
        }
    }
    qsort(prefill, s->repetitions, sizeof *prefill, compare);
    qsort(decode, s->repetitions, sizeof *decode, compare);
    return 0;
}

static void report(const rbe_model *model, const rbe_session *session, const settings *s, double prefill, double decode)
{
    rbe_model_info info = {.struct_bytes = sizeof info};
    rbe_session_info state = {.struct_bytes = sizeof state};
    struct rusage usage;
    if (rbe_model_get_info(model, &info) != RBE_OK || rbe_session_get_info(session, &state) != RBE_OK ||
        getrusage(RUSAGE_SELF, &usage) != 0) {
        return;
    }
    double prompt_rate = s->n_prompt / prefill, rate = s->n_generate / decode, gigabytes = (double)info.file_bytes * rate / 1e9;
    printf(s->json ? "{\"file\": \"%s\", \"kernels\": \"%s\", \"threads\": %" PRIu32 ", \"prefill_tokens\": %" PRIu32
                     ", \"prefill_tokens_per_s\": %.1f, \"decode_tokens\": %" PRIu32
                     ", \"decode_tokens_per_s\": %.1f, \"file_gb_per_s\": %.2f, \"peak_mb\": %.1f}\n"
                   : "%s, %s kernels, %" PRIu32 " threads\nprefill of %" PRIu32 " tokens: %.1f tokens/s\ndecode of %" PRIu32
                     " tokens: %.1f tokens/s (%.2f GB/s of the file)\npeak resident memory: %.1f MB\n",
           s->path, info.kernel_set, state.n_threads, s->n_prompt, prompt_rate, s->n_generate, rate, gigabytes,
           (double)usage.ru_maxrss / 1e3);
}

static int bench(const settings *s)
{
    rbe_model_options model_options = {.struct_bytes = sizeof model_options, .kernel_set = s->kernel_set};
    rbe_session_options options = {
        .struct_bytes = sizeof options, .n_threads = s->n_threads, .context_tokens = s->n_prompt + s->n_generate};
    rbe_model_info info = {.struct_bytes = sizeof info};
    double prefill[MAX_REPETITIONS], decode[MAX_REPETITIONS];
    rbe_model *model = NULL;
    rbe_session *session = NULL;
    uint32_t *tokens = malloc(s->n_prompt * sizeof *tokens);
    int code = 1;
    if (!tokens || rbe_model_open(s->path, &model_options, &model) != RBE_OK || rbe_model_get_info(model, &info) != RBE_OK ||
        rbe_session_create(model, &options, &session) != RBE_OK) {
        fail();
    } else {
        for (uint32_t i = 0; i < s->n_prompt; i++) {
            tokens[i] = i * 31 % info.n_vocabulary;
        }
        code = run(session, tokens, s, prefill, decode);
        if (code == 0) {
            report(model, session, s, prefill[s->repetitions / 2], decode[s->repetitions / 2]);
        }
    }
    rbe_session_free(session);
    rbe_model_close(model);
    free(tokens);
    return code;
}

int main(int argc, char **argv)
{
    settings s = {.n_prompt = 128, .n_generate = 64, .repetitions = 5};
    for (int i = 1; i < argc; i++) {
        uint32_t *number = !strcmp(argv[i], "-p")   ? &s.n_prompt
                           : !strcmp(argv[i], "-n") ? &s.n_generate
                           : !strcmp(argv[i], "-t") ? &s.n_threads
                           : !strcmp(argv[i], "-r") ? &s.repetitions
                                                    : NULL;
        if (number && i + 1 < argc) {
            *number = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else if (!strcmp(argv[i], "--kernels") && i + 1 < argc) {
            s.kernel_set = argv[++i];
        } else if (!strcmp(argv[i], "--json")) {
            s.json = 1;
        } else {
            s.path = argv[i];
        }
    }
    if (!s.path || s.n_prompt < 1 || s.n_prompt > 1u << 20 || s.n_generate < 1 || s.n_generate > 1u << 20 || s.repetitions < 1 ||
        s.repetitions > MAX_REPETITIONS) {
        fprintf(stderr, "usage: bench_model FILE [-p PROMPT] [-n GENERATE] [-t THREADS] [-r REPETITIONS] [--kernels SET] [--json]\n");
        return 2;
    }
    return bench(&s);
}
