/* Rotary position embedding (J. Su et al.: "RoFormer", 2021). */
#ifndef RBE_POSITION_H
#define RBE_POSITION_H

#include <stdint.h>

/* cosines, sines [n_pairs] of position * frequency, times factor. */
void rbe__rope_angles(const float *frequencies, uint32_t n_pairs, uint32_t position, float factor, float *cosines, float *sines);

/* Rotates pair (d, d + n_pairs) of each of n_heads vectors of head_dim, in place; 2 n_pairs <= head_dim. */
void rbe__rope_apply(const float *cosines, const float *sines, uint32_t n_pairs, float *x, uint32_t n_heads, uint32_t head_dim);

#endif
