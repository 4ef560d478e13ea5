/* Paths of the library are UTF-8, those of Windows UTF-16; and failures of the system as one line for a person. */
#ifndef RBE_PLATFORM_WINDOWS_PATHS_H
#define RBE_PLATFORM_WINDOWS_PATHS_H

#include <wchar.h>

#include "rbe/rbe.h"

/* A path for the system's functions, to be freed. One that is long becomes absolute and begins with \\?\, so that it may have over 260
 * characters. RBE_ERROR_IO where it is no UTF-8 or the system refuses it; RBE_ERROR_MEMORY. */
rbe_status rbe__wide_path(const char *path, wchar_t **out);

/* "PATH: [WHAT: ]why" of what GetLastError() gives; `what` may be NULL. Is RBE_ERROR_IO. */
rbe_status rbe__system_failure(const char *path, const char *what, unsigned long error);

#endif
