#include "platform/cores.h"

#include <string.h>

#include "platform/darwin/sysctl.h"

/* Counts only: the system does not let a thread choose its core. */
void rbe__cores_find(rbe__cores *out)
{
    memset(out, 0, sizeof *out);
    out->n_cores = rbe__sysctl_number("hw.physicalcpu");
    out->n_fast = rbe__sysctl_number("hw.perflevel0.physicalcpu");
    out->n_fast = out->n_fast ? out->n_fast : out->n_cores;
    out->quota = RBE_MAX_CPUS;
    const uint32_t sharing = rbe__sysctl_number("hw.perflevel0.cpusperl2");
    out->cache_bytes = rbe__sysctl_number("hw.perflevel0.l2cachesize") / (sharing ? sharing : 1);
}

int rbe__thread_cpu(void)
{
    return -1;
}

int rbe__thread_move(uint32_t cpu)
{
    (void)cpu;
    return 0;
}

int rbe__thread_place(const rbe__cores *cores, uint32_t cpu, rbe__cpu_kind slowest)
{
    (void)cores, (void)cpu, (void)slowest;
    return 0;
}
