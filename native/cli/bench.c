/* `rbe bench`: how fast a model is on this machine. One warm-up, then repetitions, each from the same context. */
#include "bench.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "platform/platform.h"
#include "power_options.h"

#define MOST_WORKLOADS 32u
#define MOST_THREADS 16u
#define MOST_REPETITIONS 1000
#define MOST_OPERATIONS 64u

static const char usage[] =
    "usage: rbe bench FILE [options]\n"
    "\n"
    "Measures prompt and generation rates and latencies. One warm-up, then repetitions.\n"
    "\n"
    "  FILE                   a .rbe file\n"
    "  --workloads W          what to run (pp128,pp512,tg64,tg256,tg64@1024)\n"
    "  -t, --threads N        threads, such as 1,2 (one per fast core)\n"
    "  -r, --repetitions N    timed runs (5)\n"
    "  -b, --batch-size N     prompt tokens per pass (64 or 128)\n"
    "  --kv TYPE              type of the KV cache: f16, f32, q8, q8q4, or auto: q8, f16 for heads above 256 (auto)\n"
    "  --kernels SET          a kernel set, such as avx2 (the best)\n"
    "  --max-memory SIZE      bytes of the file in memory at a time, such as 200M or 1.5G; slower (all of it)\n"
    "  --profile              say where the time went, warm-ups and depth included\n"
    "  --json, --jsonl, --csv write one JSON object, JSON Lines, or CSV\n";
static const char example[] = "\n"
                              "workloads: pp512 is a prompt of 512 tokens, tg64 generates 64, tg64@1024 does so behind 1024 others.\n"
                              "\n"
                              "example:\n"
                              "  rbe bench smol.rbe --workloads pp512,tg64 --threads 1,2 --csv\n";

typedef struct bench_state {
    const char *file, *wanted, *threads_text, *kernels;
    int64_t repetitions, batch;
    power_options power;
    uint32_t kv;
    uint64_t max_memory;
    int profile, json, jsonl, csv;
    workload workloads[MOST_WORKLOADS];
    uint32_t n_workloads, threads[MOST_THREADS], n_threads, vocabulary;
    rbe_model *model;
    double *times; /* milliseconds, of each generated token of a row */
    uint32_t *tokens;
    rbe_profile_entry operations[MOST_OPERATIONS];
    bench_report report;
} bench_state;

static double milliseconds(void)
{
    return 1e-6 * (double)rbe__nanoseconds();
}

static int read_workloads(bench_state *b)
{
    const char *at = b->wanted;
    for (;;) {
        const size_t bytes = strcspn(at, ",");
        if (b->n_workloads == MOST_WORKLOADS) {
            return fail(EXIT_USAGE, "more than %u workloads; give fewer", MOST_WORKLOADS);
        }
        if (read_workload((span){at, bytes}, &b->workloads[b->n_workloads++])) {
            return EXIT_USAGE;
        }
        if (!at[bytes]) {
            return 0;
        }
        at += bytes + 1;
    }
}

static int read_threads(bench_state *b)
{
    const char *at = b->threads_text;
    for (;;) {
        char *end;
        const unsigned long n = *at >= '0' && *at <= '9' ? strtoul(at, &end, 10) : ULONG_MAX;
        if (n == ULONG_MAX || (*end && *end != ',') || b->n_threads == MOST_THREADS) {
            return fail(EXIT_USAGE, "--threads %s is not possible; give a number, or several with commas", b->threads_text);
        }
        if (n > 64) {
            return fail(EXIT_USAGE, "--threads are from 1 to 64, or 0 for one per physical core");
        }
        b->threads[b->n_threads++] = (uint32_t)n;
        if (!*end) {
            return 0;
        }
        at = end + 1;
    }
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double percentile(double *values, size_t n, double percent)
{
    qsort(values, n, sizeof *values, compare);
    const size_t rank = (size_t)ceil((double)n * percent / 100);
    return values[rank ? rank - 1 : 0];
}

static rbe_status append(rbe_session *session, const uint32_t *tokens, size_t n)
{
    return n ? rbe_session_append(session, tokens, n, NULL, NULL) : RBE_OK;
}

/* One run, its milliseconds; of generation, those of each token too. */
static rbe_status run_once(const bench_state *b, const workload *of, rbe_session *session, double *times, double *spent)
{
    rbe_session_info info = {.struct_bytes = sizeof info};
    RBE_TRY(rbe_session_get_info(session, &info));
    if (info.position > of->depth) {
        RBE_TRY(rbe_session_rewind(session, of->depth));
    } else {
        RBE_TRY(append(session, b->tokens + info.position, of->depth - info.position));
    }
    *spent = 0;
    for (uint32_t at = 0, n = of->is_prompt ? of->n_tokens : 1; at < of->n_tokens; at += n) {
        const double began = milliseconds();
        RBE_TRY(append(session, b->tokens + at, n));
        times[at] = milliseconds() - began;
        *spent += times[at];
    }
    return RBE_OK;
}

static rbe_status add_profile(bench_state *b, const rbe_session *session)
{
    rbe_profile_entry entries[MOST_OPERATIONS];
    size_t n;
    RBE_TRY(rbe_session_get_profile(session, entries, MOST_OPERATIONS, &n));
    for (size_t i = 0; i < n; i++) {
        rbe_profile_entry *sum = b->operations;
        const rbe_profile_entry *const end = b->operations + b->report.n_profile;
        while (sum < end && strcmp(sum->operation, entries[i].operation) != 0) {
            sum++;
        }
        if (sum < end) {
            sum->calls += entries[i].calls;
            sum->nanoseconds += entries[i].nanoseconds;
        } else if (b->report.n_profile < MOST_OPERATIONS) {
            b->operations[b->report.n_profile++] = entries[i];
        }
    }
    return RBE_OK;
}

static void summarize(bench_row *row, double *times)
{
    const uint32_t n = row->n_runs;
    double *sorted = times + (size_t)n * row->of.n_tokens;
    for (uint32_t i = 0; i < n; i++) {
        row->mean += row->rates[i] / n;
        sorted[i] = row->rates[i];
    }
    for (uint32_t i = 0; i < n && n > 1; i++) {
        row->deviation += (row->rates[i] - row->mean) * (row->rates[i] - row->mean) / (n - 1);
    }
    row->deviation = sqrt(row->deviation);
    row->median = (percentile(sorted, n, 50) + sorted[n / 2]) / 2;
    if (row->of.is_prompt) {
        row->first_token = 1e3 * row->of.n_tokens / row->median;
    } else {
        const size_t n_times = (size_t)n * row->of.n_tokens;
        row->p50 = percentile(times, n_times, 50);
        row->p95 = percentile(times, n_times, 95);
        row->p99 = percentile(times, n_times, 99);
    }
}

static int out_of_memory(void)
{
    return fail(EXIT_FAILED, "out of memory; use shorter workloads or fewer repetitions");
}

static rbe_status run_all(bench_state *b, bench_row *row, rbe_session *session, progress_line *line, uint32_t n_before, uint32_t n_rounds)
{
    const uint32_t n_runs = (uint32_t)b->repetitions;
    for (uint32_t i = 0; i <= n_runs; i++) { /* the first is the warm-up */
        double spent;
        show_progress(line, n_before + i, n_rounds);
        RBE_TRY(run_once(b, &row->of, session, b->times + (size_t)(i ? i - 1 : 0) * row->of.n_tokens, &spent));
        if (i) {
            row->rates[row->n_runs++] = 1e3 * row->of.n_tokens / spent;
        }
    }
    return b->profile ? add_profile(b, session) : RBE_OK;
}

/* Measures one row, whose workload and threads are set. */
static int measure(bench_state *b, bench_row *row, governing *g, progress_line *line, uint32_t n_before, uint32_t n_rounds)
{
    const uint32_t context = row->of.depth + row->of.n_tokens;
    const rbe_session_options options = {.struct_bytes = sizeof options,
                                         .context_tokens = context,
                                         .n_threads = row->threads,
                                         .pass_tokens = (uint32_t)b->batch,
                                         .kv_type = b->kv,
                                         .profile = (uint32_t)b->profile};
    rbe_session_info info = {.struct_bytes = sizeof info};
    rbe_session *session = NULL;
    free(b->times);
    free(b->tokens);
    row->rates = calloc((size_t)b->repetitions, sizeof *row->rates);
    b->times = calloc((size_t)b->repetitions, (row->of.n_tokens + 1) * sizeof *b->times);
    b->tokens = malloc(context * sizeof *b->tokens);
    if (!row->rates || !b->times || !b->tokens) {
        return out_of_memory();
    }
    for (uint32_t i = 0; i < context; i++) { /* any: the time does not depend on them */
        b->tokens[i] = (uint32_t)((uint64_t)i * 31 % b->vocabulary);
    }
    rbe_status status = rbe_session_create(b->model, &options, &session);
    begin_interruptible(session);
    if (status == RBE_OK && g->governor) {
        status = rbe_session_govern(session, g->governor);
    }
    if (status == RBE_OK) {
        status = run_all(b, row, session, line, n_before, n_rounds);
    }
    if (status == RBE_OK) {
        status = rbe_session_get_info(session, &info);
    }
    end_interruptible();
    row->threads = info.n_threads;
    b->report.kv = kv_names[info.kv_type]; /* the same in every row */
    rbe_session_free(session);
    if (status != RBE_OK) {
        end_progress(line);
        return fail_with(status);
    }
    summarize(row, b->times);
    if (g->governor) {
        end_progress(line);
        note_energy(g, row->of.name);
    }
    return 0;
}

/* The same with a governor of its own, whose modes take shares of the row's threads. */
static int measure_governed(bench_state *b, bench_row *row, progress_line *line, uint32_t n_before, uint32_t n_rounds)
{
    governing g;
    int code = begin_governing(&b->power, b->model, 0, NULL, NULL, &g);
    code = code ? code : measure(b, row, &g, line, n_before, n_rounds);
    end_governing(&g);
    return code;
}

static int check_contexts(const bench_state *b, uint32_t context)
{
    for (uint32_t i = 0; i < b->n_workloads; i++) {
        const uint32_t needed = b->workloads[i].depth + b->workloads[i].n_tokens;
        if (needed > context) {
            return fail(EXIT_USAGE, "%s needs a context of %u tokens and the model has %u", b->workloads[i].name, needed, context);
        }
    }
    return 0;
}

static int measure_all(bench_state *b, const model_source *source)
{
    rbe_model_info info = {.struct_bytes = sizeof info};
    const double began = milliseconds();
    int code = open_model(source, b->kernels, 0, b->max_memory, &b->model);
    if (code == 0 && rbe_model_verify(b->model, NULL, NULL) != RBE_OK) { /* which would be measured too */
        return fail_with(RBE_ERROR_FORMAT);
    }
    b->report.open_ms = milliseconds() - began;
    if (code == 0 && rbe_model_get_info(b->model, &info) != RBE_OK) {
        return fail_with(RBE_ERROR_ARGUMENT);
    }
    code = code ? code : check_contexts(b, info.context_tokens);
    if (code) {
        return code;
    }
    const char *const slash = strrchr(source->path, '/');
    b->vocabulary = info.n_vocabulary;
    b->report.model = slash ? slash + 1 : source->path;
    b->report.kernels = info.kernel_set;
    b->report.profile = b->operations;
    const uint32_t n = b->n_workloads * b->n_threads, n_runs = (uint32_t)b->repetitions + 1;
    b->report.rows = calloc(n, sizeof *b->report.rows);
    if (!b->report.rows) {
        return out_of_memory();
    }
    progress_line line = begin_progress("measuring");
    for (uint32_t i = 0; i < n && code == 0; i++) {
        bench_row *row = &b->report.rows[i];
        b->report.n_rows = i + 1;
        row->threads = b->threads[i / b->n_workloads];
        row->of = b->workloads[i % b->n_workloads];
        code = measure_governed(b, row, &line, i * n_runs, n * n_runs);
    }
    end_progress(&line);
    return code;
}

static int bench(bench_state *b, const model_source *carried)
{
    const model_options named = {.file = b->file};
    model_source source;
    if (b->json) {
        report_as_json();
    }
    if (b->json + b->jsonl + b->csv > 1) {
        return fail(EXIT_USAGE, "--json, --jsonl and --csv are one choice; give one of them");
    }
    if (b->repetitions < 1 || b->repetitions > MOST_REPETITIONS) {
        return fail(EXIT_USAGE, "--repetitions is from 1 to %d, not %" PRId64, MOST_REPETITIONS, b->repetitions);
    }
    int code = choose_model(&named, carried, "bench FILE", &source);
    code = code ? code : check_power_options(&b->power);
    code = code ? code : check_session_options(0, 0, b->batch, 0, 0);
    code = code ? code : read_workloads(b);
    code = code ? code : read_threads(b);
    code = code ? code : measure_all(b, &source);
    if (code == 0) {
        write_report(&b->report, b->json ? BENCH_JSON : b->jsonl ? BENCH_JSONL : b->csv ? BENCH_CSV : BENCH_TABLE);
    }
    return code;
}

int command_bench(int argc, char **argv, const model_source *carried)
{
    bench_state b = {.wanted = "pp128,pp512,tg64,tg256,tg64@1024",
                     .threads_text = "0",
                     .repetitions = 5,
                     .kv = RBE_KV_AUTO,
                     .power = default_power_options(POWER_PERFORMANCE)};
    void *const refused = (void *)(uintptr_t)needs_python;
    const option rows[] = {
        {NULL, "--workloads", OPTION_TEXT, &b.wanted, NULL},
        {"-t", "--threads", OPTION_TEXT, &b.threads_text, NULL},
        {"-r", "--repetitions", OPTION_WHOLE, &b.repetitions, NULL},
        {"-b", "--batch-size", OPTION_WHOLE, &b.batch, NULL},
        {NULL, "--kv", OPTION_CHOICE, &b.kv, kv_names},
        {NULL, "--kernels", OPTION_TEXT, &b.kernels, NULL},
        {NULL, "--max-memory", OPTION_SIZE, &b.max_memory, NULL},
        {NULL, "--profile", OPTION_FLAG, &b.profile, NULL},
        {NULL, "--json", OPTION_FLAG, &b.json, NULL},
        {NULL, "--jsonl", OPTION_FLAG, &b.jsonl, NULL},
        {NULL, "--csv", OPTION_FLAG, &b.csv, NULL},
        POWER_OPTION_ROWS(b.power),
        {NULL, "--seconds", OPTION_REFUSED, refused, NULL},
        {NULL, "--minutes", OPTION_REFUSED, refused, NULL},
        {NULL, "--battery-trace", OPTION_REFUSED, refused, NULL},
        {NULL, "--trace-speed", OPTION_REFUSED, refused, NULL},
        {NULL, "--idle", OPTION_REFUSED, refused, NULL},
        {NULL, "--plots", OPTION_REFUSED, refused, NULL},
        {NULL, "--sensor-root", OPTION_REFUSED, refused, NULL},
        {NULL, "--markdown", OPTION_REFUSED, refused, NULL},
        {NULL, "--shape", OPTION_REFUSED, refused, NULL},
        {NULL, "--planes", OPTION_REFUSED, refused, NULL},
        {NULL, "--speculate", OPTION_REFUSED, refused, NULL},
        {NULL, "--draft", OPTION_REFUSED, refused, NULL},
        {NULL, "--text", OPTION_REFUSED, refused, NULL},
        {NULL, "--against", OPTION_REFUSED, refused, NULL},
        {NULL, "--types", OPTION_REFUSED, refused, NULL},
        {0},
    };
    const command_line line = {.command = "bench", .usage = {usage, power_help_pinned, example}, .options = rows, .file = &b.file};
    int code;
    if (!read_command_line(&line, argc, argv, &code)) {
        code = bench(&b, carried);
    }
    for (uint32_t i = 0; i < b.report.n_rows; i++) {
        free(b.report.rows[i].rates);
    }
    free(b.report.rows);
    free(b.times);
    free(b.tokens);
    rbe_model_close(b.model);
    return code;
}
