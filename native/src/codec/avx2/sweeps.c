#define RBE_SWEEPS rbe__sweeps_avx2
#include "codec/viterbi_body.h"
