/* What `rbe doctor` says of sensors and energy; in Python rbe_edge/cli/doctor_command.py says the same. */
#ifndef RBE_PROGRAM_SENSORS_H
#define RBE_PROGRAM_SENSORS_H

#include "rbe/power.h"

#define RBE_SHOWN_SOURCES 16u

typedef struct sensors {
    rbe_power_sample sample;
    rbe_energy energy;                     /* of the source that counts */
    rbe_energy sources[RBE_SHOWN_SOURCES]; /* all */
    uint32_t n_sources;
} sensors;

rbe_status read_sensors(sensors *out);

/* Lines to standard output. */
void write_sensor_lines(const sensors *found);

/* Members of an object that has others before them. */
void write_json_sensors(const sensors *found);

#endif
