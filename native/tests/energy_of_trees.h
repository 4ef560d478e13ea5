/* Numbers that move in the files of a machine, and the energy that is read of it. */
#ifndef RBE_TESTS_ENERGY_OF_TREES_H
#define RBE_TESTS_ENERGY_OF_TREES_H

#include <math.h>

#include "power/meter.h"
#include "trees.h"

#define SECOND 1000000000ull
#define PACKAGE "sys/class/powercap/intel-rapl:"

static inline int near(double a, double b, double part)
{
    return fabs(a - b) <= part * fabs(b);
}

static inline rbe_energy energy_of(rbe_power *power)
{
    rbe_energy energy = {.struct_bytes = sizeof energy};
    CHECK(rbe_energy_read(power, &energy) == RBE_OK, "%s", rbe_last_error());
    return energy;
}

/* Over what is there, for a file that is cut or replaced is written to the disk at once by some file systems. */
static inline void write_number(const char *path, double value)
{
    char text[32], full[300];
    snprintf(text, sizeof text, "%013.0f\n", value);
    snprintf(full, sizeof full, "%s/%s", root, path);
    FILE *file = fopen(full, "r+");
    if (!file) {
        write_file(path, text);
        return;
    }
    CHECK(fputs(text, file) >= 0 && fclose(file) == 0, "%s", full);
}

#endif
