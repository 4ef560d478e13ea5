#include "power/firmware.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "power/readings.h"

#define PROGRAM_MILLISECONDS 500u
#define PROGRAM_REST_NS 10000000000u
#define MOST_RAILS 32u
#define MOST_AMPERES 20.0
#define MOST_VOLTS 30.0

void rbe__firmware_find(const char *root, const char *device, const char *program, rbe__firmware *out)
{
    static const char *const programs[] = {"/usr/bin/vcgencmd", "/opt/vc/bin/vcgencmd"};
    char text[8];
    *out = (rbe__firmware){0};
    if (device) {
        rbe__write_text(out->devices[0], sizeof out->devices[0], "%s", device);
    } else if (!root[0]) {
        strcpy(out->devices[0], "/dev/vcio_gencmd");
        strcpy(out->devices[1], "/dev/vcio");
    }
    if (program) {
        rbe__write_text(out->program, sizeof out->program, "%s", program);
    }
    for (size_t i = 0; !program && !root[0] && i < sizeof programs / sizeof *programs && !out->program[0]; i++) {
        if (rbe__system_file_read(programs[i], text, sizeof text) == RBE_FILE_UNREADABLE) { /* there, and longer than that */
            strcpy(out->program, programs[i]);
        }
    }
}

int rbe__firmware_answer(rbe__firmware *firmware, const char *question, int may_run, int *by_program, char *out, size_t capacity)
{
    out[0] = 0;
    *by_program = 0;
    for (int i = 0; i < 2 && !firmware->silent; i++) {
        if (firmware->devices[i][0] && rbe__firmware_ask(firmware->devices[i], question, out, capacity)) {
            firmware->answered = 1;
            return 1;
        }
    }
    if (firmware->silent || firmware->answered || !firmware->program[0]) {
        firmware->silent = !firmware->answered; /* a machine does not become a Raspberry Pi */
        return 0;
    }
    *by_program = 1;
    return may_run && rbe__program_ask(firmware->program, question, PROGRAM_MILLISECONDS, out, capacity);
}

int rbe__firmware_throttled(rbe__firmware *firmware, uint64_t now, uint32_t *bits)
{
    static const char key[] = "throttled=0x";
    char text[256], *end;
    int by_program;
    const int may_run = firmware->ran_ns == 0 || now - firmware->ran_ns >= PROGRAM_REST_NS;
    const int answered = rbe__firmware_answer(firmware, "get_throttled", may_run, &by_program, text, sizeof text);
    if (by_program && !may_run) {
        *bits = firmware->kept;
        return firmware->kept_known;
    }
    const char *at = answered ? strstr(text, key) : NULL;
    const unsigned long long value = at ? strtoull(at + strlen(key), &end, 16) : 0;
    const int known = at && end != at + strlen(key) && value <= UINT32_MAX;
    *bits = known ? (uint32_t)value : 0;
    if (by_program) {
        firmware->ran_ns = now ? now : 1;
        firmware->kept = *bits;
        firmware->kept_known = known;
    }
    return known;
}

/* Of a line "NAME_A current(7)=0.75012000A" or "NAME_V volt(15)=0.89745940V": the name without its end, and the value. 0 for others. */
static int read_rail(const char *line, const char *kind, char unit, char name[32], double *value)
{
    line += strspn(line, " \t");
    const size_t bytes = strcspn(line, " \t\n");
    const char *at = line + bytes + strspn(line + bytes, " \t");
    if (bytes < 3 || bytes >= 32 || line[bytes - 1] != unit || line[bytes - 2] != '_' || strncmp(at, kind, strlen(kind)) != 0) {
        return 0;
    }
    at += strcspn(at, "=\n");
    at += *at == '=';
    memcpy(name, line, bytes - 2);
    name[bytes - 2] = 0;
    return rbe__take_decimal(&at, value) && *at == unit;
}

double rbe__firmware_rails(const char *text, uint32_t *n_rails)
{
    struct {
        char name[32];
        double amperes;
    } rails[MOST_RAILS];
    uint32_t n = 0;
    char name[32];
    double value, watts = 0;
    *n_rails = 0;
    for (int pass = 0; pass < 2; pass++) { /* first the currents, then the voltages that belong to them */
        for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
            if (pass == 0 && n < MOST_RAILS && read_rail(line, "current(", 'A', name, &value) && value >= 0 && value <= MOST_AMPERES) {
                strcpy(rails[n].name, name);
                rails[n++].amperes = value;
            } else if (pass == 1 && read_rail(line, "volt(", 'V', name, &value) && value >= 0 && value <= MOST_VOLTS) {
                for (uint32_t i = 0; i < n; i++) {
                    const int same = strcmp(rails[i].name, name) == 0;
                    watts += same ? rails[i].amperes * value : 0;
                    *n_rails += same;
                }
            }
        }
    }
    return *n_rails ? watts : NAN;
}
