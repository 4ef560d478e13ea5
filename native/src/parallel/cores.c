#include "platform/cores.h"

static uint32_t within_quota(uint32_t n, const rbe__cores *cores)
{
    n = n < cores->quota ? n : cores->quota;
    return n ? n : 1;
}

uint32_t rbe__usable_cores(void)
{
    rbe__cores cores;
    rbe__cores_find(&cores);
    return within_quota(cores.n_cores, &cores);
}

uint32_t rbe__fast_cores(const rbe__cores *cores)
{
    return within_quota(cores->n_fast, cores);
}
