/* Processors are numbered within groups of 64 at most: number 64 g + n is n of group g. A thread runs on processors of one group. */
#include "platform/windows/windows.h"

#include <string.h>

#include "platform/threads.h"

enum { GROUP = 64 };

int rbe__thread_cpu(void)
{
    PROCESSOR_NUMBER at;
    GetCurrentProcessorNumberEx(&at);
    return at.Group * GROUP + at.Number;
}

int rbe__thread_get_affinity(uint8_t allowed[RBE_MAX_CPUS])
{
    GROUP_AFFINITY now = {0};
    memset(allowed, 0, RBE_MAX_CPUS);
    if (!GetThreadGroupAffinity(GetCurrentThread(), &now) || (now.Group + 1u) * GROUP > RBE_MAX_CPUS) {
        return 0;
    }
    for (uint32_t n = 0; n < GROUP; n++) {
        allowed[now.Group * GROUP + n] = (uint64_t)now.Mask >> n & 1;
    }
    return 1;
}

int rbe__thread_set_affinity(const uint8_t allowed[RBE_MAX_CPUS])
{
    GROUP_AFFINITY wanted = {0}, now = {0};
    uint64_t mask = 0;
    for (uint32_t cpu = 0; cpu < RBE_MAX_CPUS; cpu++) {
        if (allowed[cpu] && mask && wanted.Group != cpu / GROUP) {
            return 0; /* of two groups */
        }
        if (allowed[cpu]) {
            wanted.Group = (WORD)(cpu / GROUP);
            mask |= (uint64_t)1 << cpu % GROUP;
        }
    }
    wanted.Mask = (KAFFINITY)mask;
    return mask && SetThreadGroupAffinity(GetCurrentThread(), &wanted, NULL) && GetThreadGroupAffinity(GetCurrentThread(), &now) &&
           now.Group == wanted.Group && now.Mask == wanted.Mask;
}
