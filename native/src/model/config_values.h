/* Hyper-parameters by key: each function finds one in the metadata, checks type and range, and fails with a line that names the key. What is
 * found counts in a checksum. */
#ifndef RBE_CONFIG_VALUES_H
#define RBE_CONFIG_VALUES_H

#include "kernels/checksum.h"
#include "model/pack_reader.h"

typedef struct rbe__config_source {
    const rbe__pack *pack;
    const char *path; /* for messages */
    const rbe__crc *crc;
    uint32_t *checksum; /* of what was found so far */
} rbe__config_source;

/* NULL where there is none. */
const rbe_metadata *rbe__config_find(rbe__config_source from, const char *key);

/* 0 where it is optional and absent. */
rbe_status rbe__config_u64(rbe__config_source from, const char *key, uint64_t least, uint64_t most, int optional, uint32_t *out);

/* Optional, with a default; within +-1e9 and not below `least`. */
rbe_status rbe__config_f64(rbe__config_source from, const char *key, double least, double otherwise, float *out);

/* The index of the string among `choices`, which end with NULL; 0 where it is optional and absent. */
rbe_status rbe__config_choice(rbe__config_source from, const char *key, const char *const *choices, int optional, int *out);

/* The index of a word that stands at the beginning of a text of `bytes`; -1: it is none of them. */
int rbe__config_word(const char *text, size_t bytes, const char *const *choices);

#endif
