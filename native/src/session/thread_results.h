/* Files of results of trials of threads (rbe/threads.h): "rbe-threads 1", then a line for each machine and size of model, such as
 * "3fa2b91c 26 2 2:2510 1:1340": machine, class, the fastest, and tokens per 100 seconds by threads. Whole numbers: no locale matters. */
#ifndef RBE_THREAD_RESULTS_H
#define RBE_THREAD_RESULTS_H

#include "model/model.h"
#include "parallel/cores.h"
#include "rbe/threads.h"

/* A number of this machine with a kernel set, for what the calling thread may use. */
uint32_t rbe__machine_number(const rbe_kernels *kernels, const rbe__processors *processors);

/* Of the bytes of weights that a token reads, the binary logarithm. */
uint32_t rbe__size_class_of(const rbe_model *model);

/* 1 where the file has a line of machine and class. */
int rbe__thread_results_find(const char *path, uint32_t machine, uint32_t size_class, rbe_threads_kept *out);

/* Puts a line in the place of that of the same machine and class. Fails where the file cannot be written; it is then as before. */
rbe_status rbe__thread_results_add(const char *path, const rbe_threads_kept *line);

#endif
