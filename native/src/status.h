/* The library's one way to fail: a status and a line for a person. */
#ifndef RBE_STATUS_H
#define RBE_STATUS_H

#include <stdarg.h>
#include "rbe/rbe.h"

#if defined(__GNUC__)
#define RBE_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define RBE_PRINTF(format_index, first)
#endif

/* Stores the message for rbe_last_error() on this thread (511 bytes at most) and returns `status`. */
rbe_status rbe_fail(rbe_status status, const char *format, ...) RBE_PRINTF(2, 3);

/* Returns from the caller when `expression` is not RBE_OK. */
#define RBE_TRY(expression)                         \
    do {                                            \
        rbe_status rbe_try_status = (expression);   \
        if (rbe_try_status != RBE_OK) {             \
            return rbe_try_status;                  \
        }                                           \
    } while (0)

#endif
