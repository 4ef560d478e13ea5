/* The memory pool: sizes, alignment, reuse, the bound on what is kept, trimming, and threads. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/memory_pool.h"
#include "check.h"

#define N_THREADS 4u
#define N_ROUNDS 300u

/* One request below is larger than anything: the sanitizers, too, are to refuse it and go on. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__tsan_default_options(void);

__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

__attribute__((visibility("default"))) const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static rbe__memory_pool *make_pool(void)
{
    rbe__memory_pool *pool = NULL;
    CHECK(rbe__memory_pool_create(&pool) == RBE_OK, "%s", rbe_last_error());
    return pool;
}

static void check_classes(void)
{
    CHECK(rbe__size_class(0) == 4096 && rbe__size_class(4096) == 4096, "the smallest");
    CHECK(rbe__size_class(4097) == 6144 && rbe__size_class(6145) == 8192, "%zu", rbe__size_class(4097));
    CHECK(rbe__size_class((size_t)1 << 30) == (size_t)1 << 30, "a power of two is its own class");
    CHECK(rbe__size_class(SIZE_MAX) == 0, "nothing is so large");
    for (size_t bytes = 1; bytes < SIZE_MAX / 16 && (uint64_t)bytes >> 40 == 0; bytes = bytes * 5 / 3 + 1) {
        const size_t class = rbe__size_class(bytes);
        CHECK(class >= bytes && class % 64 == 0 && (bytes < 4096 || class <= bytes + bytes / 2), "%zu for %zu", class, bytes);
    }
}

static void check_reuse(void)
{
    rbe__memory_pool *pool = make_pool();
    void *a = rbe__memory_pool_take(pool, 10000), *b = rbe__memory_pool_take(pool, 100000);
    CHECK(a && b && (uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0, "aligned");
    memset(a, 1, 10000);
    memset(b, 2, 100000);
    rbe__memory_pool_give(pool, a, 10000);
    void *again = rbe__memory_pool_take(pool, 12000); /* of the same class */
    CHECK(again == a, "the block that was kept");
    rbe__memory_pool_counts s = rbe__memory_pool_statistics(pool);
    CHECK(s.in_use == 12288 + 131072 && s.peak == s.in_use && s.held == 0 && s.taken == 3 && s.reused == 1, "%llu in use",
          (unsigned long long)s.in_use);

    rbe__memory_pool_give(pool, again, 12000);
    rbe__memory_pool_give(pool, b, 100000);
    s = rbe__memory_pool_statistics(pool);
    CHECK(s.in_use == 0 && s.held == 12288 + 131072, "both are kept");
    void *c = rbe__memory_pool_take(pool, 60000); /* of another class: something has to go */
    s = rbe__memory_pool_statistics(pool);
    CHECK(s.in_use == 65536 && s.in_use + s.held <= 12288 + 131072 && s.peak == 12288 + 131072, "%llu kept", (unsigned long long)s.held);
    rbe__memory_pool_trim(pool);
    s = rbe__memory_pool_statistics(pool);
    CHECK(s.held == 0 && s.in_use == 65536, "trimmed");
    rbe__memory_pool_give(pool, c, 60000);
    rbe__memory_pool_give(pool, NULL, 5);

    const uint64_t peak = rbe__memory_pool_statistics(pool).peak;
    const size_t too_much = sizeof(size_t) > 4 ? SIZE_MAX / 4 : SIZE_MAX; /* a quarter of 4 GB may be had */
    CHECK(rbe__memory_pool_take(pool, too_much) == NULL && rbe__memory_pool_take(pool, SIZE_MAX) == NULL, "not to be had");
    s = rbe__memory_pool_statistics(pool);
    CHECK(s.in_use == 0 && s.peak == peak, "as if it had not been asked for");
    rbe__memory_pool_free(pool);
    rbe__memory_pool_free(NULL);
}

/* Blocks filled with the thread's number, which nobody else may change. */
static void *take_and_give(void *context)
{
    static atomic_uint next;
    rbe__memory_pool *pool = context;
    const unsigned char own = (unsigned char)(atomic_fetch_add(&next, 1) + 1);
    size_t wrong = 0;
    for (size_t round = 0; round < N_ROUNDS; round++) {
        const size_t bytes = 1000 + round * 37 % 20000;
        unsigned char *block = rbe__memory_pool_take(pool, bytes);
        if (!block) {
            return (void *)(uintptr_t)1;
        }
        memset(block, own, bytes);
        if (round % 50 == 7) {
            rbe__memory_pool_trim(pool);
        }
        for (size_t i = 0; i < bytes; i += 97) {
            wrong += block[i] != own;
        }
        rbe__memory_pool_give(pool, block, bytes);
    }
    return (void *)(uintptr_t)wrong;
}

static void check_threads(void)
{
    rbe__memory_pool *pool = make_pool();
    pthread_t threads[N_THREADS];
    for (uint32_t i = 0; i < N_THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, take_and_give, pool) == 0, "thread");
    }
    for (uint32_t i = 0; i < N_THREADS; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        CHECK(wrong == NULL, "blocks are shared");
    }
    const rbe__memory_pool_counts s = rbe__memory_pool_statistics(pool);
    CHECK(s.in_use == 0 && s.taken == N_THREADS * N_ROUNDS && s.held <= s.peak && s.reused > 0, "%llu taken", (unsigned long long)s.taken);
    rbe__memory_pool_free(pool);
}

int main(void)
{
    check_classes();
    check_reuse();
    check_threads();
    return check_finish();
}
