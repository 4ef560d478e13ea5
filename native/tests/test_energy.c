/* Energy of machines that are trees of files, by a clock of the test; test_rapl.c has those with RAPL. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include <math.h>
#include <stdint.h>
#include <unistd.h>

#include "energy_of_trees.h"
#include "power/meter.h"

/* The first source whose name begins so; index RBE_MOST_SOURCES where there is none. */
static rbe_energy source_of(rbe_power *power, const char *name)
{
    rbe_energy energy = {.struct_bytes = sizeof energy};
    for (uint32_t i = 0; rbe_energy_source(power, i, &energy) == RBE_OK; i++) {
        if (strncmp(energy.source, name, strlen(name)) == 0) {
            return energy;
        }
    }
    return (rbe_energy){.index = RBE_MOST_SOURCES};
}

static void test_sources_of_trees(void)
{
    static const struct {
        const char *tree, *source, *covers, *missing;
        uint32_t readable, n;
    } cases[] = {
        {"laptop_energy", "RAPL package-0", "package", "memory", 1, 3},
        {"laptop_energy", "RAPL psys", "whole machine", "screen", 1, 3},
        {"laptop_energy", "battery discharge", "whole machine", "half a minute", 1, 3},
        {"laptop_charge", "battery discharge", "whole machine", "half a minute", 1, 1},
        {"pi5", "PMIC of Raspberry Pi, 12 rails", "board", "rbe_power_start", 0, 1},
        {"orange_pi_ina3221", "hwmon ina3221 VDD_5V_IN", "board", "rbe_power_start", 0, 1},
        {"phone", "battery discharge", "whole machine", "how much energy", 0, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin_tree(cases[i].tree);
        rbe_power *power = open_tree();
        const rbe_energy got = source_of(power, cases[i].source);
        rbe_energy behind = {.struct_bytes = sizeof behind};
        CHECK(strcmp(got.source, cases[i].source) == 0 && strcmp(got.covers, cases[i].covers) == 0, "%s: `%s` covers `%s`", cases[i].tree,
              got.source, got.covers);
        CHECK(got.readable == cases[i].readable && isnan(got.joules) == !got.readable, "%s, %s: %u, %g J", cases[i].tree, got.source,
              got.readable, got.joules);
        CHECK(strstr(got.missing, cases[i].missing), "%s, %s: %s", cases[i].tree, got.source, got.missing);
        CHECK(rbe_energy_source(power, cases[i].n, &behind) == RBE_ERROR_ARGUMENT &&
                  rbe_energy_source(power, cases[i].n - 1, &behind) == RBE_OK,
              "%s", cases[i].tree);
        rbe_power_close(power);
        end_machine();
    }
    begin_tree("laptop_energy");
    rbe_power *power = open_tree();
    CHECK(strcmp(energy_of(power).source, "RAPL psys") == 0, "the widest, and of these the finest: %s", energy_of(power).source);
    CHECK(near(energy_of(power).resolution_j, 61.035e-6, 1e-4), "%g J", energy_of(power).resolution_j);
    rbe_power_close(power);
    end_machine();
    begin_tree("pi4");
    power = open_tree();
    const rbe_energy none = energy_of(power);
    CHECK(!none.readable && !none.source[0] && isnan(none.joules) && strstr(none.missing, "nothing here measures"), "%s", none.missing);
    rbe_power_close(power);
    end_machine();
}

/* Watts that rise from 2 to 6 within 40 s are 4 W on average; rails of a chip without an input are added. */
static void test_watts_are_integrated(void)
{
    static rbe__meter meter;
    static rbe__firmware firmware;
    rbe_energy energy;
    uint64_t now = SECOND;
    begin_tree(NULL);
    write_file("sys/class/hwmon/hwmon7/name", "ina226\n");
    write_file("sys/class/hwmon/hwmon7/power1_input", "2000000\n");
    rbe__meter_find(root, &firmware, now, &meter);
    rbe__meter_give(&meter, now, &energy);
    CHECK(!energy.readable && strstr(energy.missing, "rbe_power_start"), "%s", energy.missing);
    rbe__meter_pace(&meter, 10);
    for (int i = 0; i <= 400; i++, now += SECOND / 10) {
        write_number("sys/class/hwmon/hwmon7/power1_input", 2e6 + i * 1e4);
        const uint64_t next = rbe__meter_tick(&meter, now);
        CHECK(next > now && next <= now + SECOND / 10, "next %g", (double)(next - now) * 1e-9);
    }
    energy = meter.sources[0].about;
    CHECK(energy.readable && near(energy.joules, 160, 1e-9) && near(energy.seconds, 40, 1e-9), "%g J in %g s", energy.joules,
          energy.seconds);
    CHECK(strcmp(energy.source, "hwmon ina226") == 0 && strcmp(energy.covers, "board") == 0, "%s: %s", energy.source, energy.covers);
    now += 30 * SECOND; /* asleep */
    (void)rbe__meter_tick(&meter, now);
    CHECK(near(meter.sources[0].about.seconds, 40, 1e-9), "%g s", meter.sources[0].about.seconds);
    write_number("sys/class/hwmon/hwmon7/power1_input", -3e6);
    rbe__meter_give(&meter, now + SECOND, &energy);
    CHECK(!energy.readable && strstr(energy.missing, "-3 W"), "%s", energy.missing);
    end_machine();
}

/* The firmware's rails, and an INA3221, whose first channel is the input. */
static void test_boards(void)
{
    static rbe__meter meter;
    static rbe__firmware firmware;
    static const struct {
        const char *tree;
        double watts;
    } cases[] = {
        {"pi5", .06245952 * 3.306322 + .1610285 * 1.798289 + .00780744 * 1.102929 + .1756674 * 1.104394 + .3279125 * .8025633 +
                    10.87674 * .8974594 + .0003663 * 3.304942 + .00042735 * 3.302194 + .00579975 * .7973619 + .0136752 * 5.07056},
        {"orange_pi_ina3221", 5.072 * 1.24},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t now = SECOND;
        begin_tree(cases[i].tree);
        rbe__firmware_find(root, NULL, firmware_program[0] ? firmware_program : NULL, &firmware);
        rbe__meter_find(root, &firmware, now, &meter);
        rbe__meter_pace(&meter, 10);
        for (int k = 0; k < 30; k++, now += SECOND / 10) {
            (void)rbe__meter_tick(&meter, now); /* of a program one a second */
        }
        const rbe_energy energy = meter.sources[0].about;
        CHECK(meter.n == 1 && energy.readable && energy.seconds >= 1.9, "%s: %s, %g s", cases[i].tree, energy.missing, energy.seconds);
        CHECK(near(energy.joules / energy.seconds, cases[i].watts, 1e-6), "%s: %g W, not %g", cases[i].tree, energy.joules / energy.seconds,
              cases[i].watts);
        end_machine();
    }
    uint32_t n;
    CHECK(isnan(rbe__firmware_rails("EXT5V_V volt(24)=5.1V\nX_A current(1)=1.0A\n", &n)) && n == 0, "no pair");
    CHECK(isnan(rbe__firmware_rails("X_A current(1)=\nX_A current(\nX_V volt(1)=1e9V\n_A current(1)=1A", &n)), "torn");
    CHECK(near(rbe__firmware_rails("X_A current(1)=2.0A\nX_V volt(9)=3.5V\nX_V volt(9)=", &n), 7, 1e-9) && n == 1, "one pair");
}

static void test_battery_discharge(void)
{
    static rbe__meter meter;
    static rbe__firmware firmware;
    rbe_energy energy;
    uint64_t now = SECOND;
    const double start = 65440000;
    begin_tree("laptop_energy");
    write_file(PACKAGE "1/name", "core\n");
    write_file(PACKAGE "0/name", "core\n"); /* no RAPL here */
    rbe__meter_find(root, &firmware, now, &meter);
    rbe__meter_give(&meter, now, &energy);
    CHECK(energy.readable && near(energy.resolution_j, 36, 1e-9), "%g J: counted in 10 mWh", energy.resolution_j);
    for (int i = 1; i <= 120; i++) { /* 9 W by a gauge that follows every 30 s, in steps of 30 mWh at least */
        now += 10 * SECOND;
        write_number("sys/class/power_supply/BAT0/energy_now", start - floor(i / 3) * 75000);
        rbe__meter_give(&meter, now, &energy);
    }
    CHECK(energy.readable && near(energy.joules, 9 * 1200, 1e-9) && near(energy.seconds, 1200, 1e-9), "%g J in %g s", energy.joules,
          energy.seconds);
    CHECK(near(energy.resolution_j, 270, 1e-9), "%g J", energy.resolution_j);
    write_file("sys/class/power_supply/BAT0/status", "Charging\n");
    rbe__meter_give(&meter, now + SECOND, &energy);
    CHECK(!energy.readable && strstr(energy.missing, "not discharging"), "%s", energy.missing);
    end_machine();
}

static void test_fed_energy(void)
{
    static rbe__meter meter;
    static rbe__firmware firmware;
    rbe_energy energy;
    begin_tree(NULL);
    rbe__meter_find(root, &firmware, SECOND, &meter);
    rbe__meter_feed(&meter, 5000, 10 * SECOND);
    rbe__meter_feed(&meter, 5100, 20 * SECOND);
    rbe__meter_feed(&meter, 5050, 15 * SECOND); /* out of order */
    rbe__meter_give(&meter, 21 * SECOND, &energy);
    CHECK(energy.readable && energy.joules == 100 && energy.seconds == 10 && strcmp(energy.covers, "rails") == 0, "%g J", energy.joules);
    rbe__meter_feed(&meter, 3, 30 * SECOND); /* they began again */
    rbe__meter_feed(&meter, 10, 40 * SECOND);
    rbe__meter_give(&meter, 41 * SECOND, &energy);
    CHECK(energy.joules == 107 && energy.seconds == 20, "%g J in %g s", energy.joules, energy.seconds);
    rbe__meter_give(&meter, 101 * SECOND, &energy);
    CHECK(!energy.readable && strstr(energy.missing, "a minute"), "%s", energy.missing);
    end_machine();
}

static void test_arguments(void)
{
    rbe_energy energy = {0};
    begin_tree("phone");
    rbe_power *power = open_tree();
    CHECK(rbe_energy_read(NULL, &energy) == RBE_ERROR_ARGUMENT && rbe_energy_read(power, &energy) == RBE_ERROR_ARGUMENT, "struct_bytes");
    CHECK(rbe_energy_source(power, 0, NULL) == RBE_ERROR_ARGUMENT && rbe_energy_source(NULL, 0, &energy) == RBE_ERROR_ARGUMENT, "NULL");
    CHECK(rbe_power_start(power, NAN) == RBE_ERROR_ARGUMENT && rbe_power_start(power, 1000) == RBE_ERROR_ARGUMENT &&
              rbe_power_start(NULL, 1) == RBE_ERROR_ARGUMENT,
          "hz");
    CHECK(rbe_power_start(power, 100) == RBE_OK, "%s", rbe_last_error()); /* and closed at once */
    rbe_power_close(power);
    end_machine();
}

int main(void)
{
    test_sources_of_trees();
    test_watts_are_integrated();
    test_boards();
    test_battery_discharge();
    test_fed_energy();
    test_arguments();
    return check_finish();
}
