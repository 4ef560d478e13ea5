/* CRC-32 as in zlib, by slicing by 8 (M. Kounavis, F. Berry: "A Systematic Approach to Building High Performance
 * Software-Based CRC Generators", 2005). */
#ifndef RBE_CHECKSUM_H
#define RBE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

typedef struct rbe__crc {
    uint32_t table[8][256]; /* table k advances a byte by k further bytes */
} rbe__crc;

void rbe__crc_init(rbe__crc *crc);

/* `value` is 0 for the first piece, then the last result. */
uint32_t rbe__crc_update(const rbe__crc *crc, uint32_t value, const void *data, size_t bytes);

#endif
