/* The checksums of a model's tensors: whether their data is what the file says, found out on a thread of its own beside the first work. */
#ifndef RBE_VERIFICATION_H
#define RBE_VERIFICATION_H

#include "kernels/kernels.h"
#include "model/pack_reader.h"

typedef struct rbe__verification rbe__verification;

/* Begins with the tensors of an open pack, whose lists stay as they are until rbe__verification_end. Where the system gives no thread, and
 * where `sparing` is 1, all are verified before it returns: then pages of the file are given back as soon as they were read. path: copied,
 * for messages. RBE_ERROR_FORMAT where a checksum was found wrong, RBE_ERROR_MEMORY; *out is NULL then. */
rbe_status rbe__verification_begin(const rbe__pack *pack, const rbe_kernels *kernels, const char *path, int sparing,
                                   rbe__verification **out);

/* RBE_ERROR_FORMAT, with a line that names the tensor, where a checksum is known to be wrong; else RBE_OK, also while that is not yet known.
 * Any thread. NULL is allowed, for a model that is not verified: RBE_OK. In a process that a fork made, which has no such thread, the first call
 * verifies what is not known. */
rbe_status rbe__verification_check(rbe__verification *verification);

/* The same once all is known: waits for that. Any thread. progress: called now and then meanwhile, with bytes; RBE_ERROR_CANCELLED where it
 * wants no more waiting. NULL is allowed. */
rbe_status rbe__verification_wait(rbe__verification *verification, rbe_progress_callback progress, void *user);

/* 1 while it is not known. Any thread. */
int rbe__verification_runs(rbe__verification *verification);

/* Stops and frees it; nobody waits. NULL is allowed. Takes at most as long as a megabyte takes to be read. */
void rbe__verification_end(rbe__verification *verification);

#endif
