#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "output.h"
#include "platform/processors.h"
#include "platform/program.h"

#define N_COLUMNS 7u
#define CELL_BYTES 128u

typedef char table_line[N_COLUMNS][CELL_BYTES];

static void fill_cells(const bench_report *report, const bench_row *row, table_line cells)
{
    one_line(span_of(report->model), cells[0], CELL_BYTES);
    snprintf(cells[1], CELL_BYTES, "%s", report->kernels);
    snprintf(cells[2], CELL_BYTES, "%s", row->of.name);
    snprintf(cells[3], CELL_BYTES, "%u", row->threads);
    snprintf(cells[4], CELL_BYTES, "%.1f \xC2\xB1 %.1f", row->mean, row->deviation);
    cells[5][0] = cells[6][0] = 0;
    if (row->of.is_prompt) {
        snprintf(cells[6], CELL_BYTES, "%.1f", row->first_token);
    } else {
        snprintf(cells[5], CELL_BYTES, "%.2f / %.2f / %.2f", row->p50, row->p95, row->p99);
    }
}

/* Characters, so that columns stand below each other. */
static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++) {
        n += (*text & 0xC0) != 0x80;
    }
    return n;
}

static void write_cells(table_line cells, const size_t widths[N_COLUMNS])
{
    for (uint32_t i = 0; i < N_COLUMNS; i++) {
        printf("| %s%*s ", cells[i], (int)(widths[i] - width_of(cells[i])), "");
    }
    puts("|");
}

static void write_table(const bench_report *report)
{
    table_line head = {"model", "kernels", "workload", "threads", "tokens/s", "p50 / p95 / p99 ms", "first token ms"};
    table_line *lines = calloc(report->n_rows ? report->n_rows : 1, sizeof *lines);
    size_t widths[N_COLUMNS];
    if (!lines) {
        return;
    }
    for (uint32_t i = 0; i < N_COLUMNS; i++) {
        widths[i] = width_of(head[i]);
    }
    for (uint32_t row = 0; row < report->n_rows; row++) {
        fill_cells(report, &report->rows[row], lines[row]);
        for (uint32_t i = 0; i < N_COLUMNS; i++) {
            const size_t width = width_of(lines[row][i]);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    write_cells(head, widths);
    for (uint32_t i = 0; i < N_COLUMNS; i++) {
        putchar('|');
        for (size_t n = 0; n < widths[i] + 2; n++) {
            putchar('-');
        }
    }
    puts("|");
    for (uint32_t row = 0; row < report->n_rows; row++) {
        write_cells(lines[row], widths);
    }
    free(lines);
}

static void write_profile(const bench_report *report)
{
    double total = 0;
    for (size_t i = 0; i < report->n_profile; i++) {
        total += 1e-6 * (double)report->profile[i].nanoseconds;
    }
    if (report->n_profile) {
        putchar('\n');
    }
    for (size_t i = 0; i < report->n_profile; i++) {
        const double spent = 1e-6 * (double)report->profile[i].nanoseconds;
        printf("%-24s %8" PRIu64 " calls %10.2f ms %5.1f %%\n", report->profile[i].operation, report->profile[i].calls, spent,
               100 * spent / (total > 0 ? total : 1));
    }
}

/* `"name": value` or null. */
static void write_member(const char *name, double value, int is_known)
{
    printf(", \"%s\": ", name);
    if (is_known) {
        json_number(value);
    } else {
        fputs("null", stdout);
    }
}

static void write_object(const bench_report *report, const bench_row *row, int with_runs)
{
    fputs("{\"program\": \"rbe\", \"model\": ", stdout);
    json_text(span_of(report->model));
    printf(", \"kernels\": \"%s\", \"workload\": \"%s\", \"depth\": %u, \"threads\": %u, \"kv\": \"%s\"", report->kernels, row->of.name,
           row->of.depth, row->threads, report->kv);
    write_member("tokens_per_s", row->mean, 1);
    write_member("tokens_per_s_median", row->median, 1);
    write_member("deviation", row->deviation, 1);
    printf(", \"repetitions\": %u", row->n_runs);
    write_member("p50_ms", row->p50, !row->of.is_prompt);
    write_member("p95_ms", row->p95, !row->of.is_prompt);
    write_member("p99_ms", row->p99, !row->of.is_prompt);
    write_member("first_token_ms", row->first_token, row->of.is_prompt);
    for (uint32_t i = 0; with_runs && i < row->n_runs; i++) {
        fputs(i ? ", " : ", \"runs\": [", stdout);
        json_number(row->rates[i]);
    }
    fputs(with_runs ? "]}" : "}\n", stdout);
}

static void write_json(const bench_report *report, const rbe__machine *machine, uint32_t n_cores)
{
    fputs("{\"machine\": {\"processor\": ", stdout);
    json_text(span_of(machine->processor));
    printf(", \"cores\": %u, \"system\": ", n_cores);
    json_text(span_of(machine->system));
    printf("}, \"peak_bytes\": %" PRIu64 ", \"open_ms\": ", rbe__peak_resident_bytes());
    json_number(report->open_ms);
    fputs(", \"results\": [", stdout);
    for (uint32_t i = 0; i < report->n_rows; i++) {
        fputs(i ? ", " : "", stdout);
        write_object(report, &report->rows[i], 1);
    }
    fputs("]", stdout);
    for (size_t i = 0; i < report->n_profile; i++) {
        printf("%s{\"operation\": \"%s\", \"calls\": %" PRIu64 ", \"ms\": ", i ? ", " : ", \"profile\": [", report->profile[i].operation,
               report->profile[i].calls);
        json_number(1e-6 * (double)report->profile[i].nanoseconds);
        fputs("}", stdout);
    }
    puts(report->n_profile ? "]}" : "}");
}

/* Quotes what holds a comma, a quote or a line break. */
static void write_csv_text(const char *text)
{
    const int quoted = strpbrk(text, ",\"\r\n") != NULL;
    fputs(quoted ? "\"" : "", stdout);
    for (; *text; text++) {
        fputs(*text == '"' ? "\"" : "", stdout);
        putchar(*text);
    }
    fputs(quoted ? "\"" : "", stdout);
}

static void write_csv(const bench_report *report)
{
    puts("program,model,kernels,workload,depth,threads,kv,tokens_per_s,tokens_per_s_median,deviation,repetitions,p50_ms,p95_ms,p99_ms,"
         "first_token_ms");
    for (uint32_t i = 0; i < report->n_rows; i++) {
        const bench_row *row = &report->rows[i];
        fputs("rbe,", stdout);
        write_csv_text(report->model);
        printf(",%s,%s,%u,%u,%s,%.6f,%.6f,%.6f,%u,", report->kernels, row->of.name, row->of.depth, row->threads, report->kv, row->mean,
               row->median, row->deviation, row->n_runs);
        if (row->of.is_prompt) {
            printf(",,,%.6f\n", row->first_token);
        } else {
            printf("%.6f,%.6f,%.6f,\n", row->p50, row->p95, row->p99);
        }
    }
}

void write_report(const bench_report *report, int form)
{
    static rbe__processors processors;
    rbe__machine machine;
    char processor[256];
    rbe__machine_describe(&machine);
    rbe__processors_find(&processors);
    if (form == BENCH_JSON) {
        write_json(report, &machine, processors.n_cores);
    } else if (form == BENCH_CSV) {
        write_csv(report);
    } else if (form == BENCH_JSONL) {
        for (uint32_t i = 0; i < report->n_rows; i++) {
            write_object(report, &report->rows[i], 0);
        }
    } else {
        one_line(span_of(machine.processor), processor, sizeof processor);
        printf("%s, %u cores, %s\nmodel open in %.1f ms, peak memory %.1f MB\n\n", processor, processors.n_cores, machine.system,
               report->open_ms, (double)rbe__peak_resident_bytes() / 1e6);
        write_table(report);
        write_profile(report);
    }
}
