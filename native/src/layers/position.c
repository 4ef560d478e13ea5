#include "layers/position.h"

#include "base/elementary.h"

#define TURNS_OF_RADIANS 0.159154943091895335769

void rbe__rope_angles(const float *frequencies, uint32_t n_pairs, uint32_t position, float factor, float *cosines, float *sines)
{
    for (uint32_t d = 0; d < n_pairs; d++) {
        const float angle = (float)position * frequencies[d];
        const double turns = (double)angle * TURNS_OF_RADIANS;
        cosines[d] = (float)rbe__sin_turns(turns + 0.25) * factor;
        sines[d] = (float)rbe__sin_turns(turns) * factor;
    }
}

void rbe__rope_apply(const float *cosines, const float *sines, uint32_t n_pairs, float *x, uint32_t n_heads, uint32_t head_dim)
{
    for (uint32_t h = 0; h < n_heads; h++, x += head_dim) {
        for (uint32_t d = 0; d < n_pairs; d++) {
            float first = x[d], second = x[d + n_pairs];
            x[d] = first * cosines[d] - second * sines[d];
            x[d + n_pairs] = second * cosines[d] + first * sines[d];
        }
    }
}
