/* Options of power modes, and the governor that acts on them. Names, defaults, words and exit codes are those of the Python commands
 * (rbe_edge/cli/power_arguments.py). */
#ifndef RBE_PROGRAM_POWER_OPTIONS_H
#define RBE_PROGRAM_POWER_OPTIONS_H

#include "model_options.h"
#include "options.h"
#include "rbe/governor.h"

extern const char *const power_names[]; /* auto, then those of RBE_MODE_* */

enum { POWER_AUTO = 0, POWER_PERFORMANCE = 1 }; /* places in power_names */

typedef struct power_options {
    uint32_t mode; /* the place in power_names */
    const char *policy; /* a file; NULL: the defaults */
    double watts, max_temp, pace; /* those of default_power_options where they were not given */
} power_options;

/* The rows of a table that fill a power_options named `o`; o must be static or outlive the table. */
#define POWER_OPTION_ROWS(o)                                                                                          \
    {NULL, "--power", OPTION_CHOICE, &(o).mode, power_names}, {NULL, "--policy", OPTION_TEXT, &(o).policy, NULL},     \
        {NULL, "--watts", OPTION_NUMBER, &(o).watts, NULL}, {NULL, "--max-temp", OPTION_NUMBER, &(o).max_temp, NULL}, \
    {                                                                                                                 \
        NULL, "--pace", OPTION_NUMBER, &(o).pace, NULL                                                                \
    }

/* Of these rows, where `mode` is performance or auto. */
extern const char power_help_pinned[], power_help_follows[];

power_options default_power_options(uint32_t mode);

/* Before a model is opened: 0, or EXIT_USAGE behind a line for numbers out of range and a policy that cannot be read. */
int check_power_options(const power_options *o);

/* What acts on the options. */
typedef struct governing {
    power_options options;
    rbe_policy policy; /* theirs, where there is a governor */
    rbe_power *power;
    rbe_governor *governor; /* NULL: there is nothing to act on */
    rbe_governor_info before; /* when the answer began */
} governing;

/* *out is for end_governing in any case. always: a governor even where it has nothing to act on, for who may override it later. log: a
 * line for each switch; NULL: none. 0, or EXIT_USAGE behind a line: for goals that nothing here measures. */
int begin_governing(const power_options *o, const rbe_model *model, int always, rbe_governor_callback log, void *user, governing *out);

/* The same session within the limits of the mode that holds now, where neither flag says otherwise; a line about them where says_so.
 * Nothing where there is no governor. 0, or an exit code behind a line. */
int limit_session(const governing *g, const model_options *given, const rbe_model *model, int says_so, rbe_session_options *session);

/* Behind the sessions that it governs. */
void end_governing(governing *g);

/* From the next token on; 0, or EXIT_FAILED behind a line. Nothing where there is no governor. */
int govern(governing *g, rbe_session *session);

/* What note_energy tells is since here. */
void begin_energy(governing *g);

/* One line: "saver: 18 %, 71 C; 2 threads, 3.12 J/token, waited 4.0 s", behind `what` where that is not "". Nothing without a governor. */
void note_energy(const governing *g, const char *what);

/* The place of a word in power_names, or their number. */
uint32_t power_named(const char *word);

#endif
