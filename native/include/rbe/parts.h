/* parts.h: named pieces of data that a .rbe file may hold beside its tensors (docs/format.md, "Parts"), from format version 3 on.
 *
 * A part that a build does not know is skipped and listed, unless the file says that it is required: then the file is refused with
 * RBE_ERROR_UNSUPPORTED. What is listed here was checked when the model was opened. All functions may be called from any thread.
 */
#ifndef RBE_PARTS_H
#define RBE_PARTS_H

#include "rbe/rbe.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { RBE_PART_REQUIRED = 1u }; /* of the flags: a reader that does not know the part refuses the file */

typedef struct rbe_part_info {
    size_t struct_bytes;
    const char *name;         /* of 1 to 32 characters a-z, 0-9, `_` and `.`; not zero-terminated, owned by the model */
    size_t name_bytes;
    uint32_t version;         /* of what the part holds, 1 or more */
    uint32_t flags;           /* RBE_PART_*, and what later versions add */
    uint32_t known;           /* 1: this build reads this version of it */
    uint64_t data_bytes;
} rbe_part_info;

/* How many parts a file has; 0 for NULL. */
RBE_API uint32_t rbe_model_part_count(const rbe_model *model);

/* Part `index` in the order of the file. RBE_ERROR_ARGUMENT where there are fewer. */
RBE_API rbe_status rbe_model_part_info(const rbe_model *model, uint32_t index, rbe_part_info *out);

/* The data of the part of that name, in the mapped file at a multiple of 64 bytes, valid until the model is closed; with its version. Known
 * or not. version may be NULL. RBE_ERROR_UNSUPPORTED where the file has no such part; RBE_ERROR_FORMAT where its checksum is wrong, which
 * can only be where the model was opened with skip_checksums: the data of an unknown part is then read here for the first time. */
RBE_API rbe_status rbe_model_part(const rbe_model *model, const char *name, const void **data, uint64_t *bytes, uint32_t *version);

#ifdef __cplusplus
}
#endif

#endif
