/* The checksum of avx2/checksum.c with four products in each instruction (VPCLMULQDQ, which all processors with AVX512-VBMI and VNNI have):
 * four blocks of 64 bytes go side by side. */
#include <immintrin.h>

#include "kernels/avx2/avx2.h"
#include "kernels/avx512/avx512.h"
#include "kernels/checksum.h"

static inline __m512i factors_of(const uint64_t factors[2])
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)factors));
}

static inline __m512i fold(__m512i a, __m512i factors, __m512i next)
{
    const __m512i first = _mm512_clmulepi64_epi128(a, factors, 0x00), second = _mm512_clmulepi64_epi128(a, factors, 0x11);
    return _mm512_ternarylogic_epi64(first, second, next, 0x96); /* the exclusive or of all three */
}

uint32_t rbe__avx512_checksum_vbmi(const rbe__crc *crc, uint32_t value, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    if (bytes < 256) {
        return rbe__avx2_checksum(crc, value, data, bytes);
    }
    const __m512i begun = _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)~value));
    __m512i a = _mm512_xor_si512(_mm512_loadu_si512(p), begun), b = _mm512_loadu_si512(p + 64);
    __m512i c = _mm512_loadu_si512(p + 128), d = _mm512_loadu_si512(p + 192);
    const __m512i by_256_bytes = factors_of(crc->fold_256), by_64_bytes = factors_of(crc->fold_64);
    for (p += 256, bytes -= 256; bytes >= 256; p += 256, bytes -= 256) {
        a = fold(a, by_256_bytes, _mm512_loadu_si512(p));
        b = fold(b, by_256_bytes, _mm512_loadu_si512(p + 64));
        c = fold(c, by_256_bytes, _mm512_loadu_si512(p + 128));
        d = fold(d, by_256_bytes, _mm512_loadu_si512(p + 192));
    }
    a = fold(fold(fold(a, by_64_bytes, b), by_64_bytes, c), by_64_bytes, d);
    uint8_t last[64]; /* the whole message so far is worth these, from a register of zero on */
    _mm512_storeu_si512(last, a);
    return rbe__avx2_checksum(crc, rbe__avx2_checksum(crc, ~0u, last, sizeof last), p, bytes);
}
