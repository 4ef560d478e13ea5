#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity, sched_getcpu */
#endif
#include <sched.h>
#include <string.h>

#include "platform/threads.h"

int rbe__thread_cpu(void)
{
    return sched_getcpu();
}

int rbe__thread_get_affinity(uint8_t allowed[RBE_MAX_CPUS])
{
    cpu_set_t set;
    memset(allowed, 0, RBE_MAX_CPUS);
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 0;
    }
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE && cpu < RBE_MAX_CPUS; cpu++) {
        allowed[cpu] = CPU_ISSET(cpu, &set) != 0;
    }
    return 1;
}

int rbe__thread_set_affinity(const uint8_t allowed[RBE_MAX_CPUS])
{
    cpu_set_t wanted, now;
    CPU_ZERO(&wanted);
    for (uint32_t cpu = 0; cpu < CPU_SETSIZE && cpu < RBE_MAX_CPUS; cpu++) {
        if (allowed[cpu]) {
            CPU_SET(cpu, &wanted);
        }
    }
    return sched_setaffinity(0, sizeof wanted, &wanted) == 0 && sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&wanted, &now);
}
