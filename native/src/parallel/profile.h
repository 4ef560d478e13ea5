/* Where the time of a pass goes: each step ends with a lap, so that the laps of a pass add up to all of it. */
#ifndef RBE_PROFILE_H
#define RBE_PROFILE_H

#include <stdint.h>

/* The steps that every pass has. Those of its blocks follow, numbered by the owner of the blocks. */
enum {
    RBE_OPERATION_EMBED = 0,
    RBE_OPERATION_PREPARE = 1, /* norm or activation function, rotation and rounding before matrices */
    RBE_OPERATION_LM_HEAD = 2,
    RBE_OPERATION_OTHER = 3, /* rotary angles, the last norm, norms behind a branch */
    RBE_OPERATION_BLOCKS = 4,
    RBE_MAX_OPERATIONS = 32
};

typedef struct rbe__profile {
    uint64_t (*clock)(void); /* nanoseconds */
    uint64_t last;           /* when the last lap ended */
    uint64_t calls[RBE_MAX_OPERATIONS], nanoseconds[RBE_MAX_OPERATIONS];
} rbe__profile;

/* The clock starts. profile may be NULL here and below: then it costs one comparison. */
static inline void rbe__profile_start(rbe__profile *profile)
{
    if (profile) {
        profile->last = profile->clock();
    }
}

/* What happened since the last lap was `operation`, below RBE_MAX_OPERATIONS. */
static inline void rbe__profile_lap(rbe__profile *profile, uint32_t operation)
{
    if (profile) {
        const uint64_t now = profile->clock();
        profile->nanoseconds[operation] += now - profile->last;
        profile->calls[operation]++;
        profile->last = now;
    }
}

#endif
