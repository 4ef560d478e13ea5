#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vector.h"

#include "kernels/shared/float.h"

void rbe__avx512_float(rbe_kernels *table)
{
    set_float(table);
}
