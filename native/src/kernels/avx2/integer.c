#define RBE_AVX2_VNNI 0
#include "kernels/avx2/integer.h"

void rbe__avx2_integer(rbe_kernels *table)
{
    RBE_SET_TRELLIS(table);
    RBE_SET_MULTIPLY_TILE(table);
}
