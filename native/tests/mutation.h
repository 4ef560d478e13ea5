/* Random damage to files, the same in every run, and the checksum of their head made right again, so that it gets past the first line. */
#ifndef RBE_TESTS_MUTATION_H
#define RBE_TESTS_MUTATION_H

#include <string.h>

#include "kernels/checksum.h"

static uint64_t mutation_state = 20240611;

/* 0 to below - 1. */
static inline uint32_t draw(uint32_t below)
{
    mutation_state ^= mutation_state << 13;
    mutation_state ^= mutation_state >> 7;
    mutation_state ^= mutation_state << 17;
    return (uint32_t)(mutation_state >> 33) % below;
}

/* One truncation, flipped bit, overwritten byte or number, or moved piece, that begins in the first `reach` of the *bytes; 1 <= reach <= *bytes. */
static inline void mutate(unsigned char *data, size_t *bytes, uint32_t reach)
{
    static const uint64_t numbers[] = {
        0, 1, 2, 63, 64, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFC0};
    uint32_t at = draw(reach);
    switch (draw(5)) {
    case 0: *bytes = draw(4) ? at : *bytes; break;
    case 1: data[at] ^= (unsigned char)(1u << draw(8)); break;
    case 2: data[at] = (unsigned char)draw(256); break;
    case 3: {
        uint64_t number = numbers[draw(sizeof numbers / sizeof numbers[0])];
        size_t width = draw(2) ? 4 : 8;
        memcpy(data + at, &number, at + width <= *bytes ? width : *bytes - at);
        break;
    }
    default: {
        uint32_t from = draw(reach), count = draw(64);
        count = count < *bytes - at ? count : (uint32_t)(*bytes - at);
        count = count < *bytes - from ? count : (uint32_t)(*bytes - from);
        memmove(data + at, data + from, count);
    }
    }
}

/* Models and saved sessions begin alike: at 12 the CRC-32 of the first `checked` bytes, itself taken as zero, at 16 the bytes of the file.
 * 24 <= checked <= bytes. */
static inline void repair_head(unsigned char *data, size_t bytes, size_t checked)
{
    const uint64_t file_bytes = bytes;
    rbe_kernels kernels;
    rbe__crc crc;
    rbe__kernels_select("scalar", &kernels);
    rbe__crc_init(&kernels, &crc);
    memset(data + 12, 0, 4);
    memcpy(data + 16, &file_bytes, 8);
    const uint32_t checksum = rbe__crc_update(&crc, 0, data, checked);
    memcpy(data + 12, &checksum, 4);
}

#endif
