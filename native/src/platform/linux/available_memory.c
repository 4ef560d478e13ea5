#include "platform/available_memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Android kills what people left open below this, before a new program gets memory: the highest of ProcessList.mOomMinFreeHigh (AOSP,
 * frameworks/base, services/core/java/com/android/server/am/ProcessList.java), in KiB. */
#define ANDROID_RESERVE (184320ull << 10)

static FILE *open_file(const char *root, const char *directory, const char *group, const char *name)
{
    char path[1280];
    return (size_t)snprintf(path, sizeof path, "%s%s%s/%s", root, directory, group, name) < sizeof path ? fopen(path, "re") : NULL;
}

/* The number behind the first line that begins with `key`, a word; 0 where there is none. */
static int read_field(FILE *file, const char *key, uint64_t *out)
{
    char line[256];
    const size_t key_bytes = strlen(key);
    if (fseek(file, 0, SEEK_SET) != 0) {
        return 0;
    }
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, key, key_bytes) == 0 && (line[key_bytes] == ' ' || line[key_bytes] == ':') &&
            sscanf(line + key_bytes + 1, " %" SCNu64, out) == 1) {
            return 1;
        }
    }
    return 0;
}

/* 0 where the file is missing or holds no number first, such as "max". */
static int read_number(const char *root, const char *directory, const char *group, const char *name, uint64_t *out)
{
    FILE *file = open_file(root, directory, group, name);
    if (!file) {
        return 0;
    }
    const int found = fscanf(file, "%" SCNu64, out) == 1;
    fclose(file);
    return found;
}

/* The files of a version of control groups; the kernel's cgroup-v2.rst and cgroup-v1/memory.rst. */
typedef struct group_files {
    const char *directory, *usage, *limits[2], *page_cache[2];
} group_files;

static const group_files version_2 = {"/sys/fs/cgroup", "memory.current", {"memory.max", "memory.high"}, {"inactive_file", "active_file"}};
static const group_files version_1 = {
    "/sys/fs/cgroup/memory",
    "memory.usage_in_bytes",
    {"memory.limit_in_bytes", NULL},
    {"total_inactive_file", "total_active_file"},
};

/* Of the group's usage, the page cache: the kernel drops it before anything of the group is killed. */
static uint64_t page_cache(const char *root, const group_files *files, const char *group)
{
    uint64_t sum = 0, value;
    FILE *file = open_file(root, files->directory, group, "memory.stat");
    for (int i = 0; file && i < 2; i++) {
        sum += read_field(file, files->page_cache[i], &value) ? value : 0;
    }
    if (file) {
        fclose(file);
    }
    return sum;
}

/* What one group leaves; RBE_NO_LIMIT where it sets no limit. */
static uint64_t group_leaves(const char *root, const group_files *files, const char *group)
{
    uint64_t limit = RBE_NO_LIMIT, used = 0, value;
    for (int i = 0; i < 2 && files->limits[i]; i++) {
        if (read_number(root, files->directory, group, files->limits[i], &value) && value < limit) {
            limit = value;
        }
    }
    if (limit >= (uint64_t)1 << 62 ||
        !read_number(root, files->directory, group, files->usage, &used)) { /* version 1 writes 2^63 less a page */
        return RBE_NO_LIMIT;
    }
    const uint64_t cache = page_cache(root, files, group);
    used -= cache < used ? cache : used;
    return limit > used ? limit - used : 0;
}

/* The least of a group and those around it. Inside a container its own group is the root. */
static uint64_t groups_leave(const char *root, const group_files *files, char *group)
{
    uint64_t least = RBE_NO_LIMIT;
    for (;;) {
        const uint64_t here = group_leaves(root, files, group);
        least = here < least ? here : least;
        char *last = strrchr(group, '/');
        if (!last) {
            return least;
        }
        *last = 0;
    }
}

/* Whether a line of /proc/self/cgroup, "ID:CONTROLLERS:PATH", is that of the memory controller of version 1. */
static int is_memory_line(const char *line)
{
    const char *names = strchr(line, ':'), *end = names ? strchr(names + 1, ':') : NULL;
    for (const char *at = names; at && end && at < end;) {
        const size_t bytes = strcspn(++at, ",:");
        if (bytes == 6 && strncmp(at, "memory", 6) == 0) {
            return 1;
        }
        at += bytes;
    }
    return 0;
}

/* Behind "ID:CONTROLLERS:"; without the newline and without a '/' at the end. */
static void copy_group(const char *line, char *group, size_t capacity)
{
    const char *path = strchr(line, ':');
    path = path ? strchr(path + 1, ':') : NULL;
    snprintf(group, capacity, "%s", path ? path + 1 : "");
    group[strcspn(group, "\n")] = 0;
    if (strcmp(group, "/") == 0) {
        group[0] = 0;
    }
}

static uint64_t control_groups(const char *root)
{
    char line[1024], first[1024] = "", second[1024] = "";
    FILE *file = open_file(root, "/proc/self", "", "cgroup");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "0::", 3) == 0) {
            copy_group(line, second, sizeof second);
        } else if (is_memory_line(line)) {
            copy_group(line, first, sizeof first);
        }
    }
    if (file) {
        fclose(file);
    }
    const uint64_t by_2 = groups_leave(root, &version_2, second), by_1 = groups_leave(root, &version_1, first);
    return by_1 < by_2 ? by_1 : by_2;
}

/* What Android keeps free: the highest level of its low-memory killer in the kernel (until Android 9; pages, "18432,23040,..."), else that of
 * its activity manager. 0 on other systems. */
static uint64_t android_reserve(const char *root)
{
    uint64_t most = 0, value;
    FILE *file = open_file(root, "/sys/module/lowmemorykiller/parameters", "", "minfree");
    while (file && fscanf(file, "%" SCNu64, &value) == 1) {
        most = value > most && value < (uint64_t)1 << 40 ? value : most;
        if (fgetc(file) != ',') {
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    if (most) {
        return most * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    file = open_file(root, "/system", "", "build.prop");
    if (!file) {
        file = open_file(root, "/system/bin", "", "lmkd"); /* build.prop is not for all to read */
    }
    if (!file) {
        return 0;
    }
    fclose(file);
    return ANDROID_RESERVE;
}

void rbe__available_memory_read(const char *root, rbe__available_memory *out)
{
    uint64_t kilobytes;
    *out = (rbe__available_memory){.available = RBE_NO_LIMIT, .address_space = RBE_NO_LIMIT};
    FILE *file = open_file(root, "/proc", "", "meminfo");
    if (file) {
        out->total = read_field(file, "MemTotal", &kilobytes) && kilobytes < UINT64_MAX >> 10 ? kilobytes << 10 : 0;
        if (read_field(file, "MemAvailable", &kilobytes) && kilobytes < UINT64_MAX >> 10) { /* Linux 3.14 */
            out->available = kilobytes << 10;
        }
        out->swap = read_field(file, "SwapFree", &kilobytes) && kilobytes < UINT64_MAX >> 10 ? kilobytes << 10 : 0;
        fclose(file);
    }
    const uint64_t reserve = android_reserve(root), groups = control_groups(root);
    if (reserve && out->available != RBE_NO_LIMIT) {
        out->available -= reserve < out->available ? reserve : out->available;
        out->bound = RBE_BOUND_ANDROID;
    }
    if (groups < out->available) {
        out->available = groups;
        out->bound = RBE_BOUND_GROUP;
    }
}

void rbe__available_memory_find(rbe__available_memory *out)
{
    struct rlimit limit;
    uint64_t pages;
    rbe__available_memory_read("", out);
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && read_number("", "/proc/self", "", "statm", &pages)) {
        const uint64_t mapped = pages * (uint64_t)sysconf(_SC_PAGESIZE);
        out->address_space = limit.rlim_cur > mapped ? limit.rlim_cur - mapped : 0;
    }
}
