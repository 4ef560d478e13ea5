#define RBE_SWEEPS rbe__sweeps_scalar
#include "kernels/shared/sweeps.h"
