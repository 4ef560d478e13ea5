#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vector.h"

#include "kernels/shared/float.h"

void rbe__avx512_float(rbe_kernels *table)
{
    const rbe_kernels avx2 = *table;
    set_float(table);
    /* Converting 16 halves takes Zen 4 more than twice as long as 8: AVX2 mixes 47 values in a nanosecond, this 28. */
    table->scores_f16 = avx2.scores_f16;
    table->mix_f16 = avx2.mix_f16;
}
