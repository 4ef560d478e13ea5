/* Matrices whose rows lie in several tensors (docs/format.md, "Bands"). */
#ifndef RBE_PACK_BANDS_H
#define RBE_PACK_BANDS_H

#include "model/pack_reader.h"

/* Puts one matrix of RBE_KIND_BANDS in place of each run of tensors `NAME#0`, `NAME#1`, ... of a pack that has the part `bands`; does nothing
 * without that part. Call it when all else was read and the tensors were identified. RBE_ERROR_FORMAT where tensors of
 * such names do not make up a matrix. */
rbe_status rbe__pack_join_bands(rbe__pack *pack);

#endif
