/* Finds the entry of a part in the index of a file in memory, and makes its checksum right, so that damage to its data gets past that. */
#ifndef RBE_TESTS_PART_ENTRY_H
#define RBE_TESTS_PART_ENTRY_H

#include <string.h>

#include "mutation.h"

/* Where the fields of an entry lie behind its name (docs/format.md, "Parts"). */
enum { PART_VERSION = 0, PART_FLAGS = 4, PART_OFFSET = 8, PART_BYTES = 16, PART_CHECKSUM = 24, PART_MORE_BYTES = 28, PART_END = 32 };

/* Behind the name, in the index or, of a damaged file, what there is of it; 0 where there is no such entry. */
static inline size_t find_part_entry(const unsigned char *data, size_t bytes, const char *name)
{
    const uint32_t n = (uint32_t)strlen(name);
    for (size_t at = 64; at + 4 + n + PART_END <= bytes; at++) {
        if (memcmp(data + at, &n, 4) == 0 && memcmp(data + at + 4, name, n) == 0) {
            return at + 4 + n;
        }
    }
    return 0;
}

/* Nothing happens where the file has no such part, or it lies outside. */
static inline void repair_part(unsigned char *data, size_t bytes, const char *name)
{
    const size_t entry = find_part_entry(data, bytes, name);
    uint64_t offset, n;
    if (entry == 0) {
        return;
    }
    memcpy(&offset, data + entry + PART_OFFSET, 8);
    memcpy(&n, data + entry + PART_BYTES, 8);
    if (offset <= bytes && n <= bytes - offset) {
        rbe_kernels kernels;
        rbe__crc crc;
        rbe__kernels_select("scalar", &kernels);
        rbe__crc_init(&kernels, &crc);
        const uint32_t checksum = rbe__crc_update(&crc, 0, data + offset, (size_t)n);
        memcpy(data + entry + PART_CHECKSUM, &checksum, 4);
    }
}

#endif
