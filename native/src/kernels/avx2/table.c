#include "kernels/avx2/avx2.h"

void rbe__kernels_avx2(rbe_kernels *table)
{
    rbe__avx2_integer(table);
    rbe__avx2_float(table);
}
