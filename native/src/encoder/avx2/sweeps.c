#define RBE_SWEEPS rbe__sweeps_avx2
#include "encoder/viterbi_body.h"
