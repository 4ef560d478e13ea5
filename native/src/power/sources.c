/* What measures energy under Linux: powercap, hwmon, the firmware of a Raspberry Pi 5. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "power/meter.h"
#include "power/readings.h"

#define MOST_ENTRIES 64u
#define MOST_WATTS 5000.0 /* of a rail */
#define MOST_JOULES_PER_S 1000.0 /* of a counter: a package draws less */
#define COUNTS 4294967295.0 /* of RAPL's registers, which have 32 bits */

/* So seldom may a counter be read: before it can have wrapped, and at least every minute. */
static void set_gap(rbe__source *source)
{
    double seconds = 60;
    for (uint32_t i = 0; i < source->n_parts; i++) {
        const double range = source->parts[i].range;
        seconds = range > 0 ? fmin(seconds, range * 1e-6 / MOST_JOULES_PER_S) : seconds;
    }
    source->gap_ns = (uint64_t)(fmax(seconds, 1) * 1e9);
    source->period_ns = source->gap_ns / 3;
}

/* The zones of one kind are one source: packages of a machine with two processors, for example. */
static void add_zone(rbe__meter *meter, const char *kind, int rank, const char *covers, const char *left_out, const char *zone,
                     const char *name)
{
    rbe__source *source = NULL;
    for (uint32_t i = 0; i < meter->n && !source; i++) {
        source = strncmp(meter->sources[i].about.source, kind, strlen(kind)) == 0 ? &meter->sources[i] : NULL;
    }
    if (!source) {
        source = rbe__meter_add(meter, RBE_SOURCE_COUNTER, rank, kind, covers, left_out);
    }
    if (!source || source->n_parts == RBE_MOST_PARTS) {
        return;
    }
    rbe__part *part = &source->parts[source->n_parts++];
    char suffix[32];
    double range;
    const size_t n = strlen(source->about.source);
    rbe__copy_text(suffix, sizeof suffix, name);
    snprintf(source->about.source + n, sizeof source->about.source - n, "%s%s", !name[0] ? "" : source->n_parts > 1 ? "," : "-", suffix);
    rbe__write_text(part->path, sizeof part->path, "/sys/class/powercap/%s/energy_uj", zone);
    const int known = rbe__read_number(&range, "%s/sys/class/powercap/%s/max_energy_range_uj", meter->root, zone) == RBE_FILE_READ;
    part->range = known && range > 0 ? range : 0;
    source->about.resolution_j = fmax(source->about.resolution_j, part->range > 0 ? part->range * 1e-6 / COUNTS : 1e-6);
    set_gap(source);
}

/* Names of zones: Documentation/power/powercap/powercap.rst. Zones of the control type intel-rapl-mmio are the same packages once more. AMD's
 * processors have their packages here too. */
void rbe__find_counters(rbe__meter *meter)
{
    rbe__file_name zones[MOST_ENTRIES];
    char path[RBE_SENSOR_PATH], name[32];
    rbe__write_text(path, sizeof path, "%s/sys/class/powercap", meter->root);
    const uint32_t n = rbe__directory_names(path, zones, MOST_ENTRIES);
    for (uint32_t i = 0; i < n; i++) {
        const char *zone = zones[i].text;
        if (!rbe__text_begins(zone, "intel-rapl:") || rbe__read_text(name, sizeof name, "%s/%s/name", path, zone) != RBE_FILE_READ) {
            continue;
        }
        if (strcmp(name, "psys") == 0) {
            add_zone(meter, "RAPL psys", 4, "whole machine", "what the maker left out of psys, such as the screen", zone, "");
        } else if (rbe__text_begins(name, "package-")) {
            add_zone(meter, "RAPL package", 1, "package", "memory, disks, screen, fans and the power supply's loss", zone,
                     name + strlen("package-"));
        } else if (strcmp(name, "dram") == 0) {
            add_zone(meter, "RAPL dram", 0, "memory", "all but memory", zone, "");
        }
    }
}

/* What a rail is called where everything flows through it: "VDD_IN", "POM_5V_IN", "VIN", "Input". */
static int is_input(const char *label)
{
    const size_t n = strlen(label);
    return rbe__text_begins(label, "input") || rbe__text_begins(label, "vin") || (n > 3 && rbe__text_begins(label + n - 3, "_IN"));
}

typedef struct rail {
    char label[24];
    rbe__part part;
} rail;

/* The rails of a chip that can be read: power{n}_input in microwatts, else in{n}_input in millivolts and curr{n}_input in milliamperes (of
 * an INA3221 the first three; in4 and on are shunts, and curr4 is a sum: Documentation/hwmon/ina3221.rst). */
static uint32_t find_rails(const rbe__meter *meter, const char *directory, rail rails[3])
{
    uint32_t n = 0;
    for (int i = 1; i <= 3; i++) {
        double value, enabled = 1;
        rail *one = &rails[n];
        *one = (rail){0};
        (void)rbe__read_number(&enabled, "%s%s/in%d_enable", meter->root, directory, i);
        (void)rbe__read_text(one->label, sizeof one->label, "%s%s/in%d_label", meter->root, directory, i);
        if (enabled == 0) {
            continue;
        }
        rbe__write_text(one->part.path, sizeof one->part.path, "%s/power%d_input", directory, i);
        if (rbe__read_number(&value, "%s%s", meter->root, one->part.path) != RBE_FILE_READ) {
            rbe__write_text(one->part.path, sizeof one->part.path, "%s/in%d_input", directory, i);
            rbe__write_text(one->part.current_path, sizeof one->part.current_path, "%s/curr%d_input", directory, i);
            if (rbe__read_number(&value, "%s%s", meter->root, one->part.path) != RBE_FILE_READ ||
                rbe__read_number(&value, "%s%s", meter->root, one->part.current_path) != RBE_FILE_READ) {
                continue;
            }
        }
        n++;
    }
    return n;
}

static void add_chip(rbe__meter *meter, const char *chip, const rail *rails, uint32_t n)
{
    char name[64];
    const rail *input = n == 1 ? &rails[0] : NULL;
    for (uint32_t i = 0; i < n && n > 1 && !input; i++) {
        input = is_input(rails[i].label) ? &rails[i] : NULL;
    }
    size_t used = (size_t)snprintf(name, sizeof name, "hwmon %s", chip);
    for (uint32_t i = 0; i < n && used < sizeof name; i++) {
        if (rails[i].label[0] && (!input || input == &rails[i])) {
            used += (size_t)snprintf(name + used, sizeof name - used, " %s", rails[i].label);
        }
    }
    rbe__source *source = rbe__meter_add(meter, RBE_SOURCE_WATTS, input ? 3 : 2, name, input ? "board" : "rails",
                                         input ? "what does not flow through its shunt, and the power supply's loss"
                                               : "what hangs on other rails, and the power supply's loss");
    for (uint32_t i = 0; source && i < n; i++) {
        if (!input || input == &rails[i]) {
            source->parts[source->n_parts++] = rails[i].part;
        }
    }
}

void rbe__find_watts(rbe__meter *meter)
{
    rbe__file_name chips[MOST_ENTRIES];
    rail rails[3];
    char path[RBE_SENSOR_PATH], chip[24];
    rbe__write_text(path, sizeof path, "%s/sys/class/hwmon", meter->root);
    const uint32_t n = rbe__directory_names(path, chips, MOST_ENTRIES);
    for (uint32_t i = 0; i < n; i++) {
        if (rbe__read_text(chip, sizeof chip, "%s/%s/name", path, chips[i].text) != RBE_FILE_READ ||
            (!rbe__text_begins(chip, "ina2") && !rbe__text_begins(chip, "ina3221"))) {
            continue;
        }
        char directory[96];
        rbe__write_text(directory, sizeof directory, "/sys/class/hwmon/%s", chips[i].text);
        const uint32_t n_rails = find_rails(meter, directory, rails);
        if (n_rails) {
            add_chip(meter, chip, rails, n_rails);
        }
    }
}

void rbe__find_pmic(rbe__meter *meter, uint64_t now)
{
    char text[4096], name[64];
    uint32_t n_rails, bits;
    int by_program;
    if (rbe__firmware_throttled(meter->firmware, now, &bits) &&
        rbe__firmware_answer(meter->firmware, "pmic_read_adc", 1, &by_program, text, sizeof text) &&
        !isnan(rbe__firmware_rails(text, &n_rails))) {
        rbe__write_text(name, sizeof name, "PMIC of Raspberry Pi, %u rails", n_rails);
        (void)rbe__meter_add(meter, RBE_SOURCE_PMIC, 3, name, "board",
                             "the 5 V input, which has a voltage but no current: loss of the converters, USB, fan and HATs");
    }
}

static double part_watts(const rbe__meter *meter, rbe__source *source, const rbe__part *part)
{
    const int pair = part->current_path[0] != 0;
    double first = NAN, amperes = 1000;
    rbe__file_state state = rbe__read_number(&first, "%s%s", meter->root, part->path);
    if (state == RBE_FILE_READ && pair) {
        state = rbe__read_number(&amperes, "%s%s", meter->root, part->current_path);
    }
    const double watts = first * amperes * (pair ? 1e-6 : 1e-9);
    if (state != RBE_FILE_READ) {
        rbe__source_fails(source, "%s: %s", state == RBE_FILE_DENIED ? "needs root" : "cannot be read", part->path);
    } else if (!(watts >= 0 && watts <= MOST_WATTS)) {
        rbe__source_fails(source, "reads %.6g W, which cannot be: %s", watts, part->path);
        return NAN;
    }
    return state == RBE_FILE_READ ? watts : NAN;
}

double rbe__source_watts(const rbe__meter *meter, rbe__source *source)
{
    char text[4096];
    uint32_t n_rails;
    int by_program = 0;
    double sum = 0;
    if (source->kind == RBE_SOURCE_PMIC) {
        const int answered = rbe__firmware_answer(meter->firmware, "pmic_read_adc", 1, &by_program, text, sizeof text);
        sum = answered ? rbe__firmware_rails(text, &n_rails) : NAN;
        if (isnan(sum)) {
            rbe__source_fails(source, "the firmware does not answer pmic_read_adc");
        }
        source->period_ns = by_program ? 1000000000u : meter->watts_ns; /* a process each time: not ten times a second */
    }
    for (uint32_t i = 0; i < source->n_parts; i++) {
        sum += part_watts(meter, source, &source->parts[i]);
    }
    return sum;
}
