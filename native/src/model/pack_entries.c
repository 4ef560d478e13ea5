#include "model/pack_entries.h"

#include <math.h>
#include <string.h>

#include "base/status.h"
#include "model/parts.h"

static rbe_status malformed(const rbe__cursor *at, const char *field, const char *problem)
{
    return rbe_fail(RBE_ERROR_FORMAT, "%s: damaged file: %s %u: field `%s` %s", at->path, at->list, at->entry, field, problem);
}

static rbe_status take(rbe__cursor *at, const char *field, uint64_t bytes, const uint8_t **out)
{
    if (bytes > at->end - at->position) {
        return malformed(at, field, "goes past the end of the index");
    }
    *out = at->data + at->position;
    at->position += bytes;
    return RBE_OK;
}

static rbe_status take_u32(rbe__cursor *at, const char *field, uint32_t *out)
{
    const uint8_t *bytes;
    RBE_TRY(take(at, field, 4, &bytes));
    memcpy(out, bytes, 4);
    return RBE_OK;
}

static rbe_status take_u64(rbe__cursor *at, const char *field, uint64_t *out)
{
    const uint8_t *bytes;
    RBE_TRY(take(at, field, 8, &bytes));
    memcpy(out, bytes, 8);
    return RBE_OK;
}

static rbe_status take_finite_f32(rbe__cursor *at, const char *field, float *out)
{
    const uint8_t *bytes;
    RBE_TRY(take(at, field, 4, &bytes));
    memcpy(out, bytes, 4);
    return isfinite(*out) ? RBE_OK : malformed(at, field, "is not finite");
}

static rbe_status take_name(rbe__cursor *at, const char **name, uint32_t *name_bytes)
{
    const uint8_t *bytes;
    RBE_TRY(take_u32(at, "name", name_bytes));
    if (*name_bytes < 1 || *name_bytes > 255) {
        return malformed(at, "name", "is not 1 to 255 characters long");
    }
    RBE_TRY(take(at, "name", *name_bytes, &bytes));
    for (uint32_t i = 0; i < *name_bytes; i++) {
        if (bytes[i] < 33 || bytes[i] > 126) {
            return malformed(at, "name", "holds a character that is not printable ASCII");
        }
    }
    *name = (const char *)bytes;
    return RBE_OK;
}

/* Where a blob or tensor lies: offset, bytes, checksum; inside the file, behind the index, aligned. */
static rbe_status take_area(rbe__cursor *at, const rbe__pack *pack, const uint8_t **data, uint64_t *bytes, uint32_t *checksum)
{
    uint64_t offset;
    RBE_TRY(take_u64(at, "offset", &offset));
    RBE_TRY(take_u64(at, "bytes", bytes));
    RBE_TRY(take_u32(at, "checksum", checksum));
    if (offset % 64 != 0) {
        return malformed(at, "offset", "is not a multiple of 64");
    }
    if (offset < at->end || offset > pack->file.bytes) {
        return malformed(at, "offset", "lies outside the file's data");
    }
    if (*bytes > pack->file.bytes - offset) {
        return malformed(at, "bytes", "goes past the end of the file");
    }
    *data = pack->file.data + offset;
    return RBE_OK;
}

rbe_status rbe__take_metadata(rbe__cursor *at, rbe_metadata *out)
{
    const uint8_t *bytes;
    uint32_t key_bytes;
    RBE_TRY(take_name(at, &out->key, &key_bytes));
    out->key_bytes = key_bytes;
    RBE_TRY(take_u32(at, "type", &out->type));
    uint64_t size = 8;
    out->count = 1;
    switch (out->type) {
    case RBE_VALUE_U64:
    case RBE_VALUE_F64: break;
    case RBE_VALUE_STRING:
        RBE_TRY(take_u32(at, "count", &out->count));
        size = out->count;
        break;
    case RBE_VALUE_U64_ARRAY:
        RBE_TRY(take_u32(at, "count", &out->count));
        size = 8ull * out->count;
        break;
    default: return malformed(at, "type", "is unknown");
    }
    RBE_TRY(take(at, "value", size, &bytes));
    out->data = bytes;
    if (out->type == RBE_VALUE_F64) {
        double value;
        memcpy(&value, bytes, sizeof value);
        if (!isfinite(value)) {
            return malformed(at, "value", "is not finite");
        }
    }
    return RBE_OK;
}

rbe_status rbe__take_codebook(rbe__cursor *at, rbe_codebook *out)
{
    const uint8_t *bytes;
    RBE_TRY(take_u32(at, "bits", &out->bits));
    if (out->bits < 1 || out->bits > 4) {
        return malformed(at, "bits", "is not 1 to 4");
    }
    RBE_TRY(take(at, "tables", 32, &bytes));
    memcpy(out->t1, bytes, 16);
    memcpy(out->t2, bytes + 16, 16);
    for (int i = 0; i < 256; i++) {
        int sum = out->t1[i / 16] + out->t2[i % 16];
        if (sum < -127 || sum > 127) {
            return malformed(at, "tables", "have a sum outside +-127");
        }
    }
    return RBE_OK;
}

rbe_status rbe__take_blob(rbe__cursor *at, const rbe__pack *pack, const rbe__crc *crc, rbe__blob *out)
{
    uint32_t checksum;
    RBE_TRY(take_name(at, &out->name, &out->name_bytes));
    RBE_TRY(take_area(at, pack, &out->data, &out->bytes, &checksum));
    if (!pack->index_only && rbe__crc_update(crc, 0, out->data, (size_t)out->bytes) != checksum) {
        return malformed(at, "checksum", "does not match its data; copy the file again");
    }
    return RBE_OK;
}

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 63) & ~63ull;
}

/* Row scales and streams of each plane, and block scales, are found by walking; the walk must end at data_bytes. */
static rbe_status place_planes(const rbe__cursor *at, rbe__tensor *tensor, int has_block_scales, int index_only)
{
    const uint8_t *data = tensor->data;
    uint64_t position = 0, needed;
    uint32_t n_blocks = (tensor->cols - 1) / RBE_BLOCK_COLS + 1;
    needed = has_block_scales ? padded(4ull * n_blocks) : 0;
    for (uint32_t p = 0; p < tensor->n_planes; p++) {
        needed += padded(2ull * tensor->rows) + padded(rbe__stream_bytes(&tensor->layout, tensor->planes[p].bits));
    }
    if (needed != tensor->data_bytes) { /* under 2^60, no overflow: rows x cols is at most 2^40 */
        return malformed(at, "bytes", "does not match the tensor's shape and planes");
    }
    if (has_block_scales) {
        tensor->block_scales = (const float *)(const void *)data;
        for (uint32_t b = 0; b < n_blocks && !index_only; b++) {
            if (!isfinite(tensor->block_scales[b])) {
                return malformed(at, "block scales", "are not all finite");
            }
        }
        position += padded(4ull * n_blocks);
    }
    for (uint32_t p = 0; p < tensor->n_planes; p++) {
        rbe__plane *plane = &tensor->planes[p];
        plane->row_scales = (const uint16_t *)(const void *)(data + position);
        for (uint32_t r = 0; r < tensor->rows && !index_only; r++) {
            if ((plane->row_scales[r] & 0x7C00u) == 0x7C00u) {
                return malformed(at, "row scales", "are not all finite");
            }
        }
        position += padded(2ull * tensor->rows);
        plane->stream = data + position;
        position += padded(rbe__stream_bytes(&tensor->layout, plane->bits));
    }
    return RBE_OK;
}

static rbe_status take_trellis(rbe__cursor *at, const rbe__pack *pack, rbe__tensor *out)
{
    uint32_t rotation, flags;
    RBE_TRY(take_u32(at, "rotation", &rotation));
    RBE_TRY(take_u32(at, "rotation_block", &out->rotation_block));
    RBE_TRY(take_u64(at, "seed", &out->seed));
    RBE_TRY(take_finite_f32(at, "tensor_scale", &out->tensor_scale));
    RBE_TRY(take_u32(at, "flags", &flags));
    RBE_TRY(take_u32(at, "n_planes", &out->n_planes));
    if (rotation > 1) {
        return malformed(at, "rotation", "is unknown");
    }
    uint32_t block = out->rotation_block;
    if (rotation == 0 ? block != 0 : block == 0 || block > 65536 || (block & (block - 1)) != 0 || out->cols % block != 0) {
        return malformed(at, "rotation_block", "does not suit the rotation and the columns");
    }
    if (flags > 1) {
        return malformed(at, "flags", "has unknown bits set");
    }
    if (out->n_planes < 1 || out->n_planes > RBE_MAX_PLANES) {
        return malformed(at, "n_planes", "is not 1 to 4");
    }
    uint32_t unit_rows = 0;
    for (uint32_t p = 0; p < out->n_planes; p++) {
        uint32_t codebook;
        RBE_TRY(take_u32(at, "codebook", &codebook));
        if (codebook >= pack->n_codebooks) {
            return malformed(at, "codebook", "is not in the file");
        }
        out->planes[p].bits = pack->codebooks[codebook].bits;
        out->planes[p].t1 = pack->codebooks[codebook].t1;
        out->planes[p].t2 = pack->codebooks[codebook].t2;
        out->planes[p].narrow = rbe__tables_narrow(out->planes[p].t1, out->planes[p].t2);
        uint32_t rows = rbe__unit_rows(out->planes[p].bits);
        unit_rows = rows > unit_rows ? rows : unit_rows;
    }
    RBE_TRY(rbe__layout_make(out->rows, out->cols, unit_rows, &out->layout));
    if (out->layout.min_steps < RBE_MIN_LANE_STEPS) {
        return malformed(at, "kind", "is trellis for a matrix too small for it");
    }
    return place_planes(at, out, (int)(flags & 1), pack->index_only);
}

static rbe_status take_seed64(const rbe__cursor *at, rbe__tensor *out, int index_only)
{
    if (out->data_bytes != 12) {
        return malformed(at, "bytes", "is not 12 for a seed");
    }
    if (index_only) {
        return RBE_OK;
    }
    memcpy(&out->seed, out->data, 8);
    memcpy(&out->tensor_scale, out->data + 8, 4);
    return isfinite(out->tensor_scale) ? RBE_OK : malformed(at, "scale", "is not finite");
}

static int is_block_side(uint32_t side)
{
    return side == 32 || side == 64 || side == 128 || side == RBE_MAX_BASIS_BLOCK;
}

static rbe_status take_basis(rbe__cursor *at, rbe__tensor *out, int index_only)
{
    rbe__basis *basis = &out->basis;
    const uint8_t *orders;
    RBE_TRY(take_u32(at, "block_rows", &basis->block_rows));
    RBE_TRY(take_u32(at, "block_cols", &basis->block_cols));
    RBE_TRY(take_u32(at, "transform", &basis->transform));
    RBE_TRY(take(at, "orders", 4, &orders));
    RBE_TRY(take_finite_f32(at, "step", &basis->step));
    if (!is_block_side(basis->block_rows) || !is_block_side(basis->block_cols)) {
        return malformed(at, "block_rows", "or `block_cols` is not 32, 64, 128 or 256");
    }
    if (basis->transform != RBE_BASIS_COSINES && basis->transform != RBE_BASIS_COLUMN_COSINES) {
        return malformed(at, "transform", "is unknown");
    }
    for (int i = 0; i < 4; i++) {
        if (orders[i] > RBE_MAX_BASIS_ORDER) {
            return malformed(at, "orders", "are not all 0 to 16");
        }
    }
    basis->basis_order = orders[0];
    basis->count_order = orders[1];
    basis->gap_order = orders[2];
    basis->level_order = orders[3];
    basis->ends = (const uint32_t *)(const void *)out->data;
    const char *problem = index_only ? NULL : rbe__basis_check(basis, out->rows, out->cols, out->data_bytes);
    return problem ? malformed(at, "data", problem) : RBE_OK;
}

/* Scales of all strips, then codes of all strips. */
static rbe_status take_grouped(rbe__cursor *at, rbe__tensor *out, int index_only)
{
    uint32_t group;
    RBE_TRY(take_u32(at, "group", &group));
    RBE_TRY(take_finite_f32(at, "tensor_scale", &out->tensor_scale));
    if (group != 0 && (group < RBE_LEAST_GROUP || group > RBE_MOST_GROUP || (group & (group - 1)) != 0)) {
        return malformed(at, "group", "is not 0 or a power of two from 32 to 65536");
    }
    out->grouped = rbe__grouped_make(out->rows, out->cols, group, out->kind == RBE_KIND_BINARY);
    const uint64_t scale_bytes = rbe__grouped_scale_bytes(&out->grouped);
    if (out->data_bytes != scale_bytes + rbe__grouped_code_bytes(&out->grouped)) { /* under 2^46 */
        return malformed(at, "bytes", "does not match the tensor's shape and group");
    }
    out->grouped.scales = (const uint16_t *)(const void *)out->data;
    out->grouped.codes = out->data + scale_bytes;
    for (uint64_t i = 0; i < scale_bytes / 2 && !index_only; i++) {
        if ((out->grouped.scales[i] & 0x7C00u) == 0x7C00u) {
            return malformed(at, "scales", "are not all finite");
        }
    }
    return RBE_OK;
}

rbe_status rbe__take_tensor(rbe__cursor *at, const rbe__pack *pack, rbe__tensor *out)
{
    RBE_TRY(take_name(at, &out->name, &out->name_bytes));
    RBE_TRY(take_u32(at, "kind", &out->kind));
    RBE_TRY(take_u32(at, "rows", &out->rows));
    RBE_TRY(take_u32(at, "cols", &out->cols));
    RBE_TRY(take_area(at, pack, &out->data, &out->data_bytes, &out->checksum));
    RBE_TRY(take_finite_f32(at, "error", &out->error));
    if (out->rows < 1 || out->rows > RBE_MAX_SIDE || out->cols < 1 || out->cols > RBE_MAX_SIDE ||
        (uint64_t)out->rows * out->cols > RBE_MAX_WEIGHTS) {
        return malformed(at, "rows", "or `cols` is 0 or too large");
    }
    if (!(out->error >= 0)) {
        return malformed(at, "error", "is negative");
    }
    switch (out->kind) {
    case RBE_KIND_F32:
    case RBE_KIND_F16:
    case RBE_KIND_BF16:
        if (out->data_bytes != (uint64_t)out->rows * out->cols * (out->kind == RBE_KIND_F32 ? 4 : 2)) {
            return malformed(at, "bytes", "does not match the tensor's shape");
        }
        return RBE_OK;
    case RBE_KIND_TRELLIS: return take_trellis(at, pack, out);
    case RBE_KIND_SEED64:
    case RBE_KIND_BASIS:
        if (pack->version < 2) {
            return malformed(at, "kind", "needs format version 2");
        }
        return out->kind == RBE_KIND_SEED64 ? take_seed64(at, out, pack->index_only) : take_basis(at, out, pack->index_only);
    case RBE_KIND_TERNARY:
    case RBE_KIND_BINARY:
        return pack->version < 3 ? malformed(at, "kind", "needs format version 3") : take_grouped(at, out, pack->index_only);
    default: return malformed(at, "kind", "is unknown");
    }
}

static int is_part_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

/* What later versions add to an entry is skipped: its length stands before it. */
rbe_status rbe__take_part(rbe__cursor *at, const rbe__pack *pack, rbe__part *out)
{
    const uint8_t *more;
    uint32_t more_bytes;
    RBE_TRY(take_name(at, &out->name, &out->name_bytes));
    int good = out->name_bytes <= RBE_MOST_PART_NAME;
    for (uint32_t i = 0; i < out->name_bytes && good; i++) {
        good = is_part_character(out->name[i]);
    }
    if (!good) {
        return malformed(at, "name", "is not 1 to 32 characters of a-z, 0-9, `_` and `.`");
    }
    RBE_TRY(take_u32(at, "version", &out->version));
    RBE_TRY(take_u32(at, "flags", &out->flags));
    RBE_TRY(take_area(at, pack, &out->data, &out->bytes, &out->checksum));
    RBE_TRY(take_u32(at, "more_bytes", &more_bytes));
    RBE_TRY(take(at, "more", more_bytes, &more));
    if (out->version == 0) {
        return malformed(at, "version", "is 0");
    }
    out->known = rbe__part_is_known(out->name, out->name_bytes, out->version);
    if ((out->flags & RBE_PART_REQUIRED && !out->known) || out->flags & RBE_PART_NEEDED_FLAGS) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED,
                        "%s: its part `%.*s` of version %u cannot be left out, and this build does not know it; "
                        "the file needs a newer rbe",
                        at->path, (int)out->name_bytes, out->name, out->version);
    }
    return RBE_OK;
}
