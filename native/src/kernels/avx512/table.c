#include "kernels/avx512/avx512.h"

void rbe__kernels_avx512(rbe_kernels *table)
{
    rbe__avx512_trellis(table);
    rbe__avx512_float(table);
    rbe__avx512_multiply_tile(table);
}
