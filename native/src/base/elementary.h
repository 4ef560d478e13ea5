/* Elementary functions in double precision from additions, multiplications and divisions alone, each rounded as IEEE 754 has it: the
 * same bits with every C library, which <math.h> does not promise. For what decides tokens: sampling, rotary angles, likelihoods. */
#ifndef RBE_BASE_ELEMENTARY_H
#define RBE_BASE_ELEMENTARY_H

/* exp(x), relative error under 2^-50; 0 below -708, infinity above 709; NaN stays NaN. */
double rbe__exp(double x);

/* The natural logarithm, relative error under 2^-50 (absolute near 1); x is positive, normal and finite. */
double rbe__log(double x);

/* sin(2 pi turns), error under 1e-15 for |turns| under 2^20. */
double rbe__sin_turns(double turns);

#endif
