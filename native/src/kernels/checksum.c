#include "kernels/checksum.h"

#include <string.h>

void rbe__crc_init(rbe__crc *crc)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++) {
            value = value >> 1 ^ (0xEDB88320u & (0u - (value & 1u)));
        }
        crc->table[0][byte] = value;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (int k = 1; k < 8; k++) {
            uint32_t before = crc->table[k - 1][byte];
            crc->table[k][byte] = before >> 8 ^ crc->table[0][before & 255u];
        }
    }
}

uint32_t rbe__crc_update(const rbe__crc *crc, uint32_t value, const void *data, size_t bytes)
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
