/* Opens a .rbe file: docs/format.md. Everything is checked here once; all later code relies on it. */
#ifndef RBE_PACK_READER_H
#define RBE_PACK_READER_H

#include "platform/platform.h"
#include "rbe/codec.h"
#include "weights/tensor.h"

/* No machine has larger pages, and none maps a file from a finer place on (Windows: 65536). */
#define RBE_MODEL_GRAIN 65536u

typedef struct rbe__blob {
    const char *name;
    uint32_t name_bytes;
    const uint8_t *data;
    uint64_t bytes;
} rbe__blob;

typedef struct rbe__part {
    const char *name;
    uint32_t name_bytes, version, flags;
    const uint8_t *data;
    uint64_t bytes;
    uint32_t checksum;
    int known;    /* to this build, in this version */
    int verified; /* the checksum, at opening: always where it is known, else unless checksums are skipped */
} rbe__part;

typedef struct rbe__pack {
    const char *path; /* for messages; the caller's, during opening only */
    rbe__mapped_file whole; /* the file that the model lies in */
    rbe__mapped_file file;  /* the model's part of it, which is all that the rest reads; without a descriptor */
    uint32_t version; /* of the format */
    int index_only; /* 1: data of blobs and tensors cannot be read, and was not looked at; where they lie is known */
    uint32_t n_metadata, n_codebooks, n_blobs, n_tensors, n_parts;
    rbe_metadata *metadata;   /* the first three lists in the file's order */
    rbe_codebook *codebooks;
    rbe__blob *blobs;
    rbe__tensor *tensors;      /* matrices in bands stand where their first band does */
    rbe__tensor *bands;        /* of all matrices that lie in bands, in the file's order; NULL where none does */
    uint32_t n_bands;
    uint32_t *tensors_by_name; /* indices */
    rbe__part *parts;          /* in the file's order */

    /* Identify a set of tensors: the bytes of all their data, and a CRC-32 over names, kinds, shapes and checksums in the file's order. What
     * else the file holds, metadata and parts, does not count. */
    uint64_t tensor_bytes;
    uint32_t tensors_checksum;
} rbe__pack;

/* The checksums of tensors are not verified here (model/verification.h). Of the options, skip_checksums skips those of unknown parts; the
 * others are always verified. With max_resident_bytes, pages of the
 * file are given back as soon as they were checked. file_offset and file_bytes say where the model lies: RBE_ERROR_ARGUMENT where that is no
 * multiple of RBE_MODEL_GRAIN, RBE_ERROR_FORMAT where it is not within the file. RBE_ERROR_IO where the file's size changes meanwhile. It
 * must not change while it is open either: reading a part that was cut off raises SIGBUS, as with any mapped file (rbe/faults.h). */
rbe_status rbe__pack_open(const char *path, const rbe_kernels *kernels, const rbe_model_options *options, rbe__pack *out);
void rbe__pack_close(rbe__pack *pack);

/* The index alone, of which all but the data is checked: nothing behind it is mapped or read. */
rbe_status rbe__pack_open_index(const char *path, const rbe_kernels *kernels, rbe__pack *out);

/* NULL where there is none of that name. */
const rbe__tensor *rbe__pack_tensor(const rbe__pack *pack, const char *name);
const rbe_metadata *rbe__pack_metadata(const rbe__pack *pack, const char *key);
const rbe__blob *rbe__pack_blob(const rbe__pack *pack, const char *name);
const rbe__part *rbe__pack_part(const rbe__pack *pack, const char *name);

#endif
