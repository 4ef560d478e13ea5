#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vector.h"

#include "kernels/shared/elementwise.h"
#include "kernels/shared/exponential.h"
#include "kernels/shared/float.h"
#include "kernels/shared/weighted_sum.h"

void rbe__avx512_accumulate_rows(float *y, const int32_t *acc, uint32_t n, float scale, const uint16_t *scales)
{
    accumulate_rows(y, acc, n, scale, scales);
}

void rbe__avx512_float(rbe_kernels *table)
{
    const rbe_kernels avx2 = *table;
    set_float(table);
    set_weighted_sum(table);
    set_elementwise(table);
    set_exponential(table);
    /* Converting 16 halves takes Zen 4 more than twice as long as 8. The sums are the same bits: each column has its own. */
    table->weighted_sum_f16 = avx2.weighted_sum_f16;
}
