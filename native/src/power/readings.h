/* Numbers and words in the small files of a machine, below a root. No locale matters. No function sets an error. */
#ifndef RBE_POWER_READINGS_H
#define RBE_POWER_READINGS_H

#include <stddef.h>

#include "base/status.h"
#include "platform/system_files.h"

#define RBE_SENSOR_PATH 320u /* bytes of a path, root and end included */

/* A number such as "-12.5" at *at, which moves behind it; digits, at most 18 before and 18 behind the point, no exponent. 0 where there is
 * none. */
int rbe__take_decimal(const char **at, double *out);

/* The text of the file that the format gives, without white space at its end; "" where there is none. */
rbe__file_state rbe__read_text(char *out, size_t capacity, const char *format, ...) RBE_PRINTF(3, 4);

/* The same of a file that holds one number and nothing else. RBE_FILE_UNREADABLE for others; *out is then not changed. */
rbe__file_state rbe__read_number(double *out, const char *format, ...) RBE_PRINTF(2, 3);

/* The number times `unit` where it lies within the bounds, else NAN. */
double rbe__read_between(double least, double most, double unit, const char *format, ...) RBE_PRINTF(4, 5);

/* snprintf, but what does not fit is left out as a whole: "" then, which names no file. */
void rbe__write_text(char *out, size_t capacity, const char *format, ...) RBE_PRINTF(3, 4);

/* 1 where a text begins with `start`; capital letters count as small ones. */
int rbe__text_begins(const char *text, const char *start);

/* Copies a text, cut where it is too long; what cannot be printed becomes '?', since files may say anything. */
void rbe__copy_text(char *out, size_t capacity, const char *text);

#endif
