/* rbe: the library as one program, without Python. Exit codes: 0 done, 1 it failed, 2 the command line is wrong, 130 stopped with Ctrl-C. */
#include <stdio.h>
#include <string.h>

#include "carried.h"
#include "commands.h"
#include "output.h"
#include "platform/program.h"
#include "rbe/faults.h"

static const char usage[] = "usage: rbe COMMAND ...\n"
                            "\n"
                            "Runs language models from .rbe files on small computers.\n"
                            "\n"
                            "  run      continue a prompt\n"
                            "  chat     talk to a model\n"
                            "  embed    make a vector of each text\n"
                            "  bench    measure the speed of a model on this machine\n"
                            "  inspect  show what a .rbe file holds\n"
                            "  doctor   say what this machine has\n"
                            "  self     make one program that carries its model\n"
                            "  --version, --help; `rbe COMMAND --help` for each of them\n"
                            "\n"
                            "example:\n"
                            "  rbe chat smol.rbe\n"
                            "  rbe run smol.rbe -p \"Once upon a time\" -n 100\n"
                            "\n"
                            "Models are packed by the Python command of the same name: pip install rbe-edge\n";

static const char carries[] =
    "\n"
    "This program carries a model: started alone, or with the options of `chat`, it talks; `run -p TEXT` continues.\n";

static int is(const char *word, const char *name)
{
    return strcmp(word, name) == 0;
}

/* Commands that need no look at the program's own file. EXIT_USAGE + 1: it is none of these. */
static int simple_command(int argc, char **argv)
{
    const char *const word = argc >= 2 ? argv[1] : "";
    return is(word, "doctor")  ? command_doctor(argc - 2, argv + 2)
           : is(word, "embed") ? command_embed(argc - 2, argv + 2)
           : is(word, "self")  ? command_self(argc - 2, argv + 2, argv[0])
                               : EXIT_USAGE + 1;
}

static int command(int argc, char **argv)
{
    static char path[4096];
    model_source carried;
    const char *const word = argc >= 2 ? argv[1] : "";
    const int found = rbe__program_path(argv[0], path, sizeof path) ? find_carried(path, &carried) : 0;
    const model_source *const model = found > 0 ? &carried : NULL;
    if (found < 0) {
        return EXIT_FAILED;
    }
    if (is(word, "run")) {
        return command_run(argc - 2, argv + 2, model);
    }
    if (is(word, "chat")) {
        return command_chat(argc - 2, argv + 2, model);
    }
    if (is(word, "bench")) {
        return command_bench(argc - 2, argv + 2, model);
    }
    if (is(word, "inspect")) {
        return command_inspect(argc - 2, argv + 2, model);
    }
    if (is(word, "--version")) {
        puts(program_version());
        return 0;
    }
    if (is(word, "--help") || is(word, "-h")) {
        printf("%s%s", usage, model ? carries : "");
        return 0;
    }
    if (model && (argc < 2 || word[0] == '-')) {
        return command_chat(argc - 1, argv + 1, model);
    }
    return argc < 2 ? fail(EXIT_USAGE, "name a command: run, chat, embed, bench, inspect, doctor or self; see `rbe --help`")
                    : fail(EXIT_USAGE, "there is no command `%s`; see `rbe --help`", word);
}

int main(int argc, char **argv)
{
    if (rbe_faults_report("rbe") != RBE_OK) {
        return fail_with(RBE_ERROR_ARGUMENT);
    }
    argv = rbe__program_arguments(argc, argv);
    if (!argv) {
        return fail_with(RBE_ERROR_MEMORY);
    }
    prepare_interrupts();
    int code = simple_command(argc, argv);
    code = code == EXIT_USAGE + 1 ? command(argc, argv) : code;
    return finish_output(code);
}
