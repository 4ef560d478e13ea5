#include "base/elementary.h"
#include "weights/smooth_codes/smooth_codes.h"

/* Bits first .. first + n - 1 of the seed. */
static double field(uint64_t seed, uint32_t first, uint32_t n)
{
    return (double)(seed >> first & ((1u << n) - 1));
}

static double signed_field(uint64_t seed, uint32_t first, uint32_t n)
{
    double value = field(seed, first, n), span = (double)(1u << n);
    return value < span / 2 ? value : value - span;
}

void rbe__seed64_row(uint64_t seed, float scale, uint32_t rows, uint32_t cols, uint32_t row, float *out)
{
    double u = (row + 0.5) / rows - 0.5;
    double angle = field(seed, 0, 9) / 512 + signed_field(seed, 9, 10) / 32 * u, angle_v = signed_field(seed, 19, 10) / 32;
    double phase = field(seed, 29, 7) / 128 + signed_field(seed, 36, 7) / 8 * u, phase_v = signed_field(seed, 43, 7) / 8;
    double depth = field(seed, 50, 6) / 63, radius = (field(seed, 56, 8) + 0.5) / 256;
    for (uint32_t c = 0; c < cols; c++) {
        double v = (c + 0.5) / cols - 0.5;
        double cosine = rbe__sin_turns(phase + phase_v * v + 0.25);
        double r = radius * (1 + depth * cosine) / (1 + depth);
        out[c] = (float)((double)scale * (2 * r / (1 + r * r)) * rbe__sin_turns(angle + angle_v * v));
    }
}
