/* The trellis kernels with what every AVX-512 processor with VNNI has: nibbles by shift and mask, vpshufb. */
#define RBE_AVX512_VBMI 0
#include "kernels/avx512/trellis.h"

void rbe__avx512_trellis(rbe_kernels *table)
{
    RBE_SET_TRELLIS(table);
}
