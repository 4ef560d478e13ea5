/* By carry-less multiplication (V. Gopal et al., Intel: "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", 2009).
 *
 * 16 bytes of the message are a polynomial A = F x^64 + S with its first 8 bytes F and its second 8 bytes S, the first bit of each having
 * the highest power. Moved on by d bits it may be replaced by what leaves the same remainder: A x^d = F (x^(d + 64) mod P) + S (x^d mod P).
 * In registers the first bit is the lowest. A product of two registers there stands for one x more than the product, and a remainder of 32
 * bits in bits 1 to 32 for x^31 times itself: x^32 in all. So F is multiplied by x^(d + 32) mod P and S by x^(d - 32) mod P
 * (rbe__crc_init). Four blocks of 16 bytes go side by side, which hides that an instruction takes several cycles. */
#include <immintrin.h>

#include "kernels/avx2/avx2.h"
#include "kernels/checksum.h"
#include "kernels/scalar/scalar.h"

static inline __m128i load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

/* A x^d + next; factors: of F in the low half, of S in the high one. */
static inline __m128i fold(__m128i a, __m128i factors, __m128i next)
{
    const __m128i first = _mm_clmulepi64_si128(a, factors, 0x00), second = _mm_clmulepi64_si128(a, factors, 0x11);
    return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

uint32_t rbe__avx2_checksum(const rbe__crc *crc, uint32_t value, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    if (bytes < 64) {
        return rbe__checksum_scalar(crc, value, data, bytes);
    }
    __m128i a = _mm_xor_si128(load(p), _mm_cvtsi32_si128((int)~value)), b = load(p + 16), c = load(p + 32), d = load(p + 48);
    const __m128i by_64_bytes = load((const uint8_t *)crc->fold_64), by_16_bytes = load((const uint8_t *)crc->fold_16);
    for (p += 64, bytes -= 64; bytes >= 64; p += 64, bytes -= 64) {
        a = fold(a, by_64_bytes, load(p));
        b = fold(b, by_64_bytes, load(p + 16));
        c = fold(c, by_64_bytes, load(p + 32));
        d = fold(d, by_64_bytes, load(p + 48));
    }
    a = fold(fold(fold(a, by_16_bytes, b), by_16_bytes, c), by_16_bytes, d);
    for (; bytes >= 16; p += 16, bytes -= 16) {
        a = fold(a, by_16_bytes, load(p));
    }
    uint8_t last[16]; /* the whole message so far is worth these, from a register of zero on */
    _mm_storeu_si128((__m128i *)last, a);
    return rbe__checksum_scalar(crc, rbe__checksum_scalar(crc, ~0u, last, sizeof last), p, bytes);
}
