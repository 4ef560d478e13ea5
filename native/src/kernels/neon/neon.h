/* What the files of the NEON sets share. RBE_NEON_DOTPROD 1: with the Armv8.2 dot product. */
#ifndef RBE_KERNELS_NEON_H
#define RBE_KERNELS_NEON_H

#include <arm_neon.h>

#include "kernels/kernels.h"

/* sums[int32 x 4] += weights . x, four int8 each, within +-127 */
static inline int32x4_t rbe__neon_dot(int32x4_t sums, int8x16_t weights, int8x16_t x)
{
#if RBE_NEON_DOTPROD
    return vdotq_s32(sums, weights, x);
#else
    /* sums of two products, at most 2 * 127 * 127 = 32258, fit into int16 */
    const int16x8_t low = vmull_s8(vget_low_s8(weights), vget_low_s8(x)), high = vmull_high_s8(weights, x);
    return vpadalq_s16(sums, vpaddq_s16(low, high));
#endif
}

/* Each file's part of the sets. */
void rbe__neon_integer(rbe_kernels *table);
void rbe__neon_float(rbe_kernels *table);
void rbe__neon_integer_dotprod(rbe_kernels *table);

#endif
