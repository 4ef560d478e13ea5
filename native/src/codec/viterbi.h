/* The tail-biting search for the best stream of a lane: sweeps (kernels/sweeps.h) from a few start states, and the best of their
 * circular paths. The quick search tries one start state: where the best free path over the lane, begun at its middle, passes the seam. It
 * takes 2 sweeps in place of 2 + n_starts, and leaves 1 to 5 % more error (docs/codec.md, "Tail-biting"). */
#ifndef RBE_CODEC_VITERBI_H
#define RBE_CODEC_VITERBI_H

#include "kernels/sweeps.h"
#include "rbe/codec.h"

/* RBE_ERROR_ARGUMENT unless bits is 1 to 4 and every sum within +-127. */
rbe_status rbe__codebook_check(const rbe_codebook *codebook);

/* A codebook that passed the check. */
void rbe__trellis_make(const rbe_codebook *codebook, rbe__trellis *out);

/* branches[step][lane] = the windows of the best circular stream of every lane of the lanes. */
void rbe__viterbi(const rbe__sweeps *sweeps, const rbe__trellis *trellis, const rbe__sweep_lanes *lanes, rbe__sweep_space *space,
                  uint16_t branches[][RBE_SWEEP_LANES]);

#endif
