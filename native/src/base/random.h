/* Random numbers that the format and the sampler share: the same on every machine. */
#ifndef RBE_RANDOM_H
#define RBE_RANDOM_H

#include <stdint.h>

/* The next of 2^64 numbers from any state (G. Steele, D. Lea, C. Flood: "Fast splittable pseudorandom number generators", 2014). The
 * seeds and signs of docs/format.md are defined by it. */
static inline uint64_t rbe__splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

#endif
