#ifndef RBE_CLI_COMMANDS_H
#define RBE_CLI_COMMANDS_H

#include "rbe/rbe.h"

enum { EXIT_USAGE = 2 };

/* Arguments behind the command's name; the result is the exit code. */
int command_run(int argc, char **argv);
int command_inspect(int argc, char **argv);

/* Prints "rbe-cli: " and the library's last error; gives exit code 1. */
int report_failure(void);

#endif
