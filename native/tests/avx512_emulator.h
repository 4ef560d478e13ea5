/* AVX-512 for processors without: the intrinsics that kernels/avx512/ uses, in plain C, by the descriptions of Intel's "Intrinsics Guide".
 * native/CMakeLists.txt puts this before each of those files and compiles them for AVX2, so that test_kernels compares
 * the AVX-512 sets with the scalar one on any processor with AVX2. A file that needs another intrinsic does not compile until it is
 * here. What a mask leaves out is neither read nor written. */
#ifndef RBE_TESTS_AVX512_EMULATOR_H
#define RBE_TESTS_AVX512_EMULATOR_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* The entries of the sets, under other names than the library's. */
#define rbe__avx512_trellis rbe__avx512_emulated_trellis
#define rbe__avx512_float rbe__avx512_emulated_float
#define rbe__avx512_multiply_tile rbe__avx512_emulated_multiply_tile
#define rbe__avx512_grouped rbe__avx512_emulated_grouped
#define rbe__avx512_accumulate_rows rbe__avx512_emulated_accumulate_rows
#define rbe__kernels_avx512_vbmi rbe__avx512_emulated_vbmi
#define rbe__avx512_checksum_vbmi rbe__avx512_emulated_checksum_vbmi

typedef union emulated {
    uint8_t u8[64];
    int8_t i8[64];
    uint16_t u16[32];
    int16_t i16[32];
    uint32_t u32[16];
    int32_t i32[16];
    uint64_t u64[8];
    float f32[16];
} emulated;

#define __m512i emulated
#define __m512 emulated

/* A function of vectors: the element `to` of the result, for each i. */
#define EMULATE(name, parameters, n, to, value)       \
    static inline emulated emulated_##name parameters \
    {                                                 \
        emulated out;                                 \
        for (uint32_t i = 0; i < (n); i++) {          \
            out.to[i] = value;                        \
        }                                             \
        return out;                                   \
    }

#define BIT(mask, i) ((uint32_t)(mask) >> (i) & 1u)

/* ---- memory ---- */

static inline emulated emulated_load(const void *from)
{
    emulated out;
    memcpy(&out, from, sizeof out);
    return out;
}

static inline void emulated_store(void *to, emulated a)
{
    memcpy(to, &a, sizeof a);
}

/* Elements of `size` bytes; those whose bit is 0 become zero. */
static inline emulated emulated_load_masked(uint32_t mask, const void *from, uint32_t n, uint32_t size)
{
    emulated out = {{0}};
    for (uint32_t i = 0; i < n; i++) {
        if (BIT(mask, i)) {
            memcpy(out.u8 + (size_t)i * size, (const uint8_t *)from + (size_t)i * size, size);
        }
    }
    return out;
}

static inline void emulated_store_masked(void *to, uint32_t mask, const void *values, uint32_t n, uint32_t size)
{
    for (uint32_t i = 0; i < n; i++) {
        if (BIT(mask, i)) {
            memcpy((uint8_t *)to + (size_t)i * size, (const uint8_t *)values + (size_t)i * size, size);
        }
    }
}

static inline __m256i emulated_load_masked_256(uint32_t mask, const void *from)
{
    const emulated all = emulated_load_masked(mask, from, 16, 2);
    return _mm256_loadu_si256((const __m256i *)&all);
}

static inline __m128i emulated_load_masked_128(uint32_t mask, const void *from)
{
    const emulated all = emulated_load_masked(mask, from, 16, 1);
    return _mm_loadu_si128((const __m128i *)&all);
}

/* ---- from and to smaller vectors ---- */

static inline emulated emulated_of_256(__m256i a)
{
    emulated out = {{0}};
    memcpy(&out, &a, sizeof a);
    return out;
}

static inline emulated emulated_of_128(__m128i a)
{
    emulated out = {{0}};
    memcpy(&out, &a, sizeof a);
    return out;
}

EMULATE(widen_i8, (emulated a), 16, i32, a.i8[i])
EMULATE(widen_i16, (emulated a), 16, i32, a.i16[i])
EMULATE(widen_u16, (emulated a), 16, u32, a.u16[i])

static inline emulated emulated_insert_256(emulated a, __m256i b, uint32_t half)
{
    memcpy(a.u8 + (size_t)32 * half, &b, sizeof b);
    return a;
}

static inline __m256 emulated_half(emulated a, uint32_t half)
{
    return _mm256_loadu_ps(a.f32 + (size_t)8 * half);
}

static inline emulated emulated_from_half_floats(__m256i a)
{
    emulated out;
    _mm256_storeu_ps(out.f32, _mm256_cvtph_ps(_mm256_castsi256_si128(a)));
    _mm256_storeu_ps(out.f32 + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)));
    return out;
}

static inline __m256i emulated_to_half_floats(emulated a)
{
    const __m128i low = _mm256_cvtps_ph(_mm256_loadu_ps(a.f32), _MM_FROUND_TO_NEAREST_INT);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), _mm256_cvtps_ph(_mm256_loadu_ps(a.f32 + 8), _MM_FROUND_TO_NEAREST_INT), 1);
}

static inline __m128i emulated_quarter(emulated a, uint32_t quarter)
{
    return _mm_loadu_si128((const __m128i *)(a.u8 + 16 * (size_t)quarter));
}

/* halves: those of each 16 bytes that are multiplied, 0x00 the low ones, 0x11 the high ones. */
static inline emulated emulated_carry_less(emulated a, emulated b, int halves)
{
    emulated out;
    for (uint32_t i = 0; i < 4; i++) {
        const __m128i x = emulated_quarter(a, i), y = emulated_quarter(b, i);
        const __m128i product = halves ? _mm_clmulepi64_si128(x, y, 0x11) : _mm_clmulepi64_si128(x, y, 0x00);
        memcpy(out.u8 + 16 * (size_t)i, &product, sizeof product);
    }
    return out;
}

static inline __m256i emulated_low_256(emulated a)
{
    return _mm256_loadu_si256((const __m256i *)a.u8);
}

static inline __m128i emulated_narrow_i8(emulated a)
{
    uint8_t to[16];
    for (uint32_t i = 0; i < 16; i++) {
        to[i] = (uint8_t)a.u32[i];
    }
    return _mm_loadu_si128((const __m128i *)to);
}

/* ---- integers ---- */

static inline int32_t emulated_to_int(float x)
{
    return x >= -0x1p31f && x < 0x1p31f ? (int32_t)lrintf(x) : INT32_MIN;
}

/* Bytes of a without sign, of b with it. */
static inline uint32_t emulated_dot_4(const emulated *a, const emulated *b, uint32_t word)
{
    int32_t sum = 0;
    for (uint32_t i = 4 * word; i < 4 * word + 4; i++) {
        sum += a->u8[i] * b->i8[i];
    }
    return (uint32_t)sum;
}

/* Of two bytes of a without sign times two of b with it, saturated. */
static inline int16_t emulated_pair_dot(const emulated *a, const emulated *b, uint32_t i)
{
    const int32_t sum = a->u8[2 * i] * b->i8[2 * i] + a->u8[2 * i + 1] * b->i8[2 * i + 1];
    return (int16_t)(sum > INT16_MAX ? INT16_MAX : sum < INT16_MIN ? INT16_MIN : sum);
}

EMULATE(pair_dots, (emulated a, emulated b), 32, i16, emulated_pair_dot(&a, &b, i))
EMULATE(set1_16, (int16_t x), 32, i16, x)
EMULATE(set1_64, (uint64_t x), 8, u64, x)
EMULATE(add_16, (emulated a, emulated b), 32, u16, (uint16_t)(a.u16[i] + b.u16[i]))
EMULATE(add_64, (emulated a, emulated b), 8, u64, a.u64[i] + b.u64[i])
EMULATE(permute_words, (emulated index, emulated a), 32, u16, a.u16[index.u16[i] & 31])
EMULATE(unpack_low_16, (emulated a, emulated b), 32, u16, (i & 1 ? b : a).u16[i / 8 * 8 + i % 8 / 2])
EMULATE(unpack_high_16, (emulated a, emulated b), 32, u16, (i & 1 ? b : a).u16[i / 8 * 8 + 4 + i % 8 / 2])

/* 64-bit elements of a above those of b, moved down by n. */
static inline uint64_t emulated_aligned(const emulated *a, const emulated *b, uint32_t i)
{
    return i < 8 ? b->u64[i] : a->u64[i - 8];
}

static inline uint32_t emulated_select(uint32_t a, uint32_t b, uint32_t c, uint32_t table)
{
    uint32_t out = 0;
    for (uint32_t bit = 0; bit < 32; bit++) {
        out |= BIT(table, BIT(a, bit) << 2 | BIT(b, bit) << 1 | BIT(c, bit)) << bit;
    }
    return out;
}

EMULATE(zero, (void), 8, u64, 0)
EMULATE(set1_8, (char x), 64, u8, (uint8_t)x)
EMULATE(set1_32, (int32_t x), 16, i32, x)
EMULATE(set1_32_masked, (emulated from, uint32_t mask, int32_t x), 16, i32, BIT(mask, i) ? x : from.i32[i])
EMULATE(set1_f32, (float x), 16, f32, x)
EMULATE(broadcast_128, (__m128i a), 64, u8, ((const uint8_t *)&a)[i % 16])
EMULATE(xor, (emulated a, emulated b), 8, u64, a.u64[i] ^ b.u64[i])
EMULATE(and, (emulated a, emulated b), 8, u64, a.u64[i] & b.u64[i])
EMULATE(add_8, (emulated a, emulated b), 64, u8, (uint8_t)(a.u8[i] + b.u8[i]))
EMULATE(add_32, (emulated a, emulated b), 16, u32, a.u32[i] + b.u32[i])
EMULATE(left_16, (emulated a, uint32_t n), 32, u16, (uint16_t)((uint32_t)a.u16[i] << n))
EMULATE(right_16, (emulated a, uint32_t n), 32, u16, (uint16_t)(a.u16[i] >> n))
EMULATE(left_32, (emulated a, uint32_t n), 16, u32, a.u32[i] << n)
EMULATE(dot, (emulated sums, emulated a, emulated b), 16, u32, sums.u32[i] + emulated_dot_4(&a, &b, i))
EMULATE(ternary, (emulated a, emulated b, emulated c, uint32_t table), 16, u32, emulated_select(a.u32[i], b.u32[i], c.u32[i], table))
EMULATE(blend_64, (uint32_t mask, emulated a, emulated b), 8, u64, BIT(mask, i) ? b.u64[i] : a.u64[i])
EMULATE(align_64, (emulated a, emulated b, uint32_t n), 8, u64, emulated_aligned(&a, &b, i + n))
EMULATE(permute_bytes, (emulated index, emulated a), 64, u8, a.u8[index.u8[i] & 63])
EMULATE(permute_2_64, (emulated a, emulated index, emulated b), 8, u64, (index.u64[i] & 8 ? &b : &a)->u64[index.u64[i] & 7])
EMULATE(shuffle_bytes, (emulated a, emulated index), 64, u8, index.u8[i] & 128 ? 0 : a.u8[i / 16 * 16 + (index.u8[i] & 15)])
EMULATE(shuffle_lanes, (emulated a, emulated b, uint32_t order), 8, u64, (i < 4 ? &a : &b)->u64[(order >> i / 2 * 2 & 3) * 2 + i % 2])

static inline int32_t emulated_reduce_add(emulated a)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 16; i++) {
        sum += a.u32[i];
    }
    return (int32_t)sum;
}

/* ---- floats ---- */

EMULATE(add_f32, (emulated a, emulated b), 16, f32, a.f32[i] + b.f32[i])
EMULATE(sub_f32, (emulated a, emulated b), 16, f32, a.f32[i] - b.f32[i])
EMULATE(mul_f32, (emulated a, emulated b), 16, f32, a.f32[i] * b.f32[i])
EMULATE(div_f32, (emulated a, emulated b), 16, f32, a.f32[i] / b.f32[i])
EMULATE(fma_f32, (emulated a, emulated b, emulated c), 16, f32, fmaf(a.f32[i], b.f32[i], c.f32[i]))
EMULATE(max_f32, (emulated a, emulated b), 16, f32, a.f32[i] > b.f32[i] ? a.f32[i] : b.f32[i])
EMULATE(min_f32, (emulated a, emulated b), 16, f32, a.f32[i] < b.f32[i] ? a.f32[i] : b.f32[i])
EMULATE(abs_f32, (emulated a), 16, u32, a.u32[i] & 0x7fffffffu)
EMULATE(round_f32, (emulated a), 16, f32, rintf(a.f32[i]))
EMULATE(to_i32, (emulated a), 16, i32, emulated_to_int(a.f32[i]))
EMULATE(to_f32, (emulated a), 16, f32, (float)a.i32[i])
EMULATE(move_masked, (emulated from, uint32_t mask, emulated a), 16, u32, BIT(mask, i) ? a.u32[i] : from.u32[i])
EMULATE(xor_masked, (emulated from, uint32_t mask, emulated a, emulated b), 16, u32, BIT(mask, i) ? a.u32[i] ^ b.u32[i] : from.u32[i])
EMULATE(permute_in_lanes, (emulated a, uint32_t order), 16, u32, a.u32[i / 4 * 4 + (order >> i % 4 * 2 & 3)])

static inline float emulated_reduce_max(emulated a)
{
    float most = a.f32[0];
    for (uint32_t i = 1; i < 16; i++) {
        most = a.f32[i] > most ? a.f32[i] : most;
    }
    return most;
}

/* ---- their names: some compilers have macros of these names, which system headers may define anew ---- */
#pragma GCC system_header

#define _mm512_loadu_si512(p) emulated_load(p)
#define _mm512_loadu_ps(p) emulated_load(p)
#define _mm512_storeu_si512(p, a) emulated_store(p, a)
#define _mm512_storeu_ps(p, a) emulated_store(p, a)
#define _mm512_maskz_loadu_epi32(mask, p) emulated_load_masked(mask, p, 16, 4)
#define _mm512_maskz_loadu_ps(mask, p) emulated_load_masked(mask, p, 16, 4)
#define _mm512_maskz_loadu_epi64(mask, p) emulated_load_masked(mask, p, 8, 8)
#define _mm512_mask_storeu_epi32(p, mask, a) emulated_store_masked(p, mask, (a).u8, 16, 4)
#define _mm512_mask_storeu_ps(p, mask, a) emulated_store_masked(p, mask, (a).u8, 16, 4)
#define _mm512_mask_storeu_epi64(p, mask, a) emulated_store_masked(p, mask, (a).u8, 8, 8)
#define _mm256_maskz_loadu_epi16(mask, p) emulated_load_masked_256(mask, p)
#define _mm_maskz_loadu_epi8(mask, p) emulated_load_masked_128(mask, p)
#define _mm256_mask_storeu_epi16(p, mask, a) emulated_store_masked(p, mask, emulated_of_256(a).u8, 16, 2)
#define _mm_mask_storeu_epi8(p, mask, a) emulated_store_masked(p, mask, emulated_of_256(_mm256_castsi128_si256(a)).u8, 16, 1)
#define _mm512_castsi256_si512(a) emulated_of_256(a)
#define _mm512_inserti64x4(a, b, half) emulated_insert_256(a, b, half)
#define _mm512_castps512_ps256(a) emulated_half(a, 0)
#define _mm512_castps512_ps128(a) _mm256_castps256_ps128(emulated_half(a, 0))
#define _mm512_extractf32x8_ps(a, half) emulated_half(a, half)
#define _mm512_castsi512_ps(a) (a)
#define _mm512_castps_si512(a) (a)
#define _mm512_cvtph_ps(a) emulated_from_half_floats(a)
#define _mm512_cvtps_ph(a, rounding) emulated_to_half_floats(a)
#define _mm512_cvtepi8_epi32(a) emulated_widen_i8(emulated_of_128(a))
#define _mm512_cvtepu16_epi32(a) emulated_widen_u16(emulated_of_256(a))
#define _mm512_cvtepi32_epi8(a) emulated_narrow_i8(a)
#define _mm512_cvtepi16_epi32(a) emulated_widen_i16(emulated_of_256(a))
#define _mm512_castsi512_si256(a) emulated_low_256(a)
#define _mm512_maddubs_epi16(a, b) emulated_pair_dots(a, b)
#define _mm512_set1_epi16(x) emulated_set1_16(x)
#define _mm512_set1_epi64(x) emulated_set1_64((uint64_t)(x))
#define _mm512_add_epi16(a, b) emulated_add_16(a, b)
#define _mm512_add_epi64(a, b) emulated_add_64(a, b)
#define _mm512_permutexvar_epi16(index, a) emulated_permute_words(index, a)
#define _mm512_unpacklo_epi16(a, b) emulated_unpack_low_16(a, b)
#define _mm512_unpackhi_epi16(a, b) emulated_unpack_high_16(a, b)
#define _mm512_setzero_si512() emulated_zero()
#define _mm512_setzero_ps() emulated_zero()
#define _mm512_set1_epi8(x) emulated_set1_8(x)
#define _mm512_set1_epi32(x) emulated_set1_32(x)
#define _mm512_mask_set1_epi32(from, mask, x) emulated_set1_32_masked(from, mask, x)
#define _mm512_maskz_set1_epi32(mask, x) emulated_set1_32_masked(emulated_zero(), mask, x)
#define _mm512_set1_ps(x) emulated_set1_f32(x)
#define _mm512_setr_epi32(...) ((emulated){.u32 = {__VA_ARGS__}})
#define _mm512_setr_epi64(...) ((emulated){.u64 = {__VA_ARGS__}})
#define _mm512_broadcast_i32x4(a) emulated_broadcast_128(a)
#define _mm512_xor_si512(a, b) emulated_xor(a, b)
#define _mm512_and_si512(a, b) emulated_and(a, b)
#define _mm512_add_epi8(a, b) emulated_add_8(a, b)
#define _mm512_add_epi32(a, b) emulated_add_32(a, b)
#define _mm512_slli_epi16(a, n) emulated_left_16(a, n)
#define _mm512_srli_epi16(a, n) emulated_right_16(a, n)
#define _mm512_slli_epi32(a, n) emulated_left_32(a, n)
#define _mm512_dpbusd_epi32(sums, a, b) emulated_dot(sums, a, b)
#define _mm512_ternarylogic_epi32(a, b, c, table) emulated_ternary(a, b, c, table)
#define _mm512_ternarylogic_epi64(a, b, c, table) emulated_ternary(a, b, c, table)
#define _mm512_clmulepi64_epi128(a, b, halves) emulated_carry_less(a, b, halves)
#define _mm512_zextsi128_si512(a) emulated_of_128(a)
#define _mm512_mask_blend_epi64(mask, a, b) emulated_blend_64(mask, a, b)
#define _mm512_alignr_epi64(a, b, n) emulated_align_64(a, b, n)
#define _mm512_permutexvar_epi8(index, a) emulated_permute_bytes(index, a)
#define _mm512_permutex2var_epi64(a, index, b) emulated_permute_2_64(a, index, b)
#define _mm512_shuffle_epi8(a, index) emulated_shuffle_bytes(a, index)
#define _mm512_shuffle_i64x2(a, b, order) emulated_shuffle_lanes(a, b, order)
#define _mm512_shuffle_f32x4(a, b, order) emulated_shuffle_lanes(a, b, order)
#define _mm512_reduce_add_epi32(a) emulated_reduce_add(a)
#define _mm512_add_ps(a, b) emulated_add_f32(a, b)
#define _mm512_sub_ps(a, b) emulated_sub_f32(a, b)
#define _mm512_mul_ps(a, b) emulated_mul_f32(a, b)
#define _mm512_div_ps(a, b) emulated_div_f32(a, b)
#define _mm512_fmadd_ps(a, b, c) emulated_fma_f32(a, b, c)
#define _mm512_max_ps(a, b) emulated_max_f32(a, b)
#define _mm512_min_ps(a, b) emulated_min_f32(a, b)
#define _mm512_abs_ps(a) emulated_abs_f32(a)
#define _mm512_roundscale_ps(a, how) emulated_round_f32(a)
#define _mm512_cvtps_epi32(a) emulated_to_i32(a)
#define _mm512_cvtepi32_ps(a) emulated_to_f32(a)
#define _mm512_mask_mov_ps(from, mask, a) emulated_move_masked(from, mask, a)
#define _mm512_mask_xor_ps(from, mask, a, b) emulated_xor_masked(from, mask, a, b)
#define _mm512_permute_ps(a, order) emulated_permute_in_lanes(a, order)
#define _mm512_reduce_max_ps(a) emulated_reduce_max(a)

#endif
