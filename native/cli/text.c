#include "text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT 0xFFFDu

span span_of(const char *text)
{
    return (span){text, text ? strlen(text) : 0};
}

/* The range of the second byte is narrower behind some first bytes (Unicode 16, table 3-7). */
static int is_second(unsigned char first, unsigned char second)
{
    const unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    return second >= low && second <= high;
}

uint32_t code_point(span text, size_t *used)
{
    const unsigned char *at = (const unsigned char *)text.text;
    const size_t n = at[0] < 0x80                    ? 1
                     : at[0] >= 0xC2 && at[0] < 0xE0 ? 2
                     : at[0] >= 0xE0 && at[0] < 0xF0 ? 3
                     : at[0] >= 0xF0 && at[0] < 0xF5 ? 4
                                                     : 0;
    *used = 1;
    if (n <= 1) {
        return n ? at[0] : REPLACEMENT;
    }
    uint32_t code = at[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++, (*used)++) {
        if (i >= text.bytes || (i == 1 ? !is_second(at[0], at[1]) : (at[i] & 0xC0) != 0x80)) {
            return REPLACEMENT;
        }
        code = code << 6 | (at[i] & 0x3Fu);
    }
    return code;
}

/* str.isspace of Python */
static int is_space(uint32_t code)
{
    return (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

span strip_left(span text)
{
    size_t used;
    while (text.bytes && is_space(code_point(text, &used))) {
        text.text += used;
        text.bytes -= used;
    }
    return text;
}

span strip(span text)
{
    text = strip_left(text);
    size_t end = 0, used;
    for (size_t at = 0; at < text.bytes; at += used) {
        const span rest = {text.text + at, text.bytes - at};
        if (!is_space(code_point(rest, &used))) {
            end = at + used;
        }
    }
    text.bytes = end;
    return text;
}

int is_control(uint32_t code)
{
    return (code < 0x20 && code != '\t' && code != '\n') || (code >= 0x7F && code < 0xA0) || (code >= 0x202A && code <= 0x202E) ||
           (code >= 0x2066 && code <= 0x2069);
}

void one_line(span text, char *out, size_t capacity)
{
    size_t n = 0, used;
    int blank = 0;
    for (size_t at = 0; at < text.bytes; at += used) {
        const span rest = {text.text + at, text.bytes - at};
        const uint32_t code = code_point(rest, &used);
        if (is_space(code)) {
            blank = n > 0;
        } else if (!is_control(code)) {
            if (n + (size_t)blank + used >= capacity) {
                break;
            }
            if (blank) {
                out[n++] = ' ';
            }
            memcpy(out + n, rest.text, used);
            n += used;
            blank = 0;
        }
    }
    out[n] = 0;
}

void json_text(span text)
{
    size_t used;
    putchar('"');
    for (size_t at = 0; at < text.bytes; at += used) {
        const span rest = {text.text + at, text.bytes - at};
        const uint32_t code = code_point(rest, &used);
        const char *const controls = "\b\t\n\f\r", *const control = code ? strchr(controls, (int)(code & 0x7F)) : NULL;
        if (code == '"' || code == '\\') {
            printf("\\%c", (int)code);
        } else if (code < 0x20 && control) {
            printf("\\%c", "btnfr"[control - controls]);
        } else if (code >= 0x20 && code < 0x7F) {
            putchar((int)code);
        } else if (code < 0x10000) {
            printf("\\u%04" PRIx32, code);
        } else {
            printf("\\u%04" PRIx32 "\\u%04" PRIx32, 0xD800 + ((code - 0x10000) >> 10), 0xDC00 + ((code - 0x10000) & 0x3FF));
        }
    }
    putchar('"');
}

const char *number_text_of(double value, number_text *out)
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out->text, sizeof out->text, "%.*g", digits, value);
        if (strtod(out->text, NULL) == value) {
            break;
        }
    }
    if (isfinite(value) && !strpbrk(out->text, ".e")) {
        strncat(out->text, ".0", sizeof out->text - strlen(out->text) - 1);
    }
    return out->text;
}

void json_number(double value)
{
    number_text text;
    fputs(isfinite(value) ? number_text_of(value, &text) : "null", stdout);
}

const char *size_text_of(uint64_t bytes, number_text *out)
{
    const double kib = (double)bytes / 1024;
    if (bytes < 1024) {
        snprintf(out->text, sizeof out->text, "%" PRIu64 " bytes", bytes);
    } else if (kib < 1024) {
        snprintf(out->text, sizeof out->text, "%.1f KiB", kib);
    } else if (kib < 1024 * 1024) {
        snprintf(out->text, sizeof out->text, "%.1f MiB", kib / 1024);
    } else {
        snprintf(out->text, sizeof out->text, "%.1f GiB", kib / 1024 / 1024);
    }
    return out->text;
}
