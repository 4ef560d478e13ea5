#include "platform/cores.h"

#include <string.h>
#include <sys/sysctl.h>

static uint32_t count_of(const char *name)
{
    int count = 0;
    size_t bytes = sizeof count;
    return sysctlbyname(name, &count, &bytes, NULL, 0) == 0 && count > 0 ? (uint32_t)count : 0;
}

/* Counts only: the system does not let a thread choose its core. */
void rbe__cores_find(rbe__cores *out)
{
    memset(out, 0, sizeof *out);
    out->n_cores = count_of("hw.physicalcpu");
    out->n_fast = count_of("hw.perflevel0.physicalcpu");
    out->n_fast = out->n_fast ? out->n_fast : out->n_cores;
    out->quota = RBE_MAX_CPUS;
    const uint32_t sharing = count_of("hw.perflevel0.cpusperl2");
    out->cache_bytes = count_of("hw.perflevel0.l2cachesize") / (sharing ? sharing : 1);
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
