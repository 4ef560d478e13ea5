#include "kernels/log_sum.h"

#include "base/elementary.h"

#define PIECE 256u /* values at a time, on the stack */

void rbe__long_sum_add(rbe__long_sum *sum, const float *values, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        sum->lanes[i % 8] += (double)values[i];
    }
}

double rbe__long_sum_total(const rbe__long_sum *sum)
{
    double total = 0;
    for (uint32_t i = 0; i < 8; i++) {
        total += sum->lanes[i];
    }
    return total;
}

double rbe__log_sum(const rbe_kernels *kernels, const float *logits, uint32_t n, float *largest)
{
    float most = logits[0], piece[PIECE];
    for (uint32_t i = 1; i < n; i++) {
        most = logits[i] > most ? logits[i] : most;
    }
    rbe__long_sum sum = {{0}};
    for (uint32_t first = 0; first < n; first += PIECE) {
        const uint32_t here = n - first < PIECE ? n - first : PIECE;
        for (uint32_t i = 0; i < here; i++) {
            piece[i] = logits[first + i] - most;
        }
        kernels->exponential(piece, here);
        rbe__long_sum_add(&sum, piece, here);
    }
    *largest = most;
    return rbe__log(rbe__long_sum_total(&sum));
}
