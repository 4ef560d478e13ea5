/* By slicing by 8 (M. Kounavis, F. Berry: "A Systematic Approach to Building High Performance Software-Based CRC Generators",
 * 2005). */
#include "kernels/checksum.h"

#include <string.h>

#include "kernels/scalar/scalar.h"

uint32_t rbe__checksum_scalar(const rbe__crc *crc, uint32_t value, const void *data, size_t bytes)
{
    const uint32_t (*t)[256] = crc->table;
    const uint8_t *p = data;
    value = ~value;
    for (; bytes >= 8; bytes -= 8, p += 8) {
        uint32_t low, high; /* little-endian, as the reader requires */
        memcpy(&low, p, 4);
        memcpy(&high, p + 4, 4);
        low ^= value;
        value = t[7][low & 255] ^ t[6][low >> 8 & 255] ^ t[5][low >> 16 & 255] ^ t[4][low >> 24] ^ t[3][high & 255] ^
                t[2][high >> 8 & 255] ^ t[1][high >> 16 & 255] ^ t[0][high >> 24];
    }
    for (; bytes; bytes--, p++) {
        value = value >> 8 ^ t[0][(value ^ *p) & 255];
    }
    return ~value;
}
