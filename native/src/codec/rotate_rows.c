/* rbe_rotate_rows: docs/format.md, "Rotation". */
#include "base/status.h"
#include "kernels/kernels.h"
#include "rbe/codec.h"
#include "weights/tensor.h"

#define MAX_BLOCK 65536u

rbe_status rbe_rotate_rows(float *weights, uint32_t rows, uint32_t cols, uint32_t block, uint64_t seed, int inverse)
{
    if (weights == NULL) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_rotate_rows: weights is NULL");
    }
    if (block == 0 || block > MAX_BLOCK || (block & (block - 1)) != 0 || cols == 0 || cols % block != 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "a rotation in blocks of %u: it must be a power of two up to %u that divides %u columns", block,
                        MAX_BLOCK, cols);
    }
    rbe_kernels kernels;
    rbe__kernels_select(NULL, &kernels);
    for (uint32_t row = 0; row < rows; row++) {
        float *w = weights + (size_t)row * cols;
        if (!inverse) {
            rbe__apply_signs(w, cols, seed);
        }
        kernels.hadamard(w, cols, block);
        if (inverse) {
            rbe__apply_signs(w, cols, seed);
        }
    }
    return RBE_OK;
}
