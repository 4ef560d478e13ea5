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

/* Reads the options and the file's path, and sets n_tokens where none is given. 0, with a message, where an argument is wrong. */
int read_arguments(cli_arguments *a, uint32_t n_tokens, int argc, char **argv);

/* Opens the model and fills its information. 0, with a message, where that fails or the model has no tokenizer. The caller closes what
 * was opened in any case. */
int open_model_with_tokenizer(const cli_arguments *a, rbe_model **model, rbe_model_info *info);

/* Writes UTF-8 to standard output. Control characters are left out where it is a terminal. */
void write_text(const char *text, size_t bytes);

/* Arguments behind the command's name; the result is the exit code. */
int command_run(int argc, char **argv);
int command_chat(int argc, char **argv);
int command_inspect(int argc, char **argv);

/* Prints "rbe-cli: " and the library's last error; gives exit code 1. */
int report_failure(void);

#endif
