/* The product that error feedback spends its time on, written once for every vector width: the including file's flags decide. No
 * multiplication is contracted with its subtraction, so that the numbers are the same everywhere. */
#ifndef RBE_KERNELS_SHARED_SUBTRACT_H
#define RBE_KERNELS_SHARED_SUBTRACT_H

#include <stddef.h>
#include <string.h>

#include "kernels/shared/inline.h"

typedef float rbe_rows __attribute__((vector_size(32)));

/* For 8 n_vectors rows. */
RBE_INLINE void subtract_rows(const size_t n_vectors, float *to, const float *from, const float *factors, size_t stride, size_t rows,
                              size_t n)
{
    rbe_rows left[2][4];
    RBE_UNROLL(4)
    for (size_t v = 0; v < n_vectors; v++) {
        RBE_UNROLL(4)
        for (size_t c = 0; c < 4; c++) {
            memcpy(&left[v][c], to + c * rows + 8 * v, sizeof left[v][c]);
        }
    }
    for (size_t k = 0; k < n; k++) {
        RBE_UNROLL(4)
        for (size_t v = 0; v < n_vectors; v++) {
            rbe_rows own;
            memcpy(&own, from + k * rows + 8 * v, sizeof own);
            RBE_UNROLL(4)
            for (size_t c = 0; c < 4; c++) {
                left[v][c] -= own * factors[k * stride + c];
            }
        }
    }
    RBE_UNROLL(4)
    for (size_t v = 0; v < n_vectors; v++) {
        RBE_UNROLL(4)
        for (size_t c = 0; c < 4; c++) {
            memcpy(to + c * rows + 8 * v, &left[v][c], sizeof left[v][c]);
        }
    }
}

/* rbe__subtract (kernels/sweeps.h). */
static void subtract_products(float *to, const float *from, const float *factors, size_t stride, size_t rows, size_t n)
{
    size_t r = 0;
    for (; r + 16 <= rows; r += 16) {
        subtract_rows(2, to + r, from + r, factors, stride, rows, n);
    }
    for (; r < rows; r += 8) {
        subtract_rows(1, to + r, from + r, factors, stride, rows, n);
    }
}

#endif
