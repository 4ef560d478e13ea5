/* The functions of the scalar set (contracts: kernels/kernels.h). One per contract serves all K. */
#ifndef RBE_KERNELS_SCALAR_H
#define RBE_KERNELS_SCALAR_H

#include "kernels/kernels.h"

rbe_dot_kernel rbe__dot_scalar;
rbe_generate_kernel rbe__generate_scalar;
rbe_multiply_tile_kernel rbe__multiply_tile_scalar;
rbe_grouped_dot_kernel rbe__dot_ternary_scalar, rbe__dot_binary_scalar;
rbe_grouped_generate_kernel rbe__generate_ternary_scalar, rbe__generate_binary_scalar;
rbe_accumulate_rows_kernel rbe__accumulate_rows_scalar;
rbe_checksum_kernel rbe__checksum_scalar;
rbe_activation_kernel rbe__silu_scalar, rbe__gelu_scalar, rbe__gelu_tanh_scalar;
rbe_softcap_kernel rbe__softcap_scalar;
rbe_exponential_kernel rbe__exponential_scalar;
rbe_online_softmax_kernel rbe__online_softmax_scalar;

/* The sum of the lanes: lane i + lane i + 8 for i < 8, then i + 4, i + 2, i + 1. */
float rbe__sum_lanes_scalar(const float lanes[RBE_SUM_LANES]);

#endif
