/* power.h: what this machine's sensors say of battery, heat, clocks and energy, and which power mode a policy makes of it (docs/power.md).
 *
 *     rbe_power *power = NULL;
 *     rbe_power_sample sample = {.struct_bytes = sizeof sample};
 *     rbe_policy_state state = {0};
 *     rbe_policy_decision decision = {.struct_bytes = sizeof decision};
 *     rbe_power_open(NULL, &power);
 *     rbe_power_read(power, &sample); // once a second
 *     rbe_policy_decide(NULL, &sample, &state, &decision);
 *     printf("%s: %s\n", rbe_power_mode_name(decision.mode), decision.reason); // saver: 18 %, 71 C
 *     rbe_power_close(power);
 *
 * What is absent, stale or absurd is unknown: NAN, or RBE_UNKNOWN; never a guess. An rbe_power may be used by any number of threads at a
 * time. Sensors are files of Linux (sysfs), the firmware of a Raspberry Pi, and what a program feeds, as Android's Java does; elsewhere
 * all is unknown that is not fed.
 */
#ifndef RBE_POWER_H
#define RBE_POWER_H

#include "rbe/modes.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum rbe_known { RBE_UNKNOWN = 0, RBE_NO = 1, RBE_YES = 2 } rbe_known;

/* ---- sensors ---------------------------------------------------------------------------------------------------- */

typedef struct rbe_power rbe_power;

typedef struct rbe_power_options {
    size_t struct_bytes;
    const char *root;             /* what stands before /sys, at most 200 bytes; NULL or "": this machine's files */
    const char *firmware; /* the device of a Raspberry Pi's firmware; NULL: /dev/vcio_gencmd, else /dev/vcio, but none under a root */
    const char *firmware_program; /* asked where that cannot be opened; NULL: vcgencmd in /usr/bin or /opt/vc/bin, but none under a root */
} rbe_power_options;

/* Finds the sensors and the sources of energy, whose joules count from here on. options may be NULL. A machine without any is no failure. */
RBE_API rbe_status rbe_power_open(const rbe_power_options *options, rbe_power **out);

/* Ends the thread of rbe_power_start. No other thread may use it any more. */
RBE_API void rbe_power_close(rbe_power *power);

typedef struct rbe_power_sample {
    size_t struct_bytes;
    uint64_t time_ns; /* of a clock that never goes back; on Linux and Android CLOCK_MONOTONIC, as System.nanoTime() */
    double battery_level; /* 0 to 1, of all batteries together; NAN: unknown */
    double current_a; /* out of the battery; negative: into it; NAN where there are several */
    double voltage_v; /* of the battery; NAN where there are several */
    double power_w; /* out of the batteries; negative: into them */
    double temperature_c; /* of the hottest sensor of the processor */
    double mhz_least, mhz_most; /* clocks of the slowest and the fastest core now */
    double mhz_limit; /* the most that the fastest core may have now */
    uint32_t battery; /* rbe_known: whether there is one */
    uint32_t charging; /* rbe_known: YES where the machine lives on mains or USB, whether or not the battery takes any of it */
    uint32_t throttled; /* rbe_known: whether heat or the supply hold clocks down now */
    char temperature_sensor[48]; /* "": unknown */
    char throttled_by[96]; /* who says so and why; "" where not throttled */
} rbe_power_sample;

/* Reads the sensors, which takes a millisecond or less, and tens of them where a driver is slow or vcgencmd has to be run. */
RBE_API rbe_status rbe_power_read(rbe_power *power, rbe_power_sample *out);

/* What programs may feed. A value counts for a minute from its time on, and before what files say. */
typedef enum rbe_feed {
    RBE_FEED_BATTERY_LEVEL = 0, /* 0 to 1 */
    RBE_FEED_CHARGING = 1, /* 0 or 1: whether it lives on mains or USB */
    RBE_FEED_CURRENT_A = 2, /* out of the battery: Android's BATTERY_PROPERTY_CURRENT_NOW times -1e-6 */
    RBE_FEED_VOLTAGE_V = 3,
    RBE_FEED_THERMAL_STATUS = 4, /* of Android's PowerManager: 0 none, 1 light, ... 6 shutdown; from 1 on it throttles */
    RBE_FEED_TEMPERATURE_C = 5, /* of the processor, not of the battery */
    RBE_FEED_ENERGY_J = 6, /* a sum that only grows, of Android's power monitors (from 35 on), each consumer once */
    RBE_FEED_KINDS = 7
} rbe_feed;

/* time_ns: when it was measured, by the clock of rbe_power_sample; 0: now. RBE_ERROR_ARGUMENT for a value out of the range of its kind, or
 * a time in the future; what was fed before then stays. */
RBE_API rbe_status rbe_power_feed(rbe_power *power, uint32_t kind, double value, uint64_t time_ns);

/* ---- energy ----------------------------------------------------------------------------------------------------- */

typedef struct rbe_energy {
    size_t struct_bytes;
    double joules; /* since rbe_power_open; NAN: not readable */
    double seconds; /* that the joules cover: gaps in which nobody measured are left out */
    double resolution_j; /* the step in which joules grow; 0 where they are integrated from watts */
    uint32_t readable; /* 1: joules count */
    uint32_t index; /* of the source: joules of different ones do not compare */
    char source[64]; /* such as "RAPL package-0"; "": there is none */
    char covers[32]; /* "whole machine", "board", "rails", "package" or "memory" */
    char missing[192]; /* what is not in the joules; where not readable, why, such as "needs root: /sys/..." */
} rbe_energy;

/* Of the source that covers most among those that are readable, now. It stays the same one as long as it can be read. Where none can,
 * readable is 0, and missing says why. */
RBE_API rbe_status rbe_energy_read(rbe_power *power, rbe_energy *out);

/* Of source `index`, from 0 on, readable or not, as it was at the last reading. RBE_ERROR_ARGUMENT behind the last one. */
RBE_API rbe_status rbe_energy_source(rbe_power *power, uint32_t index, rbe_energy *out);

/* Starts a thread that reads sources of watts (INA2xx, the PMIC of a Raspberry Pi 5) `hz` times a second and integrates them, .1 to 100; 0:
 * 10. Counters are read as seldom as their wrapping allows. Without it sources of watts are not readable, and counters must be read every
 * half minute. RBE_ERROR_ARGUMENT where it runs already, RBE_ERROR_MEMORY where there is no thread to be had. */
RBE_API rbe_status rbe_power_start(rbe_power *power, double hz);

/* ---- policy ----------------------------------------------------------------------------------------------------- */

/* Of RBE_MODE_* (rbe/modes.h): "performance", "balanced", "saver", "emergency"; "" for others. */
RBE_API const char *rbe_power_mode_name(uint32_t mode);

typedef struct rbe_policy {
    size_t struct_bytes;
    double performance_above; /* percent of the battery, 0 to 100: above it performance, else balanced */
    double balanced_above; /* above it balanced, else saver */
    double saver_above; /* above it saver, else emergency */
    double hysteresis; /* percent that the battery must rise above a threshold before the mode goes up again; 0 to 20 */
    double hot; /* C, 30 to 120: above it one mode down */
    double cool; /* C, 20 to 120, below `hot`: below it back */
    double least_seconds; /* between two switches, but for emergencies and overrides, and for how long heat or throttling must be
                               * gone; 0 to 3600 */
    double charger_seconds; /* for how long a charger must be there, or away, before it counts; 0 to 3600 */
    uint32_t override_mode; /* 0: the policy decides; 1 + mode: always that one */
} rbe_policy;

/* performance above 50 %, balanced above 20 %, saver above 5 %, hysteresis 3 %, hot 80 C, cool 72 C, least_seconds 30, charger_seconds 10. */
RBE_API rbe_status rbe_policy_defaults(rbe_policy *out);

/* Reads a file of lines "key = value" over the defaults: the keys are the fields above, and `mode` (auto, or a mode's name). # begins a
 * comment. RBE_ERROR_FORMAT for what is unknown, out of range or out of order, with the line; RBE_ERROR_IO where it cannot be read. On
 * failure *out is not changed. */
RBE_API rbe_status rbe_policy_read(const char *path, rbe_policy *out);

/* What a policy remembers. The caller zeroes it. */
typedef struct rbe_policy_state {
    uint64_t switched_ns; /* when the mode last changed */
    uint64_t hot_ns; /* when it was last too hot, or throttled */
    uint64_t charger_ns; /* since when the charger has been as charger_seen says */
    uint32_t started;
    uint32_t mode; /* RBE_MODE_* */
    uint32_t level_mode; /* by the battery alone */
    uint32_t hot; /* 1: one mode down */
    uint32_t charging; /* rbe_known, that counts */
    uint32_t charger_seen; /* rbe_known, of the last sample */
    uint32_t reserved[2];
} rbe_policy_state;

typedef struct rbe_policy_decision {
    size_t struct_bytes;
    uint32_t mode; /* RBE_MODE_* */
    uint32_t previous; /* that of the decision before; at the first one the same as mode */
    uint32_t switched; /* 1: they differ */
    char reason[64]; /* what the sensors said: "18 %, 71 C", "no battery, 85 C, throttled", "override" */
} rbe_policy_decision;

/* A function of its arguments alone: no clock, no file, no memory but *state. policy NULL: the defaults. Time is that of the samples. */
RBE_API rbe_status rbe_policy_decide(const rbe_policy *policy, const rbe_power_sample *sample, rbe_policy_state *state,
                                     rbe_policy_decision *out);

#ifdef __cplusplus
}
#endif

#endif
