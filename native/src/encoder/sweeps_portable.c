#define RBE_SWEEPS rbe__sweeps_portable
#include "encoder/viterbi_body.h"
