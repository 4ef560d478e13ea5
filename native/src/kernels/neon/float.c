#include "kernels/neon/neon.h"
#include "kernels/neon/vector.h"

#include "kernels/shared/elementwise.h"
#include "kernels/shared/exponential.h"
#include "kernels/shared/float.h"
#include "kernels/shared/weighted_sum.h"

void rbe__neon_accumulate(float *y, const int32_t *acc, uint32_t n, float scale)
{
    accumulate(y, acc, n, scale);
}

void rbe__neon_accumulate_rows(float *y, const int32_t *acc, uint32_t n, float scale, const uint16_t *scales)
{
    accumulate_rows(y, acc, n, scale, scales);
}

void rbe__neon_float(rbe_kernels *table)
{
    set_float(table);
    set_weighted_sum(table);
    set_elementwise(table);
    set_exponential(table);
}
