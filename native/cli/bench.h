/* What `rbe bench` measures, and how it is written. Words, workloads and columns are those of the Python command. */
#ifndef RBE_PROGRAM_BENCH_H
#define RBE_PROGRAM_BENCH_H

#include "rbe/rbe.h"
#include "text.h"

/* is_prompt: n_tokens in one call, else one after the other, behind `depth` others that are not timed. name: "pp512", "tg64@1024". */
typedef struct workload {
    int is_prompt;
    uint32_t n_tokens, depth;
    char name[32];
} workload;

/* Of a name, white space around it allowed: 0, or EXIT_USAGE behind a line. */
int read_workload(span part, workload *out);

/* Rates in tokens per second over the repetitions; deviation 0 for a single one. Times between tokens in milliseconds, of generation alone. */
typedef struct bench_row {
    workload of;
    uint32_t threads;
    double *rates; /* [n_runs], from malloc */
    uint32_t n_runs;
    double mean, median, deviation;
    double p50, p95, p99;
    double first_token; /* of prompts: milliseconds from the prompt to the logits after it */
} bench_row;

typedef struct bench_report {
    const char *model, *kernels, *kv; /* the model's file */
    double open_ms;
    bench_row *rows;
    uint32_t n_rows;
    rbe_profile_entry *profile; /* summed over all sessions */
    size_t n_profile;
} bench_report;

enum { BENCH_TABLE, BENCH_JSON, BENCH_JSONL, BENCH_CSV };

void write_report(const bench_report *report, int form);

/* Sorts the values and gives the smallest that so many per cent do not exceed; n is not 0. */
double percentile(double *values, size_t n, double percent);

#endif
