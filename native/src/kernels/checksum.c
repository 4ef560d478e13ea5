#include "kernels/checksum.h"

void rbe__crc_init(const rbe_kernels *kernels, rbe__crc *crc)
{
    crc->kernel = kernels->checksum;
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
