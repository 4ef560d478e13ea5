/* The sensors of a machine behind one handle, and the thread that reads sources of energy. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/platform.h"
#include "platform/threads.h"
#include "power/battery.h"
#include "power/heat.h"
#include "power/meter.h"

#define FRESH_NS 60000000000ull
#define AHEAD_NS 1000000000ull /* clocks of Java and C are the same one, but rounded */
#define SEARCH_NS 60000000000ull /* sensors come and go, as batteries that are put in: looked for so often */
#define DEFAULT_HZ 10.0

struct rbe_power {
    rbe__mutex *mutex; /* over all that follows */
    rbe__condition *condition;
    rbe__thread *thread;
    int ending;
    char root[208];
    rbe__firmware firmware;
    rbe__heat heat;
    uint64_t searched_ns;
    rbe__meter meter;
    double fed[RBE_FEED_KINDS];
    uint64_t fed_ns[RBE_FEED_KINDS]; /* 0: never */
};

rbe_status rbe_power_open(const rbe_power_options *options, rbe_power **out)
{
    rbe_power_options o = {0};
    if (!out) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_power_open: out is NULL");
    }
    *out = NULL;
    RBE_TRY(rbe__copy_options(&o, sizeof o, options));
    const char *root = o.root ? o.root : "";
    rbe_power *power = calloc(1, sizeof *power);
    if (strlen(root) > 200 || (o.firmware && strlen(o.firmware) > 120) || (o.firmware_program && strlen(o.firmware_program) > 180)) {
        free(power);
        return rbe_fail(RBE_ERROR_ARGUMENT,
                        "rbe_power_open: a path is too long: root has at most 200 bytes, firmware 120, its program 180");
    }
    if (power) {
        power->mutex = rbe__mutex_create();
        power->condition = rbe__condition_create();
    }
    if (!power || !power->mutex || !power->condition) {
        rbe_power_close(power);
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for the sensors");
    }
    const uint64_t now = rbe__nanoseconds();
    strcpy(power->root, root);
    rbe__firmware_find(power->root, o.firmware, o.firmware_program, &power->firmware);
    rbe__heat_find(power->root, &power->heat);
    power->searched_ns = now;
    rbe__meter_find(power->root, &power->firmware, now, &power->meter);
    *out = power;
    return RBE_OK;
}

void rbe_power_close(rbe_power *power)
{
    if (!power) {
        return;
    }
    if (power->thread) {
        rbe__mutex_lock(power->mutex);
        power->ending = 1;
        rbe__condition_broadcast(power->condition);
        rbe__mutex_unlock(power->mutex);
        rbe__thread_join(power->thread);
    }
    rbe__condition_free(power->condition);
    rbe__mutex_free(power->mutex);
    free(power);
}

/* What was fed of a kind within the last minute; NAN: nothing. */
static double fed(const rbe_power *power, uint32_t kind, uint64_t now)
{
    const uint64_t time = power->fed_ns[kind];
    return time && (now <= time || now - time <= FRESH_NS) ? power->fed[kind] : NAN;
}

static double first_known(double one, double other)
{
    return isnan(one) ? other : one;
}

static void read_battery(const rbe_power *power, rbe_power_sample *out)
{
    rbe__battery battery;
    rbe__battery_read(power->root, &battery);
    const uint64_t now = out->time_ns;
    const double level = fed(power, RBE_FEED_BATTERY_LEVEL, now), charging = fed(power, RBE_FEED_CHARGING, now);
    const double current = fed(power, RBE_FEED_CURRENT_A, now), voltage = fed(power, RBE_FEED_VOLTAGE_V, now);
    out->battery = isnan(level) ? battery.present : RBE_YES;
    out->battery_level = first_known(level, battery.level);
    out->charging = isnan(charging) ? battery.charging : charging > 0 ? RBE_YES : RBE_NO;
    out->current_a = first_known(current, battery.current_a);
    out->voltage_v = first_known(voltage, battery.voltage_v);
    out->power_w = first_known(current * voltage, battery.power_w);
}

/* Finds the sensors of heat again; what the counters of the same processors said before stays. */
static void search(rbe_power *power, uint64_t now)
{
    const uint32_t n_counters = power->heat.n_counters;
    const double counted = power->heat.counted;
    const uint64_t counted_ns = power->heat.counted_ns;
    rbe__heat_find(power->root, &power->heat);
    if (power->heat.n_counters == n_counters) {
        power->heat.counted = counted;
        power->heat.counted_ns = counted_ns;
    }
    power->searched_ns = now;
}

rbe_status rbe_power_read(rbe_power *power, rbe_power_sample *out)
{
    rbe_power_sample sample = {.struct_bytes = sizeof sample};
    if (!power) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_power_read: power is NULL");
    }
    RBE_TRY(rbe__check_info("rbe_power_read", out));
    rbe__mutex_lock(power->mutex);
    sample.time_ns = rbe__nanoseconds();
    if (sample.time_ns - power->searched_ns > SEARCH_NS) {
        search(power, sample.time_ns);
    }
    const double status = fed(power, RBE_FEED_THERMAL_STATUS, sample.time_ns), hot = fed(power, RBE_FEED_TEMPERATURE_C, sample.time_ns);
    read_battery(power, &sample);
    rbe__heat_read(&power->heat, &power->firmware, isnan(status) ? -1 : (int)status, &sample);
    rbe__mutex_unlock(power->mutex);
    if (!isnan(hot)) {
        sample.temperature_c = hot;
        snprintf(sample.temperature_sensor, sizeof sample.temperature_sensor, "fed by the program");
    }
    return rbe__give_info("rbe_power_read", out, &sample, sizeof sample);
}

rbe_status rbe_power_feed(rbe_power *power, uint32_t kind, double value, uint64_t time_ns)
{
    static const struct {
        const char *name;
        double least, most;
    } kinds[RBE_FEED_KINDS] = {
        {"battery level", 0, 1},  {"charging", 0, 1},        {"current", -1000, 1000}, {"voltage", 0, 1000},
        {"thermal status", 0, 6}, {"temperature", -40, 125}, {"energy", 0, 1e15},
    };
    if (!power || kind >= RBE_FEED_KINDS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_power_feed: power is NULL, or there is no kind %u", kind);
    }
    if (!(value >= kinds[kind].least && value <= kinds[kind].most)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_power_feed: %s is %g; it must be %g to %g", kinds[kind].name, value, kinds[kind].least,
                        kinds[kind].most);
    }
    const uint64_t now = rbe__nanoseconds();
    if (time_ns > now && time_ns - now > AHEAD_NS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_power_feed: the time lies %g s in the future", (double)(time_ns - now) * 1e-9);
    }
    rbe__mutex_lock(power->mutex);
    const uint64_t time = time_ns ? time_ns : now;
    if (time >= power->fed_ns[kind]) {
        power->fed[kind] = value;
        power->fed_ns[kind] = time;
    }
    if (kind == RBE_FEED_ENERGY_J) {
        rbe__meter_feed(&power->meter, value, time);
    }
    rbe__mutex_unlock(power->mutex);
    return RBE_OK;
}

static void run(void *context)
{
    rbe_power *power = context;
    rbe__mutex_lock(power->mutex);
    while (!power->ending) {
        const uint64_t next = rbe__meter_tick(&power->meter, rbe__nanoseconds());
        rbe__condition_wait_until(power->condition, power->mutex, next);
    }
    rbe__mutex_unlock(power->mutex);
}

rbe_status rbe_power_start(rbe_power *power, double hz)
{
    if (!power || !(hz == 0 || (hz >= .1 && hz <= 100))) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_power_start: power is NULL, or %g is not 0.1 to 100 times a second", hz);
    }
    rbe__mutex_lock(power->mutex);
    rbe_status status = RBE_OK;
    if (power->thread) {
        status = rbe_fail(RBE_ERROR_ARGUMENT, "rbe_power_start: the thread runs already");
    } else {
        rbe__meter_pace(&power->meter, hz > 0 ? hz : DEFAULT_HZ);
        power->thread = rbe__thread_start(run, power);
        if (!power->thread) {
            power->meter.watts_ns = 0;
            status = rbe_fail(RBE_ERROR_MEMORY, "the system gives no thread to measure energy");
        }
    }
    rbe__mutex_unlock(power->mutex);
    return status;
}

rbe_status rbe_energy_read(rbe_power *power, rbe_energy *out)
{
    rbe_energy energy;
    if (!power) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_energy_read: power is NULL");
    }
    RBE_TRY(rbe__check_info("rbe_energy_read", out));
    rbe__mutex_lock(power->mutex);
    rbe__meter_give(&power->meter, rbe__nanoseconds(), &energy);
    rbe__mutex_unlock(power->mutex);
    return rbe__give_info("rbe_energy_read", out, &energy, sizeof energy);
}

rbe_status rbe_energy_source(rbe_power *power, uint32_t index, rbe_energy *out)
{
    rbe_energy energy;
    if (!power) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_energy_source: power is NULL");
    }
    rbe__mutex_lock(power->mutex);
    const uint32_t n = power->meter.n;
    energy = power->meter.sources[index < n ? index : 0].about;
    rbe__mutex_unlock(power->mutex);
    if (index >= n) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_energy_source: there are %u sources, counted from 0", n);
    }
    energy.joules = energy.readable ? energy.joules : NAN;
    return rbe__give_info("rbe_energy_source", out, &energy, sizeof energy);
}
