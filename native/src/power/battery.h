/* The batteries of a machine, as Linux tells of them (Documentation/ABI/testing/sysfs-class-power). */
#ifndef RBE_POWER_BATTERY_H
#define RBE_POWER_BATTERY_H

#include "rbe/power.h"

/* As in rbe_power_sample. */
typedef struct rbe__battery {
    double level, current_a, voltage_v, power_w;
    double energy_j; /* that is left, of all batteries; NAN: unknown */
    double step_j; /* the unit in which that is counted: the largest power of ten of microwatthours, or of microamperehours, in its files */
    rbe_known present, charging;
} rbe__battery;

void rbe__battery_read(const char *root, rbe__battery *out);

#endif
