#include "parallel/lateness.h"

#define MILLISECOND 1000000u

/* A core that is shared by two comes and goes in slices of about 3 ms (Linux), so a worker that shares one is late for half of the time. */
#define WINDOW_NS (100u * MILLISECOND) /* what was longer ago counts no more */
#define GRACE_NS (10u * MILLISECOND) /* one delay of a healthy worker, behind its return, is not enough */
#define FIRST_PAUSE_NS (50u * MILLISECOND)
#define MOST_PAUSE_NS (1000u * MILLISECOND)
#define LASTING_NS (1000u * MILLISECOND) /* a worker that held so long begins with the first pause again */

uint64_t rbe__patience(uint64_t item_ns)
{
    return 8 * item_ns + MILLISECOND / 10;
}

/* n threads do in a time what n - 1 do in n / (n - 1) of it. So one is worth keeping while the others wait for it less than an n-th of the
 * time. Half of that is allowed: the rest of what a wait costs cannot be seen from here. */
int rbe__lateness_add(rbe__lateness *lateness, uint64_t late_ns, uint64_t worked_ns, uint32_t n_sharing, uint64_t now_ns)
{
    uint64_t judged_ns = worked_ns - lateness->begin_ns;
    if (judged_ns > WINDOW_NS) {
        lateness->late_ns = (uint64_t)((double)lateness->late_ns * WINDOW_NS / (double)judged_ns);
        lateness->begin_ns = worked_ns - WINDOW_NS;
        judged_ns = WINDOW_NS;
    }
    lateness->late_ns += late_ns;
    if (lateness->late_ns * 2 * n_sharing <= judged_ns + GRACE_NS) {
        return 0;
    }
    const int held = worked_ns - lateness->joined_ns >= LASTING_NS;
    const uint64_t longer_ns = lateness->pause_ns * 2 < MOST_PAUSE_NS ? lateness->pause_ns * 2 : MOST_PAUSE_NS;
    lateness->pause_ns = lateness->pause_ns && !held ? longer_ns : FIRST_PAUSE_NS;
    lateness->back_ns = now_ns + lateness->pause_ns;
    return 1;
}

int rbe__lateness_is_over(rbe__lateness *lateness, uint64_t worked_ns, uint64_t now_ns)
{
    if (now_ns < lateness->back_ns) {
        return 0;
    }
    lateness->begin_ns = lateness->joined_ns = worked_ns;
    lateness->late_ns = lateness->back_ns = 0;
    return 1;
}
