/* Required parts that say what tensors there are: docs/format.md, section 6. */
#ifndef RBE_PACK_REQUIRED_H
#define RBE_PACK_REQUIRED_H

#include "model/pack_reader.h"

/* RBE_ERROR_FORMAT unless a pack, whose bands are joined, has the required part `ternary` exactly where it has binary or ternary tensors, and
 * `inner_norms` and `attention_gate` exactly where it has tensors of such names, which a reader that knows none would leave out. */
rbe_status rbe__pack_check_required(const rbe__pack *pack);

#endif
