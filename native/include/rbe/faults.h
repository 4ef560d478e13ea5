/* faults.h: for programs, what happens when the file of an open model can no longer be read.
 *
 * A model's file is mapped into memory and read as the engine needs it. Where it is cut short meanwhile (cp onto it, rsync --inplace), or
 * its disk fails or is taken away, the next read of what is gone raises SIGBUS in the thread that reads, which ends the process without a
 * word. What is overwritten and not cut short raises nothing, and answers become wrong. Replace a file by another under its name (mv,
 * rsync without --inplace): the open model keeps the old one. Windows refuses all of this while a model is open, but for a new name; where
 * a disk or a share fails, it raises EXCEPTION_IN_PAGE_ERROR.
 *
 * The library installs no signal handler unless it is asked to, with rbe_faults_report. The handler belongs to the whole process: a library
 * leaves the call to the program. */
#ifndef RBE_FAULTS_H
#define RBE_FAULTS_H

#include "rbe/rbe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Installs a handler of SIGBUS, on macOS of SIGSEGV too, on Windows a vectored one, for the whole process. A fault of any thread in a file
 * that the library has mapped (a model, a saved state that is restored) writes one line to standard error, "PROGRAM: FILE: ...", and ends
 * the process with exit code 1, without running exit handlers. Everything else goes to the handler that was there before, or has the effect
 * that the signal has without one. program: copied, at most 63 bytes. The first call installs; later ones change the name alone.
 * RBE_ERROR_ARGUMENT where program is NULL, empty or too long. One thread at a time. */
RBE_API rbe_status rbe_faults_report(const char *program);

/* What that handler does to a terminal before it writes its line: settings as they are now (tcgetattr, GetConsoleMode), then these bytes,
 * such as escape sequences that leave a full screen; copied, at most 255. terminal: its descriptor, which must stay open; -1: nothing any
 * more, text is then ignored. RBE_ERROR_ARGUMENT where it is no terminal or there are too many bytes: then nothing has changed. One thread
 * at a time. */
RBE_API rbe_status rbe_faults_restore(int terminal, const char *text, size_t text_bytes);

#ifdef __cplusplus
}
#endif
#endif
