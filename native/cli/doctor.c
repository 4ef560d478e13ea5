/* `rbe doctor`: what this machine has. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "carried.h"
#include "commands.h"
#include "output.h"
#include "platform/processors.h"
#include "platform/program.h"
#include "rbe/fit.h"
#include "rbe/threads.h"
#include "sensors.h"

#define LITTLE_MEMORY (512u << 20)
#define SIZE_CLASSES 64u

/* What answers found on this machine, by size class of the model; n_threads 0: nothing. */
typedef struct found_threads {
    rbe_threads_kept of[SIZE_CLASSES];
    uint32_t n;
} found_threads;

static const char usage[] =
    "usage: rbe doctor [--json]\n"
    "\n"
    "Says what this machine has: processor, its features, kernels that run on it, cores, memory, how many threads are fastest,\n"
    "and what sensors and sources of energy there are.\n"
    "\n"
    "  --quick                as it is here: nothing is measured (`rbe bench FILE` does)\n"
    "  --json                 write one JSON object\n"
    "\n"
    "example:\n"
    "  rbe doctor\n";

/* The best set that runs here. */
static const char *best_set(void)
{
    const char *best = "";
    for (uint32_t i = 0; rbe_kernel_set_name(i); i++) {
        best = rbe_kernel_set_available(rbe_kernel_set_name(i)) ? rbe_kernel_set_name(i) : best;
    }
    return best;
}

static const char *known(const char *text)
{
    return text[0] ? text : "unknown";
}

static const char *known_size(uint64_t bytes, number_text *out)
{
    return bytes && bytes != RBE_UNLIMITED ? size_text_of(bytes, out) : "unknown";
}

static void sort_by_threads(rbe_threads_kept *line)
{
    for (uint32_t i = 1; i < line->n_tried; i++) {
        for (uint32_t k = i; k > 0 && line->tried[k] < line->tried[k - 1]; k--) {
            const uint32_t n = line->tried[k];
            const float rate = line->tokens_per_s[k];
            line->tried[k] = line->tried[k - 1];
            line->tokens_per_s[k] = line->tokens_per_s[k - 1];
            line->tried[k - 1] = n;
            line->tokens_per_s[k - 1] = rate;
        }
    }
}

static void find_threads(found_threads *found)
{
    char path[1024];
    rbe_threads_kept line = {.struct_bytes = sizeof line};
    const uint32_t here = rbe_threads_machine();
    *found = (found_threads){0};
    if (!rbe__cache_file("threads.txt", path, sizeof path)) {
        return;
    }
    for (uint32_t i = 0; rbe_threads_read(path, i, &line) == RBE_OK; i++) {
        if (line.machine == here && line.size_class < SIZE_CLASSES - 1) {
            found->n += found->of[line.size_class].n_threads == 0;
            sort_by_threads(&line);
            found->of[line.size_class] = line;
        }
    }
}

static void write_thread_lines(const found_threads *found)
{
    number_text least, most;
    for (uint32_t class = 0; class < SIZE_CLASSES; class++) {
        const rbe_threads_kept *line = &found->of[class];
        if (line->n_threads == 0) {
            continue;
        }
        printf("threads:   %u for models of %s to %s, found by an answer (tokens/s by threads:", line->n_threads,
               size_text_of((uint64_t)1 << class, &least), size_text_of((uint64_t)2 << class, &most));
        for (uint32_t i = 0; i < line->n_tried; i++) {
            printf("%s %u: %.1f", i ? "," : "", line->tried[i], (double)line->tokens_per_s[i]);
        }
        puts(")");
    }
    if (!found->n) {
        puts("threads:   not tried yet; the first answers of `rbe run` and `rbe chat` find out how many are fastest");
    }
}

static void write_lines(const rbe__machine *machine, const rbe__processors *processors, const rbe_memory *memory,
                        const found_threads *threads, const sensors *found)
{
    char processor[256];
    number_text all, available;
    one_line(span_of(machine->processor), processor, sizeof processor);
    printf("%s, without Python; library %s\n", program_version(), rbe_version());
    printf("processor: %s, %s\n", known(processor), known(machine->system));
    printf("features:  %s\n", known(machine->features));
    printf("kernels:   %s; in this build:", best_set());
    for (uint32_t i = 0; rbe_kernel_set_name(i); i++) {
        const int runs = rbe_kernel_set_available(rbe_kernel_set_name(i));
        printf("%s %s%s%s", i ? "," : "", runs ? "" : "(", rbe_kernel_set_name(i), runs ? "" : ")");
    }
    printf("\ncores:     %u", processors->n_cores);
    if (processors->quota < processors->n_cores) {
        printf(", of which the control group grants %u", processors->quota);
    }
    printf("\nmemory:    %s, %s available (%s)\n", known_size(memory->total, &all), known_size(memory->available, &available),
           memory->limited_by);
    write_thread_lines(threads);
    write_sensor_lines(found);
    if (strcmp(best_set(), "scalar") == 0) {
        puts("- no vector instructions that this build knows: expect a tenth of the speed; is it built for this machine?");
    }
    if (memory->available < LITTLE_MEMORY) {
        printf("- %s of memory are available: close programs, or use fewer bits (`rbe pack --bits 3`), a smaller context (`-c 1024`) and a "
               "smaller cache (`--kv q8q4`)\n",
               size_text_of(memory->available, &available));
    }
}

static void write_size(const char *name, uint64_t bytes)
{
    printf(bytes && bytes != RBE_UNLIMITED ? ", \"%s\": %llu" : ", \"%s\": null", name, (unsigned long long)bytes);
}

static void write_json_threads(const found_threads *found)
{
    const char *separator = "";
    fputs(", \"threads\": [", stdout);
    for (uint32_t class = 0; class < SIZE_CLASSES; class++) {
        const rbe_threads_kept *line = &found->of[class];
        if (line->n_threads == 0) {
            continue;
        }
        printf("%s{\"bytes_per_token\": %llu, \"threads\": %u, \"tokens_per_s\": {", separator, 1ull << class, line->n_threads);
        for (uint32_t i = 0; i < line->n_tried; i++) {
            printf("%s\"%u\": ", i ? ", " : "", line->tried[i]);
            json_number(round(100 * (double)line->tokens_per_s[i]) / 100);
        }
        fputs("}}", stdout);
        separator = ", ";
    }
    fputs("]", stdout);
}

static void write_json(const rbe__machine *machine, const rbe__processors *processors, const rbe_memory *memory,
                       const found_threads *threads, const sensors *found)
{
    printf("{\"version\": \"%s\", \"library\": \"%s\", \"system\": ", RBE_VERSION, rbe_version());
    json_text(span_of(machine->system));
    fputs(", \"processor\": ", stdout);
    json_text(span_of(machine->processor));
    fputs(", \"features\": ", stdout);
    json_text(span_of(machine->features));
    printf(", \"kernel_set\": \"%s\", \"kernel_sets\": {", best_set());
    for (uint32_t i = 0; rbe_kernel_set_name(i); i++) {
        printf("%s\"%s\": %s", i ? ", " : "", rbe_kernel_set_name(i), rbe_kernel_set_available(rbe_kernel_set_name(i)) ? "true" : "false");
    }
    printf("}, \"cores\": %u, \"quota\": %u", processors->n_cores, processors->quota);
    write_size("memory_bytes", memory->total);
    write_size("memory_available_bytes", memory->available);
    write_json_threads(threads);
    write_json_sensors(found);
    puts("}");
}

int command_doctor(int argc, char **argv)
{
    static rbe__processors processors;
    static found_threads threads;
    static sensors found;
    rbe__machine machine;
    rbe_memory memory = {.struct_bytes = sizeof memory};
    int quick = 0, json = 0, code;
    const option rows[] = {
        {NULL, "--quick", OPTION_FLAG, &quick, NULL},
        {NULL, "--json", OPTION_FLAG, &json, NULL},
        {0},
    };
    const command_line line = {.command = "doctor", .usage = {usage}, .options = rows};
    if (read_command_line(&line, argc, argv, &code)) {
        return code;
    }
    rbe__machine_describe(&machine);
    rbe__processors_find(&processors);
    if (rbe_memory_find(&memory) != RBE_OK || read_sensors(&found) != RBE_OK) {
        return fail_with(RBE_ERROR_IO);
    }
    find_threads(&threads);
    if (json) {
        write_json(&machine, &processors, &memory, &threads, &found);
    } else {
        write_lines(&machine, &processors, &memory, &threads, &found);
    }
    return 0;
}
