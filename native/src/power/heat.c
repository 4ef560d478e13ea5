#include "power/heat.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LEAST_CELSIUS (-40.0)
#define MOST_CELSIUS 125.0 /* processors stop before */
#define HELD_NS 5000000000u /* a counter that grew so long ago still means now */
#define MOST_ENTRIES 256u

/* Types of thermal zones of processors: Raspberry Pi, Allwinner, Rockchip ("cpu...", "soc_thermal", "bigcore0"), Intel, Qualcomm ("tsens...",
 * "cpu-0-0-usr", "apc..."), MediaTek, Exynos and Tensor. "soc" alone is a state of charge on Qualcomm's, and not among them. */
static const char *const processor_zones[] = {
    "cpu",      "soc_",    "soc-",    "x86_pkg_temp", "coretemp", "bigcore", "littlecore", "tsens_tz_sensor",
    "mtktscpu", "cluster", "package", "apc",          "exynos"};
static const char *const processor_names[] = {"big", "little", "mid"};
static const char *const processor_chips[] = {"coretemp",    "k10temp",     "zenpower",    "cpu_thermal",
                                              "cpu-thermal", "soc_thermal", "scpi_sensors"};

static int begins_with_one(const char *text, const char *const *starts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (rbe__text_begins(text, starts[i])) {
            return 1;
        }
    }
    return 0;
}

static int zone_rank(const char *type)
{
    for (size_t i = 0; i < sizeof processor_names / sizeof *processor_names; i++) {
        if (rbe__text_begins(type, processor_names[i]) && !type[strlen(processor_names[i])]) {
            return 2;
        }
    }
    if (begins_with_one(type, processor_zones, sizeof processor_zones / sizeof *processor_zones)) {
        return 2;
    }
    return rbe__text_begins(type, "acpitz"); /* the firmware's, somewhere in the case */
}

static void add_sensor(rbe__heat *heat, int rank, const char *name, const char *path)
{
    rbe__sensor *one = &heat->sensors[heat->n_sensors];
    if (rank && heat->n_sensors < RBE_MOST_SENSORS && strlen(path) < sizeof one->path) {
        strcpy(one->path, path);
        rbe__copy_text(one->name, sizeof one->name, name);
        one->rank = rank;
        heat->n_sensors++;
    }
}

static void find_zones(rbe__heat *heat, rbe__file_name *names)
{
    char path[RBE_SENSOR_PATH], type[48];
    rbe__write_text(path, sizeof path, "%s/sys/class/thermal", heat->root);
    const uint32_t n = rbe__directory_names(path, names, MOST_ENTRIES);
    for (uint32_t i = 0; i < n; i++) {
        const char *name = names[i].text;
        if (rbe__read_text(type, sizeof type, "%s/sys/class/thermal/%s/type", heat->root, name) != RBE_FILE_READ) {
            continue;
        }
        if (rbe__text_begins(name, "thermal_zone")) {
            rbe__write_text(path, sizeof path, "/sys/class/thermal/%s/temp", name);
            add_sensor(heat, zone_rank(type), type, path);
        } else if (rbe__text_begins(name, "cooling_device") && heat->n_coolers < RBE_MOST_COOLERS &&
                   (rbe__text_begins(type, "thermal-cpufreq") || rbe__text_begins(type, "cpufreq") || strcmp(type, "Processor") == 0)) {
            heat->coolers[heat->n_coolers++] = names[i];
        }
    }
}

/* Of AMD's chips Tdie where there is one: Tctl of some has 10 to 27 C added (Documentation/hwmon/k10temp.rst). Of Intel's the package, which
 * is the hottest core. Of others all. */
static int is_best(const char *label)
{
    return strcmp(label, "Tdie") == 0 || rbe__text_begins(label, "Package");
}

static int label_counts(const char *chip, const char *label, int has_best)
{
    const int amd = strcmp(chip, "k10temp") == 0 || strcmp(chip, "zenpower") == 0;
    return has_best ? is_best(label) : !amd || !label[0] || strcmp(label, "Tctl") == 0;
}

static void find_chips(rbe__heat *heat, rbe__file_name *names)
{
    char path[RBE_SENSOR_PATH], chip[32], labels[8][24], name[64];
    rbe__write_text(path, sizeof path, "%s/sys/class/hwmon", heat->root);
    const uint32_t n = rbe__directory_names(path, names, MOST_ENTRIES);
    for (uint32_t i = 0; i < n; i++) {
        if (rbe__read_text(chip, sizeof chip, "%s/sys/class/hwmon/%s/name", heat->root, names[i].text) != RBE_FILE_READ ||
            !begins_with_one(chip, processor_chips, sizeof processor_chips / sizeof *processor_chips)) {
            continue;
        }
        int has_best = 0;
        for (int k = 0; k < 8; k++) {
            (void)rbe__read_text(labels[k], sizeof labels[k], "%s/sys/class/hwmon/%s/temp%d_label", heat->root, names[i].text, k + 1);
            has_best |= is_best(labels[k]);
        }
        for (int k = 0; k < 8; k++) {
            double value;
            rbe__write_text(path, sizeof path, "/sys/class/hwmon/%s/temp%d_input", names[i].text, k + 1);
            if (label_counts(chip, labels[k], has_best) && rbe__read_number(&value, "%s%s", heat->root, path) == RBE_FILE_READ) {
                rbe__write_text(name, sizeof name, "%s%s%s", chip, labels[k][0] ? " " : "", labels[k]);
                add_sensor(heat, 2, name, path);
            }
        }
    }
}

static double count_throttling(const rbe__heat *heat)
{
    static const char *const kinds[] = {"core", "package"};
    double sum = 0, value;
    for (uint32_t i = 0; i < heat->n_counters; i++) {
        for (int k = 0; k < 2; k++) {
            if (rbe__read_number(&value, "%s/sys/devices/system/cpu/%s/thermal_throttle/%s_throttle_count", heat->root,
                                 heat->counters[i].text, kinds[k]) == RBE_FILE_READ) {
                sum += value;
            }
        }
    }
    return sum;
}

static void find_processors(rbe__heat *heat, rbe__file_name *names)
{
    char path[RBE_SENSOR_PATH];
    double value;
    rbe__write_text(path, sizeof path, "%s/sys/devices/system/cpu", heat->root);
    uint32_t n = rbe__directory_names(path, names, MOST_ENTRIES);
    for (uint32_t i = 0; i < n && heat->n_counters < RBE_MOST_CLOCKS; i++) {
        if (rbe__text_begins(names[i].text, "cpu") && isdigit((unsigned char)names[i].text[3]) &&
            rbe__read_number(&value, "%s/%s/thermal_throttle/core_throttle_count", path, names[i].text) == RBE_FILE_READ) {
            heat->counters[heat->n_counters++] = names[i];
        }
    }
    rbe__write_text(path, sizeof path, "%s/sys/devices/system/cpu/cpufreq", heat->root);
    n = rbe__directory_names(path, names, MOST_ENTRIES);
    for (uint32_t i = 0; i < n && heat->n_clocks < RBE_MOST_CLOCKS; i++) {
        if (rbe__text_begins(names[i].text, "policy")) {
            heat->clocks[heat->n_clocks++] = names[i];
        }
    }
    heat->counted = count_throttling(heat);
}

void rbe__heat_find(const char *root, rbe__heat *out)
{
    rbe__file_name names[MOST_ENTRIES];
    *out = (rbe__heat){.root = root};
    find_zones(out, names);
    find_chips(out, names);
    find_processors(out, names);
}

static void read_temperature(const rbe__heat *heat, rbe_power_sample *out)
{
    int rank = 0;
    out->temperature_c = NAN;
    for (uint32_t i = 0; i < heat->n_sensors; i++) {
        const rbe__sensor *one = &heat->sensors[i];
        const double value = rbe__read_between(LEAST_CELSIUS, MOST_CELSIUS, .001, "%s%s", heat->root, one->path);
        if (isnan(value) || fabs(value) < 1) { /* a driver that counts in degrees, or has not read its sensor yet */
            continue;
        }
        if (one->rank > rank || (one->rank == rank && value > out->temperature_c)) {
            rank = one->rank;
            out->temperature_c = value;
            memcpy(out->temperature_sensor, one->name, sizeof out->temperature_sensor);
        }
    }
}

/* Kilohertz; 1 MHz to 20 GHz. */
static double read_clock(const rbe__heat *heat, uint32_t index, const char *field)
{
    return rbe__read_between(1, 20000, .001, "%s/sys/devices/system/cpu/cpufreq/%s/%s", heat->root, heat->clocks[index].text, field);
}

static void read_clocks(const rbe__heat *heat, rbe_power_sample *out)
{
    out->mhz_least = out->mhz_most = out->mhz_limit = NAN;
    for (uint32_t i = 0; i < heat->n_clocks; i++) {
        const double now = read_clock(heat, i, "scaling_cur_freq");
        double limit = read_clock(heat, i, "scaling_max_freq");
        limit = isnan(limit) ? read_clock(heat, i, "cpuinfo_max_freq") : limit;
        out->mhz_least = fmin(out->mhz_least, now); /* of one that is no number the other one */
        out->mhz_most = fmax(out->mhz_most, now);
        out->mhz_limit = fmax(out->mhz_limit, limit);
    }
}

/* Adds what one source says. A yes stays a yes. */
static void note(rbe_power_sample *out, int yes, const char *who)
{
    if (yes && out->throttled != RBE_YES) {
        rbe__copy_text(out->throttled_by, sizeof out->throttled_by, who);
    }
    out->throttled = yes || out->throttled == RBE_YES ? RBE_YES : RBE_NO;
}

static void note_firmware(rbe_power_sample *out, uint32_t bits)
{
    static const char *const names[] = {"under-voltage", "clock capped", "throttled", "soft temperature limit"};
    char text[96];
    size_t n = (size_t)snprintf(text, sizeof text, "firmware");
    for (uint32_t i = 0; i < 4; i++) {
        if (bits >> i & 1) {
            n += (size_t)snprintf(text + n, sizeof text - n, "%s %s", n > strlen("firmware") ? "," : ":", names[i]);
        }
    }
    note(out, (bits & 15) != 0, text);
}

static void read_throttling(rbe__heat *heat, rbe__firmware *firmware, int thermal_status, rbe_power_sample *out)
{
    uint32_t bits;
    char text[96];
    if (rbe__firmware_throttled(firmware, out->time_ns, &bits)) {
        note_firmware(out, bits);
    }
    if (thermal_status >= 0) {
        snprintf(text, sizeof text, "Android: thermal status %d", thermal_status);
        note(out, thermal_status > 0, text);
    }
    if (heat->n_counters) {
        const double counted = count_throttling(heat);
        heat->counted_ns = counted > heat->counted ? out->time_ns : heat->counted_ns;
        heat->counted = counted;
        note(out, heat->counted_ns && out->time_ns - heat->counted_ns < HELD_NS, "processor: its throttle counters grow");
    }
    for (uint32_t i = 0; i < heat->n_coolers; i++) {
        double state;
        if (rbe__read_number(&state, "%s/sys/class/thermal/%s/cur_state", heat->root, heat->coolers[i].text) == RBE_FILE_READ &&
            state >= 0) {
            snprintf(text, sizeof text, "kernel: %s at state %.0f", heat->coolers[i].text, fmin(state, 1e6));
            note(out, state > 0, text);
        }
    }
}

void rbe__heat_read(rbe__heat *heat, rbe__firmware *firmware, int thermal_status, rbe_power_sample *out)
{
    read_temperature(heat, out);
    read_clocks(heat, out);
    read_throttling(heat, firmware, thermal_status, out);
}
