#include "parallel/cores.h"

#include <stdlib.h>
#include <string.h>

typedef struct ranked_core {
    uint16_t cpu; /* its first hardware thread that is allowed */
    long speed;
} ranked_core;

static int faster_first(const void *a, const void *b)
{
    const ranked_core *x = a, *y = b;
    if (x->speed != y->speed) {
        return x->speed < y->speed ? 1 : -1;
    }
    return x->cpu < y->cpu ? -1 : x->cpu > y->cpu;
}

/* What a fast core has at least, where the best has `most`. Capacities: a middle core of a phone has 600 to 900 of the best one's 1024, a little
 * one 150 to 400. A core that also does less per cycle may have .8 of the best one's clock, and the clocks of equal cores differ by a few per
 * cent (favoured cores of desktop processors). */
static long least_fast(rbe__speed_unit unit, long most)
{
    switch (unit) {
    case RBE_SPEED_CAPACITY: return (most - 1) / 2 + 1;
    case RBE_SPEED_CLOCK: return (most - 1) / 5 * 4 + 1;
    case RBE_SPEED_UNKNOWN: break;
    }
    return most;
}

void rbe__cores_rank(const rbe__processors *processors, rbe__cores *out)
{
    ranked_core cores[RBE_MAX_CPUS];
    const uint32_t n = processors->n_cores;
    memset(out, 0, sizeof *out);
    memcpy(out->core, processors->core, sizeof out->core);
    for (uint32_t i = 0; i < n; i++) {
        cores[i].cpu = processors->cpu[i];
        cores[i].speed = processors->speed[i];
    }
    qsort(cores, n, sizeof *cores, faster_first);
    const long fast = n ? least_fast(processors->speed_unit, cores[0].speed) : 0;
    for (uint32_t i = 0; i < n; i++) {
        out->cpu[i] = cores[i].cpu;
        out->n_fast += cores[i].speed >= fast;
        for (uint32_t cpu = 0; cpu < RBE_MAX_CPUS; cpu++) {
            if (processors->allowed[cpu] && processors->core[cpu] == cores[i].cpu) {
                out->kind[cpu] = cores[i].speed >= fast ? RBE_CPU_FAST : RBE_CPU_SLOW;
            }
        }
    }
    out->n_cores = n;
    for (uint32_t i = 0; i < n; i++) {
        if (processors->cpu[i] == out->cpu[0]) {
            out->cache_bytes = rbe__processors_cache(processors, i);
        }
    }
    out->quota = processors->quota;
}

void rbe__cores_find(rbe__cores *out)
{
    rbe__processors processors;
    rbe__processors_find(&processors);
    rbe__cores_rank(&processors, out);
}

static int to_cpu(uint32_t cpu)
{
    uint8_t allowed[RBE_MAX_CPUS] = {0};
    if (cpu >= RBE_MAX_CPUS) {
        return 0;
    }
    allowed[cpu] = 1;
    return rbe__thread_set_affinity(allowed);
}

int rbe__thread_move(uint32_t cpu)
{
    uint8_t before[RBE_MAX_CPUS];
    if (!rbe__thread_get_affinity(before)) {
        return 0;
    }
    const int moved = to_cpu(cpu);
    return rbe__thread_set_affinity(before) && moved;
}

void rbe__homes_choose(const rbe__cores *cores, int caller_cpu, uint32_t n_threads, int slow_first, rbe__homes *out)
{
    const uint32_t n_slow = cores->n_cores - cores->n_fast;
    *out = (rbe__homes){.slowest = RBE_CPU_SLOW, .fastest = RBE_CPU_FAST};
    if (caller_cpu < 0 || caller_cpu >= (int)RBE_MAX_CPUS || cores->kind[caller_cpu] == RBE_CPU_NONE) {
        return;
    }
    slow_first = slow_first && n_slow > 0;
    if (slow_first && n_threads <= n_slow) {
        out->fastest = RBE_CPU_SLOW;
    } else if (!slow_first && n_threads <= cores->n_fast) {
        out->slowest = RBE_CPU_FAST;
    }
    const uint8_t kind = cores->kind[caller_cpu];
    const uint32_t last = cores->n_cores - 1;
    const int stays = kind >= (uint8_t)out->slowest && kind <= (uint8_t)out->fastest;
    out->cpu[out->n++] = stays ? cores->core[caller_cpu] : cores->cpu[slow_first ? last : 0];
    for (uint32_t i = 0; i < cores->n_cores && out->n < n_threads; i++) {
        const uint16_t cpu = cores->cpu[slow_first ? last - i : i];
        if (cpu != out->cpu[0]) {
            out->cpu[out->n++] = cpu;
        }
    }
}

int rbe__thread_place(const rbe__cores *cores, const rbe__homes *homes, uint32_t thread)
{
    uint8_t allowed[RBE_MAX_CPUS];
    const int moved = to_cpu(homes->cpu[thread]);
    for (uint32_t i = 0; i < RBE_MAX_CPUS; i++) {
        allowed[i] = cores->kind[i] >= (uint8_t)homes->slowest && cores->kind[i] <= (uint8_t)homes->fastest;
    }
    return rbe__thread_set_affinity(allowed) && moved;
}

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
