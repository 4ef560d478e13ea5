#define RBE_NEON_DOTPROD 1
#include "kernels/neon/integer.h"

void rbe__neon_integer_dotprod(rbe_kernels *table)
{
    RBE_SET_TRELLIS(table);
    RBE_SET_MULTIPLY_TILE(table);
}
