#include "platform/processors.h"

#include "platform/windows/windows.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP = 64 };

typedef SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX relation;

/* What the system tells of one kind of relation: records one behind the other, to be freed; NULL: nothing. */
static uint8_t *read_relations(LOGICAL_PROCESSOR_RELATIONSHIP kind, DWORD *bytes)
{
    *bytes = 0;
    (void)GetLogicalProcessorInformationEx(kind, NULL, bytes);
    uint8_t *records = *bytes ? malloc(*bytes) : NULL;
    if (records && !GetLogicalProcessorInformationEx(kind, (relation *)(void *)records, bytes)) {
        free(records);
        records = NULL;
    }
    return records;
}

/* The record at *at, which then moves behind it; NULL at the end. */
static const relation *next_relation(const uint8_t *records, DWORD bytes, DWORD *at)
{
    if (!records || bytes - *at < offsetof(relation, Processor)) {
        return NULL;
    }
    const relation *found = (const relation *)(const void *)(records + *at);
    if (found->Size < offsetof(relation, Processor) || found->Size > bytes - *at) {
        return NULL;
    }
    *at += found->Size;
    return found;
}

/* Adds a core by its hardware threads: those that are allowed. Its speed is its efficiency class for now. */
static void add_core(rbe__processors *out, const GROUP_AFFINITY *threads, long class)
{
    uint16_t first = 0;
    int is_known = 0;
    for (uint32_t n = 0; n < GROUP; n++) {
        const uint32_t cpu = threads->Group * GROUP + n;
        if (!((uint64_t)threads->Mask >> n & 1) || cpu >= RBE_MAX_CPUS || !out->allowed[cpu]) {
            continue;
        }
        if (!is_known) {
            first = out->cpu[out->n_cores] = (uint16_t)cpu;
            out->speed[out->n_cores++] = class;
            is_known = 1;
        }
        out->core[cpu] = first;
    }
}

/* Classes are an order and no measure: the best count as fast, all others as slow. */
static void rank_classes(rbe__processors *out)
{
    long best = 0, least = 255;
    for (uint32_t i = 0; i < out->n_cores; i++) {
        best = out->speed[i] > best ? out->speed[i] : best;
        least = out->speed[i] < least ? out->speed[i] : least;
    }
    out->speed_unit = best > least ? RBE_SPEED_CAPACITY : RBE_SPEED_UNKNOWN;
    for (uint32_t i = 0; i < out->n_cores; i++) {
        out->speed[i] = best == least ? 1 : out->speed[i] == best ? 1024 : 1;
    }
}

/* Limits that a job object sets to the process's time are not read. */
void rbe__processors_find(rbe__processors *out)
{
    DWORD bytes, at = 0;
    memset(out, 0, sizeof *out);
    out->quota = RBE_MAX_CPUS;
    (void)rbe__thread_get_affinity(out->allowed);
    uint8_t *records = read_relations(RelationProcessorCore, &bytes);
    for (const relation *r; (r = next_relation(records, bytes, &at)) != NULL;) {
        if (r->Relationship == RelationProcessorCore && r->Processor.GroupCount == 1) {
            add_core(out, &r->Processor.GroupMask[0], r->Processor.EfficiencyClass);
        }
    }
    free(records);
    rank_classes(out);
}

/* How many cores the hardware threads of a cache belong to; processors outside the allowed ones count as cores. */
static uint32_t count_cores(const rbe__processors *processors, const GROUP_AFFINITY *threads)
{
    uint8_t seen[RBE_MAX_CPUS] = {0};
    uint32_t n_cores = 0;
    for (uint32_t n = 0; n < GROUP; n++) {
        const uint32_t cpu = threads->Group * GROUP + n;
        if ((uint64_t)threads->Mask >> n & 1 && cpu < RBE_MAX_CPUS) {
            const uint32_t core = processors->allowed[cpu] ? processors->core[cpu] : cpu;
            n_cores += !seen[core];
            seen[core] = 1;
        }
    }
    return n_cores ? n_cores : 1;
}

uint32_t rbe__processors_cache(const rbe__processors *processors, uint32_t index)
{
    const uint16_t cpu = processors->cpu[index];
    uint32_t share = 0;
    DWORD bytes, at = 0;
    uint8_t *records = read_relations(RelationCache, &bytes);
    for (const relation *r; (r = next_relation(records, bytes, &at)) != NULL;) {
        const CACHE_RELATIONSHIP *cache = &r->Cache;
        if (r->Relationship == RelationCache && cache->Level == 2 && cache->GroupMask.Group == cpu / GROUP &&
            (uint64_t)cache->GroupMask.Mask >> cpu % GROUP & 1) {
            share = (uint32_t)(cache->CacheSize / count_cores(processors, &cache->GroupMask));
        }
    }
    free(records);
    return share;
}

/* As the processor itself tells it (cpuid 0x80000002 to 0x80000004), which Windows keeps in its registry. */
void rbe__processor_name(char *out, size_t capacity)
{
    static const wchar_t key[] = L"HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0";
    wchar_t name[128];
    DWORD bytes = sizeof name;
    out[0] = 0;
    if (RegGetValueW(HKEY_LOCAL_MACHINE, key, L"ProcessorNameString", RRF_RT_REG_SZ, NULL, name, &bytes) == ERROR_SUCCESS &&
        WideCharToMultiByte(CP_UTF8, 0, name, -1, out, (int)capacity, NULL, NULL) == 0) {
        out[0] = 0; /* too long */
    }
}
