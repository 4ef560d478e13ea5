/* How hot the processor is, how fast it runs, and whether that is held down. */
#ifndef RBE_POWER_HEAT_H
#define RBE_POWER_HEAT_H

#include "power/firmware.h"
#include "power/readings.h"
#include "rbe/power.h"

#define RBE_MOST_SENSORS 48u
#define RBE_MOST_COOLERS 32u
#define RBE_MOST_CLOCKS 32u /* of further cores nothing is read: each file takes microseconds */

typedef struct rbe__sensor {
    char path[128]; /* behind the root, of its temperature in thousandths of a degree */
    char name[48];
    int rank;       /* 2: on the processor; 1: near it, which counts where none is on it */
} rbe__sensor;

typedef struct rbe__heat {
    const char *root;
    uint32_t n_sensors, n_coolers, n_clocks, n_counters;
    rbe__sensor sensors[RBE_MOST_SENSORS];
    rbe__file_name coolers[RBE_MOST_COOLERS]; /* cooling devices that hold clocks down */
    rbe__file_name clocks[RBE_MOST_CLOCKS];   /* cpufreq policies */
    rbe__file_name counters[RBE_MOST_CLOCKS]; /* processors that count how often heat stopped them */
    double counted;       /* the sum of the counters */
    uint64_t counted_ns;  /* when it last grew; 0: never */
} rbe__heat;

/* root must stay. */
void rbe__heat_find(const char *root, rbe__heat *out);

/* Fills temperature, clocks and throttling of a sample whose time is set. thermal_status: Android's, negative: unknown. */
void rbe__heat_read(rbe__heat *heat, rbe__firmware *firmware, int thermal_status, rbe_power_sample *out);

#endif
