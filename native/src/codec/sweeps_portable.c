#define RBE_SWEEPS rbe__sweeps_portable
#include "codec/viterbi_body.h"
