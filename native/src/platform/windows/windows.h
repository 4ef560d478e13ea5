/* <windows.h> as this folder wants it: Windows 10, without what it hardly needs. */
#ifndef RBE_PLATFORM_WINDOWS_WINDOWS_H
#define RBE_PLATFORM_WINDOWS_WINDOWS_H

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#if !defined(_WIN32_WINNT) || _WIN32_WINNT < 0x0A00
#undef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00
#endif
#include <windows.h>

#endif
