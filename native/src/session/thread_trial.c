#include "session/thread_trial.h"

#include <string.h>

/* A block of steps with one number of threads. The first one is not timed: new threads, cold caches. */
#define BLOCK_STEPS 4u
#define SLOWER_PERCENT 110u  /* of the best: fewer threads need not be tried */
#define CLOSE_PERCENT 115u   /* of the best: worth a second look */
#define AS_FAST_PERCENT 105u /* of the best: the fewer threads are taken */

void rbe__thread_trial_begin(rbe__thread_trial *trial, uint32_t fast, uint32_t usable)
{
    const uint32_t wanted[] = {fast, fast * 3 / 4, fast / 2, fast / 4};
    memset(trial, 0, sizeof *trial);
    for (uint32_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (wanted[i] && (i == 0 || wanted[i] < trial->candidates[trial->n_candidates - 1])) {
            trial->candidates[trial->n_candidates++] = wanted[i];
        }
    }
    trial->n_downward = trial->n_candidates;
    if (usable > fast) {
        trial->candidates[trial->n_candidates++] = usable;
    }
    trial->settled = trial->n_candidates == 1;
}

static uint64_t median(const rbe__thread_trial *trial, uint32_t candidate)
{
    uint64_t sorted[RBE_TRIAL_STEPS];
    const uint32_t n = trial->n_times[candidate];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t place = i;
        for (; place && sorted[place - 1] > trial->times[candidate][i]; place--) {
            sorted[place] = sorted[place - 1];
        }
        sorted[place] = trial->times[candidate][i];
    }
    return n ? sorted[(n - 1) / 2] : UINT64_MAX;
}

static int within(uint64_t time, uint64_t best, uint32_t percent)
{
    return time != UINT64_MAX && time / percent <= best / 100;
}

/* The fastest but for one; n_candidates where no other was timed. */
static uint32_t fastest_but(const rbe__thread_trial *trial, uint32_t left_out)
{
    uint32_t best = trial->n_candidates;
    uint64_t least = UINT64_MAX;
    for (uint32_t c = 0; c < trial->n_candidates; c++) {
        const uint64_t time = median(trial, c);
        if (c != left_out && time < least) {
            least = time;
            best = c;
        }
    }
    return best;
}

static void settle(rbe__thread_trial *trial)
{
    const uint64_t best = median(trial, fastest_but(trial, trial->n_candidates));
    uint32_t chosen = trial->n_candidates;
    for (uint32_t c = 0; c < trial->n_candidates; c++) {
        if (within(median(trial, c), best, AS_FAST_PERCENT) &&
            (chosen == trial->n_candidates || trial->candidates[c] < trial->candidates[chosen])) {
            chosen = c;
        }
    }
    trial->at = chosen;
    trial->settled = 1;
}

/* A block is over: the next candidate, or a second look at the best two, or the end. */
static void go_on(rbe__thread_trial *trial)
{
    trial->in_block = 0;
    const uint32_t best = fastest_but(trial, trial->n_candidates);
    if (trial->n_first < trial->n_candidates) {
        trial->n_first++;
        if (trial->n_first < trial->n_downward && !within(median(trial, trial->at), median(trial, best), SLOWER_PERCENT)) {
            trial->n_first = trial->n_downward;
        }
    }
    if (trial->n_steps + BLOCK_STEPS > RBE_TRIAL_STEPS) {
        settle(trial);
    } else if (trial->n_first < trial->n_candidates) {
        trial->at = trial->n_first;
    } else {
        const uint32_t second = fastest_but(trial, best);
        if (second == trial->n_candidates || !within(median(trial, second), median(trial, best), CLOSE_PERCENT)) {
            settle(trial);
        } else {
            trial->at = trial->n_times[second] < trial->n_times[best] || trial->at == best ? second : best;
        }
    }
}

uint32_t rbe__thread_trial_step(rbe__thread_trial *trial, uint64_t nanoseconds)
{
    if (!trial->settled) {
        if (trial->in_block++) {
            trial->times[trial->at][trial->n_times[trial->at]++] = nanoseconds;
        }
        trial->n_steps++;
        if (trial->in_block == BLOCK_STEPS) {
            go_on(trial);
        }
    }
    return trial->candidates[trial->at];
}

float rbe__thread_trial_rate(const rbe__thread_trial *trial, uint32_t candidate)
{
    const uint64_t time = median(trial, candidate);
    return time == UINT64_MAX || time == 0 ? 0 : (float)(1e9 / (double)time);
}
