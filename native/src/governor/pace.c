#include "governor/pace.h"

#include <math.h>

#define CREDIT_S 2.0 /* of its power, that may be spent at once: an answer begins without a wait */
#define LEAST_PAUSE_S 1e-4 /* a shorter one is none */
#define SLICE_S 0.1 /* how long is waited for the power to fall before it is looked at again */
#define HEAT_GAIN 0.004 /* seconds of pause, for each degree above the goal and each second that it lasts */
#define HEAT_DECAY 0.5 /* below the goal the pause shrinks by this share in a second */

void rbe__pace_forget(rbe__pace_state *state)
{
    const double heat_pause = state->heat_pause; /* the processor is as hot as it was */
    *state = (rbe__pace_state){.heat_pause = heat_pause};
}

/* The budget is a bucket that fills with the goal's power and never holds more than CREDIT_S of it, so that a rest does not pay for a long time
 * of full power behind it. */
static double pause_for_power(double watts, const rbe__pace_reading *now, rbe__pace_state *state)
{
    if (!(watts > 0) || isnan(now->joules)) {
        return 0;
    }
    const double spent = now->joules - state->began_j, earned = watts * (now->seconds - state->began_s);
    if (spent < 0) { /* another counter */
        state->began_s = now->seconds;
        state->began_j = now->joules;
        return 0;
    }
    if (earned - spent > CREDIT_S * watts) { /* the bucket is full: what is above it is lost */
        state->began_s = now->seconds - (CREDIT_S * watts + spent) / watts;
    }
    return fmin(SLICE_S, (spent - earned) / watts);
}

static double pause_for_heat(double celsius, const rbe__pace_reading *now, rbe__pace_state *state)
{
    if (!(celsius > 0) || isnan(now->celsius)) {
        return 0;
    }
    const double passed = fmin(now->seconds - state->heat_s, 5.0), above = now->celsius - celsius;
    state->heat_s = now->seconds;
    if (above > 0) {
        state->heat_pause += HEAT_GAIN * above * passed;
    } else {
        state->heat_pause *= exp(-HEAT_DECAY * passed * fmin(1.0, -above / 2));
    }
    state->heat_pause = state->heat_pause < 1e-4 ? 0 : fmin(state->heat_pause, RBE__LONGEST_PAUSE);
    return state->heat_pause;
}

double rbe__pace_pause(const rbe__pace_goal *goal, const rbe__pace_reading *reading, int waited, rbe__pace_state *state)
{
    if (!state->started) {
        const double heat_pause = state->heat_pause;
        *state = (rbe__pace_state){.started = 1,
                                   .began_s = reading->seconds - CREDIT_S,
                                   .began_j = isnan(reading->joules) ? 0 : reading->joules,
                                   .token_s = reading->seconds,
                                   .heat_pause = heat_pause,
                                   .heat_s = reading->seconds};
        return 0;
    }
    double pause = pause_for_power(goal->watts, reading, state);
    if (!waited) {
        const double due = goal->tokens_per_s > 0 ? state->token_s + 1 / goal->tokens_per_s - reading->seconds : 0;
        pause = fmax(pause, fmax(due, pause_for_heat(goal->celsius, reading, state)));
        state->pause_s = reading->seconds;
    }
    pause = fmin(pause, RBE__LONGEST_PAUSE - (reading->seconds - state->pause_s));
    if (pause >= LEAST_PAUSE_S) {
        return pause;
    }
    state->token_s = reading->seconds;
    return 0;
}
