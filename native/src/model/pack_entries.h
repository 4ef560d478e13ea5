/* The entries of the index of a .rbe file (docs/format.md, "Frame"): each function takes one from the cursor, checks
 * every field, and fails with a line that names the field. */
#ifndef RBE_PACK_ENTRIES_H
#define RBE_PACK_ENTRIES_H

#include "kernels/checksum.h"
#include "model/pack_reader.h"

/* Reads the index front to back; nothing is taken past `end`. */
typedef struct rbe__cursor {
    const char *path;
    const uint8_t *data;
    uint64_t position, end;
    const char *list; /* being read, for messages */
    uint32_t entry;
} rbe__cursor;

rbe_status rbe__take_metadata(rbe__cursor *at, rbe_metadata *out);
rbe_status rbe__take_codebook(rbe__cursor *at, rbe_codebook *out);

/* Its checksum is verified. */
rbe_status rbe__take_blob(rbe__cursor *at, const rbe__pack *pack, const rbe__crc *crc, rbe__blob *out);

/* Needs the pack's codebooks. The checksum of its data is not verified here. */
rbe_status rbe__take_tensor(rbe__cursor *at, const rbe__pack *pack, rbe__tensor *out);

/* RBE_ERROR_UNSUPPORTED where it is required and unknown. The checksum of its data is not verified here. */
rbe_status rbe__take_part(rbe__cursor *at, const rbe__pack *pack, rbe__part *out);

/* When all lists are there: refuses names that a list has twice, and fills tensors_by_name. */
rbe_status rbe__pack_check_names(rbe__pack *pack);

#endif
