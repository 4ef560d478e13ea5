#include "parallel/lateness.h"

#define MILLISECOND ((uint64_t)1000000)

/* Two who share a core have it in turns of about 3 ms (Linux), so a thread that shares one is late for half of the time. */
#define WINDOW_NS (100 * MILLISECOND) /* what was longer ago counts no more */
#define GRACE_NS (10 * MILLISECOND) /* a single delay behind its return is not enough */
#define FIRST_PAUSE_NS (50u * MILLISECOND)
#define MOST_PAUSE_NS (1000 * MILLISECOND)
#define LASTING_NS (1000 * MILLISECOND) /* one that took part so long begins with the first pause again */

uint64_t rbe__patience(uint64_t item_ns)
{
    return 8 * item_ns + MILLISECOND / 10;
}

/* What a thread does in a time is done by all n together in an n-th of it. So it is worth keeping while the others wait for less than an n-th of
 * the time that it helps. Half of that is allowed: the rest of what a wait costs cannot be seen from here. */
int rbe__lateness_add(rbe__lateness *lateness, uint64_t late_ns, uint64_t helped_ns, uint32_t n_sharing)
{
    uint64_t since_ns = helped_ns - lateness->begin_ns;
    if (since_ns > WINDOW_NS) {
        lateness->late_ns = (uint64_t)((double)lateness->late_ns * WINDOW_NS / (double)since_ns);
        lateness->begin_ns = helped_ns - WINDOW_NS;
        since_ns = WINDOW_NS;
    }
    lateness->late_ns += late_ns;
    return lateness->late_ns * 2 * n_sharing > since_ns + GRACE_NS;
}

void rbe__lateness_leave_out(rbe__lateness *lateness, uint64_t helped_ns, uint64_t now_ns)
{
    const int lasted = helped_ns - lateness->joined_ns >= LASTING_NS;
    const uint64_t longer_ns = lateness->pause_ns * 2 < MOST_PAUSE_NS ? lateness->pause_ns * 2 : MOST_PAUSE_NS;
    lateness->pause_ns = lateness->pause_ns && !lasted ? longer_ns : FIRST_PAUSE_NS;
    lateness->back_ns = now_ns + lateness->pause_ns;
}

int rbe__lateness_is_over(rbe__lateness *lateness, uint64_t helped_ns, uint64_t now_ns)
{
    if (now_ns < lateness->back_ns) {
        return 0;
    }
    lateness->begin_ns = lateness->joined_ns = helped_ns;
    lateness->late_ns = 0;
    return 1;
}
