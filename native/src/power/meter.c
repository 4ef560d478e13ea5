#include "power/meter.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "power/battery.h"
#include "power/readings.h"

#define SECOND 1000000000u
#define STUCK_NS (10ull * SECOND) /* no counter of a running machine stands still for so long */
#define BATTERY_GAP_NS (120ull * SECOND)
#define STALE_NS (60ull * SECOND)

rbe__source *rbe__meter_add(rbe__meter *meter, rbe__source_kind kind, int rank, const char *name, const char *covers, const char *left_out)
{
    if (meter->n == RBE_MOST_SOURCES) {
        return NULL;
    }
    rbe__source *source = &meter->sources[meter->n];
    *source = (rbe__source){.kind = kind, .rank = rank, .gap_ns = SECOND, .period_ns = SECOND};
    source->about = (rbe_energy){.struct_bytes = sizeof source->about, .index = meter->n++};
    rbe__copy_text(source->about.source, sizeof source->about.source, name);
    rbe__copy_text(source->about.covers, sizeof source->about.covers, covers);
    rbe__copy_text(source->left_out, sizeof source->left_out, left_out);
    return source;
}

void rbe__source_fails(rbe__source *source, const char *format, ...)
{
    char text[sizeof source->about.missing];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    rbe__copy_text(source->about.missing, sizeof source->about.missing, text);
    source->about.readable = 0;
    source->has_last = 0;
}

static void succeeds(rbe__source *source)
{
    source->about.readable = 1;
    memcpy(source->about.missing, source->left_out, sizeof source->about.missing);
}

/* Seconds since the last good reading; 0 where there is none that says anything of the time since. Notes the time of this one. */
static double elapsed(rbe__source *source, uint64_t now)
{
    const uint64_t since = now > source->last_ns ? now - source->last_ns : 0;
    const double seconds = source->has_last && since <= source->gap_ns ? (double)since * 1e-9 : 0;
    source->has_last = 1;
    source->last_ns = now;
    return seconds;
}

static void read_counter(rbe__meter *meter, rbe__source *source, uint64_t now)
{
    double values[RBE_MOST_PARTS], grown = 0;
    for (uint32_t i = 0; i < source->n_parts; i++) {
        const rbe__part *part = &source->parts[i];
        const rbe__file_state state = rbe__read_number(&values[i], "%s%s", meter->root, part->path);
        if (state != RBE_FILE_READ) {
            rbe__source_fails(source, "%s: %s", state == RBE_FILE_DENIED ? "needs root" : "cannot be read", part->path);
            return;
        }
        if (values[i] < 0 || (part->range > 0 && values[i] > part->range)) {
            rbe__source_fails(source, "counts beyond its range: %s", part->path);
            return;
        }
    }
    const int first = !source->has_last;
    const double seconds = elapsed(source, now);
    int good = 1;
    for (uint32_t i = 0; i < source->n_parts; i++) {
        rbe__part *part = &source->parts[i];
        double step = values[i] - part->last;
        step += step < 0 ? part->range : 0;
        good = good && step >= 0; /* a counter of unknown range that began again */
        grown += step;
        part->last = values[i];
    }
    if (first || grown != 0) {
        source->changed_ns = now;
    }
    if (now - source->changed_ns > STUCK_NS) {
        rbe__source_fails(source, "does not advance: %s", source->parts[0].path);
        source->has_last = 1;
        return;
    }
    if (seconds > 0 && good) {
        source->about.joules += grown * 1e-6;
        source->about.seconds += seconds;
    }
    succeeds(source);
}

static void read_watts(rbe__meter *meter, rbe__source *source, uint64_t now)
{
    if (!meter->watts_ns) {
        rbe__source_fails(source, "watts must be read many times a second, which rbe_power_start begins");
        return;
    }
    const double watts = rbe__source_watts(meter, source);
    if (isnan(watts)) {
        return;
    }
    source->gap_ns = source->period_ns * 5 > SECOND ? source->period_ns * 5 : SECOND;
    const double seconds = elapsed(source, now);
    source->about.joules += seconds > 0 ? (watts + source->last) / 2 * seconds : 0;
    source->about.seconds += seconds;
    source->last = watts;
    succeeds(source);
}

static void read_battery(rbe__meter *meter, rbe__source *source, uint64_t now)
{
    rbe__battery battery;
    rbe__battery_read(meter->root, &battery);
    if (isnan(battery.energy_j)) {
        rbe__source_fails(source, "the battery does not say how much energy it holds");
        return;
    }
    if (battery.charging != RBE_NO) {
        rbe__source_fails(source, "the battery is not discharging");
        return;
    }
    const double seconds = elapsed(source, now), grown = source->last - battery.energy_j;
    if (seconds > 0 && grown > 0) {
        source->about.joules += grown;
        source->least_step = source->least_step > 0 ? fmin(source->least_step, grown) : grown;
    }
    source->about.resolution_j = fmax(battery.step_j, source->least_step);
    source->about.seconds += seconds;
    source->last = battery.energy_j;
    succeeds(source);
}

void rbe__source_read(rbe__meter *meter, rbe__source *source, uint64_t now)
{
    if (source->has_last && source->kind != RBE_SOURCE_FED && now <= source->last_ns) {
        return; /* by a coarse clock no time has gone by, in which joules could count */
    }
    if (source->kind == RBE_SOURCE_PMIC && source->has_last && now < source->due_ns) {
        return; /* what the thread read last is recent enough */
    }
    switch (source->kind) {
    case RBE_SOURCE_COUNTER: read_counter(meter, source, now); break;
    case RBE_SOURCE_WATTS:
    case RBE_SOURCE_PMIC: read_watts(meter, source, now); break;
    case RBE_SOURCE_BATTERY: read_battery(meter, source, now); break;
    case RBE_SOURCE_FED:
        if (now > source->last_ns && now - source->last_ns > STALE_NS) {
            rbe__source_fails(source, "nothing was fed for a minute");
        }
        break;
    }
    source->due_ns = now + source->period_ns;
}

void rbe__meter_find(const char *root, rbe__firmware *firmware, uint64_t now, rbe__meter *out)
{
    rbe__battery battery;
    *out = (rbe__meter){.root = root, .firmware = firmware, .chosen = RBE_MOST_SOURCES};
    rbe__find_counters(out);
    rbe__find_watts(out);
    rbe__find_pmic(out, now);
    rbe__battery_read(root, &battery);
    rbe__source *source = battery.present == RBE_YES ? rbe__meter_add(out, RBE_SOURCE_BATTERY, 4, "battery discharge", "whole machine",
                                                                      "nothing; but gauges follow late, up to half a minute")
                                                     : NULL;
    if (source) {
        source->gap_ns = BATTERY_GAP_NS;
        source->period_ns = 5ull * SECOND;
    }
    for (uint32_t i = 0; i < out->n; i++) {
        rbe__source_read(out, &out->sources[i], now);
    }
}

void rbe__meter_feed(rbe__meter *meter, double joules, uint64_t time_ns)
{
    rbe__source *source = NULL;
    for (uint32_t i = 0; i < meter->n; i++) {
        source = meter->sources[i].kind == RBE_SOURCE_FED ? &meter->sources[i] : source;
    }
    if (!source) {
        source = rbe__meter_add(meter, RBE_SOURCE_FED, 2, "Android power monitors", "rails", "what no monitor measures");
        if (!source) {
            return;
        }
        source->gap_ns = STALE_NS;
    }
    if (source->has_last && time_ns <= source->last_ns) {
        return;
    }
    const double grown = joules - source->last, seconds = elapsed(source, time_ns);
    if (seconds > 0 && grown >= 0) { /* less than before: the monitors began again */
        source->about.joules += grown;
        source->about.seconds += seconds;
    }
    source->last = joules;
    succeeds(source);
}

void rbe__meter_pace(rbe__meter *meter, double hz)
{
    meter->watts_ns = (uint64_t)(1e9 / hz);
    for (uint32_t i = 0; i < meter->n; i++) {
        rbe__source *source = &meter->sources[i];
        if (source->kind == RBE_SOURCE_WATTS || source->kind == RBE_SOURCE_PMIC) {
            source->period_ns = meter->watts_ns;
            source->due_ns = 0;
        }
    }
}

uint64_t rbe__meter_tick(rbe__meter *meter, uint64_t now)
{
    uint64_t next = now + 10ull * SECOND;
    for (uint32_t i = 0; i < meter->n; i++) {
        rbe__source *source = &meter->sources[i];
        if (source->due_ns <= now) {
            const uint64_t due = source->due_ns;
            rbe__source_read(meter, source, now);
            if (due && due + source->period_ns > now) {
                source->due_ns = due + source->period_ns; /* a late tick does not shift those after it */
            }
        }
        next = source->due_ns < next ? source->due_ns : next;
    }
    return next;
}

/* Why there is no energy, for a machine as a whole. */
static void give_none(const rbe__meter *meter, rbe_energy *out)
{
    *out = (rbe_energy){.struct_bytes = sizeof *out, .joules = NAN, .index = RBE_MOST_SOURCES};
    snprintf(out->missing, sizeof out->missing, "nothing here measures energy (no RAPL, INA2xx, PMIC or battery)");
    const rbe__source *told = NULL;
    for (uint32_t i = 0; i < meter->n; i++) { /* what a person can change comes first, then the widest */
        const rbe__source *one = &meter->sources[i];
        const int root = strncmp(one->about.missing, "needs root", 10) == 0,
                  told_root = told && strncmp(told->about.missing, "needs root", 10) == 0;
        if (!told || root > told_root || (root == told_root && one->rank > told->rank)) {
            told = one;
        }
    }
    if (told) {
        memcpy(out->missing, told->about.missing, sizeof out->missing);
    }
}

static int is_better(const rbe__source *one, const rbe__source *other)
{
    return one->rank != other->rank ? one->rank > other->rank : one->about.resolution_j < other->about.resolution_j;
}

void rbe__meter_give(rbe__meter *meter, uint64_t now, rbe_energy *out)
{
    for (uint32_t i = 0; i < meter->n; i++) {
        rbe__source_read(meter, &meter->sources[i], now);
    }
    if (meter->chosen >= meter->n || !meter->sources[meter->chosen].about.readable) {
        meter->chosen = RBE_MOST_SOURCES;
        for (uint32_t i = 0; i < meter->n; i++) {
            const rbe__source *one = &meter->sources[i];
            if (one->about.readable && (meter->chosen == RBE_MOST_SOURCES || is_better(one, &meter->sources[meter->chosen]))) {
                meter->chosen = i;
            }
        }
    }
    if (meter->chosen == RBE_MOST_SOURCES) {
        give_none(meter, out);
        return;
    }
    *out = meter->sources[meter->chosen].about;
}
