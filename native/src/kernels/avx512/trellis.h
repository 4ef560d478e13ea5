/* The trellis generator on 512-bit vectors: dot and generate for every K, written once. Included by trellis.c and
 * trellis_vbmi.c, which differ in how a nibble is looked up (RBE_AVX512_VBMI).
 *
 * A *block* is the least whole number of units that holds whole steps: one unit of 8/K steps, or, for K = 3, three units
 * of 8 steps. A vector holds four blocks of a group, one per 128-bit lane, so that byte i of the blocks gives one vector
 * and every step of the block one vector of 64 weights: lane l of step s is step `steps * block + s` of the group.
 *
 * Written out in bytes, step s of a block ends `shift` bits before the end of byte i, and
 *     T1 + T2 = T1[nibble(change, shift)] + T2[nibble(byte, shift + 4)],
 * where change is each byte xor the byte before it, and nibble(v, shift) the four bits of v[i-1]:v[i] that end there.
 */
#ifndef RBE_KERNELS_AVX512_TRELLIS_H
#define RBE_KERNELS_AVX512_TRELLIS_H

#include <immintrin.h>
#include <string.h>

#include "kernels/avx512/avx512.h"
#include "kernels/shared/blocks.h"

enum { BLOCKS_PER_VECTOR = 4, MOST_STEPS = 8, MOST_ACCUMULATORS = 16 };

#if RBE_AVX512_VBMI

/* vpermb takes six index bits from anywhere in the low six of a byte. So T1 and T2 are spread over 64 entries once for
 * each place that the four bits of a nibble can stand at, and most shifts and all masks fall away. */
enum { NIBBLE_FORMS = 6 };

typedef struct generator {
    __m512i t1[NIBBLE_FORMS], t2[NIBBLE_FORMS]; /* bits 0..3, 1..4, 2..5; then those that cross a byte by 5, 6, 7 */
    __m512i previous_bits;                      /* the low three bits of a byte */
} generator;

static inline void spread_table(__m512i table, __m512i *forms)
{
    __m512i entry = _mm512_setr_epi32(0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c, 0x13121110, 0x17161514, 0x1b1a1918, 0x1f1e1d1c,
                                      0x23222120, 0x27262524, 0x2b2a2928, 0x2f2e2d2c, 0x33323130, 0x37363534, 0x3b3a3938, 0x3f3e3d3c);
    const __m512i low4 = _mm512_set1_epi8(15);
    for (int shift = 0; shift < 3; shift++) {
        forms[shift] = _mm512_permutexvar_epi8(_mm512_and_si512(_mm512_srli_epi16(entry, (unsigned)shift), low4), table);
    }
    /* a crossing entry: three low bits of the byte before, under them (bits 3..5) the three high bits of this one */
    for (int shift = 5; shift < 8; shift++) {
        const __m512i before = _mm512_slli_epi16(entry, (unsigned)(8 - shift));
        const __m512i after = _mm512_srli_epi16(entry, (unsigned)(shift - 2));
        const __m512i from_after = _mm512_set1_epi8((char)((1 << (8 - shift)) - 1));
        const __m512i nibble = _mm512_ternarylogic_epi32(from_after, after, before, 0xca); /* from_after ? after : before */
        forms[shift - 2] = _mm512_permutexvar_epi8(_mm512_and_si512(nibble, low4), table);
    }
}

RBE_INLINE void generator_start(generator *made, __m512i t1, __m512i t2)
{
    spread_table(t1, made->t1);
    spread_table(t2, made->t2);
    made->previous_bits = _mm512_set1_epi8(7);
}

RBE_INLINE __m512i look_up(const generator *from, const __m512i *forms, __m512i before, __m512i byte, uint32_t shift)
{
    const uint32_t form = shift < 3 ? shift : shift - 2;
    __m512i index = byte;
    if (shift >= 3) {
        index = _mm512_srli_epi16(byte, 2);
    }
    if (shift >= 5) {
        index = _mm512_ternarylogic_epi32(from->previous_bits, before, index, 0xca);
    }
    return _mm512_permutexvar_epi8(index, forms[form]);
}

#else

typedef struct generator {
    __m512i t1[1], t2[1];
    __m512i low4;
} generator;

RBE_INLINE void generator_start(generator *made, __m512i t1, __m512i t2)
{
    made->t1[0] = t1;
    made->t2[0] = t2;
    made->low4 = _mm512_set1_epi8(15);
}

RBE_INLINE __m512i look_up(const generator *from, const __m512i *table, __m512i before, __m512i byte, uint32_t shift)
{
    __m512i nibble = shift ? _mm512_srli_epi16(byte, shift) : byte;
    if (shift > 4) {
        const __m512i from_byte = _mm512_set1_epi8((char)((1 << (8 - shift)) - 1));
        nibble = _mm512_ternarylogic_epi32(from_byte, nibble, _mm512_slli_epi16(before, 8 - shift), 0xca);
    }
    return _mm512_shuffle_epi8(table[0], _mm512_and_si512(nibble, from->low4));
}

#endif

/* The bytes that four blocks are generated from: [0] is the one before the block. */
typedef struct block_bytes {
    __m512i byte[4], change[4];
} block_bytes;

/* The weights of step s of four blocks. */
RBE_INLINE __m512i generate_step(const generator *from, uint32_t bits, uint32_t s, const block_bytes *of)
{
    const uint32_t end = bits * (s + 1) - 1, i = end / 8 + 1, shift = ~end & 7;
    const __m512i low = look_up(from, from->t1, of->change[i - 1], of->change[i], shift);
    const __m512i middle = shift < 4 ? look_up(from, from->t2, of->byte[i - 1], of->byte[i], shift + 4)
                                     : look_up(from, from->t2, of->byte[i - 1], of->byte[i - 1], shift - 4);
    return _mm512_add_epi8(low, middle);
}

/* n_units, 0 to 4, one after the other; nothing is read behind them. */
RBE_INLINE __m512i load_units(const uint8_t *units, uint32_t n_units)
{
    return _mm512_maskz_loadu_epi64((__mmask8)((1u << 2 * n_units) - 1), units);
}

RBE_INLINE __m512i load_unit(const uint8_t *unit)
{
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)unit));
}

/* Which block of a vector its lane holds. */
RBE_INLINE uint32_t block_of_lane(uint32_t bits, uint32_t lane)
{
    return bits == 3 && lane != 3 ? 2 - lane : lane;
}

/* byte[i] for i = 1.. of n_blocks blocks, 1 to 4; the other lanes do not matter. */
RBE_INLINE void load_blocks(uint32_t bits, const uint8_t *blocks, uint32_t n_blocks, __m512i *byte)
{
    if (bits != 3) {
        byte[1] = load_units(blocks, n_blocks);
        return;
    }
    /* Units 0..3, 4..7, 8..11. Byte i are those of i mod 3: no two of them share a lane, so that blends collect them. */
    const uint32_t n_units = 3 * n_blocks;
    const __m512i a = load_units(blocks, n_units < 4 ? n_units : 4);
    const __m512i b = load_units(blocks + 64, n_units < 4 ? 0 : n_units < 8 ? n_units - 4 : 4);
    const __m512i c = load_units(blocks + 128, n_units < 8 ? 0 : n_units - 8);
    const __m512i first = _mm512_mask_blend_epi64(0x0c, _mm512_mask_blend_epi64(0x30, a, b), c);  /* 0 9 6 3 */
    const __m512i second = _mm512_mask_blend_epi64(0x0c, _mm512_mask_blend_epi64(0x30, b, c), a); /* 4 1 10 7 */
    byte[1] = _mm512_alignr_epi64(first, first, 4);                                               /* 6 3 0 9 */
    byte[2] = _mm512_alignr_epi64(second, second, 6);                                             /* 7 4 1 10 */
    byte[3] = _mm512_mask_blend_epi64(0x0c, _mm512_mask_blend_epi64(0x30, c, a), b);              /* 8 5 2 11 */
}

/* Byte and change of the unit before a vector's blocks: in the highest lane, the others do not matter. */
typedef struct history {
    __m512i byte, change;
} history;

RBE_INLINE history history_start(rbe_group_bytes bytes)
{
    const __m512i last = load_unit(bytes.last);
    return (history){last, _mm512_xor_si512(last, load_unit(bytes.before_last))};
}

/* For each block, the last byte (or change) of the block before it. */
RBE_INLINE __m512i last_of_block_before(uint32_t bits, __m512i last, __m512i past)
{
    if (bits != 3) {
        return _mm512_alignr_epi64(last, past, 6);
    }
    const __m512i both = _mm512_mask_blend_epi64(0xc0, last, past); /* blocks 2 1 0 -1 */
    return _mm512_alignr_epi64(both, both, 2);                      /* 1 0 -1 2 */
}

/* The bytes of n_blocks blocks; moves the history on. starts_group is a constant: what is not the start can read the
 * history of one-byte blocks from memory, which leaves the shuffle ports to the look-ups (1.2 times the speed at K = 4). */
RBE_INLINE void next_blocks(uint32_t bits, const uint8_t *blocks, uint32_t n_blocks, int starts_group, history *past, block_bytes *out)
{
    const uint32_t n = block_units(bits);
    load_blocks(bits, blocks, n_blocks, out->byte);
    if (n > 1 || starts_group) {
        out->byte[0] = last_of_block_before(bits, out->byte[n], past->byte);
    } else {
        out->byte[0] = load_units(blocks - RBE_UNIT_BYTES, n_blocks);
    }
    RBE_UNROLL(3)
    for (uint32_t i = 1; i <= n; i++) {
        out->change[i] = _mm512_xor_si512(out->byte[i], out->byte[i - 1]);
    }
    if (n > 1 || starts_group) {
        out->change[0] = last_of_block_before(bits, out->change[n], past->change);
    } else {
        out->change[0] = _mm512_xor_si512(out->byte[0], load_units(blocks - 2 * RBE_UNIT_BYTES, n_blocks));
    }
    *past = (history){out->byte[n], out->change[n]};
}

/* K = 1 and 3 need all 12 forms of the tables, which would push accumulators out of the registers; this makes the compiler
 * read the tables from memory instead (1.2 times the speed at K = 3). */
RBE_INLINE void keep_in_memory(uint32_t bits, generator *from)
{
    if (RBE_AVX512_VBMI && bits % 2 == 1) {
        __asm__("" : "+m"(*from));
    }
}

/* Writes the 16 bytes of steps[s] of each of n_blocks blocks to out + 16 * (block_steps * block + s). */
RBE_INLINE void store_steps(uint32_t bits, const __m512i *steps, uint32_t n_blocks, uint8_t *out)
{
    if (bits == 4) { /* lanes 0..3 of two steps, interleaved */
        const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        const __mmask16 lanes = (__mmask16)((1u << 4 * n_blocks) - 1);
        _mm512_mask_storeu_epi64(out, (__mmask8)lanes, _mm512_permutex2var_epi64(steps[0], low, steps[1]));
        _mm512_mask_storeu_epi64(out + 64, (__mmask8)(lanes >> 8), _mm512_permutex2var_epi64(steps[0], high, steps[1]));
        return;
    }
    RBE_UNROLL(2)
    for (uint32_t s = 0; s < block_steps(bits); s += 4) { /* four lanes of four steps, transposed */
        const __m512i a = _mm512_shuffle_i64x2(steps[s], steps[s + 1], 0x44), b = _mm512_shuffle_i64x2(steps[s], steps[s + 1], 0xee);
        const __m512i c = _mm512_shuffle_i64x2(steps[s + 2], steps[s + 3], 0x44),
                      d = _mm512_shuffle_i64x2(steps[s + 2], steps[s + 3], 0xee);
        const __m512i lane[4] = {_mm512_shuffle_i64x2(a, c, 0x88), _mm512_shuffle_i64x2(a, c, 0xdd), _mm512_shuffle_i64x2(b, d, 0x88),
                                 _mm512_shuffle_i64x2(b, d, 0xdd)};
        RBE_UNROLL(4)
        for (uint32_t l = 0; l < 4; l++) {
            const uint32_t block = block_of_lane(bits, l);
            if (block < n_blocks) {
                _mm512_storeu_si512(out + 16 * (block_steps(bits) * block + s), lane[l]);
            }
        }
    }
}

/* T1 + bias and T2 in every lane. */
RBE_INLINE generator generator_make(const rbe_strip *strip, int bias)
{
    const __m128i t1 = _mm_loadu_si128((const __m128i *)strip->t1), t2 = _mm_loadu_si128((const __m128i *)strip->t2);
    generator made;
    generator_start(&made, _mm512_broadcast_i32x4(_mm_add_epi8(t1, _mm_set1_epi8((char)bias))), _mm512_broadcast_i32x4(t2));
    return made;
}

/* The tile of n_blocks blocks, 1 to 4, from `units` on; returns what is behind it. starts_group: as in next_blocks. */
RBE_INLINE uint8_t *generate_vector(uint32_t bits, const generator *from, const uint8_t *units, uint32_t n_blocks, int starts_group,
                                    history *past, uint8_t *out)
{
    block_bytes of;
    __m512i weights[MOST_STEPS];
    next_blocks(bits, units, n_blocks, starts_group, past, &of);
    prefetch_ahead(units, RBE_UNIT_BYTES * block_units(bits) * BLOCKS_PER_VECTOR);
    RBE_UNROLL(8)
    for (uint32_t s = 0; s < block_steps(bits); s++) {
        weights[s] = generate_step(from, bits, s, &of);
    }
    store_steps(bits, weights, n_blocks, out);
    return out + (size_t)16 * block_steps(bits) * n_blocks;
}

/* Whole vectors have constant numbers of blocks, so that nothing is masked. */
RBE_INLINE void generate_groups(uint32_t bits, const rbe_strip *strip, uint32_t first_group, uint32_t n_groups, int8_t *tile)
{
    generator from = generator_make(strip, 0);
    const uint32_t n_blocks = strip->row_steps / block_steps(bits), whole = n_blocks / BLOCKS_PER_VECTOR,
                   left = n_blocks % BLOCKS_PER_VECTOR;
    const size_t vector_bytes = (size_t)RBE_UNIT_BYTES * block_units(bits) * BLOCKS_PER_VECTOR;
    rbe_cell_walk walk = rbe__cell_walk_start(strip, first_group);
    uint8_t *out = (uint8_t *)tile;
    for (uint32_t g = 0; g < n_groups; g++) {
        const rbe_group_bytes bytes = rbe__cell_walk_next(&walk);
        history past = history_start(bytes);
        if (whole == 0) {
            out = generate_vector(bits, &from, bytes.units, left, 1, &past, out);
            continue;
        }
        out = generate_vector(bits, &from, bytes.units, BLOCKS_PER_VECTOR, 1, &past, out);
        for (uint32_t v = 1; v < whole; v++) {
            out = generate_vector(bits, &from, bytes.units + v * vector_bytes, BLOCKS_PER_VECTOR, 0, &past, out);
        }
        if (left) {
            out = generate_vector(bits, &from, bytes.units + whole * vector_bytes, left, 0, &past, out);
        }
    }
}

/* total += scale * sums, n vectors. They keep the order of their lanes until the end of a strip. A function of its own, so that registers
 * are for the sums: inlined, gcc 12 keeps some of these in memory in place of sums (a tenth of the speed). */
static __attribute__((noinline)) void gather_block(uint32_t n, const __m512i *sums, float scale, __m512 *total)
{
    for (uint32_t i = 0; i < n; i++) {
        total[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[i]), _mm512_set1_ps(scale), total[i]);
    }
}

/* n_vectors: of a group, a constant, so that all accumulators stay in registers from the first group of a block to the last.
 * vpdpbusd takes its first operand as unsigned: 128 is added to T1, and 128 * sum(x) taken off at the start. */
RBE_INLINE void dot_vectors(uint32_t bits, uint32_t n_vectors, const rbe_strip *strip, const int8_t *x, const float *scales, float *sum)
{
    generator from = generator_make(strip, 128);
    const uint32_t steps = block_steps(bits);
    const uint32_t last_blocks = strip->row_steps / steps - BLOCKS_PER_VECTOR * (n_vectors - 1);
    __m512 total[MOST_ACCUMULATORS];
    RBE_UNROLL(16)
    for (uint32_t i = 0; i < n_vectors * steps; i++) {
        total[i] = _mm512_setzero_ps();
    }
    rbe_cell_walk walk = rbe__cell_walk_start(strip, 0);
    for (uint32_t first = 0; first < strip->n_groups; first += RBE_BLOCK_GROUPS) {
        const uint32_t end = strip->n_groups - first < RBE_BLOCK_GROUPS ? strip->n_groups : first + RBE_BLOCK_GROUPS;
        const __m512i start = _mm512_set1_epi32(-128 * rbe__avx512_sum(x + (size_t)4 * first, 4 * (end - first)));
        __m512i sums[MOST_ACCUMULATORS];
        RBE_UNROLL(16)
        for (uint32_t i = 0; i < n_vectors * steps; i++) {
            sums[i] = start;
        }
        for (uint32_t g = first; g < end; g++) {
            const rbe_group_bytes bytes = rbe__cell_walk_next(&walk);
            int32_t x_group;
            memcpy(&x_group, x + (size_t)4 * g, sizeof x_group);
            const __m512i activations = _mm512_set1_epi32(x_group);
            history past = history_start(bytes);
            RBE_UNROLL(8)
            for (uint32_t v = 0; v < n_vectors; v++) {
                const uint8_t *blocks = bytes.units + RBE_UNIT_BYTES * block_units(bits) * BLOCKS_PER_VECTOR * v;
                block_bytes of;
                next_blocks(bits, blocks, v + 1 < n_vectors ? BLOCKS_PER_VECTOR : last_blocks, v == 0, &past, &of);
                prefetch_ahead(blocks, RBE_UNIT_BYTES * block_units(bits) * BLOCKS_PER_VECTOR);
                keep_in_memory(bits, &from);
                RBE_UNROLL(8)
                for (uint32_t s = 0; s < steps; s++) {
                    const __m512i weights = generate_step(&from, bits, s, &of);
                    sums[v * steps + s] = _mm512_dpbusd_epi32(sums[v * steps + s], weights, activations);
                }
            }
        }
        __m512i block_sums[MOST_ACCUMULATORS];
        RBE_UNROLL(16)
        for (uint32_t i = 0; i < n_vectors * steps; i++) {
            block_sums[i] = sums[i];
        }
        gather_block(n_vectors * steps, block_sums, scales[first / RBE_BLOCK_GROUPS], total);
    }
    RBE_UNROLL(8)
    for (uint32_t v = 0; v < n_vectors; v++) {
        __m512i rows[MOST_STEPS];
        RBE_UNROLL(8)
        for (uint32_t s = 0; s < steps; s++) {
            rows[s] = _mm512_castps_si512(total[v * steps + s]);
        }
        store_steps(bits, rows, v + 1 < n_vectors ? BLOCKS_PER_VECTOR : last_blocks,
                    (uint8_t *)(sum + (size_t)4 * steps * BLOCKS_PER_VECTOR * v));
    }
}

#include "kernels/avx512/dot_runs.h"

#define DOT_CASE(bits, n_vectors) \
    case n_vectors: dot_vectors(bits, n_vectors, strip, x, scales, sum); return;
#define DOT_CASES_2(bits) DOT_CASE(bits, 1) DOT_CASE(bits, 2)
#define DOT_CASES_4(bits) DOT_CASES_2(bits) DOT_CASE(bits, 3) DOT_CASE(bits, 4)
#define DOT_CASES_8(bits) DOT_CASES_4(bits) DOT_CASE(bits, 5) DOT_CASE(bits, 6) DOT_CASE(bits, 7) DOT_CASE(bits, 8)

#define RUN_CASE(bits, run) \
    case run: dot_runs(bits, run, 0, strip, x, scales, sum); return;
#define RUN_CASES_2(bits) RUN_CASE(bits, 1) RUN_CASE(bits, 2)

#define TRELLIS_KERNELS(bits, cases)                                                                            \
    static void dot_k##bits(const rbe_strip *strip, const int8_t *x, const float *scales, float *sum)           \
    {                                                                                                           \
        const uint32_t n_blocks = strip->row_steps / block_steps(bits);                                         \
        if ((bits) % 2 == 1 && dot_in_pairs(bits, n_blocks, strip, x, scales, sum)) {                           \
            return;                                                                                             \
        }                                                                                                       \
        switch ((n_blocks + BLOCKS_PER_VECTOR - 1) / BLOCKS_PER_VECTOR) {                                       \
        default: break; cases(bits)                                                                             \
        }                                                                                                       \
    }                                                                                                           \
    static void generate_k##bits(const rbe_strip *strip, uint32_t first_group, uint32_t n_groups, int8_t *tile) \
    {                                                                                                           \
        generate_groups(bits, strip, first_group, n_groups, tile);                                              \
    }

/* 64 steps, the most that a strip has, are 2, 4, 2, 8 vectors. */
TRELLIS_KERNELS(1, DOT_CASES_2)
TRELLIS_KERNELS(2, DOT_CASES_4)
TRELLIS_KERNELS(3, RUN_CASES_2)
TRELLIS_KERNELS(4, DOT_CASES_8)

#endif
