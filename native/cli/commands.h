/* The commands: arguments are those behind the command's name, the result is the exit code. */
#ifndef RBE_PROGRAM_COMMANDS_H
#define RBE_PROGRAM_COMMANDS_H

#include "model_options.h"

/* carried: the model that the program carries; NULL: none. */
int command_run(int argc, char **argv, const model_source *carried);
int command_chat(int argc, char **argv, const model_source *carried);
int command_bench(int argc, char **argv, const model_source *carried);
int command_inspect(int argc, char **argv, const model_source *carried);
int command_doctor(int argc, char **argv);
int command_embed(int argc, char **argv);

/* name: argv[0]. */
int command_self(int argc, char **argv, const char *name);

#endif
