/* What the rest of the library asks of a sampler beyond rbe/rbe.h. */
#ifndef RBE_SAMPLING_H
#define RBE_SAMPLING_H

#include "rbe/rbe.h"

/* How many logits it reads for a draw. */
uint32_t rbe__sampler_vocabulary(const rbe_sampler *sampler);

/* Bytes of memory of one for so many tokens, with the default repeat_last. */
uint64_t rbe__sampler_bytes(uint32_t n_vocabulary);

#endif
