#include "session/thread_results.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "kernels/checksum.h"
#include "parallel/thread_pool.h"
#include "platform/platform.h"

#define FIRST_LINE "rbe-threads 1\n"
#define MOST_LINES 256u /* the oldest go */
#define LINE_BYTES 256u
#define MOST_BYTES (1u << 17)

uint32_t rbe__machine_number(const rbe_kernels *kernels, const rbe__processors *processors)
{
    char name[512];
    rbe__crc crc;
    uint32_t number = 0;
    const uint32_t n = processors->n_cores;
    rbe__crc_init(kernels, &crc);
    rbe__processor_name(name, sizeof name);
    number = rbe__crc_update(&crc, number, name, strlen(name));
    number = rbe__crc_update(&crc, number, kernels->name, strlen(kernels->name));
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t core[2] = {processors->cpu[i], (uint64_t)processors->speed[i]};
        number = rbe__crc_update(&crc, number, core, sizeof core);
    }
    return rbe__crc_update(&crc, number, &processors->quota, sizeof processors->quota);
}

uint32_t rbe__size_class_of(const rbe_model *model)
{
    const rbe__stack *stack = &model->stack;
    uint64_t bytes = model->pack.tensor_bytes;
    if (stack->embedding && stack->embedding != stack->lm_head.weight) {
        bytes -= stack->embedding->data_bytes; /* of which a token reads one row */
    }
    uint32_t size_class = 0;
    while (bytes >>= 1) {
        size_class++;
    }
    return size_class;
}

/* A whole number below 2^32 at *at, which moves behind it; 0 where there is none. */
static int take_number(const char **at, int base, uint32_t *out)
{
    char *end;
    *at += strspn(*at, " ");
    const unsigned long long number = isxdigit((unsigned char)**at) ? strtoull(*at, &end, base) : ULLONG_MAX;
    if (number > UINT32_MAX || end == *at) {
        return 0;
    }
    *at = end;
    *out = (uint32_t)number;
    return 1;
}

/* 1 where the line is one. */
static int read_line(const char *text, rbe_threads_kept *out)
{
    *out = (rbe_threads_kept){.struct_bytes = sizeof *out};
    if (!take_number(&text, 16, &out->machine) || !take_number(&text, 10, &out->size_class) || out->size_class > 63 ||
        !take_number(&text, 10, &out->n_threads) || out->n_threads < 1 || out->n_threads > RBE_MAX_THREADS) {
        return 0;
    }
    uint32_t hundredths;
    for (; out->n_tried < RBE_MOST_TRIED && take_number(&text, 10, &out->tried[out->n_tried]); out->n_tried++) {
        const int colon = *text == ':';
        text += colon;
        if (!colon || !take_number(&text, 10, &hundredths)) {
            return 0;
        }
        out->tokens_per_s[out->n_tried] = (float)hundredths / 100;
    }
    return strspn(text, " \r") == strlen(text);
}

/* What stands behind the first line, from malloc; NULL where there is no file of results. */
static char *read_results(const char *path)
{
    const size_t first_bytes = strlen(FIRST_LINE);
    rbe__mapped_file file;
    char *text = NULL;
    if (!path || rbe__map_file_start(path, MOST_BYTES, &file) != RBE_OK) {
        return NULL;
    }
    const size_t bytes = (size_t)file.mapped_bytes;
    if (bytes >= first_bytes && memcmp(file.data, FIRST_LINE, first_bytes) == 0) {
        text = malloc(bytes - first_bytes + 1);
    }
    if (text) {
        memcpy(text, file.data + first_bytes, bytes - first_bytes);
        text[bytes - first_bytes] = 0;
    }
    rbe__unmap_file(&file);
    return text;
}

/* The next line that can be understood, from *at on; 0 behind the last. */
static int next_line(char **at, rbe_threads_kept *out)
{
    while (**at) {
        char *line = *at;
        *at += strcspn(line, "\n");
        if (**at) {
            *(*at)++ = 0;
        }
        if (read_line(line, out)) {
            return 1;
        }
    }
    return 0;
}

int rbe__thread_results_find(const char *path, uint32_t machine, uint32_t size_class, rbe_threads_kept *out)
{
    char *text = read_results(path), *at = text;
    int found = 0;
    while (text && !found && next_line(&at, out)) {
        found = out->machine == machine && out->size_class == size_class;
    }
    free(text);
    return found;
}

static rbe_status write_line(rbe__new_file *file, const rbe_threads_kept *line)
{
    char text[LINE_BYTES];
    int used = snprintf(text, sizeof text, "%08x %u %u", line->machine, line->size_class, line->n_threads);
    for (uint32_t i = 0; i < line->n_tried && i < RBE_MOST_TRIED; i++) {
        used += snprintf(text + used, sizeof text - (size_t)used, " %u:%.0f", line->tried[i], 100 * (double)line->tokens_per_s[i]);
    }
    used += snprintf(text + used, sizeof text - (size_t)used, "\n");
    return rbe__new_file_write(file, text, (size_t)used);
}

/* The lines of the file as it is, but for the oldest where there are too many, then the new one. */
static rbe_status write_all(const char *path, rbe__new_file *file, const rbe_threads_kept *line)
{
    char *text = read_results(path);
    rbe_threads_kept old;
    uint32_t n_lines = 0;
    rbe_status status = rbe__new_file_write(file, FIRST_LINE, strlen(FIRST_LINE));
    for (const char *at = text; at && *at; at++) {
        n_lines += *at == '\n';
    }
    uint32_t skipped = n_lines >= MOST_LINES ? n_lines - MOST_LINES + 1 : 0;
    for (char *at = text; text && status == RBE_OK && next_line(&at, &old);) {
        if (skipped) {
            skipped--;
        } else if (old.machine != line->machine || old.size_class != line->size_class) {
            status = write_line(file, &old);
        }
    }
    free(text);
    return status == RBE_OK ? write_line(file, line) : status;
}

rbe_status rbe__thread_results_add(const char *path, const rbe_threads_kept *line)
{
    rbe__new_file *file = NULL;
    RBE_TRY(rbe__new_file_create(path, &file));
    rbe_status status = write_all(path, file, line);
    if (status == RBE_OK) {
        status = rbe__new_file_commit(file, FIRST_LINE, strlen(FIRST_LINE));
    }
    rbe__new_file_discard(file);
    return status;
}

rbe_status rbe_threads_read(const char *kept, uint32_t index, rbe_threads_kept *out)
{
    rbe_threads_kept line;
    uint32_t n_lines = 0;
    int more;
    RBE_TRY(rbe__check_info("rbe_threads_read", out));
    char *text = read_results(kept), *at = text;
    if (!text) {
        return rbe_fail(RBE_ERROR_IO, "%s: no file of results of threads", kept ? kept : "(NULL)");
    }
    while ((more = next_line(&at, &line)) != 0 && n_lines < index) {
        n_lines++;
    }
    free(text);
    return more ? rbe__give_info("rbe_threads_read", out, &line, sizeof line)
                : rbe_fail(RBE_ERROR_ARGUMENT, "%s: there is no result %u", kept, index);
}
