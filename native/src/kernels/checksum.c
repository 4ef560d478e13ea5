#include "kernels/checksum.h"

#define POLYNOMIAL 0xEDB88320u /* x^31 in bit 0, x^0 in bit 31 */

static uint32_t times_x(uint32_t value)
{
    return value >> 1 ^ (POLYNOMIAL & (0u - (value & 1u)));
}

static void fold_factors(uint32_t bits, uint64_t factors[2])
{
    uint32_t power = 1u << 31; /* x^0 */
    for (uint32_t n = 1; n <= bits + 32; n++) {
        power = times_x(power);
        factors[1] = n == bits - 32 ? (uint64_t)power << 1 : factors[1];
    }
    factors[0] = (uint64_t)power << 1;
}

void rbe__crc_init(const rbe_kernels *kernels, rbe__crc *crc)
{
    crc->kernel = kernels->checksum;
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++) {
            value = times_x(value);
        }
        crc->table[0][byte] = value;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (int k = 1; k < 8; k++) {
            uint32_t before = crc->table[k - 1][byte];
            crc->table[k][byte] = before >> 8 ^ crc->table[0][before & 255u];
        }
    }
    fold_factors(8 * 256, crc->fold_256);
    fold_factors(8 * 64, crc->fold_64);
    fold_factors(8 * 16, crc->fold_16);
}
