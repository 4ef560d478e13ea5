#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last_error[512];

/* Messages quote files: what a terminal would act on, the control characters of ASCII and, in UTF-8, U+0080 to U+009F, becomes '?'. */
static void make_plain(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (c[0] == 0xC2 && c[1] >= 0x80 && c[1] <= 0x9F) {
            c[0] = c[1] = '?';
        } else if (*c < 0x20 || *c == 0x7F) {
            *c = '?';
        }
    }
}

void rbe__set_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
    make_plain(last_error);
}

const char *rbe_last_error(void)
{
    return last_error;
}

const char *rbe_version(void)
{
    return RBE_VERSION;
}

const char *rbe_status_text(rbe_status status)
{
    switch (status) {
    case RBE_OK: return "ok";
    case RBE_ERROR_ARGUMENT: return "invalid argument";
    case RBE_ERROR_MEMORY: return "out of memory";
    case RBE_ERROR_IO: return "input/output error";
    case RBE_ERROR_FORMAT: return "malformed file";
    case RBE_ERROR_UNSUPPORTED: return "not supported";
    case RBE_ERROR_CONTEXT: return "context full";
    case RBE_ERROR_CANCELLED: return "cancelled";
    case RBE_ERROR_CAPACITY: return "buffer too small";
    }
    return "unknown status";
}

rbe_status rbe__copy_options(void *out, size_t bytes, const void *options)
{
    size_t given;
    if (!options) {
        return RBE_OK;
    }
    memcpy(&given, options, sizeof given);
    if (given < sizeof given || given > bytes) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "options.struct_bytes is %zu; set it to sizeof the structure (%zu)", given, bytes);
    }
    memcpy(out, options, given);
    return RBE_OK;
}

rbe_status rbe__check_info(const char *function, const void *out)
{
    size_t wanted = 0;
    if (out) {
        memcpy(&wanted, out, sizeof wanted);
    }
    if (wanted < sizeof wanted || wanted > RBE_MOST_STRUCT_BYTES) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "%s: the structure is NULL, or its struct_bytes is not its size", function);
    }
    return RBE_OK;
}

rbe_status rbe__give_info(const char *function, void *out, const void *info, size_t bytes)
{
    size_t wanted;
    RBE_TRY(rbe__check_info(function, out));
    memcpy(&wanted, out, sizeof wanted);
    const size_t known = wanted < bytes ? wanted : bytes;
    memset((char *)out + known, 0, wanted - known);
    memcpy((char *)out + sizeof wanted, (const char *)info + sizeof wanted, known - sizeof wanted);
    return RBE_OK;
}
