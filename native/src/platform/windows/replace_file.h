/* A file that takes the place of another. */
#ifndef RBE_PLATFORM_WINDOWS_REPLACE_FILE_H
#define RBE_PLATFORM_WINDOWS_REPLACE_FILE_H

#include "platform/windows/windows.h"

/* Gives the file of the handle, which was opened with DELETE, the name `place`, in the same folder. A file of that name is replaced in one
 * step. 0, or the error of the system; ERROR_SHARING_VIOLATION where the file in that place is open in a way that forbids it. */
unsigned long rbe__replace_file(HANDLE handle, const wchar_t *place);

#endif
