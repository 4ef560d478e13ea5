#include "model/pack_grouped.h"

#include "base/status.h"
#include "model/parts.h"
#include "rbe/parts.h"

rbe_status rbe__pack_check_grouped(const rbe__pack *pack)
{
    const rbe__part *part = rbe__pack_part(pack, RBE_PART_TERNARY);
    const int has_part = part && part->known && (part->flags & RBE_PART_REQUIRED);
    int has_tensor = 0;
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        has_tensor |= rbe__tensor_is_grouped(&pack->tensors[i]);
    }
    if (has_part == has_tensor) {
        return RBE_OK;
    }
    return rbe_fail(RBE_ERROR_FORMAT,
                    has_part ? "%s: it has the part `ternary`, and no tensor is ternary or binary"
                             : "%s: a tensor is ternary or binary, and it lacks the part `ternary`",
                    pack->path);
}
