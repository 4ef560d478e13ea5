/* sampling.h: what changes the logits of a sampler beyond rbe_sampling_options: biases of tokens, and penalties for tokens that the answer has
 * already. Conventions are those of rbe.h. One thread at a time, as the sampler. What is drawn has the same bits on every machine. */
#ifndef RBE_SAMPLING_API_H
#define RBE_SAMPLING_API_H

#include "rbe/rbe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* From now on `presence` is subtracted from the logit of each token that has been accepted since this call, and `frequency` once for each
 * time that it was: the penalties of OpenAI's API, which look at the answer alone. Both -100 to 100; negative ones favour repetition; both 0
 * end it. A second call forgets what was counted. They come after the biases and the repetition penalty, before temperature. */
RBE_API rbe_status rbe_sampler_penalize(rbe_sampler *sampler, float presence, float frequency);

/* From now on biases[i] is added to the logit of tokens[i], before all else. -infinity excludes a token; others are finite. A token that comes
 * twice gets both. The arrays are copied, in place of those of an earlier call; n 0 ends it. At most one for each token of the vocabulary. */
RBE_API rbe_status rbe_sampler_bias(rbe_sampler *sampler, const uint32_t *tokens, const float *biases, size_t n);

/* The sampler that a generation draws with: its own, or the caller's. It lives as long as the generation, or as its owner says. */
RBE_API rbe_sampler *rbe_generation_sampler(rbe_generation *generation);

#ifdef __cplusplus
}
#endif
#endif
