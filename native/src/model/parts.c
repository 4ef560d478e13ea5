#include "model/parts.h"

#include <string.h>

#include "base/status.h"
#include "kernels/checksum.h"
#include "model/model.h"

typedef struct known_part {
    const char *name;
    uint32_t versions; /* 1 to this */
} known_part;

static const known_part known_parts[] = {
    {RBE_PART_MODES, 1},         {RBE_PART_BANDS, 1},          {RBE_PART_ENCODER, 1},          {RBE_PART_ENCODER_DECODER, 1},
    {RBE_PART_LAYER_OPTIONS, 1}, {RBE_PART_ATTENTION_GATE, 1}, {RBE_PART_EXPERTS, 1},          {RBE_PART_SHARED_EXPERT, 1},
    {RBE_PART_LAYER_KINDS, 1},   {RBE_PART_LAYER_SHAPES, 1},   {RBE_PART_LAYER_EMBEDDINGS, 1}, {RBE_PART_TERNARY, 1},
    {RBE_PART_INNER_NORMS, 1},
};

int rbe__part_is_known(const char *name, uint32_t name_bytes, uint32_t version)
{
    for (size_t i = 0; i < sizeof known_parts / sizeof *known_parts; i++) {
        if (strlen(known_parts[i].name) == name_bytes && memcmp(known_parts[i].name, name, name_bytes) == 0) {
            return version >= 1 && version <= known_parts[i].versions;
        }
    }
    return 0;
}

int rbe__pack_requires(const rbe__pack *pack, const char *name)
{
    const rbe__part *part = rbe__pack_part(pack, name);
    return part && part->known && (part->flags & RBE_PART_REQUIRED);
}

rbe_status rbe__part_damaged(const char *path, const rbe__part *part)
{
    return rbe_fail(RBE_ERROR_FORMAT, "%s%sdamaged file: part `%.*s`: field `checksum` does not match its data; copy the file again",
                    path ? path : "", path ? ": " : "", (int)part->name_bytes, part->name);
}

uint32_t rbe_model_part_count(const rbe_model *model)
{
    return model ? model->pack.n_parts : 0;
}

rbe_status rbe_model_part_info(const rbe_model *model, uint32_t index, rbe_part_info *out)
{
    if (!model || index >= model->pack.n_parts) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_part_info: no part %u", index);
    }
    const rbe__part *part = &model->pack.parts[index];
    const rbe_part_info known = {
        .name = part->name,
        .name_bytes = part->name_bytes,
        .version = part->version,
        .flags = part->flags,
        .known = part->known != 0,
        .data_bytes = part->bytes,
    };
    return rbe__give_info("rbe_model_part_info", out, &known, sizeof known);
}

static uint32_t checksum_of(const rbe_model *model, const rbe__part *part)
{
    rbe__crc crc;
    rbe__crc_init(&model->kernels, &crc);
    return rbe__crc_update(&crc, 0, part->data, (size_t)part->bytes);
}

rbe_status rbe_model_part(const rbe_model *model, const char *name, const void **data, uint64_t *bytes, uint32_t *version)
{
    if (!data || !bytes) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_part: data or bytes is NULL");
    }
    *data = NULL;
    *bytes = 0;
    if (version) {
        *version = 0;
    }
    if (!model || !name) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_part: model or name is NULL");
    }
    const rbe__part *part = rbe__pack_part(&model->pack, name);
    if (!part) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "the file has no part `%.*s`", (int)RBE_MOST_PART_NAME, name);
    }
    if (!part->verified && checksum_of(model, part) != part->checksum) {
        return rbe__part_damaged(NULL, part);
    }
    *data = part->data;
    *bytes = part->bytes;
    if (version) {
        *version = part->version;
    }
    return RBE_OK;
}
