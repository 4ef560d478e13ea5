/* What pairs of activations are multiplied by for the tables of sums (kernels/shared/grouped.h): word i has the factors of two columns in index i,
 * unsigned and at most 2, so that vpmaddubsw saturates nothing. */
#ifndef RBE_KERNELS_AVX2_GROUPED_FACTORS_H
#define RBE_KERNELS_AVX2_GROUPED_FACTORS_H

#include "kernels/shared/grouped.h"

typedef struct grouped_factors {
    uint8_t of[32][2];
} grouped_factors;

/* Of index i the digits are i / 9, i / 3 % 3, i % 3; of two columns i / 3, i % 3. */
#define FIRST_TWO(i) {(i) / 9 % 3, (i) / 3 % 3}
#define THIRD(i) {(i) % 3, 0}
#define LAST_TWO(i) {(i) / 3 % 3, (i) % 3}
#define LOW_BITS(i) {2 * ((i) & 1), (i) & 2}
#define HIGH_BITS(i) {2 * ((i) >> 2 & 1), 2 * ((i) >> 3 & 1)}
static const grouped_factors first_two = {{INDICES_32(FIRST_TWO)}}, third = {{INDICES_32(THIRD)}}, last_two = {{INDICES_32(LAST_TWO)}};
static const grouped_factors low_bits = {{INDICES_32(LOW_BITS)}}, high_bits = {{INDICES_32(HIGH_BITS)}};

/* The two activations that all words are multiplied by. */
RBE_INLINE int16_t pair_of(const int8_t *x)
{
    int16_t pair;
    memcpy(&pair, x, sizeof pair);
    return pair;
}

#endif
