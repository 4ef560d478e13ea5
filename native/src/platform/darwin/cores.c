#include "platform/platform.h"

#include <sys/sysctl.h>

/* Performance cores where the system tells them apart, else all physical cores. */
uint32_t rbe__physical_cores(void)
{
    int count = 0;
    size_t bytes = sizeof count;
    if (sysctlbyname("hw.perflevel0.physicalcpu", &count, &bytes, NULL, 0) == 0 && count > 0) {
        return (uint32_t)count;
    }
    bytes = sizeof count;
    if (sysctlbyname("hw.physicalcpu", &count, &bytes, NULL, 0) == 0 && count > 0) {
        return (uint32_t)count;
    }
    return 1;
}
