/* Processor time of a decision of the policy, of a sample and of a reading of energy (docs/power.md):
 *     bench_power [ROOT]
 * ROOT: of a machine's files, "" for this one's. Prints seconds of each, in this order: the best of some rounds. tools/power_cost.py calls it. */
#include <stdio.h>
#include <time.h>

#include "rbe/power.h"

enum { ROUNDS = 7, DECISIONS = 200000, READINGS = 300 };

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* A day: the battery falls, it gets warm, sometimes something throttles. */
static void decide(rbe_power *power, int i, rbe_policy_state *state)
{
    const rbe_power_sample sample = {.struct_bytes = sizeof sample,
                                     .time_ns = 1 + (uint64_t)i * 1000000000u,
                                     .battery_level = 1 - (double)i / DECISIONS,
                                     .battery = RBE_YES,
                                     .charging = RBE_NO,
                                     .temperature_c = 40 + i % 50,
                                     .throttled = i % 1000 == 0 ? RBE_YES : RBE_NO};
    rbe_policy_decision decision = {.struct_bytes = sizeof decision};
    (void)power;
    (void)rbe_policy_decide(NULL, &sample, state, &decision);
}

static void sample(rbe_power *power, int i, rbe_policy_state *state)
{
    rbe_power_sample out = {.struct_bytes = sizeof out};
    (void)i, (void)state;
    (void)rbe_power_read(power, &out);
}

static void read_energy(rbe_power *power, int i, rbe_policy_state *state)
{
    rbe_energy out = {.struct_bytes = sizeof out};
    (void)i, (void)state;
    (void)rbe_energy_read(power, &out);
}

static double best(void (*work)(rbe_power *, int, rbe_policy_state *), int n, rbe_power *power)
{
    double least = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        rbe_policy_state state = {0};
        const double began = seconds();
        for (int i = 0; i < n; i++) {
            work(power, i, &state);
        }
        const double each = (seconds() - began) / n;
        least = each < least ? each : least;
    }
    return least;
}

int main(int argc, char **argv)
{
    const rbe_power_options options = {.struct_bytes = sizeof options, .root = argc > 1 ? argv[1] : ""};
    rbe_power *power = NULL;
    if (rbe_power_open(&options, &power) != RBE_OK || rbe_power_start(power, .1) != RBE_OK) {
        fprintf(stderr, "bench_power: %s\n", rbe_last_error());
        return 1;
    }
    printf("%.3e %.3e %.3e\n", best(decide, DECISIONS, power), best(sample, READINGS, power), best(read_energy, READINGS, power));
    rbe_power_close(power);
    return 0;
}
