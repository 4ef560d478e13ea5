/* Which mode a policy makes of a sample. Pure: no clock, no file. */
#include "power/policy.h"

#include <math.h>
#include <string.h>

const char *rbe_power_mode_name(uint32_t mode)
{
    static const char *const names[RBE_MODES] = {"performance", "balanced", "saver", "emergency"};
    return mode < RBE_MODES ? names[mode] : "";
}

const rbe_policy rbe__policy_defaults = {
    .struct_bytes = sizeof(rbe_policy),
    .performance_above = 50,
    .balanced_above = 20,
    .saver_above = 5,
    .hysteresis = 3,
    .hot = 80,
    .cool = 72,
    .least_seconds = 30,
    .charger_seconds = 10,
};

rbe_status rbe_policy_defaults(rbe_policy *out)
{
    return rbe__give_info("rbe_policy_defaults", out, &rbe__policy_defaults, sizeof rbe__policy_defaults);
}

/* Seconds from one time to a later one; 0 where it is not later. */
static double seconds_since(uint64_t then, uint64_t now)
{
    return now > then ? (double)(now - then) * 1e-9 : 0;
}

/* A charger counts once it has been there, or away, for a while. What is unknown changes nothing. */
static void follow_charger(const rbe_policy *policy, const rbe_power_sample *sample, rbe_policy_state *state)
{
    const uint32_t seen = sample->charging == RBE_YES || sample->charging == RBE_NO ? sample->charging : state->charger_seen;
    if (seen != state->charger_seen) {
        state->charger_seen = seen;
        state->charger_ns = sample->time_ns;
    }
    if (!state->started || state->charging == RBE_UNKNOWN || seconds_since(state->charger_ns, sample->time_ns) >= policy->charger_seconds) {
        state->charging = state->charger_seen;
    }
}

/* The mode of a level in percent: down at once, up only past the threshold and the hysteresis. */
static uint32_t mode_of_level(const rbe_policy *policy, double percent, uint32_t before, int started)
{
    const double thresholds[] = {policy->performance_above, policy->balanced_above, policy->saver_above};
    uint32_t mode = RBE_MODE_PERFORMANCE;
    while (mode < RBE_MODE_EMERGENCY) {
        const double least = thresholds[mode] + (started && mode < before ? policy->hysteresis : 0);
        if (percent > least || (percent >= 100 && least >= 100)) { /* a full battery is above everything */
            break;
        }
        mode++;
    }
    return mode;
}

/* 1 from `hot` or throttling on, until both have been gone for a while. */
static void follow_heat(const rbe_policy *policy, const rbe_power_sample *sample, rbe_policy_state *state)
{
    const double celsius = sample->temperature_c; /* NAN is neither above nor below */
    if (sample->throttled == RBE_YES || celsius > policy->hot || (state->hot && celsius >= policy->cool)) {
        state->hot = 1;
        state->hot_ns = sample->time_ns;
    } else if (state->hot && seconds_since(state->hot_ns, sample->time_ns) >= policy->least_seconds) {
        state->hot = 0;
    }
}

static size_t add_text(char *out, size_t capacity, size_t n, const char *text)
{
    if (n) {
        for (const char *at = ", "; *at && n + 1 < capacity; at++) {
            out[n++] = *at;
        }
    }
    for (; *text && n + 1 < capacity; text++) {
        out[n++] = *text;
    }
    out[n] = 0;
    return n;
}

/* A whole number with a unit; by hand, for snprintf takes longer than the whole decision. */
static size_t add_number(char *out, size_t capacity, size_t n, double number, const char *unit)
{
    char digits[24], *at = digits + sizeof digits - 8;
    const int negative = number < 0;
    uint32_t whole = (uint32_t)fmin(fabs(number) + .5, 1e9);
    memcpy(at, unit, strlen(unit) + 1); /* at most 7 bytes */
    do {
        *--at = (char)('0' + whole % 10);
        whole /= 10;
    } while (whole);
    if (negative) {
        *--at = '-';
    }
    return add_text(out, capacity, n, at);
}

static void explain(const rbe_policy *policy, const rbe_power_sample *sample, const rbe_policy_state *state, char *out, size_t capacity)
{
    size_t n = 0;
    if (policy->override_mode) {
        n = add_text(out, capacity, n, "override");
    }
    if (sample->battery_level >= 0) {
        n = add_number(out, capacity, n, 100 * sample->battery_level, " %");
    } else {
        n = add_text(out, capacity, n, sample->battery == RBE_NO ? "no battery" : "battery unknown");
    }
    if (state->charging == RBE_YES && sample->battery != RBE_NO) {
        n = add_text(out, capacity, n, "charging");
    }
    if (!isnan(sample->temperature_c)) {
        n = add_number(out, capacity, n, sample->temperature_c, " C");
    }
    if (sample->throttled == RBE_YES) {
        add_text(out, capacity, n, "throttled");
    }
}

static uint32_t decide(const rbe_policy *policy, const rbe_power_sample *sample, rbe_policy_state *state)
{
    const double percent = 100 * sample->battery_level;
    follow_charger(policy, sample, state);
    follow_heat(policy, sample, state);
    if (percent >= 0) {
        state->level_mode = mode_of_level(policy, percent, state->level_mode, state->started != 0);
    } else if (sample->battery == RBE_NO) {
        state->level_mode = RBE_MODE_PERFORMANCE;
    } /* else: as before, and at first performance */
    uint32_t mode = state->charging == RBE_YES ? RBE_MODE_PERFORMANCE : state->level_mode;
    mode += state->hot && mode < RBE_MODE_EMERGENCY;
    if (policy->override_mode) {
        return policy->override_mode - 1;
    }
    const int urgent = mode == RBE_MODE_EMERGENCY && state->level_mode == RBE_MODE_EMERGENCY;
    const int may = !state->started || urgent || seconds_since(state->switched_ns, sample->time_ns) >= policy->least_seconds;
    return may ? mode : state->mode;
}

rbe_status rbe_policy_decide(const rbe_policy *policy, const rbe_power_sample *sample, rbe_policy_state *state, rbe_policy_decision *out)
{
    rbe_policy p = rbe__policy_defaults;
    rbe_power_sample now = {.battery_level = NAN, .temperature_c = NAN};
    rbe_policy_decision decision = {.struct_bytes = sizeof decision};
    if (!sample || !state) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_policy_decide: sample or state is NULL");
    }
    RBE_TRY(rbe__check_info("rbe_policy_decide", out));
    RBE_TRY(rbe__copy_options(&p, sizeof p, policy));
    RBE_TRY(rbe__copy_options(&now, sizeof now, sample));
    RBE_TRY(rbe__policy_check(&p));
    now.battery_level = now.battery_level >= 0 && now.battery_level <= 1 ? now.battery_level : NAN;
    const uint32_t before = state->mode;
    decision.mode = decide(&p, &now, state);
    decision.switched = state->started && decision.mode != before;
    decision.previous = state->started ? before : decision.mode;
    if (decision.switched || !state->started) {
        state->mode = decision.mode;
        state->switched_ns = state->started ? now.time_ns : 0;
    }
    state->started = 1;
    explain(&p, &now, state, decision.reason, sizeof decision.reason);
    return rbe__give_info("rbe_policy_decide", out, &decision, sizeof decision);
}
