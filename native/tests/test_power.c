/* Sensors of machines that are trees of files: what is read of real ones, and of files that lie. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include <math.h>
#include <stdint.h>
#include <unistd.h>

#include "platform/platform.h"
#include "platform/system_files.h"
#include "platform/threads.h"
#include "trees.h"

#define BAT "sys/class/power_supply/BAT0/"

static int same(double a, double b)
{
    return isnan(b) ? isnan(a) : fabs(a - b) <= 1e-6 * fmax(1, fabs(b));
}

static void test_trees(void)
{
    static const struct {
        const char *tree;
        rbe_power_sample sample;
    } cases[] = {
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
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const rbe_power_sample *want = &cases[i].sample;
        const char *tree = cases[i].tree;
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

static void test_throttle_counters(void)
{
    begin_tree("laptop_energy");
    rbe_power *power = open_tree();
    CHECK(sample_of(power).throttled == RBE_NO, "17 times since the start, not now");
    write_file("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "18\n");
    rbe_power_sample got = sample_of(power);
    CHECK(got.throttled == RBE_YES && strstr(got.throttled_by, "counters"), "%u %s", got.throttled, got.throttled_by);
    CHECK(sample_of(power).throttled == RBE_YES, "a moment ago is now");
    rbe_power_close(power);
    end_machine();
}

static void test_firmware(void)
{
    static const struct {
        const char *answer;
        rbe_known throttled;
    } cases[] = {{"throttled=0x0\n", RBE_NO},
                 {"throttled=0x50000\n", RBE_NO},
                 {"throttled=0xf\n", RBE_YES},
                 {"throttled=\n", RBE_UNKNOWN},
                 {"error=2 error_msg=\"x\"\n", RBE_UNKNOWN},
                 {"throttled=0xfffffffff\n", RBE_UNKNOWN},
                 {"", RBE_UNKNOWN}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin_tree("pi4");
        write_file("vcgencmd/get_throttled", cases[i].answer);
        CHECK(sample_tree().throttled == (uint32_t)cases[i].throttled, "%s", cases[i].answer);
        end_machine();
    }
    char text[64];
    begin_tree("pi4");
    const uint64_t began = rbe__nanoseconds();
    write_file("answer", "#!/bin/sh\nexec /bin/sleep 20\n");
    CHECK(!rbe__program_ask(firmware_program, "get_throttled", 100, text, sizeof text) && !text[0], "a program that hangs");
    CHECK(rbe__nanoseconds() - began < 10000000000u, "it was killed");
    write_file("answer", "#!/bin/sh\nwhile :; do echo 0123456789; done\n");
    CHECK(!rbe__program_ask(firmware_program, "x", 2000, text, sizeof text), "a program that never ends to print");
    write_file("answer", "#!/bin/sh\necho throttled=0x0\nexit 1\n");
    CHECK(!rbe__program_ask(firmware_program, "x", 2000, text, sizeof text), "a program that fails");
    write_file("answer", "#!/bin/sh\necho \"$1\"\n");
    CHECK(rbe__program_ask(firmware_program, "get_throttled", 5000, text, sizeof text) && strcmp(text, "get_throttled\n") == 0, "%s", text);
    CHECK(!rbe__program_ask("/nowhere/vcgencmd", "x", 100, text, sizeof text), "a program that is not there");
    CHECK(!rbe__firmware_ask(firmware_program, "get_throttled", text, sizeof text), "a device that is a file");
    CHECK(!rbe__firmware_ask("/dev/null", "get_throttled", text, sizeof text), "another device");
    end_machine();
}

static void test_feeding(void)
{
    begin_tree("phone");
    rbe_power *power = open_tree();
    const uint64_t now = rbe__nanoseconds();
    static const struct {
        uint32_t kind;
        double value;
    } wrong[] = {{RBE_FEED_BATTERY_LEVEL, 1.01}, {RBE_FEED_BATTERY_LEVEL, NAN},  {RBE_FEED_CHARGING, -1}, {RBE_FEED_THERMAL_STATUS, 7},
                 {RBE_FEED_ENERGY_J, -1},        {RBE_FEED_VOLTAGE_V, INFINITY}, {RBE_FEED_KINDS, 0}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK(rbe_power_feed(power, wrong[i].kind, wrong[i].value, 0) == RBE_ERROR_ARGUMENT, "%u %g", wrong[i].kind, wrong[i].value);
    }
    CHECK(rbe_power_feed(power, RBE_FEED_CHARGING, 0, now + 5000000000u) == RBE_ERROR_ARGUMENT, "tomorrow");
    CHECK(rbe_power_feed(power, RBE_FEED_BATTERY_LEVEL, .42, 0) == RBE_OK && rbe_power_feed(power, RBE_FEED_CHARGING, 0, now) == RBE_OK &&
              rbe_power_feed(power, RBE_FEED_CURRENT_A, .5, now) == RBE_OK && rbe_power_feed(power, RBE_FEED_VOLTAGE_V, 4, now) == RBE_OK &&
              rbe_power_feed(power, RBE_FEED_THERMAL_STATUS, 2, now) == RBE_OK &&
              rbe_power_feed(power, RBE_FEED_TEMPERATURE_C, 77, now) == RBE_OK,
          "%s", rbe_last_error());
    rbe_power_sample got = sample_of(power);
    CHECK(same(got.battery_level, .42) && got.charging == RBE_NO && same(got.power_w, 2) && same(got.temperature_c, 77), "%g %u %g %g",
          got.battery_level, got.charging, got.power_w, got.temperature_c);
    CHECK(got.throttled == RBE_YES && strcmp(got.throttled_by, "Android: thermal status 2") == 0, "%s", got.throttled_by);
    rbe_power_close(power);
    power = open_tree();
    if (now > 61000000000u) { /* else the machine has not run for a minute yet */
        CHECK(rbe_power_feed(power, RBE_FEED_BATTERY_LEVEL, .42, now - 61000000000u) == RBE_OK, "%s", rbe_last_error());
        got = sample_of(power);
        CHECK(same(got.battery_level, .61), "a minute old: %g", got.battery_level);
    }
    rbe_power_close(power);
    end_machine();
}

static void test_arguments(void)
{
    char path[400];
    rbe_power *power = NULL;
    rbe_power_sample sample = {0};
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = 0;
    const rbe_power_options long_root = {.struct_bytes = sizeof long_root, .root = path}, wrong = {.struct_bytes = 3};
    CHECK(rbe_power_open(&long_root, &power) == RBE_ERROR_ARGUMENT && !power, "%s", rbe_last_error());
    CHECK(rbe_power_open(&wrong, &power) == RBE_ERROR_ARGUMENT && rbe_power_open(NULL, NULL) == RBE_ERROR_ARGUMENT, "%s", rbe_last_error());
    CHECK(rbe_power_open(NULL, &power) == RBE_OK, "this machine: %s", rbe_last_error());
    CHECK(rbe_power_read(power, &sample) == RBE_ERROR_ARGUMENT && rbe_power_read(NULL, &sample) == RBE_ERROR_ARGUMENT, "struct_bytes");
    sample.struct_bytes = sizeof sample;
    CHECK(rbe_power_read(power, &sample) == RBE_OK && sample.time_ns > 0, "%s", rbe_last_error());
    check_plausible("this machine", &sample);
    rbe_power_close(power);
    rbe_power_close(NULL);
}

int main(void)
{
    test_trees();
    test_nothing_is_unknown();
    test_spellings_of_batteries();
    test_several_batteries();
    test_spoiled_files();
    test_changing_files();
    test_throttle_counters();
    test_firmware();
    test_feeding();
    test_arguments();
    return check_finish();
}
