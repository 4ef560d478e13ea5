#include <time.h>
#include <unistd.h>

#include "platform/platform.h"

uint64_t rbe__nanoseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t rbe__process_id(void)
{
    return (uint64_t)getpid();
}
