/* By the instructions crc32x and crc32b, which compute the remainder of this very polynomial (Arm ARM, "CRC32"). One chain: an instruction
 * takes 2 to 3 cycles for its 8 bytes, which is more than what these processors read from memory. */
#include <arm_acle.h>
#include <string.h>

#include "kernels/neon/neon.h"

uint32_t rbe__neon_checksum_crc(const rbe__crc *crc, uint32_t value, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    (void)crc; /* no tables */
    value = ~value;
    for (; bytes >= 8; bytes -= 8, p += 8) {
        uint64_t piece;
        memcpy(&piece, p, 8);
        value = __crc32d(value, piece);
    }
    for (; bytes; bytes--, p++) {
        value = __crc32b(value, *p);
    }
    return ~value;
}
