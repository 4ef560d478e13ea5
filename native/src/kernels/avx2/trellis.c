/* The trellis kernels on 256-bit vectors without VNNI. */
#include <immintrin.h>
#include <string.h>

#include "kernels/avx2/avx2.h"

enum { LANES = 2, TWO_AT_ONCE = 0 };

typedef __m256i vec;

typedef struct tables {
    vec t1, t2;
} tables;

static inline tables tables_load(const int8_t *t1, const int8_t *t2)
{
    return (tables){_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)t1)),
                    _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)t2))};
}

static inline vec load_lanes(const uint8_t *lane0, const uint8_t *lane1)
{
    return _mm256_loadu2_m128i((const __m128i *)lane1, (const __m128i *)lane0);
}

static inline void store_lane(vec v, uint32_t lane, void *out)
{
    _mm_storeu_si128(out, lane ? _mm256_extracti128_si256(v, 1) : _mm256_castsi256_si128(v));
}

static inline vec vec_zero(void)
{
    return _mm256_setzero_si256();
}

static inline vec vec_xor(vec a, vec b)
{
    return _mm256_xor_si256(a, b);
}

static inline vec vec_add8(vec a, vec b)
{
    return _mm256_add_epi8(a, b);
}

static inline vec look_up(vec table, vec nibbles)
{
    return _mm256_shuffle_epi8(table, nibbles);
}

/* Shifts are of 16 bits: what comes in from the neighbouring byte is masked off. */
static inline __attribute__((always_inline)) vec nibble(vec before, vec byte, uint32_t shift)
{
    const vec from_byte = shift ? _mm256_srli_epi16(byte, (int)shift) : byte;
    if (shift <= 4) {
        return _mm256_and_si256(from_byte, _mm256_set1_epi8(15));
    }
    const int bits_of_byte = 8 - (int)shift, mask = (1 << bits_of_byte) - 1;
    return _mm256_or_si256(_mm256_and_si256(from_byte, _mm256_set1_epi8((char)mask)),
                           _mm256_and_si256(_mm256_slli_epi16(before, bits_of_byte), _mm256_set1_epi8((char)(15 ^ mask))));
}

static inline vec load_activations(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

static inline vec dot_step(vec sums, vec weights, vec activations)
{
    return rbe__avx2_dot(sums, weights, activations);
}

#include "kernels/shared/trellis.h"

void rbe__avx2_trellis(rbe_kernels *table)
{
    set_trellis(table);
}
