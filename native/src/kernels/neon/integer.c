#define RBE_NEON_DOTPROD 0
#include "kernels/neon/integer.h"

void rbe__neon_integer(rbe_kernels *table)
{
    RBE_SET_TRELLIS(table);
    RBE_SET_MULTIPLY_TILE(table);
}
