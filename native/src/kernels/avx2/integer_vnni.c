/* With AVX-VNNI (Alder Lake and later without AVX-512, Zen 5 too). */
#define RBE_AVX2_VNNI 1
#if !defined(RBE_VNNI_EVEX)
#define RBE_VNNI_EVEX 0
#endif
#include "kernels/avx2/integer.h"

#if RBE_VNNI_EVEX
void rbe__kernels_avx2_vnni_evex(rbe_kernels *table);

void rbe__kernels_avx2_vnni_evex(rbe_kernels *table)
#else
void rbe__kernels_avx2_vnni(rbe_kernels *table)
#endif
{
    RBE_SET_TRELLIS(table);
    RBE_SET_MULTIPLY_TILE(table);
}
