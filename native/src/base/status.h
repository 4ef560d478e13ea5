/* How every function of the library reports a failure: a status, and a line for a person. */
#ifndef RBE_STATUS_H
#define RBE_STATUS_H

#include "rbe/rbe.h"

#if defined(__GNUC__)
#define RBE_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define RBE_PRINTF(format_index, first)
#endif

/* Stores the message for rbe_last_error() on this thread (511 bytes at most), with '?' for control characters. */
void rbe__set_error(const char *format, ...) RBE_PRINTF(1, 2);

/* rbe_fail(status, format, ...): stores the message and is `status`. A macro, so that compilers see that it is no RBE_OK. */
#define rbe_fail(status, ...) (rbe__set_error(__VA_ARGS__), (status))

/* Returns from the caller when `expression` is not RBE_OK. */
#define RBE_TRY(expression)                       \
    do {                                          \
        rbe_status rbe_try_status = (expression); \
        if (rbe_try_status != RBE_OK) {           \
            return rbe_try_status;                \
        }                                         \
    } while (0)

/* Copies the caller's options (NULL: none) into a zeroed structure of `bytes`; both begin with size_t struct_bytes. Options of
 * an older, shorter structure are taken as they are; longer ones ask for something this build does not know. */
rbe_status rbe__copy_options(void *out, size_t bytes, const void *options);

/* Fills the caller's information structure from `info` of `bytes`. Both begin with size_t struct_bytes; that of `out` is the size of the
 * caller's structure and is not changed. A shorter structure gets the fields that it has. In a longer one the fields that this build
 * does not know become zero. RBE_ERROR_ARGUMENT, and nothing is written, where out is NULL, or struct_bytes is less than its own size or
 * more than RBE_MOST_STRUCT_BYTES: then it was never set. `function` is named in the message. */
#define RBE_MOST_STRUCT_BYTES 4096u
rbe_status rbe__give_info(const char *function, void *out, const void *info, size_t bytes);

/* The check of rbe__give_info alone, for a call that must check `out` before it does anything. */
rbe_status rbe__check_info(const char *function, const void *out);

#endif
