/* How long to wait between two tokens: a pure function of what was measured, so that its cases are a table (native/tests/test_pace.c). */
#ifndef RBE_GOVERNOR_PACE_H
#define RBE_GOVERNOR_PACE_H

#include <stdint.h>

/* What is to be held; 0: not asked for. */
typedef struct rbe__pace_goal {
    double watts; /* the average power, by the energy counter */
    double celsius; /* the hottest that the processor may be */
    double tokens_per_s; /* no faster than this */
} rbe__pace_goal;

/* Now, when a token is through. */
typedef struct rbe__pace_reading {
    double seconds; /* of a clock that never goes back */
    double joules; /* a sum that grows, of one source; NAN: unknown */
    double celsius; /* NAN: unknown */
} rbe__pace_reading;

/* What is remembered from one token to the next. The caller zeroes it. */
typedef struct rbe__pace_state {
    uint32_t started;
    double began_s, began_j; /* where the budget of energy counts from */
    double token_s; /* when the last token was through, and what was waited is over */
    double pause_s; /* when the wait began */
    double heat_pause; /* seconds a token, by temperature */
    double heat_s; /* when it was last changed */
} rbe__pace_state;

#define RBE__LONGEST_PAUSE 2.0 /* seconds between two tokens, so that an answer goes on whatever is asked for */

/* Seconds to wait before the next token, 0 to RBE__LONGEST_PAUSE. The caller calls it again when it has waited, with wait = 1, until it gives 0: only
 * then has the power fallen as far as it should. */
double rbe__pace_pause(const rbe__pace_goal *goal, const rbe__pace_reading *reading, int waited, rbe__pace_state *state);

/* Forgets what was measured: another source of energy, or a rest between two answers. */
void rbe__pace_forget(rbe__pace_state *state);

#endif
