/* What the encoder's test and its benchmark share: the tables of docs/codec.md and Gaussian numbers. */
#ifndef RBE_TESTS_ENCODER_SAMPLES_H
#define RBE_TESTS_ENCODER_SAMPLES_H

#include <math.h>
#include <stdint.h>

#include "rbe/rbe.h"

static const rbe_codebook codebooks[4] = {
    {1,
     {5, -72, -26, 42, -23, 72, 40, -34, -47, 60, 25, -66, 44, 3, -38, 17},
     {28, -13, 43, -21, -12, -5, 5, 27, -54, -14, 34, 6, -9, 54, -37, -32}},
    {2,
     {38, 6, -20, -69, -58, 18, -38, -12, 2, -22, 67, 34, -27, 59, 4, 22},
     {25, -5, 32, -31, 9, 40, 3, -12, 15, 58, -21, -40, -17, -57, -5, 5}},
    {3,
     {-10, 35, 24, -21, 63, -36, 11, 6, 41, -64, 2, 20, -43, 0, -24, -11},
     {42, -18, 24, -11, -31, 29, 18, 3, -62, -42, 13, 8, -24, 62, -5, -6}},
    {4,
     {0, -3, 31, 13, -37, 8, -16, -68, 21, -11, 4, 44, 81, -48, -23, -30},
     {-31, -21, -7, 2, -40, -8, 0, 12, 7, 23, 14, 40, 7, 15, 45, -14}},
};

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
