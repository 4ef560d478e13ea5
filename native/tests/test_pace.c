/* Waits between tokens and threads for a rate, on machines that are made of a few numbers. */
#include <math.h>

#include "check.h"
#include "governor/pace.h"
#include "governor/thread_pace.h"

/* A processor: watts at work and at rest, seconds that a token takes, and how it heats up. */
typedef struct machine {
    double active_w, idle_w, token_s;
    double degrees_per_w, cooling_s; /* where it ends at a power, and how fast it gets there */
    double seconds, joules, celsius;
    int measures; /* 1: joules are known */
} machine;

static void pass_time(machine *m, double seconds, double watts)
{
    const double end = 25 + watts * m->degrees_per_w;
    m->joules += seconds * watts;
    m->seconds += seconds;
    m->celsius = end + (m->celsius - end) * exp(-seconds / m->cooling_s);
}

/* One token and what is waited behind it, which is returned. */
static double step(machine *m, const rbe__pace_goal *goal, rbe__pace_state *state)
{
    double waited = 0;
    pass_time(m, m->token_s, m->active_w);
    for (int again = 0;; again = 1) {
        const rbe__pace_reading reading = {m->seconds, m->measures ? m->joules : NAN, m->celsius};
        const double pause = rbe__pace_pause(goal, &reading, again, state);
        CHECK(pause >= 0 && pause <= RBE__LONGEST_PAUSE, "%g s", pause);
        if (pause == 0) {
            CHECK(waited <= RBE__LONGEST_PAUSE * 1.001, "%g s in all", waited);
            return waited;
        }
        pass_time(m, pause, m->idle_w);
        waited += pause;
    }
}

static const machine laptop = {
    .active_w = 8, .idle_w = 2, .token_s = 0.05, .degrees_per_w = 8, .cooling_s = 20, .celsius = 40, .measures = 1};

static void check_power(double watts, double expected_w)
{
    machine m = laptop;
    const rbe__pace_goal goal = {.watts = watts};
    rbe__pace_state state = {0};
    while (m.seconds < 60) {
        step(&m, &goal, &state);
    }
    const double joules = m.joules, seconds = m.seconds;
    while (m.seconds < 180) {
        step(&m, &goal, &state);
    }
    const double average = (m.joules - joules) / (m.seconds - seconds);
    CHECK(fabs(average - expected_w) < 0.01 * expected_w, "%g W asked for: %g", watts, average);
}

/* A rest earns two seconds of the power and no more. */
static void check_credit(void)
{
    machine m = laptop;
    const rbe__pace_goal goal = {.watts = 4};
    rbe__pace_state state = {0};
    double first = 0;
    step(&m, &goal, &state);
    CHECK(step(&m, &goal, &state) == 0, "an answer begins without a wait");
    pass_time(&m, 1000, m.idle_w);
    const double begin = m.seconds;
    while (step(&m, &goal, &state) == 0) {
        first = m.seconds - begin;
    }
    CHECK(first > 0.5 * 2 * 4 / (8 - 4) && first < 1.1 * 2 * 4 / (8 - 4), "%g s at full power behind a rest", first);
}

static void check_rate(double tokens_per_s, double expected)
{
    machine m = laptop;
    const rbe__pace_goal goal = {.tokens_per_s = tokens_per_s};
    rbe__pace_state state = {0};
    step(&m, &goal, &state);
    const double begin = m.seconds;
    for (int i = 0; i < 200; i++) {
        step(&m, &goal, &state);
    }
    const double rate = 200 / (m.seconds - begin);
    CHECK(fabs(rate - expected) < 0.01 * expected, "%g tokens/s asked for: %g", tokens_per_s, rate);
}

static void check_heat(double celsius, double least, double most)
{
    machine m = laptop;
    m.measures = 0;
    const rbe__pace_goal goal = {.celsius = celsius};
    rbe__pace_state state = {0};
    double coolest = 200, hottest = 0;
    while (m.seconds < 900) {
        step(&m, &goal, &state);
        coolest = m.seconds > 300 && m.celsius < coolest ? m.celsius : coolest;
        hottest = m.seconds > 300 && m.celsius > hottest ? m.celsius : hottest;
    }
    CHECK(coolest >= least && hottest <= most, "%g C asked for: %g to %g", celsius, coolest, hottest);
    rbe__pace_forget(&state);
    CHECK(state.started == 0 && (state.heat_pause > 0) == (celsius < 80), "a rest does not cool what was learned");
}

static void check_what_is_not_measured(void)
{
    machine m = laptop;
    m.measures = 0;
    m.celsius = NAN;
    const rbe__pace_goal goal = {.watts = 1, .celsius = 30};
    rbe__pace_state state = {0};
    for (int i = 0; i < 50; i++) {
        CHECK(step(&m, &goal, &state) == 0, "nothing is held that is not measured");
    }
    m = laptop;
    state = (rbe__pace_state){0};
    step(&m, &goal, &state);
    m.joules = 0; /* a counter that began anew */
    CHECK(step(&m, &(rbe__pace_goal){.watts = 4}, &state) == 0 && state.began_j == m.joules, "counts from there");
}

/* Tokens take token_s[n - 1] with n threads: how many are found, and in how many tokens. */
static void check_threads(double tokens_per_s, uint32_t expected)
{
    static const double token_s[] = {0.2, 0.11, 0.08, 0.07};
    rbe__thread_pace pace = {0};
    uint32_t n = rbe__thread_pace_next(&pace, tokens_per_s, 0, 4), changes = 0;
    CHECK(n == 1, "begins with one");
    for (int i = 0; i < 200; i++) {
        const uint32_t next = rbe__thread_pace_next(&pace, tokens_per_s, token_s[n - 1], 4);
        CHECK(next == n || (next == n + 1 && i < 40), "from %u to %u at token %d", n, next, i);
        changes += next != n;
        n = next;
    }
    CHECK(n == expected && changes == n - 1, "%g tokens/s: %u threads behind %u changes", tokens_per_s, n, changes);
    CHECK(rbe__thread_pace_next(&pace, tokens_per_s, 0.1, 0) == 1, "fewer threads than before");
}

int main(void)
{
    check_power(4, 4);
    check_power(7.5, 7.5);
    check_power(20, 8); /* more than it takes */
    check_power(1, (0.05 * 8 + 2 * 2) / 2.05); /* less than it takes at rest: the longest waits */
    check_credit();
    check_rate(5, 5);
    check_rate(100, 20); /* faster than it is */
    check_rate(0.1, 1 / 2.05); /* slower than the longest wait allows */
    check_heat(60, 57, 63);
    check_heat(75, 72, 78);
    check_heat(100, 80, 90); /* hotter than it gets */
    check_what_is_not_measured();
    check_threads(4, 1);
    check_threads(9, 2);
    check_threads(12, 3);
    check_threads(50, 4);
    return check_finish();
}
