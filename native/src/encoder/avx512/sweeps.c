#define RBE_SWEEPS rbe__sweeps_avx512
#include "encoder/viterbi_body.h"
