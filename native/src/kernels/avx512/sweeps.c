#define RBE_SWEEPS rbe__sweeps_avx512
#include "kernels/shared/sweeps.h"
