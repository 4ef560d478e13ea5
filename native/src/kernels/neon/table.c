#include "kernels/neon/neon.h"

void rbe__kernels_neon(rbe_kernels *table)
{
    rbe__neon_integer(table);
    rbe__neon_float(table);
    rbe__neon_grouped(table);
}

#if defined(__aarch64__)
void rbe__kernels_neon_crc(rbe_kernels *table)
{
    table->checksum = rbe__neon_checksum_crc;
}

void rbe__kernels_neon_dotprod(rbe_kernels *table)
{
    rbe__neon_integer_dotprod(table);
}

void rbe__kernels_neon_i8mm(rbe_kernels *table)
{
    rbe__neon_multiply_tile_i8mm(table);
}
#endif
