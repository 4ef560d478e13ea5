#include "platform/program.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* What /proc/cpuinfo calls what kernels are chosen by (kernels/select.c). */
static const char *const features[] = {
    "avx2",        "fma",      "f16c",     "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni",
    "avx512_vbmi", "amx_tile", "amx_int8", "neon",     "vfpv4",   "asimd",    "asimddp",  "i8mm",     "sve",
};

int rbe__program_path(const char *name, char *out, size_t capacity)
{
    const ssize_t n = readlink("/proc/self/exe", out, capacity - 1);
    out[n < 0 ? 0 : n] = 0;
    if (n > 0 && (size_t)n < capacity - 1 && access(out, R_OK) == 0) {
        return 1;
    }
    if (access("/proc/self/exe", R_OK) == 0) { /* the file was removed, or its name is too long */
        return (size_t)snprintf(out, capacity, "%s", "/proc/self/exe") < capacity;
    }
    return name && strchr(name, '/') && (size_t)snprintf(out, capacity, "%s", name) < capacity && access(out, R_OK) == 0;
}

static FILE *open_at(const char *root, const char *path)
{
    char whole[512];
    return (size_t)snprintf(whole, sizeof whole, "%s%s", root, path) < sizeof whole ? fopen(whole, "re") : NULL;
}

/* The value of a line "NAME : value", without its newline; NULL for other lines. */
static const char *value_of(char *line, const char *name)
{
    const size_t bytes = strlen(name);
    char *colon = strchr(line, ':');
    if (!colon || strncmp(line, name, bytes) != 0 || line + bytes + strspn(line + bytes, " \t") != colon) {
        return NULL;
    }
    line[strcspn(line, "\n")] = 0;
    return colon + 1 + strspn(colon + 1, " \t");
}

static int holds_word(const char *text, const char *word)
{
    const size_t bytes = strlen(word);
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += bytes) {
        if ((at == text || at[-1] == ' ') && (at[bytes] == ' ' || at[bytes] == 0)) {
            return 1;
        }
    }
    return 0;
}

static void add_features(const char *text, rbe__machine *out)
{
    out->features[0] = 0;
    for (size_t i = 0, n = 0; i < sizeof features / sizeof *features; i++) {
        if (holds_word(text, features[i])) {
            n += (size_t)snprintf(out->features + n, sizeof out->features - n, "%s%s", n ? " " : "", features[i]);
        }
    }
}

/* x86 names its processor and flags for each of them; ARM the board, once, at the end. */
static void read_processor(const char *root, rbe__machine *out)
{
    static char line[8192]; /* flags of x86 are some 2000 characters */
    FILE *file = open_at(root, "/proc/cpuinfo");
    while (file && fgets(line, sizeof line, file)) {
        const char *name = value_of(line, "model name"), *board = name ? NULL : value_of(line, "Model");
        const char *flags = name || board ? NULL : value_of(line, "flags");
        flags = name || board || flags ? flags : value_of(line, "Features");
        if ((name || board) && (board || !out->processor[0])) {
            snprintf(out->processor, sizeof out->processor, "%s", name ? name : board);
        } else if (flags && !out->features[0]) {
            add_features(flags, out);
        }
    }
    if (file) {
        fclose(file);
    }
}

double rbe__load(void)
{
    double load = 0;
    FILE *file = open_at("", "/proc/loadavg");
    if (file) {
        if (fscanf(file, "%lf", &load) != 1) { /* NOLINT(cert-err34-c): one number, of the kernel */
            load = 0;
        }
        fclose(file);
    }
    return load;
}

void rbe__machine_read(const char *root, rbe__machine *out)
{
    out->processor[0] = out->features[0] = 0;
    read_processor(root, out);
}

void rbe__machine_describe(rbe__machine *out)
{
    struct utsname name;
    rbe__machine_read("", out);
    out->system[0] = 0;
    if (uname(&name) == 0) {
        snprintf(out->system, sizeof out->system, "%.60s %.60s", name.sysname, name.machine);
    }
}
