#define RBE_SWEEPS rbe__sweeps_avx2
#include "kernels/shared/sweeps.h"
