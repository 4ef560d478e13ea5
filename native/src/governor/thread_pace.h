/* The fewest threads that give a rate: tried from one on, a few tokens with each. A pure function of times, as pace.h is. */
#ifndef RBE_GOVERNOR_THREAD_PACE_H
#define RBE_GOVERNOR_THREAD_PACE_H

#include <stdint.h>

typedef struct rbe__thread_pace {
    uint32_t n_threads; /* now; 0: not begun */
    uint32_t n_seen; /* tokens with so many, and what they took in seconds */
    double seconds;
} rbe__thread_pace;

/* A token took so many seconds of work, waits not counted, with n_threads. Returns the threads for the next one, 1 to most. */
uint32_t rbe__thread_pace_next(rbe__thread_pace *pace, double tokens_per_s, double seconds, uint32_t most);

#endif
