/* The parts of the NEON sets. */
#ifndef RBE_KERNELS_NEON_H
#define RBE_KERNELS_NEON_H

#include "kernels/kernels.h"

void rbe__neon_integer(rbe_kernels *table);
void rbe__neon_float(rbe_kernels *table);
void rbe__neon_grouped(rbe_kernels *table);
rbe_accumulate_rows_kernel rbe__neon_accumulate_rows; /* that of the floats, for the grouped dot */
rbe_accumulate_kernel rbe__neon_accumulate; /* that of the floats, for dot */
rbe_checksum_kernel rbe__neon_checksum_crc;
void rbe__neon_integer_dotprod(rbe_kernels *table);
void rbe__neon_multiply_tile_i8mm(rbe_kernels *table);

#endif
