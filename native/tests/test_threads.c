/* The cores that are found in made-up machines' /sys, and the thread pool on this one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw, sched_getaffinity */
#endif
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "parallel/cores.h"
#include "parallel/thread_pool.h"

#if defined(__linux__)
#include "stand_in_files.h"
#include <ftw.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

/* Values below 0 leave a file out. */
static void add_cpu(int cpu, int package, int core, int capacity, int kilohertz)
{
    const struct {
        const char *field;
        int value;
    } files[] = {{"topology/physical_package_id", package},
                 {"topology/core_id", core},
                 {"cpu_capacity", capacity},
                 {"cpufreq/cpuinfo_max_freq", kilohertz}};
    for (int i = 0; i < 4; i++) {
        char path[128], text[32];
        snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/%s", cpu, files[i].field);
        snprintf(text, sizeof text, "%d\n", files[i].value);
        if (files[i].value >= 0) {
            write_file(path, text);
        }
    }
}

static rbe__cores read_cores(int first, int last)
{
    uint8_t allowed[RBE_MAX_CPUS] = {0};
    rbe__processors processors;
    rbe__cores cores;
    for (int cpu = first; cpu <= last; cpu++) {
        allowed[cpu] = 1;
    }
    rbe__processors_read(root, allowed, &processors);
    rbe__cores_rank(&processors, &cores);
    return cores;
}

static void check_order(const char *machine, const rbe__cores *cores, uint32_t n_fast, const int *order, uint32_t n)
{
    CHECK(cores->n_cores == n && cores->n_fast == n_fast, "%s: %u cores, %u fast", machine, cores->n_cores, cores->n_fast);
    for (uint32_t i = 0; i < n; i++) {
        CHECK(cores->cpu[i] == order[i], "%s: place %u has %u, not %d", machine, i, cores->cpu[i], order[i]);
        CHECK(cores->kind[order[i]] == (i < n_fast ? RBE_CPU_FAST : RBE_CPU_SLOW), "%s: kind of %d", machine, order[i]);
    }
}

static void check_homes(const rbe__cores *cores, int caller, uint32_t n_threads, int slow_first, const char *expected)
{
    rbe__homes homes;
    char text[128];
    int used = 0;
    rbe__homes_choose(cores, caller, n_threads, slow_first, &homes);
    for (uint32_t i = 0; i < homes.n; i++) {
        used += snprintf(text + used, sizeof text - (size_t)used, "%u ", homes.cpu[i]);
    }
    snprintf(text + used, sizeof text - (size_t)used, "%d-%d", (int)homes.slowest, (int)homes.fastest);
    CHECK(strcmp(text, expected) == 0, "%u threads from %d: %s", n_threads, caller, text);
}

static void test_equal_cores(void)
{
    /* Raspberry Pi 4 and 5: four alike; the capacities are there or not, by the kernel */
    const int order[] = {0, 1, 2, 3};
    for (int pi = 4; pi <= 5; pi++) {
        begin_machine();
        for (int cpu = 0; cpu < 4; cpu++) {
            add_cpu(cpu, 0, cpu, pi == 4 ? 1024 : -1, pi == 4 ? 1800000 : 2400000);
        }
        rbe__cores cores = read_cores(0, 3);
        check_order("Pi", &cores, 4, order, 4);
        check_homes(&cores, 1, 2, 1, "1 0 2-2"); /* all alike: no slow cores to prefer */
        CHECK(cores.quota == RBE_MAX_CPUS && cores.kind[4] == RBE_CPU_NONE, "Pi");
        cores = read_cores(2, 3); /* taskset */
        check_order("Pi, two allowed", &cores, 2, order + 2, 2);
        CHECK(cores.kind[0] == RBE_CPU_NONE, "not allowed");
        end_machine();
    }
}

/* Of a phone with four little cores, 0 to 3, and four big ones, 7 the fastest. */
static void check_homes_of_phone(const rbe__cores *cores)
{
    check_homes(cores, 5, 3, 0, "5 7 4 2-2"); /* a caller on a fast core stays there */
    check_homes(cores, 2, 3, 0, "7 4 5 2-2");
    check_homes(cores, 2, 6, 0, "2 7 4 5 6 0 1-2"); /* more threads than fast cores: all are taken */
    check_homes(cores, 2, 3, 1, "2 3 1 1-1");
    check_homes(cores, 5, 2, 1, "3 2 1-1"); /* a caller on a fast core is moved */
    check_homes(cores, 5, 6, 1, "5 3 2 1 0 6 1-2");
    check_homes(cores, -1, 2, 1, "1-2");
}

static void test_phones(void)
{
    /* four little, three middle, one prime */
    const int order[] = {7, 4, 5, 6, 0, 1, 2, 3}, no_prime[] = {4, 5, 6, 0, 1, 2, 3};
    begin_machine();
    for (int cpu = 0; cpu < 8; cpu++) {
        add_cpu(cpu, 0, cpu, cpu < 4 ? 325 : cpu < 7 ? 828 : 1024, cpu < 4 ? 1785600 : cpu < 7 ? 2496000 : 2995200);
    }
    rbe__cores cores = read_cores(0, 7);
    check_order("phone", &cores, 4, order, 8);
    check_homes_of_phone(&cores);
    cores = read_cores(0, 6);
    check_order("phone, prime core not allowed", &cores, 3, no_prime, 7);
    end_machine();
    /* Without capacities the clocks decide: RK3399, 4 x 1.416 and 2 x 1.8 GHz. */
    const int board[] = {4, 5, 0, 1, 2, 3};
    begin_machine();
    for (int cpu = 0; cpu < 6; cpu++) {
        add_cpu(cpu, cpu < 4 ? 0 : 1, cpu & 3, -1, cpu < 4 ? 1416000 : 1800000);
    }
    cores = read_cores(0, 5);
    check_order("RK3399", &cores, 2, board, 6);
    end_machine();
    /* The capacity of one core is missing: clocks again. */
    begin_machine();
    add_cpu(0, 0, 0, 300, 1800000);
    add_cpu(1, 0, 1, -1, 2400000);
    const int two[] = {1, 0};
    cores = read_cores(0, 1);
    check_order("one capacity", &cores, 1, two, 2);
    end_machine();
}

static void test_desktops(void)
{
    /* Two hardware threads per core, numbered one round after the other; one core favoured by 4 %. */
    const int smt[] = {2, 0, 1, 3};
    begin_machine();
    for (int cpu = 0; cpu < 8; cpu++) {
        add_cpu(cpu, 0, cpu % 4, -1, cpu % 4 == 2 ? 5200000 : 5000000);
    }
    rbe__cores cores = read_cores(0, 7);
    check_order("desktop", &cores, 4, smt, 4);
    CHECK(cores.kind[6] == RBE_CPU_FAST && cores.core[6] == 2 && cores.core[4] == 0, "siblings");
    cores = read_cores(3, 5); /* first threads of two of the cores are not allowed */
    const int rest[] = {3, 4, 5};
    check_order("desktop, part", &cores, 3, rest, 3);
    end_machine();
    /* Performance cores with two threads, efficiency cores with one. */
    const int hybrid[] = {0, 2, 4, 5, 6, 7};
    begin_machine();
    for (int cpu = 0; cpu < 8; cpu++) {
        add_cpu(cpu, 0, cpu < 4 ? cpu / 2 : cpu, -1, cpu < 4 ? 5100000 : 3800000);
    }
    cores = read_cores(0, 7);
    check_order("hybrid", &cores, 2, hybrid, 6);
    CHECK(cores.kind[1] == RBE_CPU_FAST && cores.kind[4] == RBE_CPU_SLOW, "hybrid");
    end_machine();
    /* Two packages use the same core numbers; no clocks (a virtual machine). */
    const int packages[] = {0, 1};
    begin_machine();
    add_cpu(0, 0, 0, -1, -1);
    add_cpu(1, 1, 0, -1, -1);
    cores = read_cores(0, 1);
    check_order("packages", &cores, 2, packages, 2);
    end_machine();
}

static void test_nothing_known(void)
{
    begin_machine();
    const int order[] = {5, 6};
    rbe__cores cores = read_cores(5, 6);
    check_order("empty /sys", &cores, 2, order, 2);
    write_file("sys/devices/system/cpu/cpu5/cpu_capacity", "fast\n");
    write_file("sys/devices/system/cpu/cpu6/cpu_capacity", "-1\n");
    write_file("sys/devices/system/cpu/cpu6/topology/core_id", "");
    cores = read_cores(5, 6);
    check_order("unreadable", &cores, 2, order, 2);
    cores = read_cores(1, 0);
    CHECK(cores.n_cores == 0 && cores.n_fast == 0, "none allowed");
    end_machine();
}

static void check_cache(const char *level, const char *size, const char *sharing, uint32_t expected)
{
    write_file("sys/devices/system/cpu/cpu0/cache/index2/level", level);
    write_file("sys/devices/system/cpu/cpu0/cache/index2/size", size);
    write_file("sys/devices/system/cpu/cpu0/cache/index2/shared_cpu_list", sharing);
    const rbe__cores cores = read_cores(0, 3);
    CHECK(cores.cache_bytes == expected, "%s shared by %s gives %u, not %u", size, sharing, cores.cache_bytes, expected);
}

static void test_cache(void)
{
    begin_machine();
    for (int cpu = 0; cpu < 4; cpu++) {
        add_cpu(cpu, 0, cpu % 2, -1, -1); /* two cores of two threads */
    }
    write_file("sys/devices/system/cpu/cpu0/cache/index0/level", "1\n");
    write_file("sys/devices/system/cpu/cpu0/cache/index0/size", "32K\n");
    check_cache("2\n", "1024K\n", "0,2\n", 1u << 20);
    check_cache("2\n", "1024K\n", "0-3\n", 1u << 19);
    check_cache("2\n", "1024K\n", "0-1,4-5\n", 1u << 18);
    check_cache("2\n", "1024K\n", "0\n", 1u << 20);
    check_cache("2\n", "1024K\n", "", 1u << 20);
    check_cache("2\n", "1024K\n", "0-4294967295\n", (1u << 20) / (RBE_MAX_CPUS - 2));
    check_cache("2\n", "99999999999K\n", "0\n", 0);
    check_cache("2\n", "none\n", "0\n", 0);
    check_cache("3\n", "1024K\n", "0\n", 0);
    end_machine();
}

static void check_quota(const char *text, uint32_t expected)
{
    write_file("sys/fs/cgroup/a/b/cpu.max", text);
    const rbe__cores cores = read_cores(0, 7);
    CHECK(cores.quota == expected, "\"%s\" gives %u, not %u", text, cores.quota, expected);
}

static void test_quota(void)
{
    begin_machine();
    write_file("proc/self/cgroup", "12:cpu:/old\n0::/a/b\n");
    check_quota("max 100000\n", RBE_MAX_CPUS);
    check_quota("200000 100000\n", 2);
    check_quota("250000 100000\n", 2);
    check_quota("20000 100000\n", 1);
    check_quota("0 0\n", RBE_MAX_CPUS);
    check_quota("", RBE_MAX_CPUS);
    check_quota("99999999999999 1\n", RBE_MAX_CPUS);
    write_file("sys/fs/cgroup/a/cpu.max", "300000 100000\n");
    check_quota("max 100000\n", 3);
    check_quota("200000 100000\n", 2);
    check_quota("400000 100000\n", 3);
    write_file("proc/self/cgroup", "12:cpuacct,cpu:/old\n0::/a/b\n"); /* version 1 */
    write_file("sys/fs/cgroup/cpu/old/cpu.cfs_period_us", "100000\n");
    write_file("sys/fs/cgroup/cpu/old/cpu.cfs_quota_us", "-1\n");
    check_quota("max 100000\n", 3);
    write_file("sys/fs/cgroup/cpu/old/cpu.cfs_quota_us", "150000\n");
    check_quota("max 100000\n", 1);
    write_file("proc/self/cgroup", "12:cpuset:/old\n0::/a/b\n"); /* another controller's group */
    check_quota("max 100000\n", 3);
    write_file("proc/self/cgroup", "0::/\n"); /* in a container its group is the root */
    write_file("sys/fs/cgroup/cpu.max", "150000 100000\n");
    check_quota("max 100000\n", 1);
    end_machine();
}

static void test_this_machine(void)
{
    cpu_set_t before, after;
    rbe__cores cores;
    CHECK(sched_getaffinity(0, sizeof before, &before) == 0, "affinity");
    rbe__cores_find(&cores);
    CHECK(cores.n_cores >= 1 && cores.n_fast >= 1 && cores.n_fast <= cores.n_cores && cores.n_cores <= (uint32_t)CPU_COUNT(&before),
          "%u cores, %u fast, %d allowed", cores.n_cores, cores.n_fast, CPU_COUNT(&before));
    CHECK(rbe__fast_cores(&cores) >= 1 && rbe__fast_cores(&cores) <= rbe__usable_cores() && rbe__usable_cores() <= cores.n_cores, "counts");
    for (uint32_t i = 0; i < cores.n_cores; i++) {
        CHECK(rbe__thread_move(cores.cpu[i]) == 1, "move to %u", cores.cpu[i]);
    }
    CHECK(sched_getaffinity(0, sizeof after, &after) == 0 && CPU_EQUAL(&before, &after), "a move left the affinity changed");
    CHECK(rbe__thread_move(RBE_MAX_CPUS - 1) == (CPU_ISSET(RBE_MAX_CPUS - 1, &before) != 0), "a processor that is not there");
    CHECK(sched_getaffinity(0, sizeof after, &after) == 0 && CPU_EQUAL(&before, &after), "a failed move left the affinity changed");
}
#endif

typedef struct shared_sum {
    atomic_uint sum, of_thread[RBE_MAX_THREADS];
} shared_sum;

static void add_item(void *context, uint32_t item, uint32_t thread)
{
    shared_sum *shared = context;
    atomic_fetch_add(&shared->sum, item);
    atomic_fetch_add(&shared->of_thread[thread], 1);
}

static void test_thread_pool(uint32_t n_threads, uint32_t n_placed, rbe__workers workers)
{
    rbe__thread_pool *thread_pool;
    CHECK(rbe__thread_pool_create_as(n_threads, workers, &thread_pool) == RBE_OK && rbe__thread_pool_threads(thread_pool) == n_threads,
          "%u threads", n_threads);
    CHECK(rbe__thread_pool_workers(thread_pool).sleep == workers.sleep, "workers");
    for (uint32_t n_items = 0; n_items < 200; n_items += 7) {
        shared_sum shared = {0};
        uint32_t n = 0;
        rbe__thread_pool_run(thread_pool, n_items, add_item, &shared);
        for (uint32_t t = 0; t < RBE_MAX_THREADS; t++) {
            n += shared.of_thread[t];
            CHECK(t < n_threads || shared.of_thread[t] == 0, "thread %u of %u", t, n_threads);
        }
        CHECK(n == n_items && shared.sum == n_items * (n_items - (n_items > 0)) / 2, "%u items on %u threads", n_items, n_threads);
    }
    for (int i = 0; i < 5000 && rbe__thread_pool_placed(thread_pool) < n_placed; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    CHECK(rbe__thread_pool_placed(thread_pool) == n_placed, "%u of %u threads placed, not %u", rbe__thread_pool_placed(thread_pool),
          n_threads, n_placed);
    rbe__thread_pool_free(thread_pool);
}

int main(void)
{
    rbe__thread_pool *thread_pool;
    uint32_t n_cores = 1;
#if defined(__linux__)
    test_equal_cores();
    test_phones();
    test_desktops();
    test_nothing_known();
    test_quota();
    test_cache();
    test_this_machine();
#endif
#if !defined(__APPLE__) /* where threads do not choose their core */
    rbe__cores cores;
    rbe__cores_find(&cores);
    n_cores = cores.n_cores;
#endif
    CHECK(rbe__thread_pool_create(0, &thread_pool) == RBE_ERROR_ARGUMENT && !thread_pool, "no thread");
    CHECK(rbe__thread_pool_create(RBE_MAX_THREADS + 1, &thread_pool) == RBE_ERROR_ARGUMENT && !thread_pool, "too many threads");
    for (uint32_t n_threads = 1; n_threads <= 5; n_threads++) {
        const uint32_t n_placed = (n_threads < n_cores ? n_threads : n_cores) - 1;
        test_thread_pool(n_threads, n_placed, (rbe__workers){0});
        test_thread_pool(n_threads, n_placed, (rbe__workers){.sleep = 1, .slow_cores = 1});
    }
    return check_finish();
}
