#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"

static int read_whole(const char *text, uint64_t most, uint64_t *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') {
        return 0;
    }
    *out = strtoull(text, &end, 10);
    return *end == 0 && *out <= most;
}

static int read_float(const char *text, float *out)
{
    char *end;
    *out = strtof(text, &end);
    return end != text && *end == 0;
}

static int read_u32(const char *text, uint32_t *out)
{
    uint64_t value = 0;
    int good = read_whole(text, UINT32_MAX, &value);
    *out = (uint32_t)value;
    return good;
}

/* One option with its value; 0 where the value is wrong, -1 where the option is unknown. */
static int read_option(cli_arguments *a, const char *name, const char *value)
{
    return !strcmp(name, "-m")                 ? (a->path = value, 1)
           : !strcmp(name, "-p")               ? (a->prompt = value, 1)
           : !strcmp(name, "-n")               ? read_u32(value, &a->n_tokens)
           : !strcmp(name, "-c")               ? read_u32(value, &a->session.context_tokens)
           : !strcmp(name, "-t")               ? read_u32(value, &a->session.n_threads)
           : !strcmp(name, "-s")               ? read_whole(value, UINT64_MAX, &a->sampling.seed)
           : !strcmp(name, "--temp")           ? read_float(value, &a->sampling.temperature)
           : !strcmp(name, "--top-k")          ? read_u32(value, &a->sampling.top_k)
           : !strcmp(name, "--top-p")          ? read_float(value, &a->sampling.top_p)
           : !strcmp(name, "--min-p")          ? read_float(value, &a->sampling.min_p)
           : !strcmp(name, "--repeat-penalty") ? read_float(value, &a->sampling.repeat_penalty)
           : !strcmp(name, "--system")         ? (a->system = value, 1)
           : !strcmp(name, "--template")       ? (a->style = value, 1)
           : !strcmp(name, "--kernels")        ? (a->model.kernel_set = value, 1)
                                               : -1;
}

int read_arguments(cli_arguments *a, uint32_t n_tokens, int argc, char **argv)
{
    *a = (cli_arguments){
        .n_tokens = n_tokens,
        .model = {.struct_bytes = sizeof a->model},
        .session = {.struct_bytes = sizeof a->session},
        .sampling = {.struct_bytes = sizeof a->sampling},
    };
    for (int i = 0; i < argc; i++) {
        if (!strcmp(argv[i], "-v")) {
            a->verbose = 1;
        } else if (!strcmp(argv[i], "--no-verify")) {
            a->model.skip_checksums = 1;
        } else if (argv[i][0] != '-') {
            a->path = argv[i];
        } else {
            int good = read_option(a, argv[i], i + 1 < argc ? argv[i + 1] : "");
            if (good != 1 || i + 1 >= argc) {
                fprintf(stderr,
                        good == -1 ? "rbe-cli: unknown option %s; see rbe-cli --help\n" : "rbe-cli: option %s needs a valid value\n",
                        argv[i]);
                return 0;
            }
            i++;
        }
    }
    return 1;
}

int open_model_with_tokenizer(const cli_arguments *a, rbe_model **model, rbe_model_info *info)
{
    *info = (rbe_model_info){.struct_bytes = sizeof *info};
    if (rbe_model_open(a->path, &a->model, model) != RBE_OK || rbe_model_get_info(*model, info) != RBE_OK) {
        report_failure();
        return 0;
    }
    if (!rbe_model_tokenizer(*model)) {
        fprintf(stderr, "rbe-cli: %s holds no tokenizer\n", a->path);
        return 0;
    }
    return 1;
}

/* Bytes of a control character at the start of UTF-8 text, 0 where there is none: C0 but tab and newline, DEL, C1, bidirectional
 * overrides. */
static size_t control_bytes(const unsigned char *text, size_t bytes)
{
    if ((text[0] < 0x20 && text[0] != '\t' && text[0] != '\n') || text[0] == 0x7F) {
        return 1;
    }
    if (bytes >= 2 && text[0] == 0xC2 && text[1] < 0xA0) {
        return 2;
    }
    const int is_override = bytes >= 3 && text[0] == 0xE2 &&
                            ((text[1] == 0x80 && text[2] >= 0xAA && text[2] <= 0xAE) ||
                             (text[1] == 0x81 && text[2] >= 0xA6 && text[2] <= 0xA9));
    return is_override ? 3 : 0;
}

void write_text(const char *text, size_t bytes)
{
    if (!isatty(STDOUT_FILENO)) {
        fwrite(text, 1, bytes, stdout);
        bytes = 0;
    }
    while (bytes > 0) {
        const size_t control = control_bytes((const unsigned char *)text, bytes), n = control ? control : 1;
        if (!control) {
            putchar(*text);
        }
        text += n;
        bytes -= n;
    }
    fflush(stdout);
}
