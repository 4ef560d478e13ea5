#define RBE_SWEEPS rbe__sweeps_avx512
#include "codec/viterbi_body.h"
