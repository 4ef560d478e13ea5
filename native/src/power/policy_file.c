/* Files of policies: lines "key = value". */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/platform.h"
#include "power/policy.h"
#include "power/readings.h"

#define MOST_BYTES (64u << 10)

typedef struct key {
    const char *name;
    size_t offset; /* of the field, a double */
    double least, most;
} key;

static const key keys[] = {
    {"performance_above", offsetof(rbe_policy, performance_above), 0, 100},
    {"balanced_above", offsetof(rbe_policy, balanced_above), 0, 100},
    {"saver_above", offsetof(rbe_policy, saver_above), 0, 100},
    {"hysteresis", offsetof(rbe_policy, hysteresis), 0, 20},
    {"hot", offsetof(rbe_policy, hot), 30, 120},
    {"cool", offsetof(rbe_policy, cool), 20, 120},
    {"least_seconds", offsetof(rbe_policy, least_seconds), 0, 3600},
    {"charger_seconds", offsetof(rbe_policy, charger_seconds), 0, 3600},
};
#define N_KEYS ((int)(sizeof keys / sizeof *keys))
#define MODE_KEY N_KEYS
#define N_ALL (N_KEYS + 1)

/* Fields that must be in order, the greater one first, by index of `keys`. */
static const int orders[][2] = {{0, 1}, {1, 2}, {4, 5}};
#define N_ORDERS ((int)(sizeof orders / sizeof *orders))

static double *field(rbe_policy *policy, int index)
{
    return (double *)((char *)policy + keys[index].offset);
}

static double value_of(const rbe_policy *policy, int index)
{
    return *(const double *)((const char *)policy + keys[index].offset);
}

/* The index of the first pair that is out of order; N_ORDERS: none. */
static int wrong_order(const rbe_policy *policy)
{
    int i = 0;
    while (i < N_ORDERS && value_of(policy, orders[i][0]) > value_of(policy, orders[i][1])) {
        i++;
    }
    return i;
}

static int in_range(int index, double value)
{
    return value >= keys[index].least && value <= keys[index].most;
}

rbe_status rbe__policy_check(const rbe_policy *policy)
{
    for (int i = 0; i < N_KEYS; i++) {
        const double value = value_of(policy, i);
        if (!in_range(i, value)) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "policy: %s is %g; it must be %g to %g", keys[i].name, value, keys[i].least, keys[i].most);
        }
    }
    const int order = wrong_order(policy);
    if (order < N_ORDERS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "policy: %s must be more than %s", keys[orders[order][0]].name, keys[orders[order][1]].name);
    }
    if (policy->override_mode > RBE_MODES) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "policy: override_mode is %u; it must be 0, or 1 + a mode", policy->override_mode);
    }
    return RBE_OK;
}

/* A file while it is read. */
typedef struct reading {
    const char *path;
    int line;
    rbe_policy policy;
    int line_of[N_ALL]; /* where each key stands; 0: nowhere */
} reading;

static rbe_status wrong_line(const reading *r, int line, const char *what, const char *detail)
{
    char shown[48];
    rbe__copy_text(shown, sizeof shown, detail);
    return rbe_fail(RBE_ERROR_FORMAT, "%s, line %d: %s %s", r->path, line, what, shown);
}

static int key_of(const char *name)
{
    int i = 0;
    while (i < N_KEYS && strcmp(keys[i].name, name) != 0) {
        i++;
    }
    return i < N_KEYS ? i : strcmp(name, "mode") == 0 ? MODE_KEY : N_ALL;
}

static rbe_status take_mode(reading *r, const char *value)
{
    uint32_t mode = 0;
    if (strcmp(value, "auto") == 0) {
        r->policy.override_mode = 0;
        return RBE_OK;
    }
    while (mode < RBE_MODES && strcmp(rbe_power_mode_name(mode), value) != 0) {
        mode++;
    }
    if (mode == RBE_MODES) {
        return wrong_line(r, r->line, "mode must be auto, performance, balanced, saver or emergency, not", value);
    }
    r->policy.override_mode = 1 + mode;
    return RBE_OK;
}

static rbe_status take_number(reading *r, int index, const char *value)
{
    const char *at = value;
    double number;
    if (!rbe__take_decimal(&at, &number) || *at) {
        return wrong_line(r, r->line, "a number such as 50 or 2.5 is wanted, not", value);
    }
    if (!in_range(index, number)) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s, line %d: %s is %g; it must be %g to %g", r->path, r->line, keys[index].name, number,
                        keys[index].least, keys[index].most);
    }
    *field(&r->policy, index) = number;
    return RBE_OK;
}

/* Without white space around it. */
static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t n = strlen(text);
    while (n > 0 && strchr(" \t\r", text[n - 1])) {
        text[--n] = 0;
    }
    return text;
}

static rbe_status take_line(reading *r, char *line)
{
    line[strcspn(line, "#")] = 0;
    line = trim(line);
    char *sign = strchr(line, '=');
    if (!*line) {
        return RBE_OK;
    }
    if (!sign) {
        return wrong_line(r, r->line, "a line is KEY = VALUE, not", line);
    }
    *sign = 0;
    const char *name = trim(line), *value = trim(sign + 1);
    const int index = key_of(name);
    if (index == N_ALL) {
        return wrong_line(r, r->line, "there is no key", name);
    }
    if (r->line_of[index]) {
        return wrong_line(r, r->line, "a second time there is", name);
    }
    r->line_of[index] = r->line;
    return index == MODE_KEY ? take_mode(r, value) : take_number(r, index, value);
}

static rbe_status read_lines(reading *r, char *text)
{
    while (*text) {
        char *line = text;
        text += strcspn(text, "\n");
        if (*text) {
            *text++ = 0;
        }
        r->line++;
        RBE_TRY(take_line(r, line));
    }
    const int order = wrong_order(&r->policy);
    if (order < N_ORDERS) {
        const int more = orders[order][0], less = orders[order][1];
        const int line = r->line_of[more] > r->line_of[less] ? r->line_of[more] : r->line_of[less]; /* the other may be a default */
        return rbe_fail(RBE_ERROR_FORMAT, "%s, line %d: %s (%g) must be more than %s (%g)", r->path, line, keys[more].name,
                        value_of(&r->policy, more), keys[less].name, value_of(&r->policy, less));
    }
    return RBE_OK;
}

rbe_status rbe_policy_read(const char *path, rbe_policy *out)
{
    rbe__mapped_file file;
    reading r = {.path = path, .policy = rbe__policy_defaults};
    if (!path) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_policy_read: path is NULL");
    }
    RBE_TRY(rbe__check_info("rbe_policy_read", out));
    RBE_TRY(rbe__map_file_start(path, MOST_BYTES + 1, &file));
    const size_t bytes = (size_t)file.mapped_bytes;
    char *text = malloc(bytes + 1);
    if (text) {
        memcpy(text, file.data, bytes);
        text[bytes] = 0;
    }
    rbe__unmap_file(&file);
    rbe_status status = RBE_OK;
    if (!text) {
        status = rbe_fail(RBE_ERROR_MEMORY, "no memory to read %s", path);
    } else if (bytes > MOST_BYTES || memchr(text, 0, bytes)) {
        status = rbe_fail(RBE_ERROR_FORMAT, "%s is no file of a policy: it is %s", path, bytes > MOST_BYTES ? "too long" : "not text");
    } else {
        status = read_lines(&r, text);
    }
    free(text);
    return status == RBE_OK ? rbe__give_info("rbe_policy_read", out, &r.policy, sizeof r.policy) : status;
}
