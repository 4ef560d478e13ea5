#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity, sched_getcpu */
#endif
#include "platform/cores.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *open_field(const char *root, int cpu, const char *field)
{
    char path[512];
    return (size_t)snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu%d/%s", root, cpu, field) < sizeof path ? fopen(path, "re")
                                                                                                                     : NULL;
}

/* 0 where the file is missing or does not begin with a number. */
static int read_number(const char *root, int cpu, const char *field, long *out)
{
    FILE *file = open_field(root, cpu, field);
    if (!file) {
        return 0;
    }
    int found = fscanf(file, "%ld", out) == 1;
    fclose(file);
    return found;
}

/* The processors that control group `group` (begins with '/', or is empty) may keep busy, rounded down, at least 1; `most`
 * where it sets no limit. cpu.max holds "QUOTA PERIOD" in microseconds, or "max PERIOD" (Linux, cgroup-v2.rst). */
static uint32_t group_quota(const char *root, const char *group, uint32_t most)
{
    char path[1024];
    double quota, period;
    uint32_t n = most;
    if ((size_t)snprintf(path, sizeof path, "%s/sys/fs/cgroup%s/cpu.max", root, group) >= sizeof path) {
        return n;
    }
    FILE *file = fopen(path, "re");
    if (!file) {
        return n;
    }
    if (fscanf(file, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0 && quota / period < most) {
        n = quota < period ? 1 : (uint32_t)(quota / period);
    }
    fclose(file);
    return n;
}

/* The least of this process's control group and those around it. Inside a container its own group is the root. */
static uint32_t processor_quota(const char *root, uint32_t most)
{
    char path[512], group[512] = "";
    if ((size_t)snprintf(path, sizeof path, "%s/proc/self/cgroup", root) < sizeof path) {
        FILE *file = fopen(path, "re");
        char line[512];
        while (file && fgets(line, sizeof line, file)) {
            if (strncmp(line, "0::/", 4) == 0) { /* version 2's line; without the newline and a last '/' */
                snprintf(group, sizeof group, "%s", line + 3);
                group[strcspn(group, "\n")] = 0;
            }
        }
        if (file) {
            fclose(file);
        }
    }
    for (;;) {
        const uint32_t here = group_quota(root, group, most);
        most = here < most ? here : most;
        char *last = strrchr(group, '/');
        if (!last) {
            return most;
        }
        *last = 0;
    }
}

/* How many cores the processors of a list such as "0-3,8" are; processors outside the allowed ones count as cores. */
static uint32_t count_cores(FILE *list, const rbe__cores *cores)
{
    uint8_t seen[RBE_MAX_CPUS] = {0};
    uint32_t n = 0;
    unsigned first, last;
    char between;
    while (fscanf(list, "%u", &first) == 1) {
        last = first;
        int after = fscanf(list, "%c", &between);
        if (after == 1 && between == '-') {
            after = fscanf(list, "%u%c", &last, &between) - 1;
        }
        for (unsigned cpu = first; cpu <= last && cpu < RBE_MAX_CPUS; cpu++) {
            const uint32_t core = cores->kind[cpu] ? cores->core[cpu] : cpu;
            n += !seen[core];
            seen[core] = 1;
        }
        if (after != 1 || between != ',') {
            break;
        }
    }
    return n ? n : 1;
}

/* Of a core, and of those that share it an equal part. The kernel states sizes in units of 1024 bytes. */
static uint32_t second_level_cache(const char *root, uint32_t cpu, const rbe__cores *cores)
{
    for (int index = 0; index < 8; index++) {
        char field[64];
        long level, size;
        snprintf(field, sizeof field, "cache/index%d/level", index);
        if (!read_number(root, (int)cpu, field, &level) || level != 2) {
            continue;
        }
        snprintf(field, sizeof field, "cache/index%d/size", index);
        if (!read_number(root, (int)cpu, field, &size) || size < 1 || size >= 1 << 22) {
            return 0;
        }
        snprintf(field, sizeof field, "cache/index%d/shared_cpu_list", index);
        FILE *list = open_field(root, (int)cpu, field);
        const uint32_t n = list ? count_cores(list, cores) : 1;
        if (list) {
            fclose(list);
        }
        return (uint32_t)((uint64_t)size * 1024 / n);
    }
    return 0;
}

typedef struct core {
    long package, id;
    uint32_t cpu; /* its first hardware thread that is allowed */
    long speed;
} core;

static int faster_first(const void *a, const void *b)
{
    const core *x = a, *y = b;
    if (x->speed != y->speed) {
        return x->speed < y->speed ? 1 : -1;
    }
    return x->cpu < y->cpu ? -1 : x->cpu > y->cpu;
}

/* Sets the speed of all cores; returns what a fast one has at least. cpu_capacity counts work per time, 1024 for the best core, and is
 * there on ARM: a middle core of a phone has 600 to 900, a little one 150 to 400. The highest clock says less: a core that also does less
 * per cycle may have .8 of the best one's, and equal cores differ by a few per cent (favoured cores of desktop processors). */
static long measure_speeds(const char *root, core *cores, uint32_t n)
{
    static const struct {
        const char *field;
        long numerator, denominator;
    } sources[] = {{"cpu_capacity", 1, 2}, {"cpufreq/cpuinfo_max_freq", 4, 5}};
    for (uint32_t s = 0; s < 2; s++) {
        long most = 0;
        uint32_t i = 0;
        for (; i < n && read_number(root, (int)cores[i].cpu, sources[s].field, &cores[i].speed) && cores[i].speed > 0; i++) {
            most = cores[i].speed > most ? cores[i].speed : most;
        }
        if (i == n) {
            return (most - 1) / sources[s].denominator * sources[s].numerator + 1;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        cores[i].speed = 1;
    }
    return 1;
}

void rbe__cores_read(const char *root, const uint8_t *allowed, rbe__cores *out)
{
    core cores[RBE_MAX_CPUS];
    uint32_t n = 0;
    memset(out, 0, sizeof *out);
    for (uint32_t cpu = 0; cpu < RBE_MAX_CPUS; cpu++) {
        if (!allowed[cpu]) {
            continue;
        }
        core here = {.cpu = cpu};
        if (!read_number(root, (int)cpu, "topology/core_id", &here.id) ||
            !read_number(root, (int)cpu, "topology/physical_package_id", &here.package)) {
            here.package = -1, here.id = -1 - (long)cpu; /* unreadable: a core of its own */
        }
        uint32_t i = 0;
        while (i < n && (cores[i].package != here.package || cores[i].id != here.id)) {
            i++;
        }
        if (i == n) {
            cores[n++] = here;
        }
        out->core[cpu] = (uint16_t)cores[i].cpu;
    }
    const long fast = measure_speeds(root, cores, n);
    qsort(cores, n, sizeof *cores, faster_first);
    for (uint32_t i = 0; i < n; i++) {
        out->cpu[i] = (uint16_t)cores[i].cpu;
        out->n_fast += cores[i].speed >= fast;
        for (uint32_t cpu = 0; cpu < RBE_MAX_CPUS; cpu++) {
            if (allowed[cpu] && out->core[cpu] == cores[i].cpu) {
                out->kind[cpu] = cores[i].speed >= fast ? RBE_CPU_FAST : RBE_CPU_SLOW;
            }
        }
    }
    out->n_cores = n;
    out->cache_bytes = n ? second_level_cache(root, out->cpu[0], out) : 0;
    out->quota = processor_quota(root, RBE_MAX_CPUS);
}

void rbe__cores_find(rbe__cores *out)
{
    cpu_set_t set;
    uint8_t allowed[RBE_MAX_CPUS] = {0};
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (uint32_t cpu = 0; cpu < CPU_SETSIZE && cpu < RBE_MAX_CPUS; cpu++) {
            allowed[cpu] = CPU_ISSET(cpu, &set) != 0;
        }
    }
    rbe__cores_read("", allowed, out);
}

int rbe__thread_cpu(void)
{
    return sched_getcpu();
}

/* What the kernel took may be less than was asked (a cpuset), and a core may have gone: only what it reads back counts. */
static int set_affinity(const cpu_set_t *wanted)
{
    cpu_set_t now;
    return sched_setaffinity(0, sizeof *wanted, wanted) == 0 && sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(wanted, &now);
}

static int to_cpu(uint32_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu >= CPU_SETSIZE) {
        return 0;
    }
    CPU_SET(cpu, &set);
    return set_affinity(&set);
}

int rbe__thread_move(uint32_t cpu)
{
    cpu_set_t before;
    if (sched_getaffinity(0, sizeof before, &before) != 0) {
        return 0;
    }
    const int moved = to_cpu(cpu);
    return set_affinity(&before) && moved;
}

int rbe__thread_place(const rbe__cores *cores, uint32_t cpu, rbe__cpu_kind slowest)
{
    cpu_set_t set;
    const int moved = to_cpu(cpu);
    CPU_ZERO(&set);
    for (uint32_t i = 0; i < RBE_MAX_CPUS && i < CPU_SETSIZE; i++) {
        if (cores->kind[i] >= (uint8_t)slowest) {
            CPU_SET(i, &set);
        }
    }
    return set_affinity(&set) && moved;
}
