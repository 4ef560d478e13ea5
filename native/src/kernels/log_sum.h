/* The logarithm of a sum of exponentials, of which likelihoods are made: the same bits on every machine. */
#ifndef RBE_KERNELS_LOG_SUM_H
#define RBE_KERNELS_LOG_SUM_H

#include "kernels/kernels.h"

/* A sum in double precision, value i of each addition in lane i % 8: independent additions, in one order. Begins as zero. */
typedef struct rbe__long_sum {
    double lanes[8];
} rbe__long_sum;

void rbe__long_sum_add(rbe__long_sum *sum, const float *values, uint32_t n);
double rbe__long_sum_total(const rbe__long_sum *sum);

/* ln(sum over i of exp(logits[i] - *largest)), n >= 1 finite logits; *largest: the largest of them. Relative error of the sum under 2^-20. */
double rbe__log_sum(const rbe_kernels *kernels, const float *logits, uint32_t n, float *largest);

#endif
