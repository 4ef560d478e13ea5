/* Which number of threads is fastest, decided from the times of steps. Knows neither a clock nor a session. */
#ifndef RBE_THREAD_TRIAL_H
#define RBE_THREAD_TRIAL_H

#include "rbe/threads.h"

#define RBE_TRIAL_STEPS 24u /* in all */

typedef struct rbe__thread_trial {
    uint32_t n_candidates;
    uint32_t candidates[RBE_MOST_TRIED]; /* numbers of threads, in the order of trying */
    uint32_t n_downward; /* the first so many become fewer and fewer: once these are slower, the rest of them is left out */
    uint32_t n_times[RBE_MOST_TRIED];
    uint64_t times[RBE_MOST_TRIED][RBE_TRIAL_STEPS]; /* nanoseconds */
    uint32_t at; /* the candidate that runs */
    uint32_t in_block; /* its steps since it began to run */
    uint32_t n_steps; /* of all candidates */
    uint32_t n_first; /* candidates that have had their turn, or were left out */
    int settled; /* 1: candidates[at] is the result */
} rbe__thread_trial;

/* fast: threads that run on fast cores, where it begins; usable: with the slow ones, at least `fast`; both at least 1. */
void rbe__thread_trial_begin(rbe__thread_trial *trial, uint32_t fast, uint32_t usable);

/* The step with the threads of now took so long. Returns the threads for the next one. */
uint32_t rbe__thread_trial_step(rbe__thread_trial *trial, uint64_t nanoseconds);

/* Of the median step with a candidate; 0: none was timed. */
float rbe__thread_trial_rate(const rbe__thread_trial *trial, uint32_t candidate);

#endif
