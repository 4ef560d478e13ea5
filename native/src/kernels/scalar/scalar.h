/* The functions of the scalar set (contracts: kernels/kernels.h). One per contract serves all K. */
#ifndef RBE_KERNELS_SCALAR_H
#define RBE_KERNELS_SCALAR_H

#include "kernels/kernels.h"

rbe_dot_kernel rbe__dot_scalar;
rbe_generate_kernel rbe__generate_scalar;
rbe_multiply_tile_kernel rbe__multiply_tile_scalar;
rbe_checksum_kernel rbe__checksum_scalar;

#endif
