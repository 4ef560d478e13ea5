#include "governor/thread_pace.h"

#define TOKENS 6u /* that decide; the first with another number of threads does not count, caches are cold then */

uint32_t rbe__thread_pace_next(rbe__thread_pace *pace, double tokens_per_s, double seconds, uint32_t most)
{
    if (pace->n_threads == 0 || pace->n_threads > most) {
        *pace = (rbe__thread_pace){.n_threads = 1};
        return 1;
    }
    if (pace->n_seen++ > 0) {
        pace->seconds += seconds;
    }
    if (pace->n_seen <= TOKENS) {
        return pace->n_threads;
    }
    const int is_slower = pace->seconds * tokens_per_s > TOKENS;
    const uint32_t n_threads = pace->n_threads + (is_slower && pace->n_threads < most);
    const int is_same = n_threads == pace->n_threads;
    *pace = (rbe__thread_pace){.n_threads = n_threads, .n_seen = is_same}; /* where it stays, the next tokens are judged anew */
    return n_threads;
}
