/* Binary and ternary tensors of a file: docs/format.md, "Groups". */
#ifndef RBE_PACK_GROUPED_H
#define RBE_PACK_GROUPED_H

#include "model/pack_reader.h"

/* RBE_ERROR_FORMAT unless a pack has the required part `ternary` exactly where it has such tensors. */
rbe_status rbe__pack_check_grouped(const rbe__pack *pack);

#endif
