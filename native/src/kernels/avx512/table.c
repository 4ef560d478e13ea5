#include "kernels/avx512/avx512.h"
#include "kernels/sweeps.h"

void rbe__kernels_avx512(rbe_kernels *table)
{
    rbe__avx512_trellis(table);
    rbe__avx512_float(table);
    rbe__avx512_grouped(table);
    rbe__avx512_multiply_tile(table);
#if RBE_CODEC
    table->sweeps = &rbe__sweeps_avx512;
#endif
}
