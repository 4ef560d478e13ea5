/* Sensors beside files: the firmware of a Raspberry Pi, what a program feeds; counters that grow; wrong arguments. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include <math.h>
#include <stdint.h>

#include "platform/platform.h"
#include "platform/system_files.h"
#include "platform/threads.h"
#include "trees.h"

static int same(double a, double b)
{
    return isnan(b) ? isnan(a) : fabs(a - b) <= 1e-6 * fmax(1, fabs(b));
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
    rbe_power_close(power);
    rbe_power_close(NULL);
}

/* Two threads that read and feed, beside the library's own. */
typedef struct user {
    rbe_power *power;
    int failures;
} user;

static void use(void *context)
{
    user *one = context;
    for (int i = 0; i < 40; i++) {
        rbe_power_sample sample = {.struct_bytes = sizeof sample};
        rbe_energy energy = {.struct_bytes = sizeof energy};
        one->failures += rbe_power_feed(one->power, RBE_FEED_BATTERY_LEVEL, i / 40., 0) != RBE_OK;
        one->failures += rbe_power_feed(one->power, RBE_FEED_ENERGY_J, i, 0) != RBE_OK;
        one->failures += rbe_power_read(one->power, &sample) != RBE_OK || !(sample.battery_level <= 1);
        one->failures += rbe_energy_read(one->power, &energy) != RBE_OK || rbe_energy_source(one->power, 0, &energy) != RBE_OK;
    }
}

static void test_many_threads(void)
{
    begin_tree("laptop_energy");
    user users[2] = {{.power = open_tree()}};
    users[1] = users[0];
    CHECK(rbe_power_start(users[0].power, 100) == RBE_OK, "%s", rbe_last_error());
    rbe__thread *threads[2] = {rbe__thread_start(use, &users[0]), rbe__thread_start(use, &users[1])};
    for (int i = 0; i < 2; i++) {
        CHECK(threads[i] != NULL, "no thread");
        if (threads[i]) {
            rbe__thread_join(threads[i]);
        }
        CHECK(users[i].failures == 0, "thread %d: %d failures", i, users[i].failures);
    }
    rbe_power_close(users[0].power);
    end_machine();
}

int main(void)
{
    test_throttle_counters();
    test_firmware();
    test_feeding();
    test_many_threads();
    test_arguments();
    return check_finish();
}
