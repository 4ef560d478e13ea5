/* What the rest of the library asks of a sampler beyond rbe/rbe.h. */
#ifndef RBE_SAMPLING_H
#define RBE_SAMPLING_H

#include "rbe/rbe.h"

/* How many logits it reads for a draw. */
uint32_t rbe__sampler_vocabulary(const rbe_sampler *sampler);

#endif
