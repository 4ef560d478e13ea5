#include "model/pack_required.h"

#include <string.h>

#include "base/status.h"
#include "model/parts.h"

static int ends_with(const rbe__tensor *tensor, const char *ending)
{
    const size_t n = strlen(ending);
    return tensor->name_bytes > n && memcmp(tensor->name + tensor->name_bytes - n, ending, n) == 0;
}

static int is_inner_norm(const rbe__tensor *tensor)
{
    return ends_with(tensor, ".inner_norm");
}

static int is_gate(const rbe__tensor *tensor)
{
    return ends_with(tensor, ".attention.gate");
}

/* A part, the tensors that ask for it, and words for a message: that none is there, that some are. */
typedef struct required_part {
    const char *name;
    int (*asks)(const rbe__tensor *tensor);
    const char *none, *some;
} required_part;

static const required_part required_parts[] = {
    {RBE_PART_TERNARY, rbe__tensor_is_grouped, "no ternary or binary tensor", "a ternary or binary tensor"},
    {RBE_PART_INNER_NORMS, is_inner_norm, "no tensor `inner_norm`", "a tensor `inner_norm`"},
    {RBE_PART_ATTENTION_GATE, is_gate, "no tensor is a gate of attention", "gates of attention"},
};

static rbe_status check(const rbe__pack *pack, const required_part *part)
{
    const int has_part = rbe__pack_requires(pack, part->name);
    int is_asked = 0;
    for (uint32_t i = 0; i < pack->n_tensors && !is_asked; i++) {
        is_asked = part->asks(&pack->tensors[i]);
    }
    if (has_part == is_asked) {
        return RBE_OK;
    }
    return has_part ? rbe_fail(RBE_ERROR_FORMAT, "%s: it has the part `%s`, and %s", pack->path, part->name, part->none)
                    : rbe_fail(RBE_ERROR_FORMAT, "%s: it has %s, and lacks the part `%s`", pack->path, part->some, part->name);
}

rbe_status rbe__pack_check_required(const rbe__pack *pack)
{
    for (size_t i = 0; i < sizeof required_parts / sizeof *required_parts; i++) {
        RBE_TRY(check(pack, &required_parts[i]));
    }
    return RBE_OK;
}
