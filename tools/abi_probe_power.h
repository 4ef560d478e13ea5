/* The part of abi_probe.c for rbe/power.h; its macros print. */
#ifndef ABI_PROBE_POWER_H
#define ABI_PROBE_POWER_H

#include "rbe/power.h"

static void governor_structures(void)
{
    STRUCTURE(rbe_governor_options);
    FIELD(rbe_governor_options, struct_bytes);
    FIELD(rbe_governor_options, power);
    FIELD(rbe_governor_options, policy);
    FIELD(rbe_governor_options, watts);
    FIELD(rbe_governor_options, celsius);
    FIELD(rbe_governor_options, tokens_per_s);
    FIELD(rbe_governor_options, log);
    FIELD(rbe_governor_options, log_user);

    STRUCTURE(rbe_governor_info);
    FIELD(rbe_governor_info, struct_bytes);
    FIELD(rbe_governor_info, mode);
    FIELD(rbe_governor_info, n_switches);
    FIELD(rbe_governor_info, reason);
    FIELD(rbe_governor_info, waited_s);
    FIELD(rbe_governor_info, joules);
    FIELD(rbe_governor_info, joule_seconds);
    FIELD(rbe_governor_info, n_tokens);
    FIELD(rbe_governor_info, n_threads);
    FIELD(rbe_governor_info, resolution_j);

    STRUCTURE(rbe_mode_limits);
    FIELD(rbe_mode_limits, struct_bytes);
    FIELD(rbe_mode_limits, context_tokens);
    FIELD(rbe_mode_limits, max_sessions);
    FIELD(rbe_mode_limits, cache_divisor);
}

static void power_structures(void)
{
    STRUCTURE(rbe_power_options);
    FIELD(rbe_power_options, struct_bytes);
    FIELD(rbe_power_options, root);
    FIELD(rbe_power_options, firmware);
    FIELD(rbe_power_options, firmware_program);

    STRUCTURE(rbe_power_sample);
    FIELD(rbe_power_sample, struct_bytes);
    FIELD(rbe_power_sample, time_ns);
    FIELD(rbe_power_sample, battery_level);
    FIELD(rbe_power_sample, current_a);
    FIELD(rbe_power_sample, voltage_v);
    FIELD(rbe_power_sample, power_w);
    FIELD(rbe_power_sample, temperature_c);
    FIELD(rbe_power_sample, mhz_least);
    FIELD(rbe_power_sample, mhz_most);
    FIELD(rbe_power_sample, mhz_limit);
    FIELD(rbe_power_sample, battery);
    FIELD(rbe_power_sample, charging);
    FIELD(rbe_power_sample, throttled);
    FIELD(rbe_power_sample, temperature_sensor);
    FIELD(rbe_power_sample, throttled_by);

    STRUCTURE(rbe_energy);
    FIELD(rbe_energy, struct_bytes);
    FIELD(rbe_energy, joules);
    FIELD(rbe_energy, seconds);
    FIELD(rbe_energy, resolution_j);
    FIELD(rbe_energy, readable);
    FIELD(rbe_energy, index);
    FIELD(rbe_energy, source);
    FIELD(rbe_energy, covers);
    FIELD(rbe_energy, missing);
}

static void policy_structures(void)
{
    STRUCTURE(rbe_policy);
    FIELD(rbe_policy, struct_bytes);
    FIELD(rbe_policy, performance_above);
    FIELD(rbe_policy, balanced_above);
    FIELD(rbe_policy, saver_above);
    FIELD(rbe_policy, hysteresis);
    FIELD(rbe_policy, hot);
    FIELD(rbe_policy, cool);
    FIELD(rbe_policy, least_seconds);
    FIELD(rbe_policy, charger_seconds);
    FIELD(rbe_policy, override_mode);

    STRUCTURE(rbe_policy_state);
    FIELD(rbe_policy_state, switched_ns);
    FIELD(rbe_policy_state, hot_ns);
    FIELD(rbe_policy_state, charger_ns);
    FIELD(rbe_policy_state, started);
    FIELD(rbe_policy_state, mode);
    FIELD(rbe_policy_state, level_mode);
    FIELD(rbe_policy_state, hot);
    FIELD(rbe_policy_state, charging);
    FIELD(rbe_policy_state, charger_seen);
    FIELD(rbe_policy_state, reserved);

    STRUCTURE(rbe_policy_decision);
    FIELD(rbe_policy_decision, struct_bytes);
    FIELD(rbe_policy_decision, mode);
    FIELD(rbe_policy_decision, previous);
    FIELD(rbe_policy_decision, switched);
    FIELD(rbe_policy_decision, reason);
}

static void power_constants(void)
{
    CONSTANT(RBE_MODE_PERFORMANCE);
    CONSTANT(RBE_MODE_BALANCED);
    CONSTANT(RBE_MODE_SAVER);
    CONSTANT(RBE_MODE_EMERGENCY);
    CONSTANT(RBE_MODES);
    CONSTANT(RBE_MODE_AGAINST_ITSELF);
    CONSTANT(RBE_MODE_AGAINST_SOURCE);
    CONSTANT(RBE_UNKNOWN);
    CONSTANT(RBE_NO);
    CONSTANT(RBE_YES);
    CONSTANT(RBE_FEED_BATTERY_LEVEL);
    CONSTANT(RBE_FEED_CHARGING);
    CONSTANT(RBE_FEED_CURRENT_A);
    CONSTANT(RBE_FEED_VOLTAGE_V);
    CONSTANT(RBE_FEED_THERMAL_STATUS);
    CONSTANT(RBE_FEED_TEMPERATURE_C);
    CONSTANT(RBE_FEED_ENERGY_J);
    CONSTANT(RBE_FEED_KINDS);
}

#endif
