/* What a program around the library needs of the operating system. The library itself calls none of it. No function sets an error. */
#ifndef RBE_PLATFORM_PROGRAM_H
#define RBE_PLATFORM_PROGRAM_H

#include <stddef.h>
#include <stdint.h>

enum { RBE_STREAM_IN = 0, RBE_STREAM_OUT = 1, RBE_STREAM_ERROR = 2 };

/* To be called before anything else: the arguments, which must stay, as UTF-8; NULL: no memory. Windows: what is written is UTF-8 from then
 * on, and lines end as they are written. */
char **rbe__program_arguments(int argc, char **argv);

/* 1 where the standard stream is a terminal, else 0. */
int rbe__is_terminal(int stream);

/* From now on Ctrl-C calls the handler, on some thread, instead of ending the program, and a read that waits for input returns with nothing.
 * The handler may store to atomics, cancel sessions and call rbe__end_at_once. NULL: Ctrl-C ends the program again. */
void rbe__on_interrupt(void (*handler)(void));

/* Ends the line of a terminal on standard error and then the process, without exit handlers. From an interrupt handler too. */
void rbe__end_at_once(int code);

/* The file of the running program, zero-terminated. name: argv[0], for systems that do not tell. 0 where it is not known. */
int rbe__program_path(const char *name, char *out, size_t capacity);

/* Where the user's small files are that may be lost, with its directory made: ~/.cache/rbe_edge/NAME on Linux, by XDG_CACHE_HOME;
 * on Windows by LOCALAPPDATA. 0 where there is none. */
int rbe__cache_file(const char *name, char *out, size_t capacity);

/* How many threads of the whole machine have wanted to run in the last minute; 0: unknown. */
double rbe__load(void);

/* Lets everybody read and run a file who may read new files. 0 where that is refused. */
int rbe__make_executable(const char *path);

/* Differs from one start to the next. */
uint32_t rbe__any_number(void);

/* The most memory that this process ever had in the machine's; 0: unknown. */
uint64_t rbe__peak_resident_bytes(void);

/* Texts are zero-terminated and hold what the system says, which may be anything; "": unknown. */
typedef struct rbe__machine {
    char processor[128];
    char features[256]; /* those that kernels ask for, as Linux names them, with spaces between */
    char system[128];   /* such as "Linux aarch64" */
} rbe__machine;

void rbe__machine_describe(rbe__machine *out);

/* Linux: processor and features from the files under `root`; "" is this machine's. The other fields stay. */
void rbe__machine_read(const char *root, rbe__machine *out);

#endif
