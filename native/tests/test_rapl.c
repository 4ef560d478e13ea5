/* Energy by RAPL's counters, of trees of files: wrapping, gaps, lies, who may read them, and a power that is known. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

#include "energy_of_trees.h"
#include "platform/platform.h"
#include "platform/threads.h"

#define RANGE 262143328850.0 /* microjoules: 2^32 - 1 times 61.035, as Intel's processors have it */

/* At once, as a counter of the kernel changes, for a test that reads meanwhile. 0 where it fails; on any thread, unlike CHECK. */
static int replace_number(const char *path, double value)
{
    char full[300], beside[300];
    snprintf(full, sizeof full, "%s/%s", root, path);
    snprintf(beside, sizeof beside, "%s/beside", root);
    FILE *file = fopen(beside, "w");
    const int written = file && fprintf(file, "%.0f\n", value) > 0;
    return file && fclose(file) == 0 && written && rename(beside, full) == 0;
}

static void make_rapl(uint32_t n_packages, double start)
{
    for (uint32_t i = 0; i < n_packages; i++) {
        char path[96], name[32];
        snprintf(name, sizeof name, "package-%u\n", i);
        snprintf(path, sizeof path, PACKAGE "%u/name", i);
        write_file(path, name);
        snprintf(path, sizeof path, PACKAGE "%u/max_energy_range_uj", i);
        write_number(path, RANGE);
        snprintf(path, sizeof path, PACKAGE "%u/energy_uj", i);
        write_number(path, start);
    }
}

/* Two packages of 200 and 85 W, which wraps some twenty times; read every 22 s by a clock of the test. */
static void test_counters_wrap(void)
{
    const double watts[2] = {200, 85};
    double counters[2] = {RANGE - 1e6, RANGE - 1e6};
    static rbe__meter meter;
    static rbe__firmware firmware;
    rbe_energy energy;
    uint64_t now = SECOND;
    int wraps = 0;
    begin_tree(NULL);
    make_rapl(2, counters[0]);
    rbe__meter_find(root, &firmware, now, &meter);
    CHECK(meter.n == 1 && strcmp(meter.sources[0].about.source, "RAPL package-0,1") == 0, "%u, %s", meter.n, meter.sources[0].about.source);
    for (int i = 0; i < 1000; i++) {
        now += 22 * SECOND;
        for (int k = 0; k < 2; k++) {
            counters[k] += watts[k] * 22e6;
            wraps += counters[k] > RANGE;
            counters[k] -= counters[k] > RANGE ? RANGE : 0;
            write_number(k ? PACKAGE "1/energy_uj" : PACKAGE "0/energy_uj", counters[k]);
        }
        rbe__meter_give(&meter, now, &energy);
    }
    CHECK(wraps > 20 && energy.readable, "%d wraps", wraps);
    CHECK(near(energy.joules, 285 * 22 * 1000., 1e-6) && near(energy.seconds, 22 * 1000, 1e-9), "%.3f J in %.3f s", energy.joules,
          energy.seconds);
    now += 200 * SECOND; /* in which it may have wrapped: neither joules nor seconds of it */
    write_number(PACKAGE "0/energy_uj", 5);
    const double before = energy.joules, seconds = energy.seconds;
    rbe__meter_give(&meter, now, &energy);
    CHECK(energy.readable && energy.joules == before && energy.seconds == seconds, "a gap adds %g J, %g s", energy.joules - before,
          energy.seconds - seconds);
    now += SECOND;
    write_number(PACKAGE "0/energy_uj", 7000005);
    rbe__meter_give(&meter, now, &energy);
    CHECK(near(energy.joules - before, 7, 1e-6) && near(energy.seconds - seconds, 1, 1e-6), "behind the gap: %g J", energy.joules - before);
    end_machine();
}

static void test_counters_that_lie(void)
{
    static rbe__meter meter;
    static rbe__firmware firmware;
    rbe_energy energy;
    begin_tree(NULL);
    make_rapl(1, 1e9);
    rbe__meter_find(root, &firmware, SECOND, &meter);
    rbe__meter_give(&meter, 12 * SECOND, &energy);
    CHECK(!energy.readable && strstr(energy.missing, "does not advance: /sys/class/powercap/intel-rapl:0/energy_uj"), "%s", energy.missing);
    write_number(PACKAGE "0/energy_uj", 1e9 + 5e6);
    rbe__meter_give(&meter, 13 * SECOND, &energy);
    CHECK(energy.readable && near(energy.joules, 5, 1e-9), "it goes on: %g J", energy.joules);
    write_number(PACKAGE "0/energy_uj", 1e9 + 6e6); /* twice within one tick of a coarse clock: the joule is not lost */
    rbe__meter_give(&meter, 13 * SECOND, &energy);
    rbe__meter_give(&meter, 13 * SECOND + SECOND / 2, &energy);
    CHECK(near(energy.joules, 6, 1e-9), "%g J", energy.joules);
    write_number(PACKAGE "0/energy_uj", RANGE + 1);
    rbe__meter_give(&meter, 14 * SECOND, &energy);
    CHECK(!energy.readable && isnan(energy.joules) && strstr(energy.missing, "beyond its range"), "%s", energy.missing);
    write_file(PACKAGE "0/energy_uj", "many\n");
    rbe__meter_give(&meter, 15 * SECOND, &energy);
    CHECK(!energy.readable && strstr(energy.missing, "cannot be read"), "%s", energy.missing);
    end_machine();
    begin_tree(NULL);
    make_rapl(1, 9e9);
    write_file(PACKAGE "0/max_energy_range_uj", "0\n"); /* unknown: beginning again says nothing */
    rbe__meter_find(root, &firmware, SECOND, &meter);
    write_number(PACKAGE "0/energy_uj", 1e6);
    rbe__meter_give(&meter, 2 * SECOND, &energy);
    CHECK(energy.readable && energy.joules == 0 && energy.seconds == 0, "%g J in %g s", energy.joules, energy.seconds);
    end_machine();
}

static int open_directory(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)kind, (void)where;
    return S_ISDIR(info->st_mode) ? chmod(path, 0755) : 0;
}

static void test_needs_root(void)
{
    char full[300];
    const uid_t user = geteuid();
    begin_tree(NULL);
    make_rapl(1, 5e6);
    snprintf(full, sizeof full, "%s/" PACKAGE "0/energy_uj", root);
    CHECK(nftw(root, open_directory, 16, FTW_PHYS) == 0 && chmod(full, user == 0 ? 0400 : 0) == 0, "%s", full);
    if (user == 0 && seteuid(65534) != 0) {
        end_machine(); /* a container of one user: nothing is hidden from it */
        return;
    }
    rbe_power *power = open_tree();
    const rbe_energy energy = energy_of(power);
    CHECK(!energy.readable && strcmp(energy.missing, "needs root: /sys/class/powercap/intel-rapl:0/energy_uj") == 0, "%s", energy.missing);
    rbe_power_close(power);
    CHECK(user != 0 || seteuid(0) == 0, "root again");
    end_machine();
}

/* A counter that a thread moves by a known power, from just before its end on. */
typedef struct counter {
    rbe__mutex *mutex;
    int ending;
    int failures;
    double joules; /* the truth */
} counter;

#define FAKE_WATTS 25.0

static void advance(void *context)
{
    counter *c = context;
    const uint64_t began = rbe__nanoseconds();
    const double start = RANGE - 4e6;
    for (int ending = 0; !ending;) {
        rbe__mutex_lock(c->mutex);
        ending = c->ending;
        rbe__mutex_unlock(c->mutex);
        c->joules = FAKE_WATTS * (double)(rbe__nanoseconds() - began) * 1e-9;
        const double value = start + floor(c->joules * 1e6);
        c->failures += !replace_number(PACKAGE "0/energy_uj", value > RANGE ? value - RANGE : value);
        poll(NULL, 0, 1);
    }
}

/* Until the thread has used `joules`, read all the while. */
static void test_known_power(void)
{
    begin_tree(NULL);
    make_rapl(1, RANGE - 4e6);
    rbe_power *power = open_tree();
    counter c = {.mutex = rbe__mutex_create()};
    CHECK(rbe_power_start(power, 50) == RBE_OK && rbe_power_start(power, 0) == RBE_ERROR_ARGUMENT, "%s", rbe_last_error());
    rbe__thread *thread = rbe__thread_start(advance, &c);
    rbe_energy energy = energy_of(power);
    CHECK(thread != NULL, "no thread");
    const uint64_t patience = rbe__nanoseconds() + 120 * SECOND;
    while (thread && energy.joules < 12 && rbe__nanoseconds() < patience) { /* the counter wraps at 4 */
        poll(NULL, 0, 2);
        energy = energy_of(power);
        CHECK(energy.readable, "%s", energy.missing);
        if (!energy.readable) {
            break;
        }
    }
    rbe__mutex_lock(c.mutex);
    c.ending = 1;
    rbe__mutex_unlock(c.mutex);
    if (thread) {
        rbe__thread_join(thread);
    }
    energy = energy_of(power);
    CHECK(c.failures == 0, "%d times the counter could not be written", c.failures);
    CHECK(energy.readable && energy.joules > 12 && near(energy.joules, c.joules, .01), "%g J, in truth %g", energy.joules, c.joules);
    rbe__mutex_free(c.mutex);
    rbe_power_close(power);
    end_machine();
}

int main(void)
{
    test_counters_wrap();
    test_counters_that_lie();
    test_needs_root();
    test_known_power();
    return check_finish();
}
