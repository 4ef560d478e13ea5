/* The fused multiply-add that the scalar set is defined by, on processors without one. */
#ifndef RBE_KERNELS_SCALAR_FUSED_H
#define RBE_KERNELS_SCALAR_FUSED_H

#include <stdint.h>
#include <string.h>

/* a * b + c, rounded once, as fmaf of <math.h>. Where the processor has no such instruction, libraries compute it by changing the rounding
 * mode, which takes a hundred times as long as this: the product is exact in double precision, and a sum that was rounded to odd there
 * (S. Boldo, G. Melquiond: "Emulation of a FMA and correctly rounded sums", 2008) rounds to single precision as the exact one does. */
static inline float rbe__fused(float a, float b, float c)
{
#if defined(__FP_FAST_FMAF) || defined(__ARM_FEATURE_FMA)
    return __builtin_fmaf(a, b, c);
#else
    const double product = (double)a * (double)b, addend = (double)c, sum = product + addend;
    const double of_product = sum - addend, of_addend = sum - of_product; /* D. Knuth's exact error of the sum */
    const double error = (product - of_product) + (addend - of_addend);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if ((error > 0 || error < 0) && (bits & 1) == 0) { /* inexact and even: the odd neighbour on the side of the error */
        bits += (error > 0) == (sum > 0) ? 1u : UINT64_MAX;
    }
    double odd;
    memcpy(&odd, &bits, sizeof odd);
    return (float)odd;
#endif
}

#endif
