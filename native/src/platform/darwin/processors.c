#include "platform/processors.h"

#include <string.h>

#include "platform/darwin/sysctl.h"

/* The system counts its cores by performance level and numbers none of them. Those of level 0 are the fastest. */
void rbe__processors_find(rbe__processors *out)
{
    memset(out, 0, sizeof *out);
    const uint32_t n_cores = rbe__sysctl_number("hw.physicalcpu"), n_fast = rbe__sysctl_number("hw.perflevel0.physicalcpu");
    out->n_cores = n_cores < RBE_MAX_CPUS ? n_cores : RBE_MAX_CPUS;
    out->speed_unit = RBE_SPEED_CAPACITY;
    for (uint32_t i = 0; i < out->n_cores; i++) {
        out->cpu[i] = (uint16_t)i;
        out->speed[i] = n_fast == 0 || i < n_fast ? 1024 : 1;
    }
    out->quota = RBE_MAX_CPUS;
}

uint32_t rbe__processors_cache(const rbe__processors *processors, uint32_t index)
{
    (void)processors, (void)index;
    const uint32_t sharing = rbe__sysctl_number("hw.perflevel0.cpusperl2");
    return rbe__sysctl_number("hw.perflevel0.l2cachesize") / (sharing ? sharing : 1);
}

void rbe__processor_name(char *out, size_t capacity)
{
    size_t bytes = capacity - 1;
    if (sysctlbyname("machdep.cpu.brand_string", out, &bytes, NULL, 0) != 0) {
        bytes = 0;
    }
    out[bytes] = 0;
}
