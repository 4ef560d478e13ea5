#include "platform/processors.h"

#include <stdio.h>
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

/* The same of version 1: quota and period in microseconds in files of their own, -1 where there is no limit. */
static uint32_t group_quota_1(const char *root, const char *group, uint32_t most)
{
    static const char *const fields[] = {"cpu.cfs_quota_us", "cpu.cfs_period_us"};
    long values[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        char path[1024];
        if ((size_t)snprintf(path, sizeof path, "%s/sys/fs/cgroup/cpu%s/%s", root, group, fields[i]) >= sizeof path) {
            return most;
        }
        FILE *file = fopen(path, "re");
        const int found = file && fscanf(file, "%ld", &values[i]) == 1;
        if (file) {
            fclose(file);
        }
        if (!found || values[i] <= 0) {
            return most;
        }
    }
    const long n = values[0] / values[1];
    return n < 1 ? 1 : n < (long)most ? (uint32_t)n : most;
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

/* The least of a group and those around it. Inside a container its own group is the root. */
static uint32_t groups_quota(const char *root, char *group, uint32_t (*quota)(const char *, const char *, uint32_t), uint32_t most)
{
    for (;;) {
        const uint32_t here = quota(root, group, most);
        most = here < most ? here : most;
        char *last = strrchr(group, '/');
        if (!last) {
            return most;
        }
        *last = 0;
    }
}

/* The least that this process's control groups of both versions grant. Their files are found by lines "ID:CONTROLLERS:/GROUP": version 2 has
 * no controllers, version 1 has "cpu" among them. */
static uint32_t processor_quota(const char *root, uint32_t most)
{
    char path[512], line[512], group_1[512] = "", group_2[512] = "";
    FILE *file = (size_t)snprintf(path, sizeof path, "%s/proc/self/cgroup", root) < sizeof path ? fopen(path, "re") : NULL;
    while (file && fgets(line, sizeof line, file)) {
        const char *names = strchr(line, ':'), *name = names ? strchr(names + 1, ':') : NULL;
        if (name && name[1] == '/') {
            char *group = name == names + 1                                                            ? group_2
                          : strstr(names, ":cpu,") || strstr(names, ":cpu:") || strstr(names, ",cpu:") ? group_1
                                                                                                       : NULL;
            if (group) {
                snprintf(group, sizeof group_1, "%s", name + 1);
                group[strcspn(group, "\n")] = 0;
            }
        }
    }
    if (file) {
        fclose(file);
    }
    const uint32_t by_2 = groups_quota(root, group_2, group_quota, most);
    return groups_quota(root, group_1, group_quota_1, by_2);
}

/* How many cores the processors of a list such as "0-3,8" are; processors outside the allowed ones count as cores. */
static uint32_t count_cores(FILE *list, const rbe__processors *processors)
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
            const uint32_t core = processors->allowed[cpu] ? processors->core[cpu] : cpu;
            n += !seen[core];
            seen[core] = 1;
        }
        if (after != 1 || between != ',') {
            break;
        }
    }
    return n ? n : 1;
}

/* The kernel states sizes in units of 1024 bytes. */
uint32_t rbe__processors_cache(const rbe__processors *processors, uint32_t index)
{
    const char *root = processors->root;
    const int cpu = processors->cpu[index];
    for (int cache = 0; cache < 8; cache++) {
        char field[64];
        long level, size;
        snprintf(field, sizeof field, "cache/index%d/level", cache);
        if (!read_number(root, cpu, field, &level) || level != 2) {
            continue;
        }
        snprintf(field, sizeof field, "cache/index%d/size", cache);
        if (!read_number(root, cpu, field, &size) || size < 1 || size >= 1 << 22) {
            return 0;
        }
        snprintf(field, sizeof field, "cache/index%d/shared_cpu_list", cache);
        FILE *list = open_field(root, cpu, field);
        const uint32_t n = list ? count_cores(list, processors) : 1;
        if (list) {
            fclose(list);
        }
        return (uint32_t)((uint64_t)size * 1024 / n);
    }
    return 0;
}

/* Sets the speed of all cores. cpu_capacity is 1024 for the best core, and is there on ARM. */
static void read_speeds(rbe__processors *out)
{
    static const struct {
        const char *field;
        rbe__speed_unit unit;
    } sources[] = {{"cpu_capacity", RBE_SPEED_CAPACITY}, {"cpufreq/cpuinfo_max_freq", RBE_SPEED_CLOCK}};
    for (uint32_t s = 0; s < 2; s++) {
        uint32_t i = 0;
        while (i < out->n_cores && read_number(out->root, out->cpu[i], sources[s].field, &out->speed[i]) && out->speed[i] > 0) {
            i++;
        }
        if (i == out->n_cores) {
            out->speed_unit = sources[s].unit;
            return;
        }
    }
    for (uint32_t i = 0; i < out->n_cores; i++) {
        out->speed[i] = 1;
    }
}

void rbe__processors_read(const char *root, const uint8_t *allowed, rbe__processors *out)
{
    struct {
        long package, id;
    } cores[RBE_MAX_CPUS];
    memset(out, 0, sizeof *out);
    memcpy(out->allowed, allowed, sizeof out->allowed);
    out->root = root;
    for (uint32_t cpu = 0; cpu < RBE_MAX_CPUS; cpu++) {
        if (!allowed[cpu]) {
            continue;
        }
        long package, id;
        if (!read_number(root, (int)cpu, "topology/core_id", &id) ||
            !read_number(root, (int)cpu, "topology/physical_package_id", &package)) {
            package = -1, id = -1 - (long)cpu; /* unreadable: a core of its own */
        }
        uint32_t i = 0;
        while (i < out->n_cores && (cores[i].package != package || cores[i].id != id)) {
            i++;
        }
        if (i == out->n_cores) {
            cores[i].package = package, cores[i].id = id;
            out->cpu[out->n_cores++] = (uint16_t)cpu;
        }
        out->core[cpu] = out->cpu[i];
    }
    read_speeds(out);
    out->quota = processor_quota(root, RBE_MAX_CPUS);
}

void rbe__processors_find(rbe__processors *out)
{
    uint8_t allowed[RBE_MAX_CPUS];
    (void)rbe__thread_get_affinity(allowed); /* none where the system does not tell */
    rbe__processors_read("", allowed, out);
}

/* Lines such as "model name : AMD EPYC" (x86), "CPU part : 0xd0b" (ARM) and "Model : Raspberry Pi 5", each text once. */
void rbe__processor_name_read(const char *root, char *out, size_t capacity)
{
    static const char *const keys[] = {"model name", "CPU implementer", "CPU part", "Hardware", "Model", "uarch", "cpu model"};
    char path[512], line[256];
    size_t used = 0;
    out[0] = 0;
    FILE *file = (size_t)snprintf(path, sizeof path, "%s/proc/cpuinfo", root) < sizeof path ? fopen(path, "re") : NULL;
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            const size_t n = strlen(keys[i]);
            if (strncmp(line, keys[i], n) != 0 || !strchr("\t :", line[n])) {
                continue;
            }
            const char *value = line + n + strspn(line + n, "\t :");
            if (!strstr(out, value) && used + strlen(value) + 2 < capacity) {
                used += (size_t)snprintf(out + used, capacity - used, "%s%s", used ? " " : "", value);
            }
        }
    }
    if (file) {
        fclose(file);
    }
}

void rbe__processor_name(char *out, size_t capacity)
{
    rbe__processor_name_read("", out, capacity);
}
