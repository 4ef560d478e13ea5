/* Random and hostile inputs for the kernel tests. */
#ifndef RBE_TESTS_KERNEL_CASES_H
#define RBE_TESTS_KERNEL_CASES_H

#include <string.h>

#include "check.h"
#include "guard.h"
#include "kernels/kernels.h"

/* The step between subnormal numbers, where there are any (kernels.h). */
#if defined(__arm__)
#define SUBNORMAL 0x1p-125
#else
#define SUBNORMAL 0x1p-149
#endif

/* What a test function is told about the kernel it tests. */
typedef struct kernel_case {
    const char *set;   /* of the table under test */
    const char *field; /* of the kernel: its last characters tell K or the element type */
    const rbe_kernels *scalar;
} kernel_case;

static uint64_t random_state = 1;

static inline uint64_t random_bits(void) /* splitmix64, Steele, Lea and Flood 2014 */
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* from first to last, both included */
static inline uint32_t random_between(uint32_t first, uint32_t last)
{
    return first + (uint32_t)(random_bits() % ((uint64_t)last - first + 1));
}

/* in (-1, 1), times a power of two between 2^-8 and 1 */
static inline float random_float(void)
{
    const float unit = (float)(int32_t)(random_bits() >> 32) * 0x1p-31f;
    return unit / (float)(1u << random_between(0, 8));
}

static inline void random_bytes(void *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        ((uint8_t *)data)[i] = (uint8_t)random_bits();
    }
}

/* The tables of docs/codec.md, for the check values of docs/format.md. */
static const int8_t published_t1[4][16] = {
    {5, -72, -26, 42, -23, 72, 40, -34, -47, 60, 25, -66, 44, 3, -38, 17},
    {13, -1, -28, 42, -73, 60, 18, -20, 2, 18, -31, 49, 32, -39, 78, 0},
    {77, -22, 3, 34, -9, 20, -75, 7, 15, -55, -40, -31, 32, -7, -18, 52},
    {27, 71, 3, -27, -3, -35, -14, -20, -45, 36, -72, 21, 14, 8, 46, -9},
};
static const int8_t published_t2[4][16] = {
    {28, -13, 43, -21, -12, -5, 5, 27, -54, -14, 34, 6, -9, 54, -37, -32},
    {9, -5, -26, -7, -14, 18, -13, 9, -11, -34, 48, -9, 25, -28, -48, -33},
    {49, -49, 4, 11, 20, 30, 13, -19, -29, 6, 1, 20, -19, -4, -6, -14},
    {-54, -3, -19, 5, 54, -7, 2, -14, 24, 17, 14, -8, 37, -24, -37, 8},
};

/* Tables whose sums stay within +-127: the published ones, random ones, and those at the edge. */
static inline void hostile_tables(uint32_t bits, int8_t *t1, int8_t *t2)
{
    const uint32_t kind = random_between(0, 5);
    memcpy(t1, published_t1[bits - 1], 16);
    memcpy(t2, published_t2[bits - 1], 16);
    for (uint32_t i = 0; i < 16 && kind > 0; i++) {
        switch (kind) {
        case 1: /* every sum is +-127 or +-1 */
            t1[i] = random_between(0, 1) ? 64 : -64;
            t2[i] = random_between(0, 1) ? 63 : -63;
            break;
        case 2: /* one table at the end of int8, the other at the opposite end */
            t1[i] = 127;
            t2[i] = (int8_t)-(int32_t)random_between(0, 128);
            break;
        case 3:
            t1[i] = (int8_t)-(int32_t)random_between(0, 127);
            t2[i] = (int8_t)random_between(0, 127);
            break;
        case 4:
            t1[i] = 0;
            t2[i] = random_between(0, 1) ? 127 : -127;
            break;
        default:
            t1[i] = (int8_t)(random_between(0, 126) - 63);
            t2[i] = (int8_t)(random_between(0, 128) - 64);
        }
    }
}

static inline void hostile_activations(int8_t *x, size_t n)
{
    const uint32_t kind = random_between(0, 4);
    for (size_t c = 0; c < n; c++) {
        const int8_t random = (int8_t)(random_between(0, 254) - 127);
        const int8_t by_kind[] = {random, 127, -127, c % 2 ? 127 : -127, c % 3 ? 0 : random};
        x[c] = by_kind[kind];
    }
}

static inline size_t up_to_64(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

#endif
