#include "model/pack_required.h"

#include <string.h>

#include "base/status.h"
#include "model/parts.h"
#include "rbe/parts.h"

static int is_inner_norm(const rbe__tensor *tensor)
{
    static const char ending[] = ".inner_norm";
    const size_t n = sizeof ending - 1;
    return tensor->name_bytes > n && memcmp(tensor->name + tensor->name_bytes - n, ending, n) == 0;
}

static rbe_status check(const rbe__pack *pack, const char *name, int is_needed, const char *what)
{
    const int has_part = rbe__pack_requires(pack, name);
    if (has_part == is_needed) {
        return RBE_OK;
    }
    return has_part ? rbe_fail(RBE_ERROR_FORMAT, "%s: it has the part `%s`, and no %s", pack->path, name, what)
                    : rbe_fail(RBE_ERROR_FORMAT, "%s: it has a %s, and lacks the part `%s`", pack->path, what, name);
}

rbe_status rbe__pack_check_required(const rbe__pack *pack)
{
    int has_grouped = 0, has_inner_norm = 0;
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        has_grouped |= rbe__tensor_is_grouped(&pack->tensors[i]);
        has_inner_norm |= is_inner_norm(&pack->tensors[i]);
    }
    RBE_TRY(check(pack, RBE_PART_TERNARY, has_grouped, "ternary or binary tensor"));
    return check(pack, RBE_PART_INNER_NORMS, has_inner_norm, "tensor `inner_norm`");
}
