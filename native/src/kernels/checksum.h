/* CRC-32 as in zlib, piece by piece, on the kernel of a table. */
#ifndef RBE_CHECKSUM_H
#define RBE_CHECKSUM_H

#include "kernels/kernels.h"

struct rbe__crc {
    uint32_t table[8][256]; /* table k advances a byte by k further bytes */
    rbe_checksum_kernel *kernel;
};

void rbe__crc_init(const rbe_kernels *kernels, rbe__crc *crc);

/* `value` is 0 for the first piece, then the last result. */
static inline uint32_t rbe__crc_update(const rbe__crc *crc, uint32_t value, const void *data, size_t bytes)
{
    return crc->kernel(crc, value, data, bytes);
}

#endif
