#ifndef RBE_CLI_COMMANDS_H
#define RBE_CLI_COMMANDS_H

#include "rbe/rbe.h"

enum { EXIT_USAGE = 2 };

typedef struct cli_arguments {
    const char *path, *prompt;
    const char *system, *style; /* of chat */
    uint32_t n_tokens;
    int verbose;
    rbe_model_options model;
    rbe_session_options session;
    rbe_sampling_options sampling;
} cli_arguments;

/* Options and the file's path; 0, with a message, for what is none. */
int read_arguments(cli_arguments *a, int argc, char **argv);

/* UTF-8 to standard output; without what a terminal would obey, where it is one. */
void write_text(const char *text, size_t bytes);

/* Arguments behind the command's name; the result is the exit code. */
int command_run(int argc, char **argv);
int command_chat(int argc, char **argv);
int command_inspect(int argc, char **argv);

/* Prints "rbe-cli: " and the library's last error; gives exit code 1. */
int report_failure(void);

#endif
