/* UTF-8 texts as Python's commands treat them: what is white space, what a terminal must not see, how JSON and numbers are written. */
#ifndef RBE_PROGRAM_TEXT_H
#define RBE_PROGRAM_TEXT_H

#include <stddef.h>
#include <stdint.h>

typedef struct span {
    const char *text; /* not zero-terminated */
    size_t bytes;
} span;

span span_of(const char *text); /* NULL is "" */

/* The code point that the text begins with, and how many bytes it takes, 1 at least; U+FFFD for bytes that are none. bytes: not 0. */
uint32_t code_point(span text, size_t *used);

/* Without white space at the start, or at both ends. */
span strip_left(span text);
span strip(span text);

/* What a terminal would obey, or what makes text read as what it is not: C0 but tab and newline, DEL, C1, bidirectional overrides. */
int is_control(uint32_t code);

/* Copies the text without control characters and with runs of white space as one blank, none at the ends: at most capacity - 1 bytes, cut
 * between characters; zero-terminated. */
void one_line(span text, char *out, size_t capacity);

/* To standard output, as json.dumps writes them: the rest than ASCII escaped, the shortest digits that give the number again. */
void json_text(span text);
void json_number(double value);

/* The same digits of a number as text. Returns out. */
typedef struct number_text {
    char text[40];
} number_text;
const char *number_text_of(double value, number_text *out);

/* 1536 -> "1.5 KiB". Returns out. */
const char *size_text_of(uint64_t bytes, number_text *out);

#endif
