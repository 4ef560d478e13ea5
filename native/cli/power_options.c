#include "power_options.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "output.h"

#define NOT_GIVEN (-DBL_MIN) /* a number that nobody writes */
#define DEFAULT_CONTEXT 4096u /* where the model's own is larger */
#define N_POWER_NAMES (1u + RBE_MODES)

const char *const power_names[] = {"auto", "performance", "balanced", "saver", "emergency", NULL};

#define HELP(is_default)                                                                                                \
    "\n"                                                                                                                \
    "power (docs/power.md):\n"                                                                                          \
    "  --power MODE           performance, balanced, saver, emergency, or auto: by battery and heat (" is_default ")\n" \
    "  --policy FILE          when auto changes modes: lines of `key = value`\n"                                        \
    "  --watts W              wait between tokens so that it takes W on average\n"                                      \
    "  --max-temp C           wait so that the processor stays below C\n"                                               \
    "  --pace R               R tokens/s are enough: fewer threads, no faster\n"

const char power_help_pinned[] = HELP("performance");
const char power_help_follows[] = HELP("auto");

power_options default_power_options(uint32_t mode)
{
    return (power_options){.mode = mode, .watts = NOT_GIVEN, .max_temp = NOT_GIVEN, .pace = NOT_GIVEN};
}

static int check_positive(const char *name, double value)
{
    const int is_good = value == NOT_GIVEN || (value > 0 && value <= 1e6);
    return is_good ? 0 : fail(EXIT_USAGE, "%s is a number above 0, not %g", name, isnan(value) ? NAN : value);
}

/* The policy of the options. 0, or EXIT_USAGE behind a line. */
static int read_policy(const power_options *o, rbe_policy *policy)
{
    *policy = (rbe_policy){.struct_bytes = sizeof *policy};
    const rbe_status status = o->policy ? rbe_policy_read(o->policy, policy) : rbe_policy_defaults(policy);
    if (status != RBE_OK) {
        return fail(EXIT_USAGE, "%s", rbe_last_error());
    }
    policy->override_mode = o->mode == POWER_AUTO ? policy->override_mode : o->mode; /* 1 + mode, as the names are */
    return 0;
}

static int has_goals(const power_options *o)
{
    return o->watts != NOT_GIVEN || o->max_temp != NOT_GIVEN || o->pace != NOT_GIVEN;
}

int check_power_options(const power_options *o)
{
    rbe_policy policy;
    int code = check_positive("--watts", o->watts);
    code = code ? code : check_positive("--pace", o->pace);
    if (code == 0 && o->max_temp != NOT_GIVEN && !(o->max_temp >= 30 && o->max_temp <= 120)) {
        return fail(EXIT_USAGE, "--max-temp is from 30 to 120 C, not %g", isnan(o->max_temp) ? NAN : o->max_temp);
    }
    if (code == 0 && o->policy && o->mode == POWER_PERFORMANCE && !has_goals(o)) {
        return fail(EXIT_USAGE, "--policy is for --power auto");
    }
    return code ? code : read_policy(o, &policy);
}

static double goal(double given)
{
    return given == NOT_GIVEN ? 0 : given;
}

int begin_governing(const power_options *o, const rbe_model *model, int always, rbe_governor_callback log, void *user, governing *out)
{
    *out = (governing){.options = *o};
    if (!always && o->mode == POWER_PERFORMANCE && !has_goals(o)) {
        return 0;
    }
    const int code = read_policy(o, &out->policy);
    if (code) {
        return code;
    }
    rbe_status status = rbe_power_open(NULL, &out->power);
    status = status == RBE_OK ? rbe_power_start(out->power, 0) : status; /* sensors of watts give energy from then on */
    const rbe_governor_options options = {.struct_bytes = sizeof options,
                                          .power = out->power,
                                          .policy = &out->policy,
                                          .watts = goal(o->watts),
                                          .celsius = goal(o->max_temp),
                                          .tokens_per_s = goal(o->pace),
                                          .log = log,
                                          .log_user = user};
    status = status == RBE_OK ? rbe_governor_create(model, &options, &out->governor) : status;
    if (status != RBE_OK) {
        return fail(EXIT_USAGE, "%s", rbe_last_error());
    }
    begin_energy(out);
    return 0;
}

/* The mode that holds now. */
static rbe_status decide_mode(const governing *g, rbe_policy_decision *decision)
{
    rbe_policy_state state = {0};
    rbe_power_sample sample = {.struct_bytes = sizeof sample};
    *decision = (rbe_policy_decision){.struct_bytes = sizeof *decision};
    const rbe_status status = rbe_power_read(g->power, &sample);
    return status == RBE_OK ? rbe_policy_decide(&g->policy, &sample, &state, decision) : status;
}

int limit_session(const governing *g, const model_options *given, const rbe_model *model, int says_so, rbe_session_options *session)
{
    rbe_policy_decision decision;
    rbe_mode_limits limits = {.struct_bytes = sizeof limits};
    rbe_model_info info = {.struct_bytes = sizeof info};
    if (!g->governor || g->options.mode == POWER_PERFORMANCE) {
        return 0;
    }
    rbe_status status = decide_mode(g, &decision);
    status = status == RBE_OK ? rbe_mode_get_limits(decision.mode, &limits) : status;
    status = status == RBE_OK ? rbe_model_get_info(model, &info) : status;
    if (status != RBE_OK) {
        return fail_with(status);
    }
    const uint32_t own = info.context_tokens < DEFAULT_CONTEXT ? info.context_tokens : DEFAULT_CONTEXT;
    if (given->context == 0 && limits.context_tokens && limits.context_tokens < own) {
        session->context_tokens = limits.context_tokens;
        if (says_so) {
            note("power mode %s: %s; so -c %u", rbe_power_mode_name(decision.mode), decision.reason, limits.context_tokens);
        }
    }
    return 0;
}

void end_governing(governing *g)
{
    rbe_governor_free(g->governor);
    rbe_power_close(g->power);
    *g = (governing){0};
}

int govern(governing *g, rbe_session *session)
{
    const rbe_status status = g->governor ? rbe_session_govern(session, g->governor) : RBE_OK;
    return status == RBE_OK ? 0 : fail_with(status);
}

static int read_info(const governing *g, rbe_governor_info *info)
{
    *info = (rbe_governor_info){.struct_bytes = sizeof *info};
    return g->governor && rbe_governor_get_info(g->governor, info) == RBE_OK;
}

void begin_energy(governing *g)
{
    if (!read_info(g, &g->before)) {
        g->before = (rbe_governor_info){0};
    }
}

void note_energy(const governing *g, const char *what)
{
    rbe_governor_info now;
    char joules[48] = "", waited[48] = "";
    if (!read_info(g, &now)) {
        return;
    }
    if (!now.reason[0]) {
        note("the power mode is decided with the first token");
        return;
    }
    /* Where they are unknown, or of another source than before, the comparison is false; so it is for less than a gauge can tell. */
    const double spent = now.joules - (isnan(g->before.joules) ? 0 : g->before.joules), seconds = now.waited_s - g->before.waited_s;
    const uint64_t n_tokens = now.n_tokens - g->before.n_tokens;
    if (spent > 0 && spent >= 10 * now.resolution_j && n_tokens) {
        snprintf(joules, sizeof joules, ", %.3g J/token", spent / (double)n_tokens);
    }
    if (seconds >= 0.05) {
        snprintf(waited, sizeof waited, ", waited %.1f s", seconds);
    }
    note("%s%s%s: %s; %u thread%s%s%s", what, what[0] ? ": " : "", rbe_power_mode_name(now.mode), now.reason, now.n_threads,
         now.n_threads == 1 ? "" : "s", joules, waited);
}

uint32_t power_named(const char *word)
{
    uint32_t i = 0;
    while (i < N_POWER_NAMES && strcmp(power_names[i], word) != 0) {
        i++;
    }
    return i;
}
