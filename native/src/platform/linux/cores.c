#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "platform/platform.h"

#include <sched.h>
#include <stdio.h>

/* Fields of the two files that name a processor's core; 0 where they cannot be read. */
static int read_number(int cpu, const char *field, long *out)
{
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/%s", cpu, field);
    FILE *file = fopen(path, "re");
    if (!file) {
        return 0;
    }
    int found = fscanf(file, "%ld", out) == 1;
    fclose(file);
    return found;
}

uint32_t rbe__physical_cores(void)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        return 1;
    }
    struct { long package, core; } seen[CPU_SETSIZE];
    uint32_t n_seen = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed)) {
            continue;
        }
        long package = -1, core = -1 - (long)cpu; /* unreadable: a core of its own */
        if (!read_number(cpu, "core_id", &core) || !read_number(cpu, "physical_package_id", &package)) {
            core = -1 - (long)cpu;
        }
        uint32_t i = 0;
        while (i < n_seen && (seen[i].package != package || seen[i].core != core)) {
            i++;
        }
        if (i == n_seen) {
            seen[n_seen].package = package;
            seen[n_seen].core = core;
            n_seen++;
        }
    }
    return n_seen ? n_seen : 1;
}
