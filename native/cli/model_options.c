#include "model_options.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "output.h"
#include "platform/program.h"
#include "rbe/encoder_decoder.h"
#include "rbe/fit.h"
#include "rbe/threads.h"

#define NOT_GIVEN (-DBL_MIN) /* a number that nobody writes */
#define DEFAULT_LAST 64
#define MOST_LAST 65536 /* tokens that the library's repetition penalty looks back on */

const char *const kv_names[] = {"f16", "f32", "q8", "q8q4", "auto", NULL};
const char *const speculate_names[] = {"off", "lookup", "planes", NULL};
const char *const needs_python = "is of the Python command: pip install rbe-edge; leave it out here";

const char model_options_help[] =
    "  -m, --model FILE       the same as FILE\n"
    "  -n, --predict N        tokens to generate at most (-1: until the text or the context ends)\n"
    "\n"
    "engine:\n"
    "  -c, --ctx-size N       context in tokens (the model's own, at most 4096)\n"
    "  -t, --threads N        threads (the first answer finds the fastest)\n"
    "  -b, --batch-size N     tokens per pass (64 or 128)\n"
    "  --kv TYPE              type of the KV cache: f16, f32, q8, q8q4, or auto: q8, f16 for heads above 256 (auto)\n"
    "  --sinks N              a full context slides, keeping its first N tokens (4 are enough) and the latest (0: it ends the text)\n"
    "  --read-planes N        read the first N planes of every tensor (0: all)\n"
    "  --max-memory SIZE      bytes of the file in memory at a time, such as 200M or 1.5G; slower (all of it)\n"
    "  --force-memory         go ahead where too little memory is free\n"
    "  --no-verify            skip the checksums of the tensors\n"
    "  --kernels SET          a kernel set, such as scalar; all give the same text (the best)\n"
    "\n"
    "sampling:\n"
    "  -s, --seed N           the same seed gives the same text (-1: a new one each time, shown with -v)\n"
    "  --top-k N              the N likeliest tokens (40; 0: all)\n"
    "  --top-p P              the likeliest tokens of probability P together (0.95; 1: all)\n"
    "  --min-p P              tokens of at least P times the likeliest one's probability (0.05; 0: all)\n"
    "  --repeat-penalty X     above 1 makes words that were just said less likely (1.0: off)\n"
    "  --repeat-last-n N      tokens that --repeat-penalty looks back on (64; -1: the whole context)\n"
    "  --presence-penalty X   taken off the logits of tokens that the answer has already (0: off)\n"
    "  --frequency-penalty X  the same, once for each time that it has them (0: off)\n"
    "  -l, --logit-bias TOKEN+X\n"
    "                         add X to a token's logit, such as 15043+1 or 15043-inf, which excludes it; may be given several times\n"
    "  --stop TEXT            end before this text; may be given several times\n";

model_options default_model_options(int64_t predict)
{
    return (model_options){.predict = predict,
                           .draft = 6,
                           .kv = RBE_KV_AUTO,
                           .temperature = NOT_GIVEN,
                           .top_k = 40,
                           .top_p = 0.95,
                           .min_p = 0.05,
                           .repeat_penalty = 1.0,
                           .repeat_last = DEFAULT_LAST};
}

static int check_generation(const model_options *o)
{
    if (o->predict == 0 || o->predict > UINT32_MAX) {
        return fail(EXIT_USAGE, "max_tokens must be 1 or more, not %" PRId64, o->predict);
    }
    if (o->draft < 1 || o->draft > 32) {
        return fail(EXIT_USAGE, "draft_tokens must be from 1 to 32, not %" PRId64, o->draft);
    }
    if (o->speculate) {
        return fail(EXIT_USAGE, "--speculate %s %s; the text is the same without it", speculate_names[o->speculate], needs_python);
    }
    for (uint32_t i = 0; i < o->stops.n; i++) {
        if (!o->stops.text[i][0]) {
            return fail(EXIT_USAGE, "a stop sequence must not be empty");
        }
    }
    return 0;
}

static int check_sampling(const model_options *o)
{
    number_text text;
    if (!isfinite(o->temperature) || o->temperature < 0) {
        return fail(EXIT_USAGE, "temperature must be 0 (always the most likely token) or more, not %s",
                    number_text_of(o->temperature, &text));
    }
    if (o->top_k < 0 || o->top_k > UINT32_MAX) {
        return fail(EXIT_USAGE, "top_k must be 0 (off) or more, not %" PRId64, o->top_k);
    }
    if (!(o->top_p > 0 && o->top_p <= 1)) {
        return fail(EXIT_USAGE, "top_p must be above 0 and at most 1 (off), not %s", number_text_of(o->top_p, &text));
    }
    if (!(o->min_p >= 0 && o->min_p < 1)) {
        return fail(EXIT_USAGE, "min_p must be from 0 (off) to below 1, not %s", number_text_of(o->min_p, &text));
    }
    if (!isfinite(o->repeat_penalty) || o->repeat_penalty <= 0) {
        return fail(EXIT_USAGE, "repeat_penalty must be above 0 (1 is off), not %s", number_text_of(o->repeat_penalty, &text));
    }
    return 0;
}

/* "15043-1.5", as llama.cpp writes it. */
static int read_bias(const char *text, uint32_t *token, float *bias)
{
    int64_t whole;
    double value = INFINITY;
    char digits[10] = "";
    const size_t n = strspn(text, "0123456789");
    if (n == 0 || n >= sizeof digits || (text[n] != '+' && text[n] != '-')) {
        return 0;
    }
    memcpy(digits, text, n);
    const char *const number = text + n + 1;
    if (strcmp(text + n, "-inf") == 0) {
        value = -INFINITY;
    } else if (number[strspn(number, "0123456789.")] || !read_number(text + n, &value)) {
        return 0;
    }
    const int is_good = read_whole(digits, &whole) && value < INFINITY;
    *token = (uint32_t)whole;
    *bias = (float)value;
    return is_good;
}

static int check_changes(model_options *o)
{
    number_text text;
    if (o->repeat_last != -1 && (o->repeat_last < 1 || o->repeat_last > MOST_LAST)) {
        return fail(EXIT_USAGE, "repeat_last must be from 1 to %d, or -1, not %" PRId64, MOST_LAST, o->repeat_last);
    }
    if (!(o->presence_penalty >= -100 && o->presence_penalty <= 100)) {
        return fail(EXIT_USAGE, "presence_penalty must be from -100 to 100 (0 is off), not %s", number_text_of(o->presence_penalty, &text));
    }
    if (!(o->frequency_penalty >= -100 && o->frequency_penalty <= 100)) {
        return fail(EXIT_USAGE, "frequency_penalty must be from -100 to 100 (0 is off), not %s",
                    number_text_of(o->frequency_penalty, &text));
    }
    o->changes = (logit_changes){.presence = (float)o->presence_penalty, .frequency = (float)o->frequency_penalty, .n_biases = o->biases.n};
    for (uint32_t i = 0; i < o->biases.n; i++) {
        if (!read_bias(o->biases.text[i], &o->changes.tokens[i], &o->changes.biases[i])) {
            return fail(EXIT_USAGE, "a logit bias must be a token's number and what is added, such as 5+1 or 5-inf, not %s",
                        o->biases.text[i]);
        }
    }
    return 0;
}

int check_session_options(int64_t context, int64_t threads, int64_t batch, int64_t sinks, int64_t planes)
{
    if (batch < 0 || batch > 512) {
        return fail(EXIT_USAGE, "batch must be from 1 to 512, or 0 for the default, not %" PRId64, batch);
    }
    if (context < 0 || context > INT32_MAX) {
        return fail(EXIT_USAGE, "context must be 0 (the model's own) or more tokens, not %" PRId64, context);
    }
    if (threads < 0 || threads > 64) {
        return fail(EXIT_USAGE, "threads must be from 1 to 64, or 0 for all cores, not %" PRId64, threads);
    }
    if (sinks < 0 || sinks > INT32_MAX) {
        return fail(EXIT_USAGE, "sinks must be 0 (a full context is an error) or more, not %" PRId64, sinks);
    }
    if (planes < 0 || planes > 4) {
        return fail(EXIT_USAGE, "planes must be from 1 to 4, or 0 for all, not %" PRId64, planes);
    }
    return 0;
}

int check_model_options(model_options *o, double temperature, rbe_session_options *session, rbe_sampling_options *sampling)
{
    o->temperature = o->temperature == NOT_GIVEN ? temperature : o->temperature;
    if (!o->seed.is_given) {
        o->seed = (seed){rbe__any_number(), 1};
    }
    int code = check_session_options(o->context, o->threads, o->batch, o->sinks, o->planes);
    code = code ? code : check_sampling(o);
    code = code ? code : check_changes(o);
    code = code ? code : check_generation(o);
    if (code) {
        return code;
    }
    *session = (rbe_session_options){.struct_bytes = sizeof *session,
                                     .context_tokens = (uint32_t)o->context,
                                     .n_threads = (uint32_t)o->threads,
                                     .pass_tokens = (uint32_t)o->batch,
                                     .kv_type = o->kv,
                                     .n_planes = (uint32_t)o->planes,
                                     .sink_tokens = (uint32_t)o->sinks};
    *sampling = (rbe_sampling_options){.struct_bytes = sizeof *sampling,
                                       .temperature = (float)o->temperature,
                                       .top_k = (uint32_t)o->top_k,
                                       .top_p = (float)o->top_p,
                                       .min_p = (float)o->min_p,
                                       .repeat_penalty = (float)o->repeat_penalty,
                                       .repeat_last = o->repeat_last < 0 ? MOST_LAST : (uint32_t)o->repeat_last,
                                       .seed = o->seed.value};
    return 0;
}

int choose_model(const model_options *o, const model_source *carried, const char *command, model_source *source)
{
    if (o->file && o->model) {
        return fail(EXIT_USAGE, "the model is given twice, %s and -m %s; give it once", o->file, o->model);
    }
    *source = (model_source){.path = o->file ? o->file : o->model};
    if (!source->path && carried) {
        *source = *carried;
    }
    return source->path ? 0 : fail(EXIT_USAGE, "there is no model; give a .rbe file: rbe %s", command);
}

int open_fitting(const model_options *o, const model_source *source, const rbe_session_options *session, rbe_model **model)
{
    const rbe_model_options wanted = {.struct_bytes = sizeof wanted, .max_resident_bytes = o->max_memory};
    const rbe_fit_options options = {.struct_bytes = sizeof options, .model = &wanted, .session = session};
    const int can_tell = !o->force_memory && !source->offset; /* the index of a model within a file is not looked for */
    /* Other errors are those of opening, which says more. */
    if (can_tell && rbe_fit_check(source->path, &options) == RBE_ERROR_MEMORY) {
        return fail_with(RBE_ERROR_MEMORY);
    }
    return open_model(source, o->kernels, o->no_verify, o->max_memory, model);
}

void choose_threads(const model_options *o, const rbe_model *model, rbe_session *session)
{
    char path[1024];
    rbe_session_info info = {.struct_bytes = sizeof info};
    if (o->threads || rbe_session_get_info(session, &info) != RBE_OK) {
        return;
    }
    const char *kept = rbe__cache_file("threads.txt", path, sizeof path) ? path : NULL;
    const int is_busy = rbe__load() >= 0.5 * info.n_threads;
    (void)rbe_session_try_threads(session, is_busy && !rbe_model_kept_threads(model, kept) ? NULL : kept);
}

int open_model(const model_source *source, const char *kernels, int skip_checksums, uint64_t max_memory, rbe_model **model)
{
    if (kernels && !rbe_kernel_set_available(kernels)) {
        char runnable[256] = "";
        for (uint32_t i = 0, n = 0; rbe_kernel_set_name(i); i++) {
            const char *const name = rbe_kernel_set_name(i);
            if (rbe_kernel_set_available(name)) {
                n += (uint32_t)snprintf(runnable + n, sizeof runnable - n, "%s%s", n ? ", " : "", name);
            }
        }
        return fail(EXIT_USAGE, "kernel set %s cannot run here; this machine has: %s", kernels, runnable);
    }
    const rbe_model_options options = {.struct_bytes = sizeof options,
                                       .kernel_set = kernels,
                                       .skip_checksums = (uint32_t)skip_checksums,
                                       .max_resident_bytes = max_memory,
                                       .file_offset = source->offset,
                                       .file_bytes = source->bytes};
    const rbe_status status = rbe_model_open(source->path, &options, model);
    return status == RBE_OK ? 0 : fail_with(status);
}

int require_tokenizer(const rbe_model *model, const char *path)
{
    return rbe_model_tokenizer(model) ? 0
                                      : fail(EXIT_FAILED, "%s holds no tokenizer; pack the model again with its tokenizer beside it", path);
}

int require_conversation(const rbe_model *model, const char *path)
{
    rbe_encoder_decoder_info kind = {.struct_bytes = sizeof kind};
    if (rbe_model_get_encoder_decoder_info(model, &kind) == RBE_OK && kind.is_encoder_decoder) {
        return fail(EXIT_FAILED, "%s answers to one text at a time and holds no conversation; ask it with rbe run", path);
    }
    return 0;
}
