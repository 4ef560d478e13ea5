/* Timing and reporting for the benchmark programs: one thread, in its processor time. */
#ifndef RBE_BENCH_MEASURE_H
#define RBE_BENCH_MEASURE_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_REPETITIONS = 101 };
static const double repetition_seconds = 0.01;

static int as_json, n_repetitions = 15, n_results;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What is measured: `work` on `task`, which does `amount` of `unit` (counted in billions per second). */
typedef struct measurement {
    const char *set, *kernel, *unit;
    char shape[64];
    double amount;
    size_t bytes_read; /* per run, where that is worth a number; else 0 */
    void (*work)(void *task);
    void *task;
} measurement;

static void set_shape(measurement *m, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(m->shape, sizeof m->shape, format, arguments);
    va_end(arguments);
}

static void report(const measurement *m, double median, double best)
{
    const double rate = m->amount / median * 1e-9, best_rate = m->amount / best * 1e-9;
    const double gigabytes = (double)m->bytes_read / median * 1e-9;
    if (as_json) {
        printf("%s\n  {\"set\": \"%s\", \"kernel\": \"%s\", \"shape\": \"%s\", \"unit\": \"%s\", \"median\": %.6g, \"best\": %.6g, "
               "\"gigabytes_per_second\": %.4g}",
               n_results ? "," : "", m->set, m->kernel, m->shape, m->unit, rate, best_rate, gigabytes);
    } else {
        if (n_results == 0) {
            printf("%-13s %-14s %-26s %9s %9s  %-12s %s\n", "set", "kernel", "shape", "median", "best", "10^9 per s", "GB/s read");
        }
        printf("%-13s %-14s %-26s %9.2f %9.2f  %-12s", m->set, m->kernel, m->shape, rate, best_rate, m->unit);
        printf(gigabytes > 0 ? " %.2f\n" : "\n", gigabytes);
    }
    fflush(stdout);
    n_results++;
}

static void measure(const measurement *m)
{
    double times[MOST_REPETITIONS];
    double start = seconds();
    m->work(m->task);
    const double once = seconds() - start;
    const long runs = once >= repetition_seconds ? 1 : (long)(repetition_seconds / (once + 1e-9)) + 1;
    const int n = once > 0.1 ? 3 : n_repetitions;
    for (int r = 0; r < n; r++) {
        start = seconds();
        for (long run = 0; run < runs; run++) {
            m->work(m->task);
        }
        times[r] = (seconds() - start) / (double)runs;
    }
    qsort(times, (size_t)n, sizeof times[0], by_value);
    report(m, times[n / 2], times[0]);
}

static void *take(size_t bytes)
{
    void *memory = NULL;
    if (posix_memalign(&memory, 64, (bytes + 63) / 64 * 64) != 0) {
        fprintf(stderr, "bench_kernels: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    return memory;
}

#endif
