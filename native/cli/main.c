/* rbe-cli: the library without Python. `rbe-cli run` writes the continuation of a prompt, `rbe-cli chat` answers line by line,
 * `rbe-cli inspect` says what a file holds. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "rbe/faults.h"

static const char usage[] = "usage: rbe-cli run FILE -p PROMPT [-n TOKENS] [-c CONTEXT] [-t THREADS] [-s SEED] [--temp T] [--top-k K]\n"
                            "                   [--top-p P] [--min-p P] [--repeat-penalty R] [--kernels SET] [--no-verify] [-v]\n"
                            "       rbe-cli chat FILE [--system TEXT] [--template STYLE] [the same options]\n"
                            "       rbe-cli inspect FILE [--tensors]\n"
                            "       rbe-cli --version\n"
                            "\n"
                            "example: rbe-cli run stories.rbe -p 'Once upon a time' -n 100 --temp 0.8 -s 1 -v\n"
                            "         rbe-cli chat smol.rbe --system 'You are brief.'\n";

int main(int argc, char **argv)
{
    if (rbe_faults_report("rbe-cli") != RBE_OK) {
        return report_failure();
    }
    if (argc >= 2 && strcmp(argv[1], "run") == 0) {
        return command_run(argc - 2, argv + 2);
    }
    if (argc >= 2 && strcmp(argv[1], "chat") == 0) {
        return command_chat(argc - 2, argv + 2);
    }
    if (argc >= 2 && strcmp(argv[1], "inspect") == 0) {
        return command_inspect(argc - 2, argv + 2);
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("rbe-cli %s\n", rbe_version());
        return 0;
    }
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage, stdout);
        return 0;
    }
    fputs(usage, stderr);
    return EXIT_USAGE;
}
