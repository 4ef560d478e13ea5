/* The parts of the AVX2 set. */
#ifndef RBE_KERNELS_AVX2_H
#define RBE_KERNELS_AVX2_H

#include "kernels/kernels.h"

void rbe__avx2_integer(rbe_kernels *table);
void rbe__avx2_float(rbe_kernels *table);
rbe_checksum_kernel rbe__avx2_checksum; /* + PCLMULQDQ */
void rbe__avx2_grouped(rbe_kernels *table);
rbe_accumulate_rows_kernel rbe__avx2_accumulate_rows; /* that of the floats, for the grouped dot */
rbe_accumulate_kernel rbe__avx2_accumulate; /* that of the floats, for dot */

#endif
