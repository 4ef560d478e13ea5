/* governor.h: acts on what power.h says while a session answers: between two tokens it reads the sensors once a second, lets the policy decide,
 * and changes what the session reads of the model, its threads and how long it waits. The words that follow from a token are those of the mode that
 * it was computed in; the text so far stays (docs/power.md).
 *
 *     rbe_governor_options options = {.struct_bytes = sizeof options, .power = power};
 *     rbe_governor_create(model, &options, &governor);
 *     rbe_session_govern(session, governor); // from now on by itself, before every token
 */
#ifndef RBE_GOVERNOR_H
#define RBE_GOVERNOR_H

#include "rbe/power.h"
#include "rbe/rbe.h"
#include "rbe/threads.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rbe_governor rbe_governor;

/* A switch of modes, or a wait that begins or ends: one line for a log, such as "saver: 18 %, 71 C". Called on the thread that answers. */
typedef void (*rbe_governor_callback)(const char *line, void *user);

typedef struct rbe_governor_options {
    size_t struct_bytes;
    rbe_power *power; /* the caller's, which must outlive it; NULL: no sensors: the policy's override, else performance */
    const rbe_policy *policy; /* copied; NULL: the defaults */
    double
        watts; /* the most average power that tokens may take, by waiting between them; 0: any. RBE_ERROR_UNSUPPORTED where nothing measures */
    double celsius; /* the hottest that the processor may be, likewise; 0: any; 30 to 120 */
    double
        tokens_per_s; /* the slowest that is acceptable: the fewest threads that give it are found, and it goes no faster; 0: as fast as it can */
    rbe_governor_callback log; /* NULL: none */
    void *log_user;
} rbe_governor_options;

RBE_API rbe_status rbe_governor_create(const rbe_model *model, const rbe_governor_options *options, rbe_governor **out);

/* No session may be governed by it any more. */
RBE_API void rbe_governor_free(rbe_governor *governor);

/* From the next token on; NULL: no longer, the session stays as it is. A governor may have several sessions, which one thread at a time steps. */
RBE_API rbe_status rbe_session_govern(rbe_session *session, rbe_governor *governor);

/* Before each step of a batch: the same for all sessions of the step, which are then stepped with their own efforts
 * (rbe_batch_follow_sessions). */
RBE_API rbe_status rbe_batch_govern(rbe_batch *batch, rbe_governor *governor);

/* 0: the policy decides; 1 + mode: always that one, from the next token on. Any thread. */
RBE_API rbe_status rbe_governor_override(rbe_governor *governor, uint32_t mode);

typedef struct rbe_governor_info {
    size_t struct_bytes;
    uint32_t mode; /* rbe_power_mode */
    uint32_t n_switches;
    char reason[64]; /* as of rbe_policy_decision */
    double waited_s; /* between tokens, in all */
    double joules,
        joule_seconds; /* from when it was created until now, by the source of energy; NAN and 0 where nothing measures. Less than
                                   * before: the source changed, and they count anew */
    uint64_t n_tokens; /* steps that it has governed */
    uint32_t n_threads;
    double resolution_j; /* the step in which joules grow: less than ten of them tell nothing; 0: integrated, or nothing measures */
} rbe_governor_info;

/* Any thread. It reads the energy, which takes as long as rbe_energy_read: for each answer, not for each token. */
RBE_API rbe_status rbe_governor_get_info(rbe_governor *governor, rbe_governor_info *out);

/* What a session that is made in a mode should be given, so that it takes less memory and reads less. */
typedef struct rbe_mode_limits {
    size_t struct_bytes;
    uint32_t context_tokens; /* 0: any */
    uint32_t max_sessions; /* of a batch; 0: any */
    uint32_t cache_divisor; /* of the bytes of rows that are kept: 1 all, 2 half, 0 none */
} rbe_mode_limits;

RBE_API rbe_status rbe_mode_get_limits(uint32_t mode, rbe_mode_limits *out);

/* What becomes of n_threads (0 to 64), those that performance has, in a mode: their share, and how they wait. */
RBE_API rbe_status rbe_mode_get_workers(uint32_t mode, uint32_t n_threads, rbe_workers *out);

#ifdef __cplusplus
}
#endif

#endif
