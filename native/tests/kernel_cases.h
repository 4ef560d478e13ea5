/* Random and hostile inputs for the kernel tests. */
#ifndef RBE_TESTS_KERNEL_CASES_H
#define RBE_TESTS_KERNEL_CASES_H

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "guard.h"
#include "kernels/kernels.h"
#include "published_codebooks.h"

/* The step between subnormal numbers, where there are any; and below what a result may count as zero, since a factor of it did (kernels.h). */
#if defined(__arm__)
#define SUBNORMAL 0x1p-125
#define FLUSHED 0x1p-110
#else
#define SUBNORMAL 0x1p-149
#define FLUSHED 0.0
#endif

/* Every how many-th case is tested: 1, or 7 with RBE_TEST_BRIEF in the environment, which suits a test under an emulator
 * whose subject is what another compiler or processor makes of the same code. */
static inline uint32_t case_step(void)
{
    return getenv("RBE_TEST_BRIEF") ? 7 : 1;
}

/* What a test function is told about the kernel it tests. */
typedef struct kernel_case {
    const char *set;   /* of the table under test */
    const char *field; /* of the kernel: its last characters tell K or the element type */
    const rbe_kernels *scalar;
    void (*definition)(void); /* the scalar set's kernel of this field */
} kernel_case;

/* The same floats, to the bit; any NaN is the same as any other. */
static inline int same_floats(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const int is_nothing = fabs((double)a[i]) < FLUSHED && fabs((double)b[i]) < FLUSHED;
        if (memcmp(a + i, b + i, sizeof *a) != 0 && (a[i] == a[i] || b[i] == b[i]) && !is_nothing) {
            return 0;
        }
    }
    return 1;
}

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

/* Tables whose sums stay within +-31: random ones, and those at the edge. */
static inline void hostile_narrow_tables(int8_t *t1, int8_t *t2)
{
    const uint32_t kind = random_between(0, 4);
    for (uint32_t i = 0; i < 16; i++) {
        switch (kind) {
        case 0: /* every sum is 31, or every one -31, or either */
        case 1:
        case 2:
            t1[i] = kind == 0 || (kind == 2 && random_between(0, 1)) ? 31 : -31;
            t2[i] = 0;
            break;
        case 3: /* far from 0 both */
            t1[i] = (int8_t)(random_between(0, 31) + 96);
            t2[i] = (int8_t)-(int32_t)random_between(96, 127);
            break;
        default: t1[i] = (int8_t)(random_between(0, 30) - 15); t2[i] = (int8_t)(random_between(0, 32) - 16);
        }
    }
}

/* Tables whose sums stay within +-127: the published ones, random ones, and those at the edge. */
static inline void hostile_tables(uint32_t bits, int8_t *t1, int8_t *t2)
{
    const uint32_t kind = random_between(0, 5);
    memcpy(t1, codebooks[bits - 1].t1, 16);
    memcpy(t2, codebooks[bits - 1].t2, 16);
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
        default: t1[i] = (int8_t)(random_between(0, 126) - 63); t2[i] = (int8_t)(random_between(0, 128) - 64);
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
