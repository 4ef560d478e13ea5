#include "base/elementary.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LN2_HIGH 0x1.62e42fefa0000p-1 /* ends in zeros: its products with exponents are exact */
#define LN2_LOW 0x1.cf79abc9e3b3ap-40

static double from_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

double rbe__exp(double x)
{
    /* Taylor's series to r^13 for |r| <= ln 2 / 2: the next term is under 2^-57 of the result there. */
    static const double inverse_factorials[] = {
        1.0,        1.0,         1.0 / 2,      1.0 / 6,       1.0 / 24,       1.0 / 120,       1.0 / 720,
        1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0};
    if (!(x >= -708.0)) {
        return x < 0 ? 0.0 : x; /* x: NaN */
    }
    if (x > 709.0) {
        return HUGE_VAL;
    }
    const double n = rint(x * 1.44269504088896340736), r = (x - n * LN2_HIGH) - n * LN2_LOW;
    double sum = 0;
    for (int i = 13; i >= 0; i--) {
        sum = sum * r + inverse_factorials[i];
    }
    return sum * from_bits((uint64_t)((int64_t)n + 1023) << 52);
}

double rbe__log(double x)
{
    /* x = m 2^e with m from sqrt(1/2) to sqrt(2); log m = 2 artanh(s) for s = (m - 1) / (m + 1), |s| < .172: its series to s^23. */
    const uint64_t bits = bits_of(x), of_root = 0x3fe6a09e667f3bcdu; /* sqrt(1/2) */
    const int64_t e = (int64_t)(bits - of_root) >> 52;
    const double m = from_bits(bits - ((uint64_t)e << 52)), s = (m - 1) / (m + 1), square = s * s;
    double sum = 0;
    for (int i = 11; i >= 0; i--) {
        sum = sum * square + 1.0 / (2 * i + 1);
    }
    return (double)e * LN2_HIGH + (2 * s * sum + (double)e * LN2_LOW);
}

double rbe__sin_turns(double turns)
{
    /* Taylor's series to x^21 on +-pi/2: the next term is under 2e-18 there. */
    static const double inverse_factorials[] = {1.0,
                                                -1.0 / 6,
                                                1.0 / 120,
                                                -1.0 / 5040,
                                                1.0 / 362880,
                                                -1.0 / 39916800,
                                                1.0 / 6227020800,
                                                -1.0 / 1307674368000,
                                                1.0 / 355687428096000,
                                                -1.0 / 121645100408832000.0,
                                                1.0 / 51090942171709440000.0};
    double t = turns - rint(turns); /* exact; rint is correctly rounded everywhere */
    t = t > 0.25 ? 0.5 - t : t < -0.25 ? -0.5 - t : t;
    double x = 6.283185307179586476925 * t, square = x * x, sum = 0;
    for (int i = 10; i >= 0; i--) {
        sum = sum * square + inverse_factorials[i];
    }
    return x * sum;
}
