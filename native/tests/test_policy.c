/* The policy: cases as a table, traces of a day, and its files. */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* nftw */
#endif
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "rbe/power.h"

#define SECOND 1000000000ull
#define P RBE_MODE_PERFORMANCE
#define B RBE_MODE_BALANCED
#define S RBE_MODE_SAVER
#define E RBE_MODE_EMERGENCY

static rbe_power_sample sample_at(double seconds, double percent, rbe_known charging, double celsius, rbe_known throttled)
{
    return (rbe_power_sample){.struct_bytes = sizeof(rbe_power_sample),
                              .time_ns = 1000 * SECOND + (uint64_t)(seconds * 1e9),
                              .battery_level = percent / 100,
                              .battery = isnan(percent) ? RBE_NO : RBE_YES,
                              .charging = charging,
                              .temperature_c = celsius,
                              .throttled = throttled};
}

static rbe_policy_decision decide(const rbe_policy *policy, const rbe_power_sample *sample, rbe_policy_state *state)
{
    rbe_policy_decision decision = {.struct_bytes = sizeof decision};
    CHECK(rbe_policy_decide(policy, sample, state, &decision) == RBE_OK, "%s", rbe_last_error());
    return decision;
}

static rbe_policy defaults(void)
{
    rbe_policy policy = {.struct_bytes = sizeof policy};
    CHECK(rbe_policy_defaults(&policy) == RBE_OK, "%s", rbe_last_error());
    return policy;
}

/* One sample and, where it has a second, another one a minute later: percent, charging, C, throttled. */
static void test_cases(void)
{
    static const struct {
        double percent;
        rbe_known charging;
        double celsius;
        rbe_known throttled;
        uint32_t mode;
        double percent_2;
        rbe_known charging_2;
        double celsius_2;
        rbe_known throttled_2;
        uint32_t mode_2;
        const char *reason;
    } cases[] = {
        {100, RBE_NO, 45, RBE_NO, P, 50.4, RBE_NO, 45, RBE_NO, P, "50 %, 45 C"},
        {51, RBE_NO, 45, RBE_NO, P, 50, RBE_NO, 45, RBE_NO, B, "50 %, 45 C"},
        {50, RBE_NO, NAN, RBE_UNKNOWN, B, 53, RBE_NO, NAN, RBE_UNKNOWN, B, "53 %"},
        {50, RBE_NO, NAN, RBE_UNKNOWN, B, 53.1, RBE_NO, NAN, RBE_UNKNOWN, P, "53 %"},
        {21, RBE_NO, 60, RBE_NO, B, 20, RBE_NO, 60, RBE_NO, S, "20 %, 60 C"},
        {20, RBE_NO, 60, RBE_NO, S, 23, RBE_NO, 60, RBE_NO, S, "23 %, 60 C"},
        {18, RBE_NO, 71, RBE_NO, S, 18, RBE_NO, 71, RBE_NO, S, "18 %, 71 C"},
        {6, RBE_NO, 40, RBE_NO, S, 5, RBE_NO, 40, RBE_NO, E, "5 %, 40 C"},
        {0, RBE_NO, 40, RBE_NO, E, 0, RBE_NO, 40, RBE_NO, E, "0 %, 40 C"},
        {5, RBE_NO, 40, RBE_NO, E, 90, RBE_NO, 40, RBE_NO, P, "90 %, 40 C"},
        {3, RBE_YES, 40, RBE_NO, P, 3, RBE_YES, 40, RBE_NO, P, "3 %, charging, 40 C"},
        {3, RBE_NO, 40, RBE_NO, E, 4, RBE_YES, 40, RBE_NO, E, "4 %, 40 C"}, /* a charger that was seen once */
        {60, RBE_NO, 80, RBE_NO, P, 60, RBE_NO, 80.1, RBE_NO, B, "60 %, 80 C"},
        {60, RBE_NO, 85, RBE_NO, B, 60, RBE_NO, 72, RBE_NO, B, "60 %, 72 C"},
        {60, RBE_NO, 85, RBE_NO, B, 60, RBE_NO, 71.9, RBE_NO, P, "60 %, 72 C"},
        {60, RBE_NO, 50, RBE_YES, B, 60, RBE_NO, 50, RBE_NO, P, "60 %, 50 C"},
        {60, RBE_NO, 50, RBE_NO, P, 60, RBE_NO, 50, RBE_YES, B, "60 %, 50 C, throttled"},
        {15, RBE_NO, 90, RBE_YES, E, 15, RBE_NO, 90, RBE_YES, E, "15 %, 90 C, throttled"},
        {2, RBE_NO, 90, RBE_YES, E, 2, RBE_NO, 90, RBE_YES, E, "2 %, 90 C, throttled"},
        {NAN, RBE_UNKNOWN, 50, RBE_NO, P, NAN, RBE_UNKNOWN, 85, RBE_NO, B, "no battery, 85 C"},
        {NAN, RBE_UNKNOWN, NAN, RBE_UNKNOWN, P, NAN, RBE_UNKNOWN, NAN, RBE_UNKNOWN, P, "no battery"},
        {60, RBE_NO, 85, RBE_NO, B, 60, RBE_NO, NAN, RBE_UNKNOWN, P, "60 %"}, /* nothing says any more that it is hot */
        {60, RBE_NO, -5, RBE_NO, P, 60, RBE_NO, -5, RBE_NO, P, "60 %, -5 C"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rbe_policy_state state = {0};
        const rbe_power_sample one = sample_at(0, cases[i].percent, cases[i].charging, cases[i].celsius, cases[i].throttled);
        const rbe_power_sample two = sample_at(60, cases[i].percent_2, cases[i].charging_2, cases[i].celsius_2, cases[i].throttled_2);
        const rbe_policy_decision first = decide(NULL, &one, &state);
        CHECK(first.mode == cases[i].mode && first.previous == first.mode && !first.switched, "case %zu: %s by %s", i,
              rbe_power_mode_name(first.mode), first.reason);
        const rbe_policy_decision second = decide(NULL, &two, &state);
        CHECK(second.mode == cases[i].mode_2 && second.previous == first.mode && second.switched == (first.mode != second.mode),
              "case %zu, then: %s by %s", i, rbe_power_mode_name(second.mode), second.reason);
        CHECK(strcmp(second.reason, cases[i].reason) == 0, "case %zu: `%s`", i, second.reason);
    }
}

static void test_unknown_level(void)
{
    rbe_policy_state state = {0};
    rbe_power_sample sample = sample_at(0, 15, RBE_NO, 40, RBE_NO);
    CHECK(decide(NULL, &sample, &state).mode == S, "15 %%");
    sample = sample_at(60, 15, RBE_UNKNOWN, 40, RBE_NO);
    const double wrong[] = {NAN, -1, 1.5, INFINITY};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sample.time_ns += 60 * SECOND;
        sample.battery_level = wrong[i];
        const rbe_policy_decision decision = decide(NULL, &sample, &state);
        CHECK(decision.mode == S && strcmp(decision.reason, "battery unknown, 40 C") == 0, "%g: %s", wrong[i], decision.reason);
    }
    rbe_policy_state fresh = {0};
    CHECK(decide(NULL, &sample, &fresh).mode == P, "nothing known of a battery");
    sample.time_ns = 5; /* time that goes back switches nothing and ends nothing */
    sample.battery_level = .9;
    CHECK(decide(NULL, &sample, &state).mode == S, "back in time");
}

static void test_override_wins(void)
{
    rbe_policy policy = defaults();
    rbe_policy_state state = {0};
    rbe_power_sample sample = sample_at(0, 3, RBE_NO, 95, RBE_YES);
    CHECK(decide(&policy, &sample, &state).mode == E, "3 %%");
    for (uint32_t mode = P; mode <= E; mode++) {
        policy.override_mode = 1 + mode;
        sample.time_ns += SECOND; /* no waiting */
        const rbe_policy_decision decision = decide(&policy, &sample, &state);
        CHECK(decision.mode == mode && strcmp(decision.reason, "override, 3 %, 95 C, throttled") == 0, "%u: %s", mode, decision.reason);
    }
    policy.override_mode = RBE_MODES + 1;
    rbe_policy_decision decision = {.struct_bytes = sizeof decision};
    CHECK(rbe_policy_decide(&policy, &sample, &state, &decision) == RBE_ERROR_ARGUMENT && strstr(rbe_last_error(), "override_mode"), "%s",
          rbe_last_error());
}

/* Switches of a trace that gives percent, charger and temperature by the second. */
typedef rbe_power_sample trace(int second);

static int count_switches(trace *at, int seconds, uint32_t *last, int *changes_up)
{
    rbe_policy_state state = {0};
    int switches = 0;
    *changes_up = 0;
    for (int i = 0; i < seconds; i++) {
        const rbe_power_sample sample = at(i);
        const rbe_policy_decision decision = decide(NULL, &sample, &state);
        switches += decision.switched != 0;
        *changes_up += decision.switched && decision.mode < decision.previous;
        *last = decision.mode;
    }
    return switches;
}

/* A gauge that trembles by a percent to either side. */
static double tremble(int second)
{
    return (double)((uint32_t)second * 2654435761u >> 24) / 128 - 1;
}

static rbe_power_sample falling(int second)
{
    return sample_at(second, fmax(0, 100 - second / 36. + tremble(second)), RBE_NO, 55, RBE_NO); /* an hour */
}

static rbe_power_sample rising(int second)
{
    return sample_at(second, fmin(100, second / 36. + fabs(tremble(second))), RBE_UNKNOWN, 55, RBE_NO);
}

static rbe_power_sample hot_day(int second)
{
    return sample_at(second, 90, RBE_NO, 40 + 45 * sin(second * 3.14159265 / 14400) + 3 * tremble(second), RBE_NO); /* 85 C at noon */
}

static rbe_power_sample flapping_charger(int second)
{
    return sample_at(second, 15, second / 3 % 2 ? RBE_YES : RBE_NO, 50, RBE_NO);
}

static rbe_power_sample slowly_flapping_charger(int second)
{
    return sample_at(second, 15, second / 600 % 2 ? RBE_YES : RBE_NO, 50, RBE_NO);
}

static rbe_power_sample flapping_throttle(int second)
{
    return sample_at(second, 90, RBE_NO, 79, second % 7 < 2 ? RBE_YES : RBE_NO);
}

static void test_traces(void)
{
    static const struct {
        const char *what;
        trace *at;
        int seconds, switches, up;
        uint32_t last;
    } cases[] = {
        {"100 % to 0 %", falling, 3600, 3, 0, E},
        {"0 % to 100 %", rising, 3600, 3, 3, P},
        {"a hot day", hot_day, 14400, 2, 1, P},
        {"a flapping charger", flapping_charger, 3600, 0, 0, S},
        {"a charger for ten minutes, six times", slowly_flapping_charger, 3600 * 2 + 300, 12, 6, S},
        {"throttled now and then", flapping_throttle, 3600, 0, 0, B},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t last;
        int up;
        const int switches = count_switches(cases[i].at, cases[i].seconds, &last, &up);
        const int expected = cases[i].switches;
        CHECK(switches == expected && up == cases[i].up && last == cases[i].last, "%s: %d switches, %d of them up, last %s", cases[i].what,
              switches, up, rbe_power_mode_name(last));
    }
}

static void test_emergency_waits_for_nothing(void)
{
    rbe_policy_state state = {0};
    rbe_power_sample sample = sample_at(0, 51, RBE_NO, 50, RBE_NO);
    CHECK(decide(NULL, &sample, &state).mode == P, "51 %%");
    sample = sample_at(1, 50, RBE_NO, 50, RBE_NO);
    CHECK(decide(NULL, &sample, &state).mode == B, "the first switch");
    sample = sample_at(2, 19, RBE_NO, 50, RBE_NO);
    CHECK(decide(NULL, &sample, &state).mode == B, "too soon for a second one");
    sample = sample_at(3, 4, RBE_NO, 50, RBE_NO);
    CHECK(decide(NULL, &sample, &state).mode == E, "but not for an emergency");
    sample = sample_at(4, 30, RBE_NO, 50, RBE_NO);
    CHECK(decide(NULL, &sample, &state).mode == E, "whose end waits");
    sample = sample_at(33, 30, RBE_NO, 50, RBE_NO);
    CHECK(decide(NULL, &sample, &state).mode == B, "half a minute");
}

static void test_arguments(void)
{
    rbe_policy policy = defaults();
    rbe_policy_state state = {0};
    rbe_policy_decision decision = {0};
    const rbe_power_sample sample = sample_at(0, 50, RBE_NO, 50, RBE_NO);
    CHECK(rbe_policy_decide(&policy, &sample, &state, &decision) == RBE_ERROR_ARGUMENT, "struct_bytes");
    decision.struct_bytes = sizeof decision;
    CHECK(rbe_policy_decide(&policy, NULL, &state, &decision) == RBE_ERROR_ARGUMENT, "no sample");
    CHECK(rbe_policy_decide(&policy, &sample, NULL, &decision) == RBE_ERROR_ARGUMENT, "no state");
    policy.hot = NAN;
    CHECK(rbe_policy_decide(&policy, &sample, &state, &decision) == RBE_ERROR_ARGUMENT && strstr(rbe_last_error(), "hot"), "%s",
          rbe_last_error());
    policy = defaults();
    policy.cool = policy.hot;
    CHECK(rbe_policy_decide(&policy, &sample, &state, &decision) == RBE_ERROR_ARGUMENT &&
              strstr(rbe_last_error(), "hot must be more than cool"),
          "%s", rbe_last_error());
    CHECK(rbe_power_mode_name(4)[0] == 0 && strcmp(rbe_power_mode_name(2), "saver") == 0, "names");
}

#if !defined(_WIN32)
#include "stand_in_files.h"

static const struct {
    const char *text, *error; /* NULL: it is good */
} files[] = {
    {"# nothing but the defaults\n", NULL},
    {"performance_above = 60\nbalanced_above=30\n\n  saver_above\t=\t10.5 # late\r\nhot = 75\ncool = 70\nmode = saver\n", NULL},
    {"mode = auto", NULL},
    {"hot = 75\nbrightness = 3\n", "line 2: there is no key brightness"},
    {"hysteresis = 20.5\n", "line 1: hysteresis is 20.5; it must be 0 to 20"},
    {"\n\nperformance_above = -1\n", "line 3: performance_above is -1; it must be 0 to 100"},
    {"saver_above = 25\n", "line 1: balanced_above (20) must be more than saver_above (25)"},
    {"balanced_above = 60\nperformance_above = 55\n", "line 2: performance_above (55) must be more than balanced_above (60)"},
    {"cool = 80\n", "line 1: hot (80) must be more than cool (80)"},
    {"hot = 75\nhot = 76\n", "line 2: a second time there is hot"},
    {"hot\n", "line 1: a line is KEY = VALUE, not hot"},
    {"hot = warm\n", "line 1: a number such as 50 or 2.5 is wanted, not warm"},
    {"hot = 7,5\n", "line 1: a number"},
    {"hot = 1e2\n", "line 1: a number"},
    {"hot = nan\n", "line 1: a number"},
    {"hot =\n", "line 1: a number"},
    {"hot = 99999999999999999999999999\n", "line 1: a number"},
    {"mode = turbo\n", "line 1: mode must be auto, performance, balanced, saver or emergency, not turbo"},
    {"\x1b[2J\x07 = 3\n", "line 1: there is no key ?[2J?"},
    {"= 3\n", "line 1: there is no key"},
};

static void test_files(void)
{
    char path[300];
    begin_machine();
    snprintf(path, sizeof path, "%s/policy.txt", root);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        rbe_policy policy = {.struct_bytes = sizeof policy, .hot = 1};
        write_file("policy.txt", files[i].text);
        const rbe_status status = rbe_policy_read(path, &policy);
        if (!files[i].error) {
            CHECK(status == RBE_OK && policy.hysteresis == 3, "case %zu: %s", i, rbe_last_error());
        } else {
            CHECK(status == RBE_ERROR_FORMAT && strstr(rbe_last_error(), files[i].error) && strstr(rbe_last_error(), path), "case %zu: %s",
                  i, rbe_last_error());
            CHECK(policy.hot == 1 && !strchr(rbe_last_error(), '\n'), "case %zu changes it", i);
        }
        if (i == 1) {
            CHECK(policy.performance_above == 60 && policy.balanced_above == 30 && policy.saver_above == 10.5 && policy.hot == 75 &&
                      policy.cool == 70 && policy.override_mode == 1 + S,
                  "%g %g %g", policy.performance_above, policy.balanced_above, policy.saver_above);
        }
    }
    rbe_policy policy = {.struct_bytes = sizeof policy};
    char *text = malloc(70001);
    memset(text, '\n', 70000);
    text[70000] = 0;
    write_file("policy.txt", text);
    CHECK(rbe_policy_read(path, &policy) == RBE_ERROR_FORMAT && strstr(rbe_last_error(), "too long"), "%s", rbe_last_error());
    free(text);
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite("hot = 75\0\n", 1, 10, file) == 10 && fclose(file) == 0, "%s", path);
    CHECK(rbe_policy_read(path, &policy) == RBE_ERROR_FORMAT && strstr(rbe_last_error(), "not text"), "%s", rbe_last_error());
    CHECK(rbe_policy_read(root, &policy) == RBE_ERROR_IO && rbe_policy_read("/nowhere", &policy) == RBE_ERROR_IO, "%s", rbe_last_error());
    CHECK(rbe_policy_read(NULL, &policy) == RBE_ERROR_ARGUMENT, "%s", rbe_last_error());
    end_machine();
}
#endif

int main(void)
{
    test_cases();
    test_unknown_level();
    test_override_wins();
    test_traces();
    test_emergency_waits_for_nothing();
    test_arguments();
#if !defined(_WIN32)
    test_files();
#endif
    return check_finish();
}
