#define RBE_NEON_DOTPROD 0
#include "kernels/neon/trellis.h"

void rbe__neon_trellis(rbe_kernels *table)
{
    set_trellis(table);
}
