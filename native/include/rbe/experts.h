/* experts.h: mixtures of experts (docs/architectures.md, "Mixtures of experts"). Conventions are those of rbe.h. */
#ifndef RBE_EXPERTS_H
#define RBE_EXPERTS_H

#include "rbe/rbe.h"

/* Further activations that a callback of rbe_session_run_layers is shown, beside those of rbe_capture_point: of expert E of a layer the point
 * RBE_CAPTURE_EXPERT_INPUT + E, what its gate and up read, and RBE_CAPTURE_EXPERT_DOWN + E, what its down reads. They are of those tokens of a
 * pass alone that have chosen it, in their order, and come in ascending order of the experts; an expert that none has chosen is not shown. What
 * the router reads, of all tokens, is RBE_CAPTURE_UP, before them; gate and up of a shared part read the same, and what its down reads is
 * RBE_CAPTURE_DOWN, behind them. E < 0x10000. */
enum { RBE_CAPTURE_EXPERT_INPUT = 0x10000, RBE_CAPTURE_EXPERT_DOWN = 0x20000 };

#endif
