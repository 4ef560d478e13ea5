#include "kernels/avx2/avx2.h"
#include "kernels/sweeps.h"

void rbe__kernels_avx2(rbe_kernels *table)
{
    rbe__avx2_integer(table);
    rbe__avx2_float(table);
    table->checksum = rbe__avx2_checksum;
    rbe__avx2_grouped(table);
#if RBE_CODEC
    table->sweeps = &rbe__sweeps_avx2;
#endif
}
