/* What the program says: text of a model, lines for the person, how far long work is, and how Ctrl-C stops it. One thread. */
#ifndef RBE_PROGRAM_OUTPUT_H
#define RBE_PROGRAM_OUTPUT_H

#include "base/status.h"
#include "text.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_STOPPED = 130 };

/* From now on a failure is written to standard output as a JSON object too. */
void report_as_json(void);

/* Writes "rbe: " and one line to standard error; gives the code. */
int fail(int code, const char *format, ...) RBE_PRINTF(2, 3);

/* The same with the library's last error: EXIT_STOPPED, and no line, where it is RBE_ERROR_CANCELLED; else EXIT_FAILED. */
int fail_with(rbe_status status);

/* One line beside the output. */
void note(const char *format, ...) RBE_PRINTF(1, 2);

/* To standard output, at once, without control characters. 0, or EXIT_FAILED, behind a line, where it cannot be written. */
int write_text(span text);

/* At the end: EXIT_FAILED, behind a line, where standard output could not be written; else the code. */
int finish_output(int code);

/* How far something is: a line on a terminal on standard error once it takes longer than a moment, gone at the end. */
typedef struct progress_line {
    const char *what;
    uint64_t began, shown; /* nanoseconds */
} progress_line;

progress_line begin_progress(const char *what);
void show_progress(progress_line *line, uint64_t done, uint64_t total);
void end_progress(progress_line *line);

/* rbe_progress_callback of a progress_line. */
int on_progress(uint64_t done, uint64_t total, void *line);

/* Until end_interruptible, the first Ctrl-C cancels the session's work (NULL: was_interrupted alone tells), and a second ends the program
 * with EXIT_STOPPED, as the first does at any other time. */
void begin_interruptible(rbe_session *session);
void end_interruptible(void);

/* Whether there was one since begin_interruptible. */
int was_interrupted(void);

/* Before all else: what a Ctrl-C does that interrupts nothing. */
void prepare_interrupts(void);

#endif
