#include "platform/windows/windows.h"

#include "platform/platform.h"

uint64_t rbe__nanoseconds(void)
{
    LARGE_INTEGER ticks, per_second; /* neither can fail since Windows XP */
    QueryPerformanceFrequency(&per_second);
    QueryPerformanceCounter(&ticks);
    const uint64_t t = (uint64_t)ticks.QuadPart, unit = (uint64_t)per_second.QuadPart, billion = 1000000000u;
    return t / unit * billion + t % unit * billion / unit; /* in one product it would overflow after half an hour */
}

uint64_t rbe__process_id(void)
{
    return GetCurrentProcessId();
}
