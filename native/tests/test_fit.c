/* What a model takes: the estimate beside what opening it takes, advice that holds, files that are no models; memory of made-up machines. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw */
#endif
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

#include "base/memory_pool.h"
#include "golden_files.h"
#include "platform/available_memory.h"
#include "rbe/fit.h"
#include "stand_in_files.h"
#include "text/sampling.h"

#define MB (1ull << 20)
#define STACK_BYTES (64u << 10) /* of each further thread, as session/fit.c counts them */

static void compare_one(const char *path, const rbe_session_options *session_options, uint64_t limit)
{
    const rbe_model_options model_options = {.struct_bytes = sizeof model_options, .max_resident_bytes = limit};
    const rbe_fit_options options = {
        .struct_bytes = sizeof options, .model = &model_options, .session = session_options, .n_sessions = 2, .batch_sessions = 3};
    const rbe_batch_options batch_options = {
        .struct_bytes = sizeof batch_options, .max_sessions = 3, .n_threads = session_options->n_threads};
    rbe_fit fit = {.struct_bytes = sizeof fit}, alone = {.struct_bytes = sizeof alone};
    rbe_fit_options without_batch = options;
    without_batch.batch_sessions = 0;
    rbe_model *model = NULL;
    rbe_session *session = NULL;
    rbe_batch *batch = NULL;
    rbe_session_info info = {.struct_bytes = sizeof info};
    rbe_model_info of_model = {.struct_bytes = sizeof of_model};
    rbe_model_memory before = {.struct_bytes = sizeof before}, memory = {.struct_bytes = sizeof memory};
    const rbe_status measured = rbe_fit_file(path, &options, &fit), opened = rbe_model_open(path, &model_options, &model);
    const rbe_status made = opened == RBE_OK ? rbe_session_create(model, session_options, &session) : opened;
    CHECK(measured == made, "%s: the estimate gives %d, opening %d: %s", path, measured, made, rbe_last_error());
    if (made == RBE_OK && measured == RBE_OK) {
        CHECK(rbe_session_get_info(session, &info) == RBE_OK && rbe_model_get_memory(model, &before) == RBE_OK, "%s", path);
        CHECK(fit.kv_bytes == 2 * info.kv_bytes, "%s: kv %llu, not 2 x %llu", path, (unsigned long long)fit.kv_bytes,
              (unsigned long long)info.kv_bytes);
        CHECK(rbe_model_get_info(model, &of_model) == RBE_OK && rbe_fit_file(path, &without_batch, &alone) == RBE_OK, "%s", path);
        const uint64_t stacks = (info.n_threads - 1) * STACK_BYTES, sampler = rbe__sampler_bytes(of_model.n_vocabulary);
        CHECK(alone.kv_bytes + alone.pass_bytes == 2 * (info.arena_bytes + stacks + sampler), "%s: %llu, not 2 x %llu", path,
              (unsigned long long)(alone.kv_bytes + alone.pass_bytes), (unsigned long long)(info.arena_bytes + stacks + sampler));
        CHECK(rbe_batch_create(model, &batch_options, &batch) == RBE_OK && rbe_model_get_memory(model, &memory) == RBE_OK, "%s", path);
        const uint64_t block = memory.sessions_in_use - before.sessions_in_use, counted = fit.pass_bytes - alone.pass_bytes - stacks;
        CHECK(rbe__size_class((size_t)counted) == block, "%s: a batch of %llu in a block of %llu", path, (unsigned long long)counted,
              (unsigned long long)block);
        CHECK(fit.cache_bytes == memory.cache_limit && fit.context_tokens == info.context_tokens && fit.n_threads == info.n_threads, "%s",
              path);
        CHECK(fit.weights_resident + fit.weights_on_disk + fit.tokenizer_bytes <= fit.file_bytes && fit.needed <= fit.total, "%s", path);
        CHECK(fit.address_bytes >= fit.file_bytes + fit.kv_bytes, "%s", path);
        CHECK(fit.kv_type == info.kv_type && info.kv_type < RBE_KV_AUTO, "%s: types %u and %u", path, fit.kv_type, info.kv_type);
    }
    rbe_batch_free(batch);
    rbe_session_free(session);
    rbe_model_close(model);
}

static void test_estimate_agrees(const golden_files *files)
{
    for (int f = 0; f < files->n; f++) {
        for (uint32_t kv = RBE_KV_F16; kv <= RBE_KV_AUTO + 1; kv++) { /* the last one is refused */
            for (uint32_t context = 0; context < 60; context += 17) {
                const rbe_session_options options = {.struct_bytes = sizeof options,
                                                     .context_tokens = context,
                                                     .n_threads = 1 + kv % 3,
                                                     .pass_tokens = context ? 5 : 0,
                                                     .kv_type = kv};
                compare_one(files->path[f], &options, 0);
            }
        }
        const rbe_session_options options = {.struct_bytes = sizeof options, .n_threads = 2};
        compare_one(files->path[f], &options, 1);
        compare_one(files->path[f], &options, 1ull << 40);
    }
}

/* What was advised, tried. */
static void check_advice(const char *path, const rbe_fit_options *options, uint64_t available)
{
    rbe_fit_advice advice = {.struct_bytes = sizeof advice};
    rbe_fit fit = {.struct_bytes = sizeof fit};
    char flags[80];
    CHECK(rbe_fit_advise(path, options, available, &advice) == RBE_OK && rbe_fit_file(path, options, &fit) == RBE_OK, "%s",
          rbe_last_error());
    CHECK(advice.fits == (fit.total <= available), "%s in %llu", path, (unsigned long long)available);
    CHECK(!advice.kv_type || options->session->kv_type == RBE_KV_F16, "%s: a cache of int8 is offered int8", path);
    rbe_fit_flags(&advice, flags, sizeof flags);
    CHECK(!advice.fits == (strlen(flags) > 0) || (!advice.fits && fit.needed > available), "%s: `%s`", path, flags);
    if (!advice.fits && flags[0] && advice.bits_per_weight == 0) {
        rbe_session_options session = *options->session;
        rbe_model_options model = {.struct_bytes = sizeof model, .max_resident_bytes = advice.max_resident_bytes};
        session.context_tokens = advice.context_tokens ? advice.context_tokens : session.context_tokens;
        session.kv_type = advice.kv_type ? advice.kv_type : session.kv_type;
        const rbe_fit_options changed = {.struct_bytes = sizeof changed, .model = &model, .session = &session};
        CHECK(rbe_fit_file(path, &changed, &fit) == RBE_OK && fit.total <= available, "%s with `%s` takes %llu of %llu", path, flags,
              (unsigned long long)fit.total, (unsigned long long)available);
    }
}

static void test_advice_holds(const golden_files *files, uint32_t kv_type)
{
    const rbe_session_options session = {.struct_bytes = sizeof session, .n_threads = 1, .kv_type = kv_type};
    const rbe_fit_options options = {.struct_bytes = sizeof options, .session = &session};
    for (int f = 0; f < files->n; f++) {
        rbe_fit fit = {.struct_bytes = sizeof fit};
        CHECK(rbe_fit_file(files->path[f], &options, &fit) == RBE_OK, "%s", rbe_last_error());
        for (int part = 0; part <= 40; part++) {
            check_advice(files->path[f], &options, fit.total / 32 * (uint64_t)part);
        }
        check_advice(files->path[f], &options, fit.total);
        check_advice(files->path[f], &options, fit.total - 1);
    }
}

static void test_flags(void)
{
    const rbe_fit_advice all = {.context_tokens = 1024, .kv_type = RBE_KV_Q8, .max_resident_bytes = 700 * MB, .bits_per_weight = 3.2f};
    char text[80];
    rbe_fit_flags(&all, text, sizeof text);
    CHECK(strcmp(text, "-c 1024 --kv q8 --max-memory 700M --bits 3.2") == 0, "%s", text);
    rbe_fit_flags(&all, text, 4);
    CHECK(strcmp(text, "-c ") == 0, "%s", text);
}

static void write_bytes(const char *path, const void *data, size_t bytes, off_t size)
{
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(data, 1, bytes, file) == bytes, "%s", path);
    if (file) {
        fclose(file);
    }
    CHECK(truncate(path, size) == 0, "%s", path);
}

/* Of a file that is all index and hole the estimate is that of the real one; of what is no model it says so. */
static void test_index_is_enough(const golden_files *files)
{
    char path[512];
    begin_machine();
    snprintf(path, sizeof path, "%s/model.rbe", root);
    for (int f = 0; f < files->n; f++) {
        size_t bytes;
        unsigned char *data = read_file(files->path[f], &bytes);
        uint64_t index_bytes;
        memcpy(&index_bytes, data + 24, 8);
        rbe_fit real = {.struct_bytes = sizeof real}, hollow = {.struct_bytes = sizeof hollow};
        write_bytes(path, data, (size_t)index_bytes, (off_t)bytes);
        CHECK(rbe_fit_file(files->path[f], NULL, &real) == RBE_OK && rbe_fit_file(path, NULL, &hollow) == RBE_OK, "%s", rbe_last_error());
        CHECK(memcmp(&real, &hollow, sizeof real) == 0, "%s", files->path[f]);
        write_bytes(path, data, (size_t)index_bytes, (off_t)bytes - 1);
        CHECK(rbe_fit_file(path, NULL, &hollow) == RBE_ERROR_FORMAT && strstr(rbe_last_error(), "copy it again"), "%s", rbe_last_error());
        for (off_t cut = 0; cut < (off_t)index_bytes; cut += cut < 80 ? 1 : 97) {
            write_bytes(path, data, (size_t)cut, cut);
            CHECK(rbe_fit_file(path, NULL, &hollow) == RBE_ERROR_FORMAT, "cut at %d: %s", (int)cut, rbe_last_error());
        }
        free(data);
    }
    CHECK(unlink(path) == 0 && mkfifo(path, 0600) == 0 &&
              rbe_fit_file(path, NULL, &(rbe_fit){.struct_bytes = sizeof(rbe_fit)}) == RBE_ERROR_IO,
          "a pipe");
    CHECK(rbe_fit_check(root, NULL) == RBE_ERROR_IO, "a directory");
    CHECK(rbe_fit_check("/nowhere/model.rbe", NULL) == RBE_ERROR_IO && rbe_fit_check(NULL, NULL) == RBE_ERROR_ARGUMENT, "nothing");
    CHECK(rbe_fit_check(files->path[0], NULL) == RBE_OK, "%s", rbe_last_error());
    end_machine();
}

#if defined(__linux__)
static void check_memory(const char *machine, uint64_t available, rbe__memory_bound bound)
{
    rbe__available_memory found;
    rbe__available_memory_read(root, &found);
    CHECK(found.available == available && found.bound == bound, "%s: %llu by %d, not %llu", machine, (unsigned long long)found.available,
          (int)found.bound, (unsigned long long)available);
}

static void write_memory(void)
{
    write_file("proc/meminfo", "MemTotal:        4000000 kB\nMemFree:           10000 kB\nMemAvailable:    3000000 kB\n");
}

static void test_free_memory(void)
{
    begin_machine();
    check_memory("nothing known", RBE_NO_LIMIT, RBE_BOUND_FREE);
    write_file("proc/meminfo", "MemTotal: much\nMemAvailableX: 7 kB\nMemAvailable:\n");
    check_memory("unreadable", RBE_NO_LIMIT, RBE_BOUND_FREE);
    write_memory();
    check_memory("plain", 3000000ull << 10, RBE_BOUND_FREE);
    rbe__available_memory found;
    rbe__available_memory_read(root, &found);
    CHECK(found.total == 4000000ull << 10, "total");
    end_machine();
}

static void test_groups_version_2(void)
{
    begin_machine();
    write_memory();
    write_file("proc/self/cgroup", "0::/user.slice/job\n");
    write_file("sys/fs/cgroup/user.slice/job/memory.max", "max\n");
    write_file("sys/fs/cgroup/user.slice/job/memory.current", "1000\n");
    check_memory("no limit", 3000000ull << 10, RBE_BOUND_FREE);
    write_file("sys/fs/cgroup/user.slice/job/memory.max", "1073741824\n");
    write_file("sys/fs/cgroup/user.slice/job/memory.current", "805306368\n");
    check_memory("own limit", 256 * MB, RBE_BOUND_GROUP);
    write_file("sys/fs/cgroup/user.slice/job/memory.stat", "anon 1\nfile 9\ninactive_file 104857600\nactive_file 104857600\n");
    check_memory("page cache is free", 456 * MB, RBE_BOUND_GROUP);
    write_file("sys/fs/cgroup/user.slice/memory.max", "536870912\n");
    write_file("sys/fs/cgroup/user.slice/memory.current", "524288000\n");
    check_memory("the parent's limit", 12 * MB, RBE_BOUND_GROUP);
    write_file("sys/fs/cgroup/user.slice/memory.high", "524288000\n");
    check_memory("slowed down from there on", 0, RBE_BOUND_GROUP);
    end_machine();
    begin_machine(); /* inside a container its own group is the root, whatever the line says */
    write_memory();
    write_file("proc/self/cgroup", "0::/docker/0123\n");
    write_file("sys/fs/cgroup/memory.max", "268435456\n");
    write_file("sys/fs/cgroup/memory.current", "0\n");
    check_memory("container", 256 * MB, RBE_BOUND_GROUP);
    end_machine();
}

static void test_groups_version_1(void)
{
    begin_machine();
    write_memory();
    write_file("proc/self/cgroup", "12:cpu,cpuacct:/cpu\n5:memory:/job\n1:name=systemd:/x\n0::/x\n");
    write_file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    write_file("sys/fs/cgroup/memory/memory.usage_in_bytes", "999999\n");
    check_memory("no limit", 3000000ull << 10, RBE_BOUND_FREE);
    write_file("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "268435456\n");
    write_file("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "134217728\n");
    write_file("sys/fs/cgroup/memory/job/memory.stat", "cache 5\ntotal_inactive_file 67108864\ntotal_active_file 0\n");
    check_memory("own limit", 192 * MB, RBE_BOUND_GROUP);
    end_machine();
}

static void test_android(void)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    begin_machine();
    write_memory();
    write_file("system/bin/lmkd", "");
    check_memory("lmkd", (3000000ull << 10) - 180 * MB, RBE_BOUND_ANDROID);
    write_file("sys/module/lowmemorykiller/parameters/minfree", "18432,23040,27648,32256,55296,80640\n");
    check_memory("in the kernel", (3000000ull << 10) - 80640 * page, RBE_BOUND_ANDROID);
    write_file("proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 1000 kB\n");
    check_memory("below the reserve", 0, RBE_BOUND_ANDROID);
    end_machine();
}
#endif

int main(void)
{
    const golden_files files = list_golden_files();
    CHECK(files.n > 0, "no golden packs under %s", RBE_GOLDEN_DIR);
    test_estimate_agrees(&files);
    test_advice_holds(&files, RBE_KV_F16);
    test_advice_holds(&files, RBE_KV_AUTO);
    test_flags();
    test_index_is_enough(&files);
#if defined(__linux__)
    test_free_memory();
    test_groups_version_2();
    test_groups_version_1();
    test_android();
#endif
    rbe_memory memory = {.struct_bytes = sizeof memory};
    CHECK(rbe_memory_find(&memory) == RBE_OK && memory.available > 0 && memory.limited_by, "this machine");
    return check_finish();
}
