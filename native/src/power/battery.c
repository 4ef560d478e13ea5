#include "power/battery.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "power/readings.h"

#define MOST_SUPPLIES 16u
#define MOST_CAPACITY_J 3.6e8 /* 100 kWh: more is no battery that a computer hangs on */
#define MOST_VOLTS 1000.0
#define MOST_AMPERES 1000.0
#define MOST_WATTS 1e5
#define MICRO 1e-6
#define HOUR 3600.0

/* Of one battery. charge in coulombs, energy in joules, NAN: unknown. */
typedef struct supply {
    char status[24];
    double percent, voltage, design_voltage, current, power; /* current and power as the files say, of either sign */
    double charge, charge_full, energy, energy_full, step;   /* step: in the unit of charge or energy */
} supply;

/* Of `value`, a whole number of millionths, the largest power of ten that divides it. */
static double unit_of(double value)
{
    double unit = 1;
    while (unit < 1e6 && fmod(value, unit * 10) == 0) {
        unit *= 10;
    }
    return unit;
}

/* What is left and what there is when full, from NAME_now and NAME_full or else NAME_full_design, in millionths of an hour. */
static void read_store(const char *path, const char *name, double *now, double *full, double *step)
{
    double value = NAN, whole = NAN;
    *now = *full = NAN;
    if (rbe__read_number(&value, "%s/%s_now", path, name) != RBE_FILE_READ || value < 0 || value * MICRO * HOUR > MOST_CAPACITY_J) {
        return;
    }
    if ((rbe__read_number(&whole, "%s/%s_full", path, name) != RBE_FILE_READ || whole <= 0) &&
        (rbe__read_number(&whole, "%s/%s_full_design", path, name) != RBE_FILE_READ || whole <= 0)) {
        whole = NAN;
    }
    *now = value * MICRO * HOUR;
    *full = whole * MICRO * HOUR <= MOST_CAPACITY_J ? whole * MICRO * HOUR : NAN;
    const double units = whole > 0 ? fmin(unit_of(value), unit_of(whole)) : unit_of(value);
    *step = units * MICRO * HOUR;
}

static void read_supply(const char *path, supply *out)
{
    out->percent = rbe__read_between(0, 100, 1, "%s/capacity", path);
    out->voltage = rbe__read_between(.5, MOST_VOLTS, MICRO, "%s/voltage_now", path);
    out->design_voltage = rbe__read_between(.5, MOST_VOLTS, MICRO, "%s/voltage_min_design", path);
    out->current = rbe__read_between(-MOST_AMPERES, MOST_AMPERES, MICRO, "%s/current_now", path);
    out->power = rbe__read_between(-MOST_WATTS, MOST_WATTS, MICRO, "%s/power_now", path);
    (void)rbe__read_text(out->status, sizeof out->status, "%s/status", path);
    read_store(path, "energy", &out->energy, &out->energy_full, &out->step);
    if (isnan(out->energy)) {
        read_store(path, "charge", &out->charge, &out->charge_full, &out->step);
    } else {
        out->charge = out->charge_full = NAN;
    }
}

/* Charge becomes energy by the voltage that its maker designs it for; that of the moment falls under load. */
static double volts_of_charge(const supply *one)
{
    return isnan(one->design_voltage) ? one->voltage : one->design_voltage;
}

/* 0 to 1: the finer of the two, unless they differ by more than 5 percent: then the driver's own. NAN: unknown. */
static double level_of(const supply *one)
{
    const double stored = isnan(one->energy) ? one->charge / one->charge_full : one->energy / one->energy_full;
    const double fine = stored >= 0 && stored <= 1.1 ? fmin(stored, 1) : NAN; /* worn ones charge past what they were when new */
    const double coarse = one->percent / 100;
    return isnan(fine) || fabs(fine - coarse) > .05 ? coarse : fine;
}

/* Of a current or power: positive where it leaves the battery. By the status, for drivers disagree about the sign; where that says
 * nothing, a negative one leaves it (the ABI) and a positive one may be either. */
static double leaving(const supply *one, double value)
{
    if (strcmp(one->status, "Discharging") == 0) {
        return fabs(value);
    }
    if (strcmp(one->status, "Charging") == 0) {
        return -fabs(value);
    }
    return value < 0 ? -value : value > 0 ? NAN : value;
}

/* Whether any supply that is no battery gives power. */
static rbe_known mains(const char *path, rbe_known so_far)
{
    double online;
    if (rbe__read_number(&online, "%s/online", path) != RBE_FILE_READ || (online != 0 && online != 1 && online != 2)) {
        return so_far; /* 2: programmable, as USB power delivery */
    }
    return online > 0 || so_far == RBE_YES ? RBE_YES : RBE_NO;
}

typedef struct batteries {
    uint32_t n, n_charging, n_discharging, n_full;
    rbe_known mains;
    double weighted, weights, levels; /* of levels by what the batteries hold, and plain */
} batteries;

static void add_battery(const char *path, batteries *all, rbe__battery *out)
{
    supply one = {.step = NAN};
    read_supply(path, &one);
    const double level = level_of(&one), current = leaving(&one, one.current);
    const double volts = volts_of_charge(&one), full = isnan(one.energy_full) ? one.charge_full * volts : one.energy_full;
    const double power = isnan(one.power) ? current * one.voltage : leaving(&one, one.power);
    const double left = isnan(one.energy) ? one.charge * volts : one.energy, step = isnan(one.energy) ? one.step * volts : one.step;
    const int first = all->n++ == 0;
    all->n_charging += strcmp(one.status, "Charging") == 0;
    all->n_discharging += strcmp(one.status, "Discharging") == 0;
    all->n_full += strcmp(one.status, "Full") == 0;
    all->levels += level;
    all->weighted += level * full;
    all->weights += full;
    out->current_a = first ? current : NAN;
    out->voltage_v = first ? one.voltage : NAN;
    out->power_w = first ? power : out->power_w + power; /* one that is unknown makes the sum unknown */
    out->energy_j = first ? left : out->energy_j + left;
    out->step_j = first ? step : fmax(out->step_j, step);
}

/* A battery of a mouse or a keyboard has the scope "Device". */
static int counts(const char *path)
{
    char scope[16];
    double present = 1;
    (void)rbe__read_text(scope, sizeof scope, "%s/scope", path);
    (void)rbe__read_number(&present, "%s/present", path);
    return strcmp(scope, "Device") != 0 && present != 0;
}

static rbe_known charging_of(const batteries *all)
{
    if (all->n_charging) {
        return RBE_YES;
    }
    if (all->n_discharging) {
        return RBE_NO;
    }
    return all->mains != RBE_UNKNOWN ? all->mains : all->n && all->n_full == all->n ? RBE_YES : RBE_UNKNOWN;
}

void rbe__battery_read(const char *root, rbe__battery *out)
{
    static const char directory[] = "/sys/class/power_supply";
    rbe__file_name names[MOST_SUPPLIES];
    char path[RBE_SENSOR_PATH], type[24];
    batteries all = {0};
    uint32_t n_hidden = 0;
    *out = (rbe__battery){NAN, NAN, NAN, NAN, NAN, NAN, RBE_UNKNOWN, RBE_UNKNOWN};
    rbe__write_text(path, sizeof path, "%s%s", root, directory);
    const uint32_t n = rbe__directory_names(path, names, MOST_SUPPLIES);
    for (uint32_t i = 0; i < n; i++) {
        rbe__write_text(path, sizeof path, "%s%s/%s", root, directory, names[i].text);
        const rbe__file_state state = rbe__read_text(type, sizeof type, "%s/type", path);
        n_hidden += state == RBE_FILE_DENIED;
        if (state != RBE_FILE_READ || !counts(path)) {
            continue;
        }
        if (strcmp(type, "Battery") == 0) {
            add_battery(path, &all, out);
        } else {
            all.mains = mains(path, all.mains);
        }
    }
    if (all.n) {
        out->present = RBE_YES;
        out->level = isnan(all.weighted) || all.weights <= 0 ? all.levels / all.n : all.weighted / all.weights;
    } else if (!n_hidden && rbe__read_text(type, sizeof type, "%s%s", root, directory) == RBE_FILE_UNREADABLE) {
        out->present = RBE_NO; /* the directory is there */
    }
    out->charging = charging_of(&all);
}
