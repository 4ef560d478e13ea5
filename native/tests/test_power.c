/* Sensors of machines that are trees of files: what is read of real ones, and of files that lie. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include <math.h>
#include <stdint.h>
#include <unistd.h>

#include "platform/platform.h"
#include "platform/threads.h"
#include "trees.h"

#define BAT "sys/class/power_supply/BAT0/"

static int same(double a, double b)
{
    return isnan(b) ? isnan(a) : fabs(a - b) <= 1e-6 * fmax(1, fabs(b));
}

static const struct {
    const char *tree;
    rbe_power_sample sample;
} of_trees[] = {
    {"laptop_energy",
     {.battery = RBE_YES,
      .battery_level = 65.44 / 69.24,
      .charging = RBE_NO,
      .current_a = NAN,
      .voltage_v = 16.12,
      .power_w = 9.87,
      .temperature_c = 53,
      .temperature_sensor = "coretemp Package id 0",
      .throttled = RBE_NO,
      .mhz_least = 1200,
      .mhz_most = 3100,
      .mhz_limit = 4500}},
    {"laptop_charge",
     {.battery = RBE_YES,
      .battery_level = .74,
      .charging = RBE_NO,
      .current_a = 1.56,
      .voltage_v = 3.942,
      .power_w = 1.56 * 3.942,
      .temperature_c = NAN,
      .throttled = RBE_UNKNOWN,
      .mhz_least = NAN,
      .mhz_most = NAN,
      .mhz_limit = NAN}},
    {"pi4",
     {.battery = RBE_NO,
      .battery_level = NAN,
      .charging = RBE_UNKNOWN,
      .current_a = NAN,
      .voltage_v = NAN,
      .power_w = NAN,
      .temperature_c = 82.764,
      .temperature_sensor = "cpu-thermal",
      .throttled = RBE_YES,
      .throttled_by = "firmware: under-voltage, throttled",
      .mhz_least = 1000,
      .mhz_most = 1000,
      .mhz_limit = 1800}},
    {"pi5",
     {.battery = RBE_NO,
      .battery_level = NAN,
      .charging = RBE_UNKNOWN,
      .current_a = NAN,
      .voltage_v = NAN,
      .power_w = NAN,
      .temperature_c = 56.55,
      .temperature_sensor = "cpu-thermal",
      .throttled = RBE_NO,
      .mhz_least = 2400,
      .mhz_most = 2400,
      .mhz_limit = 2400}},
    {"orange_pi_ina3221",
     {.battery = RBE_NO,
      .battery_level = NAN,
      .charging = RBE_UNKNOWN,
      .current_a = NAN,
      .voltage_v = NAN,
      .power_w = NAN,
      .temperature_c = 49,
      .temperature_sensor = "bigcore0-thermal",
      .throttled = RBE_YES,
      .throttled_by = "kernel: cooling_device0 at state 3",
      .mhz_least = 408,
      .mhz_most = 1800,
      .mhz_limit = 2256}},
    {"phone",
     {.battery = RBE_YES,
      .battery_level = .61,
      .charging = RBE_YES,
      .current_a = -.912,
      .voltage_v = 4.112,
      .power_w = -.912 * 4.112,
      .temperature_c = 44.3,
      .temperature_sensor = "tsens_tz_sensor1",
      .throttled = RBE_UNKNOWN,
      .mhz_least = NAN,
      .mhz_most = NAN,
      .mhz_limit = NAN}},
};

static void test_trees(void)
{
    for (size_t i = 0; i < sizeof of_trees / sizeof *of_trees; i++) {
        const rbe_power_sample *want = &of_trees[i].sample;
        const char *tree = of_trees[i].tree;
        begin_tree(tree);
        const rbe_power_sample got = sample_tree();
        CHECK(got.battery == want->battery && got.charging == want->charging, "%s: battery %u, charging %u", tree, got.battery,
              got.charging);
        CHECK(same(got.battery_level, want->battery_level), "%s: level %g", tree, got.battery_level);
        CHECK(same(got.current_a, want->current_a) && same(got.voltage_v, want->voltage_v) && same(got.power_w, want->power_w),
              "%s: %g A, %g V, %g W", tree, got.current_a, got.voltage_v, got.power_w);
        CHECK(same(got.temperature_c, want->temperature_c) && strcmp(got.temperature_sensor, want->temperature_sensor) == 0,
              "%s: %g C of %s", tree, got.temperature_c, got.temperature_sensor);
        CHECK(got.throttled == want->throttled && strcmp(got.throttled_by, want->throttled_by) == 0, "%s: throttled %u by %s", tree,
              got.throttled, got.throttled_by);
        CHECK(same(got.mhz_least, want->mhz_least) && same(got.mhz_most, want->mhz_most) && same(got.mhz_limit, want->mhz_limit),
              "%s: %g to %g of %g MHz", tree, got.mhz_least, got.mhz_most, got.mhz_limit);
        CHECK(got.time_ns > 0 && got.time_ns <= rbe__nanoseconds(), "%s", tree);
        end_machine();
    }
}

static void test_nothing_is_unknown(void)
{
    begin_tree(NULL);
    const rbe_power_sample got = sample_tree();
    CHECK(got.battery == RBE_UNKNOWN && got.charging == RBE_UNKNOWN && got.throttled == RBE_UNKNOWN, "an empty machine");
    CHECK(isnan(got.battery_level) && isnan(got.current_a) && isnan(got.voltage_v) && isnan(got.power_w) && isnan(got.temperature_c) &&
              isnan(got.mhz_least) && isnan(got.mhz_most) && isnan(got.mhz_limit),
          "an empty machine");
    CHECK(!got.temperature_sensor[0] && !got.throttled_by[0], "an empty machine");
    end_machine();
}

/* What a battery's files may say, one change of a good one after the other. */
static void test_spellings_of_batteries(void)
{
    static const struct {
        const char *what, *file, *content, *file_2, *content_2;
        double level, power;
        rbe_known charging;
    } cases[] = {
        {"as it is", BAT "type", "Battery\n", BAT "type", "Battery\n", .5, 10, RBE_NO},
        {"status with a space", BAT "status", "Not charging\n", "sys/class/power_supply/AC/online", "1\n", .5, NAN, RBE_YES},
        {"charged", BAT "status", "Charging\n", BAT "power_now", "10000000\n", .5, -10, RBE_YES},
        {"charged, with a sign", BAT "status", "Charging\n", BAT "power_now", "-10000000\n", .5, -10, RBE_YES},
        {"full", BAT "status", "Full\n", BAT "power_now", "0\n", .5, 0, RBE_NO},
        {"status is nonsense", BAT "status", "\xff\xfe\n", BAT "power_now", "-10000000\n", .5, 10, RBE_NO},
        {"energy and capacity disagree", BAT "capacity", "20\n", BAT "type", "Battery\n", .2, 10, RBE_NO},
        {"worn", BAT "energy_now", "42000000\n", BAT "capacity", "100\n", 1, 10, RBE_NO},
        {"no energy", BAT "energy_now", "\n", BAT "capacity", "33\n", .33, 10, RBE_NO},
        {"nothing but a voltage", BAT "energy_now", "-1\n", BAT "capacity", "much\n", NAN, 10, RBE_NO},
        {"too much power", BAT "power_now", "4294967295000000\n", BAT "capacity", "50\n", .5, NAN, RBE_NO},
        {"a number of many digits", BAT "power_now", "99999999999999999999999999999\n", BAT "capacity", "101\n", .5, NAN, RBE_NO},
        {"power by current and voltage", BAT "power_now", "", BAT "current_now", "-500000\n", .5, 6, RBE_NO},
        {"a word behind the number", BAT "power_now", "12 W\n", BAT "capacity", "50%\n", .5, NAN, RBE_NO},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin_tree(NULL);
        write_file(BAT "type", "Battery\n");
        write_file(BAT "status", "Discharging\n");
        write_file(BAT "energy_full", "40000000\n");
        write_file(BAT "energy_now", "20000000\n");
        write_file(BAT "power_now", "10000000\n");
        write_file(BAT "voltage_now", "12000000\n");
        write_file("sys/class/power_supply/AC/type", "Mains\n");
        write_file("sys/class/power_supply/AC/online", "0\n");
        write_file(cases[i].file, cases[i].content);
        write_file(cases[i].file_2, cases[i].content_2);
        const rbe_power_sample got = sample_tree();
        CHECK(same(got.battery_level, cases[i].level) && same(got.power_w, cases[i].power), "%s: level %g, %g W", cases[i].what,
              got.battery_level, got.power_w);
        CHECK(got.charging == (uint32_t)cases[i].charging && got.battery == RBE_YES, "%s: charging %u", cases[i].what, got.charging);
        end_machine();
    }
}

static void test_several_batteries(void)
{
    begin_tree(NULL);
    for (int i = 0; i < 2; i++) {
        char path[64];
        const char *fields[][3] = {{"type", "Battery", "Battery"},
                                   {"status", "Unknown", "Discharging"},
                                   {"energy_full", "20000000", "60000000"},
                                   {"energy_now", "20000000", "15000000"},
                                   {"power_now", "0", "8000000"}};
        for (size_t k = 0; k < 5; k++) {
            snprintf(path, sizeof path, "sys/class/power_supply/BAT%d/%s", i, fields[k][0]);
            write_file(path, fields[k][1 + i]);
        }
    }
    rbe_power_sample got = sample_tree();
    CHECK(same(got.battery_level, 35. / 80) && same(got.power_w, 8) && got.charging == RBE_NO && isnan(got.voltage_v), "two: %g, %g W",
          got.battery_level, got.power_w);
    write_file("sys/class/power_supply/BAT1/present", "0\n");
    got = sample_tree();
    CHECK(same(got.battery_level, 1) && got.charging == RBE_UNKNOWN, "the second one was taken out: %g", got.battery_level);
    write_file("sys/class/power_supply/BAT0/scope", "Device\n");
    got = sample_tree();
    CHECK(got.battery == RBE_NO && isnan(got.battery_level), "the first one is that of a mouse");
    end_machine();
}

/* Thousandths of a degree, as the kernel has them; of what cannot be nothing is told. */
static void test_temperatures(void)
{
    static const struct {
        const char *type, *content;
        double celsius;
    } zones[] = {
        {"cpu-thermal", "45000\n", 45},       {"cpu-thermal", "45\n", NAN},
        {"cpu-thermal", "452\n", NAN},        {"cpu-thermal", "0\n", NAN},
        {"cpu-thermal", "-5000\n", -5},       {"cpu-thermal", "-274000\n", NAN},
        {"cpu-thermal", "124999\n", 124.999}, {"cpu-thermal", "125001\n", NAN},
        {"acpitz", "27800\n", 27.8},          {"BIG", "61000\n", 61},
        {"bigger", "61000\n", NAN},           {"soc", "61000\n", NAN},
        {"soc_thermal", "61000\n", 61},       {"battery", "31000\n", NAN},
        {"cpu-0-0-usr", "44000\n", 44},       {"", "44000\n", NAN},
    };
    begin_tree(NULL);
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++) {
        write_file("sys/class/thermal/thermal_zone0/type", zones[i].type);
        write_file("sys/class/thermal/thermal_zone0/temp", zones[i].content);
        const rbe_power_sample got = sample_tree();
        CHECK(same(got.temperature_c, zones[i].celsius), "%s %s: %g C", zones[i].type, zones[i].content, got.temperature_c);
        CHECK(strcmp(got.temperature_sensor, isnan(zones[i].celsius) ? "" : zones[i].type) == 0, "%s: %s", zones[i].type,
              got.temperature_sensor);
    }
    write_file("sys/class/hwmon/hwmon0/name", "k10temp\n");
    write_file("sys/class/hwmon/hwmon0/temp1_label", "Tctl\n");
    write_file("sys/class/hwmon/hwmon0/temp1_input", "97000\n");
    CHECK(same(sample_tree().temperature_c, 97), "Tctl where there is nothing else");
    write_file("sys/class/hwmon/hwmon0/temp2_label", "Tdie\n");
    write_file("sys/class/hwmon/hwmon0/temp2_input", "70000\n");
    CHECK(same(sample_tree().temperature_c, 70), "Tctl has 27 C added");
    end_machine();
}

/* In place of each file of a tree: a directory, a pipe, a device, bytes that are no text, a long text, nothing, and what nobody may read. */
static void spoil(const char *path, int how)
{
    char full[512];
    static char bytes[5000];
    snprintf(full, sizeof full, "%s/%s", root, path);
    CHECK(remove(full) == 0, "%s", full);
    if (how == 0) {
        CHECK(mkdir(full, 0700) == 0, "%s", full);
    } else if (how == 1) {
        CHECK(mkfifo(full, 0600) == 0, "%s", full);
    } else if (how == 2) {
        CHECK(symlink("/dev/zero", full) == 0, "%s", full);
    } else if (how == 3) {
        FILE *file = fopen(full, "wb");
        CHECK(file &&
                  fwrite("5\0"
                         "5\n",
                         1, 4, file) == 4 &&
                  fclose(file) == 0,
              "%s", full);
    } else if (how == 4) {
        memset(bytes, '7', sizeof bytes - 1);
        write_file(path, bytes);
    } else if (how == 5) {
        CHECK(symlink(full, full) == 0, "%s", full);
    } else {
        write_file(path, "-9223372036854775808\n");
    }
}

static void check_plausible(const char *what, const rbe_power_sample *got)
{
    CHECK(isnan(got->battery_level) || (got->battery_level >= 0 && got->battery_level <= 1), "%s: level %g", what, got->battery_level);
    CHECK(isnan(got->temperature_c) || fabs(got->temperature_c) <= 125, "%s: %g C", what, got->temperature_c);
    CHECK(isnan(got->power_w) || fabs(got->power_w) < 1e5, "%s: %g W", what, got->power_w);
    CHECK(!(got->mhz_least <= 0) && !(got->mhz_limit > 20000), "%s: %g MHz", what, got->mhz_least);
    CHECK(memchr(got->temperature_sensor, 0, sizeof got->temperature_sensor) && memchr(got->throttled_by, 0, sizeof got->throttled_by),
          "%s", what);
}

static void test_spoiled_files(void)
{
    static const char *const paths[] = {
        BAT "type",
        BAT "status",
        BAT "energy_now",
        BAT "energy_full",
        BAT "power_now",
        BAT "voltage_now",
        "sys/class/power_supply/AC/online",
        "sys/class/thermal/thermal_zone1/type",
        "sys/class/thermal/thermal_zone1/temp",
        "sys/class/hwmon/hwmon3/name",
        "sys/class/hwmon/hwmon3/temp1_input",
        "sys/class/powercap/intel-rapl:0/name",
        "sys/class/powercap/intel-rapl:0/energy_uj",
        "sys/class/powercap/intel-rapl:0/max_energy_range_uj",
        "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
    };
    begin_tree("laptop_energy");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char what[160], full[300], good[64] = "";
        snprintf(full, sizeof full, "%s/%s", root, paths[i]);
        FILE *file = fopen(full, "r");
        CHECK(file && fgets(good, sizeof good, file) && fclose(file) == 0, "%s", full);
        for (int how = 0; how < 7; how++) {
            snprintf(what, sizeof what, "%s spoiled by %d", paths[i], how);
            rbe_power *power = open_tree();
            spoil(paths[i], how); /* after the sensors were found, and before */
            for (int again = 0; again < 2; again++) {
                rbe_energy energy = {.struct_bytes = sizeof energy};
                const rbe_power_sample got = sample_of(power);
                check_plausible(what, &got);
                CHECK(rbe_energy_read(power, &energy) == RBE_OK && energy.missing[0], "%s", what);
                rbe_power_close(power);
                power = again ? NULL : open_tree();
            }
            CHECK(remove(full) == 0, "%s", full);
            write_file(paths[i], good);
        }
    }
    CHECK(sample_tree().battery_level > .9, "all is good again");
    end_machine();
}

typedef struct writer {
    rbe__mutex *mutex;
    int ending;
} writer;

/* Files that change, are cut and go while they are read. */
static void keep_changing(void *context)
{
    writer *w = context;
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, BAT "energy_now");
    for (int i = 0;; i++) {
        rbe__mutex_lock(w->mutex);
        const int ending = w->ending;
        rbe__mutex_unlock(w->mutex);
        if (ending) {
            return;
        }
        FILE *file = i % 3 ? fopen(full, "w") : NULL;
        if (file) {
            fputs(i % 2 ? "20000000\n" : "2000000000000000000000000000000", file);
            fclose(file);
        } else {
            (void)remove(full);
        }
    }
}

static void test_changing_files(void)
{
    begin_tree("laptop_energy");
    writer w = {.mutex = rbe__mutex_create()};
    rbe__thread *thread = rbe__thread_start(keep_changing, &w);
    rbe_power *power = open_tree();
    for (int i = 0; i < 300; i++) {
        const rbe_power_sample got = sample_of(power);
        check_plausible("changing", &got);
    }
    rbe__mutex_lock(w.mutex);
    w.ending = 1;
    rbe__mutex_unlock(w.mutex);
    rbe__thread_join(thread);
    rbe__mutex_free(w.mutex);
    rbe_power_close(power);
    end_machine();
}

int main(void)
{
    test_trees();
    test_nothing_is_unknown();
    test_spellings_of_batteries();
    test_several_batteries();
    test_temperatures();
    test_spoiled_files();
    test_changing_files();
    return check_finish();
}
