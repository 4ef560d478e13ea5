/* Energy: what measures it on a machine, and the joules that have gone by. */
#ifndef RBE_POWER_METER_H
#define RBE_POWER_METER_H

#include "base/status.h"
#include "power/firmware.h"
#include "rbe/power.h"

#define RBE_MOST_SOURCES 12u
#define RBE_MOST_PARTS 8u

typedef enum rbe__source_kind {
    RBE_SOURCE_COUNTER,
    RBE_SOURCE_WATTS,
    RBE_SOURCE_PMIC,
    RBE_SOURCE_BATTERY,
    RBE_SOURCE_FED
} rbe__source_kind;

/* A counter in microjoules, or watts: power in microwatts, or millivolts and milliamperes of two files. Paths lie behind the root. */
typedef struct rbe__part {
    char path[128];
    char current_path[128]; /* "": `path` has all */
    double last;
    double range;           /* of a counter, in microjoules, where it begins again at 0; 0: unknown */
} rbe__part;

typedef struct rbe__source {
    rbe_energy about;    /* as given to callers */
    char left_out[192];  /* about.missing while it is readable */
    rbe__source_kind kind;
    int rank;            /* the more, the more it covers */
    uint32_t n_parts;
    rbe__part parts[RBE_MOST_PARTS];
    int has_last;        /* the last reading was good */
    double last;         /* watts, joules that the battery held, or joules fed */
    double least_step;   /* of the battery's joules, that was seen; 0: none */
    uint64_t last_ns, changed_ns;
    uint64_t gap_ns;     /* readings further apart say nothing of the time between */
    uint64_t due_ns;     /* for the thread: when to read it next */
    uint64_t period_ns;
} rbe__source;

typedef struct rbe__meter {
    const char *root;
    rbe__firmware *firmware;
    rbe__source sources[RBE_MOST_SOURCES];
    uint32_t n;
    uint32_t chosen;     /* RBE_MOST_SOURCES: none yet */
    uint64_t watts_ns;   /* between two readings of watts; 0: no thread makes them */
} rbe__meter;

/* root and firmware must stay. Finds the sources and reads them for the first time. */
void rbe__meter_find(const char *root, rbe__firmware *firmware, uint64_t now, rbe__meter *out);

/* A new source with these texts; NULL where there are too many. */
rbe__source *rbe__meter_add(rbe__meter *meter, rbe__source_kind kind, int rank, const char *name, const char *covers, const char *left_out);

/* Reads a source. */
void rbe__source_read(rbe__meter *meter, rbe__source *source, uint64_t now);

/* A sum of joules that a program was told. */
void rbe__meter_feed(rbe__meter *meter, double joules, uint64_t time_ns);

/* Watts are read so often from now on. */
void rbe__meter_pace(rbe__meter *meter, double hz);

/* Reads those sources that are due, and gives the time when the next one will be. */
uint64_t rbe__meter_tick(rbe__meter *meter, uint64_t now);

/* The widest that is readable; of equally wide ones the finest. All are read. */
void rbe__meter_give(rbe__meter *meter, uint64_t now, rbe_energy *out);

/* Adds the sources of Linux: powercap, hwmon, and the PMIC of a Raspberry Pi 5. */
void rbe__find_counters(rbe__meter *meter);
void rbe__find_watts(rbe__meter *meter);
void rbe__find_pmic(rbe__meter *meter, uint64_t now);

/* Watts of a source of them now; NAN: unknown, and about.missing says why. */
double rbe__source_watts(const rbe__meter *meter, rbe__source *source);

/* Says why a source is not readable. */
void rbe__source_fails(rbe__source *source, const char *format, ...) RBE_PRINTF(2, 3);

#endif
