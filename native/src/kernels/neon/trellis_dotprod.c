#define RBE_NEON_DOTPROD 1
#include "kernels/neon/trellis.h"

void rbe__neon_trellis_dotprod(rbe_kernels *table)
{
    set_trellis(table);
}
