/* `rbe doctor`: what this machine has. */
#include <stdio.h>
#include <string.h>

#include "carried.h"
#include "commands.h"
#include "output.h"
#include "platform/processors.h"
#include "platform/program.h"
#include "rbe/fit.h"

#define LITTLE_MEMORY (512u << 20)

static const char usage[] = "usage: rbe doctor [--json]\n"
                            "\n"
                            "Says what this machine has: processor, its features, kernels that run on it, cores and memory.\n"
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

static void write_lines(const rbe__machine *machine, const rbe__processors *processors, const rbe_memory *memory)
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

static void write_json(const rbe__machine *machine, const rbe__processors *processors, const rbe_memory *memory)
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
    puts("}");
}

int command_doctor(int argc, char **argv)
{
    static rbe__processors processors;
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
    if (rbe_memory_find(&memory) != RBE_OK) {
        return fail_with(RBE_ERROR_IO);
    }
    if (json) {
        write_json(&machine, &processors, &memory);
    } else {
        write_lines(&machine, &processors, &memory);
    }
    return 0;
}
