/* The system does not let a thread choose its core. */
#include <string.h>

#include "platform/threads.h"

int rbe__thread_cpu(void)
{
    return -1;
}

int rbe__thread_get_affinity(uint8_t allowed[RBE_MAX_CPUS])
{
    memset(allowed, 0, RBE_MAX_CPUS);
    return 0;
}

int rbe__thread_set_affinity(const uint8_t allowed[RBE_MAX_CPUS])
{
    (void)allowed;
    return 0;
}
