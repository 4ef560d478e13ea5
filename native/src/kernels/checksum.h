/* CRC-32 as in zlib, piece by piece, on the kernel of a table. */
#ifndef RBE_CHECKSUM_H
#define RBE_CHECKSUM_H

#include "kernels/kernels.h"

struct rbe__crc {
    uint32_t table[8][256]; /* table k advances a byte by k further bytes */
    /* What carries 16 bytes on by so many bytes in carry-less products (avx2/checksum.c): x^(d + 32) and x^(d - 32) modulo the polynomial
     * for d bits, the highest power in bit 1. */
    uint64_t fold_256[2], fold_64[2], fold_16[2];
    rbe_checksum_kernel *kernel;
};

void rbe__crc_init(const rbe_kernels *kernels, rbe__crc *crc);

/* `value` is 0 for the first piece, then the last result. */
static inline uint32_t rbe__crc_update(const rbe__crc *crc, uint32_t value, const void *data, size_t bytes)
{
    return crc->kernel(crc, value, data, bytes);
}

#endif
