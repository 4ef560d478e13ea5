/* Where the time of a session's passes goes: each step ends with a lap, so that the laps of a pass add up to all of it. */
#ifndef RBE_PROFILE_H
#define RBE_PROFILE_H

#include "platform/platform.h"

typedef enum rbe__operation {
    RBE_OPERATION_EMBED,
    RBE_OPERATION_PREPARE, /* norm or activation function, rotation and rounding before matrices */
    RBE_OPERATION_QKV,
    RBE_OPERATION_HEADS,   /* norms and rotary embedding of queries and keys, keys and values to the cache */
    RBE_OPERATION_ATTENTION,
    RBE_OPERATION_O,
    RBE_OPERATION_GATE_UP,
    RBE_OPERATION_DOWN,
    RBE_OPERATION_HEAD,
    RBE_OPERATION_OTHER,   /* rotary angles, the last norm, norms behind a branch */
    RBE_N_OPERATIONS
} rbe__operation;

typedef struct rbe__profile {
    uint64_t last; /* when the last lap ended, in nanoseconds */
    uint64_t calls[RBE_N_OPERATIONS], nanoseconds[RBE_N_OPERATIONS];
} rbe__profile;

/* The clock starts. profile may be NULL here and below: then it costs one comparison. */
static inline void rbe__profile_start(rbe__profile *profile)
{
    if (profile) {
        profile->last = rbe__nanoseconds();
    }
}

/* What happened since the last lap was `operation`. */
static inline void rbe__profile_lap(rbe__profile *profile, rbe__operation operation)
{
    if (profile) {
        const uint64_t now = rbe__nanoseconds();
        profile->nanoseconds[operation] += now - profile->last;
        profile->calls[operation]++;
        profile->last = now;
    }
}

#endif
