#include "model/attention_gate.h"

#include <string.h>

#include "base/status.h"
#include "model/parts.h"

static int is_gate(const rbe__tensor *tensor)
{
    static const char ending[] = ".attention.gate";
    const size_t bytes = sizeof ending - 1;
    return tensor->name_bytes > bytes && memcmp(tensor->name + tensor->name_bytes - bytes, ending, bytes) == 0;
}

rbe_status rbe__attention_gate_check(const rbe__pack *pack, const char *path)
{
    const int has_part = rbe__pack_requires(pack, RBE_PART_ATTENTION_GATE);
    int has_gate = 0;
    for (uint32_t i = 0; i < pack->n_tensors && !has_gate; i++) {
        has_gate = is_gate(&pack->tensors[i]);
    }
    return has_part == has_gate ? RBE_OK
                                : rbe_fail(RBE_ERROR_FORMAT,
                                           has_part ? "%s: it has the part `attention_gate`, and no tensor is a gate of attention"
                                                    : "%s: it has gates of attention, and lacks the part `attention_gate`",
                                           path);
}
