/* The trellis kernels with AVX512-VBMI (Ice Lake, Zen 4 and later): nibbles by vpermb. */
#define RBE_AVX512_VBMI 1
#include "kernels/avx512/trellis.h"

void rbe__kernels_avx512_vbmi(rbe_kernels *table)
{
    RBE_SET_TRELLIS(table);
    table->checksum = rbe__avx512_checksum_vbmi;
}
