/* What the encoder's tests and its benchmark share: tables and Gaussian numbers. */
#ifndef RBE_TESTS_ENCODER_SAMPLES_H
#define RBE_TESTS_ENCODER_SAMPLES_H

#include <math.h>
#include <stdint.h>

#include "published_codebooks.h"

/* splitmix64, then Box and Muller. */
static inline double uniform(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return ((double)((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
}

static inline float gaussian(uint64_t *state)
{
    const double radius = sqrt(-2 * log(uniform(state)));
    return (float)(radius * cos(6.283185307179586 * uniform(state)));
}

#endif
