#include "power/readings.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MOST_DIGITS 18

int rbe__take_decimal(const char **at, double *out)
{
    const char *text = *at;
    const int negative = *text == '-';
    double value = 0, unit = 1;
    int digits = 0, behind = 0;
    text += negative || *text == '+';
    for (; isdigit((unsigned char)*text) && digits <= MOST_DIGITS; text++, digits++) {
        value = value * 10 + (*text - '0');
    }
    if (digits < 1 || digits > MOST_DIGITS) {
        return 0;
    }
    if (*text == '.') {
        for (text++; isdigit((unsigned char)*text) && behind <= MOST_DIGITS; text++, behind++) {
            value = value * 10 + (*text - '0');
            unit *= 10;
        }
        if (behind < 1 || behind > MOST_DIGITS) {
            return 0;
        }
    }
    *at = text;
    *out = (negative ? -value : value) / unit;
    return 1;
}

static rbe__file_state read_text(char *out, size_t capacity, const char *format, va_list arguments)
{
    char path[RBE_SENSOR_PATH];
    const int bytes = vsnprintf(path, sizeof path, format, arguments);
    out[0] = 0;
    if (bytes < 0 || (size_t)bytes >= sizeof path) {
        return RBE_FILE_ABSENT;
    }
    const rbe__file_state state = rbe__system_file_read(path, out, capacity);
    for (size_t n = strlen(out); n > 0 && isspace((unsigned char)out[n - 1]); n--) {
        out[n - 1] = 0;
    }
    return state;
}

rbe__file_state rbe__read_text(char *out, size_t capacity, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const rbe__file_state state = read_text(out, capacity, format, arguments);
    va_end(arguments);
    return state;
}

static rbe__file_state read_number(double *out, const char *format, va_list arguments)
{
    char text[48];
    const char *at = text;
    double value;
    const rbe__file_state state = read_text(text, sizeof text, format, arguments);
    if (state != RBE_FILE_READ) {
        return state;
    }
    if (!rbe__take_decimal(&at, &value) || *at) {
        return RBE_FILE_UNREADABLE;
    }
    *out = value;
    return RBE_FILE_READ;
}

rbe__file_state rbe__read_number(double *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const rbe__file_state state = read_number(out, format, arguments);
    va_end(arguments);
    return state;
}

double rbe__read_between(double least, double most, double unit, const char *format, ...)
{
    double value = NAN;
    va_list arguments;
    va_start(arguments, format);
    (void)read_number(&value, format, arguments);
    va_end(arguments);
    value *= unit;
    return value >= least && value <= most ? value : NAN;
}

void rbe__write_text(char *out, size_t capacity, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int bytes = vsnprintf(out, capacity, format, arguments);
    va_end(arguments);
    if (bytes < 0 || (size_t)bytes >= capacity) {
        out[0] = 0;
    }
}

int rbe__text_begins(const char *text, const char *start)
{
    for (; *start; text++, start++) {
        if (tolower((unsigned char)*text) != tolower((unsigned char)*start)) {
            return 0;
        }
    }
    return 1;
}

void rbe__copy_text(char *out, size_t capacity, const char *text)
{
    size_t n = 0;
    for (; text[n] && n + 1 < capacity; n++) {
        out[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    }
    out[n] = 0;
}
