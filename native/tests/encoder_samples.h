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
     {13, -1, -28, 42, -73, 60, 18, -20, 2, 18, -31, 49, 32, -39, 78, 0},
     {9, -5, -26, -7, -14, 18, -13, 9, -11, -34, 48, -9, 25, -28, -48, -33}},
    {3,
     {77, -22, 3, 34, -9, 20, -75, 7, 15, -55, -40, -31, 32, -7, -18, 52},
     {49, -49, 4, 11, 20, 30, 13, -19, -29, 6, 1, 20, -19, -4, -6, -14}},
    {4,
     {27, 71, 3, -27, -3, -35, -14, -20, -45, 36, -72, 21, 14, 8, 46, -9},
     {-54, -3, -19, 5, 54, -7, 2, -14, 24, 17, 14, -8, 37, -24, -37, 8}},
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
