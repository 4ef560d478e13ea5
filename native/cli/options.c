#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"

int read_number(const char *text, double *out)
{
    char *end;
    if (!text[0] || strpbrk(text, "xX \t\n")) {
        return 0;
    }
    *out = strtod(text, &end);
    return *end == 0;
}

int read_whole(const char *text, int64_t *out)
{
    char *end;
    const size_t sign = text[0] == '-' || text[0] == '+';
    if (text[sign] < '0' || text[sign] > '9') {
        return 0;
    }
    errno = 0;
    *out = strtoll(text, &end, 10);
    return *end == 0 && errno == 0;
}

static int read_seed(const char *text, seed *out)
{
    char *end;
    const size_t sign = text[0] == '-' || text[0] == '+';
    if (text[sign] < '0' || text[sign] > '9') {
        return 0;
    }
    errno = 0;
    out->value = strtoull(text + sign, &end, 10);
    out->is_given = text[0] != '-' || out->value == 0;
    return *end == 0 && errno == 0;
}

/* '200M' -> 200 x 2^20: K, M and G are powers of 1024, a number alone is bytes. */
static int read_size(const char *text, uint64_t *out)
{
    char number[32], *end;
    const size_t digits = strspn(text, "0123456789."), whole = strcspn(text, ".");
    const char *unit = text + digits;
    if (digits == 0 || digits >= sizeof number || whole == 0 || whole > 15 || strchr(text, '.') != strrchr(text, '.')) {
        return 0;
    }
    memcpy(number, text, digits);
    number[digits] = 0;
    double size = strtod(number, &end);
    const char *const known = "KMGkmg", *const letter = *unit ? strchr(known, *unit) : NULL;
    if (letter) {
        for (long power = (letter - known) % 3; power >= 0; power--) {
            size *= 1024;
        }
        unit++;
    }
    unit += *unit == 'i' || *unit == 'I';
    unit += *unit == 'B' || *unit == 'b';
    *out = size < 9.2e18 ? (uint64_t)size : 0;
    return *end == 0 && *unit == 0 && *out > 0;
}

static int read_choice(const char *text, const char *const *choices, uint32_t *out)
{
    for (uint32_t i = 0; choices[i]; i++) {
        if (strcmp(text, choices[i]) == 0) {
            *out = i;
            return 1;
        }
    }
    return 0;
}

static int add_text(const char *text, texts *out)
{
    if (out->n == MAX_TEXTS) {
        return 0;
    }
    out->text[out->n++] = text;
    return 1;
}

static int store(const option *one, const char *value)
{
    switch (one->kind) {
    case OPTION_TEXT: memcpy(one->target, &value, sizeof value); return 1;
    case OPTION_TEXTS: return add_text(value, one->target);
    case OPTION_WHOLE: return read_whole(value, one->target);
    case OPTION_SEED: return read_seed(value, one->target);
    case OPTION_NUMBER: return read_number(value, one->target);
    case OPTION_SIZE: return read_size(value, one->target);
    case OPTION_CHOICE: return read_choice(value, one->choices, one->target);
    default: return 0;
    }
}

static int wrong_value(const command_line *line, const option *one, const char *value)
{
    static const char *const wanted[] = {[OPTION_TEXTS] = "be given less often",
                                         [OPTION_WHOLE] = "be a whole number",
                                         [OPTION_SEED] = "be a whole number below 2^64",
                                         [OPTION_NUMBER] = "be a number",
                                         [OPTION_SIZE] = "be a size of memory, such as 200M or 1.5G"};
    char choices[128] = "be one of";
    for (size_t i = 0, n = strlen(choices); one->kind == OPTION_CHOICE && one->choices[i]; i++) {
        n += (size_t)snprintf(choices + n, sizeof choices - n, "%s %s", i ? "," : "", one->choices[i]);
    }
    return fail(EXIT_USAGE, "%s must %s, not `%s`; see `rbe %s --help`", one->name,
                one->kind == OPTION_CHOICE ? choices : wanted[one->kind], value, line->command);
}

/* The option that an argument names; *value is what stands behind it in the same argument ("--temp=0.5", "-n5"), or NULL. */
static const option *find(const option *options, const char *argument, const char **value)
{
    const size_t name = strcspn(argument, "=");
    for (const option *one = options; one->name; one++) {
        if (strlen(one->name) == name && strncmp(one->name, argument, name) == 0) {
            *value = argument[name] ? argument + name + 1 : NULL;
            return one;
        }
        if (one->brief && strncmp(one->brief, argument, 2) == 0) {
            *value = argument[2] ? argument + 2 + (argument[2] == '=') : NULL;
            return one;
        }
    }
    return NULL;
}

/* Takes one argument, and the next where that is its value; returns how many, 0 behind a line that says what is wrong. */
static int take(const command_line *line, const char *argument, const char *next)
{
    const char *value = NULL;
    const option *one = find(line->options, argument, &value);
    if (!one) {
        fail(EXIT_USAGE, "unknown option %s; see `rbe %s --help`", argument, line->command);
        return 0;
    }
    if (one->kind == OPTION_REFUSED) {
        fail(EXIT_USAGE, "%s %s", one->name, (const char *)one->target);
        return 0;
    }
    if (one->kind == OPTION_FLAG) {
        if (value) {
            fail(EXIT_USAGE, "%s takes no value; see `rbe %s --help`", one->name, line->command);
            return 0;
        }
        *(int *)one->target = 1;
        return 1;
    }
    const int used = value ? 1 : 2;
    value = value ? value : next;
    if (!value) {
        fail(EXIT_USAGE, "%s needs a value; see `rbe %s --help`", one->name, line->command);
        return 0;
    }
    if (!store(one, value)) {
        wrong_value(line, one, value);
        return 0;
    }
    return used;
}

int read_command_line(const command_line *line, int argc, char **argv, int *code)
{
    int only_files = 0;
    *code = EXIT_USAGE;
    for (int i = 0; i < argc;) {
        const char *argument = argv[i];
        if (!only_files && strcmp(argument, "--") == 0) {
            only_files = 1;
            i++;
        } else if (!only_files && (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)) {
            for (size_t part = 0; part < sizeof line->usage / sizeof *line->usage && line->usage[part]; part++) {
                fputs(line->usage[part], stdout);
            }
            *code = 0;
            return 1;
        } else if (!only_files && argument[0] == '-' && argument[1]) {
            const int used = take(line, argument, i + 1 < argc ? argv[i + 1] : NULL);
            if (!used) {
                return 1;
            }
            i += used;
        } else if (line->file && *line->file && line->rest) {
            if (!add_text(argument, line->rest)) {
                fail(EXIT_USAGE, "at most %u texts are given so; write more to standard input, a line each", MAX_TEXTS);
                return 1;
            }
            i++;
        } else if (!line->file || *line->file) {
            fail(EXIT_USAGE, "unexpected argument `%s`; see `rbe %s --help`", argument, line->command);
            return 1;
        } else {
            *line->file = argument;
            i++;
        }
    }
    return 0;
}
