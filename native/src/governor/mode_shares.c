/* What each mode changes about a session and its threads: see rbe/governor.h. */
#include "base/status.h"
#include "parallel/thread_pool.h"
#include "rbe/governor.h"

rbe_status rbe_mode_get_limits(uint32_t mode, rbe_mode_limits *out)
{
    static const rbe_mode_limits limits[RBE_MODES] = {
        {.cache_divisor = 1},
        {.max_sessions = 4, .cache_divisor = 1},
        {.context_tokens = 4096, .max_sessions = 2, .cache_divisor = 2},
        {.context_tokens = 2048, .max_sessions = 1},
    };
    if (mode >= RBE_MODES) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_mode_get_limits: there is no mode %u", mode);
    }
    return rbe__give_info("rbe_mode_get_limits", out, &limits[mode], sizeof limits[mode]);
}

rbe_status rbe_mode_get_workers(uint32_t mode, uint32_t n_threads, rbe_workers *out)
{
    static const struct {
        uint32_t divisor, sleep, slow_cores;
    } shares[RBE_MODES] = {{1, 0, 0}, {2, 1, 0}, {2, 1, 1}, {RBE_MAX_THREADS, 1, 1}};
    if (mode >= RBE_MODES || n_threads > RBE_MAX_THREADS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_mode_get_workers: there is no mode %u, or %u threads are more than %u", mode, n_threads,
                        RBE_MAX_THREADS);
    }
    const rbe_workers workers = {.n_threads = (n_threads + shares[mode].divisor - 1) / shares[mode].divisor,
                                 .sleep = shares[mode].sleep,
                                 .slow_cores = shares[mode].slow_cores};
    return rbe__give_info("rbe_mode_get_workers", out, &workers, sizeof workers);
}
