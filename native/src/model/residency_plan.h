/* How much of a file stays in memory under a limit, and how large the pieces of the rest are. */
#ifndef RBE_RESIDENCY_PLAN_H
#define RBE_RESIDENCY_PLAN_H

#include "model/pack_reader.h"
#include "weights/residency.h"

/* Bytes of the file in memory without which no pass can run: what stands before the matrices, two pieces and their surroundings; at most
 * the whole file. */
uint64_t rbe__residency_least(const rbe__pack *pack);

/* Where the matrices begin, if index and blobs stand before them, as the packer puts them. */
uint64_t rbe__residency_before_tensors(const rbe__pack *pack);

/* Chooses pinned_bytes and piece_bytes for a limit; `*out` has none where 0 is given or the whole file is within it. RBE_ERROR_ARGUMENT
 * where it is too small, with the least that is possible. */
rbe_status rbe__residency_plan(const rbe__pack *pack, const char *path, uint64_t limit, rbe__residency *out);

#endif
