#include "model/residency_plan.h"

#include <string.h>

#include "base/status.h"
#include "weights/expert_pages.h"

#define MOST_PIECE (4u << 20)
#define MOST_MATRICES 3u /* of an expert */

/* Pages beside those of a piece: on both sides of each plane's part of it, and of vectors that are read meanwhile (bias, norm). Where the
 * whole tensor is smaller, that is an upper bound too. */
static uint64_t beside(const rbe__tensor *tensor)
{
    const uint64_t n_areas = tensor->kind == RBE_KIND_TRELLIS ? tensor->n_planes : rbe__tensor_is_grouped(tensor) ? 2 : 1;
    const uint64_t grain = RBE_MAPPED_GRAIN, between = 2 * grain * (n_areas - 1);
    return 2 * grain + (between < tensor->data_bytes ? between : tensor->data_bytes) + grain;
}

uint64_t rbe__residency_before_tensors(const rbe__pack *pack)
{
    uint64_t first = pack->file.bytes, end = 0;
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        const uint64_t offset = (uint64_t)(pack->tensors[i].data - pack->file.data);
        first = offset < first ? offset : first;
    }
    for (uint32_t i = 0; i < pack->n_blobs; i++) {
        const uint64_t blob_end = (uint64_t)(pack->blobs[i].data - pack->file.data) + pack->blobs[i].bytes;
        end = blob_end > end ? blob_end : end;
    }
    return end < first ? end : first;
}

/* 1 for a matrix of an expert: "layers.N.experts.E.up". */
static int is_expert(const rbe__tensor *tensor)
{
    static const char mark[] = ".experts.";
    const uint32_t bytes = sizeof mark - 1;
    for (uint32_t i = 0; i + bytes < tensor->name_bytes; i++) {
        if (memcmp(tensor->name + i, mark, bytes) == 0) {
            return tensor->name[i + bytes] >= '0' && tensor->name[i + bytes] <= '9';
        }
    }
    return 0;
}

/* Where the experts begin, if nothing but experts stands behind that, as the packer puts them; else the size of the file. */
static uint64_t experts_offset(const rbe__pack *pack)
{
    uint64_t first = pack->file.bytes, end_of_others = 0;
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        const uint64_t offset = (uint64_t)(pack->tensors[i].data - pack->file.data), end = offset + pack->tensors[i].data_bytes;
        if (is_expert(&pack->tensors[i])) {
            first = offset < first ? offset : first;
        } else {
            end_of_others = end > end_of_others ? end : end_of_others;
        }
    }
    return end_of_others <= first ? first : pack->file.bytes;
}

typedef struct needs {
    uint64_t most_item, most_beside, experts_offset, most_expert, least;
} needs;

static needs needs_of(const rbe__pack *pack)
{
    needs found = {.most_item = 1, .experts_offset = experts_offset(pack)};
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        const rbe__bands bands = rbe__tensor_bands(&pack->tensors[i]);
        if ((uint64_t)(pack->tensors[i].data - pack->file.data) >= found.experts_offset) {
            const uint64_t expert = MOST_MATRICES * pack->tensors[i].data_bytes;
            found.most_expert = expert > found.most_expert ? expert : found.most_expert;
            continue;
        }
        for (uint32_t b = 0; b < bands.n; b++) {
            const uint64_t item = rbe__residency_item_bytes(&bands.first[b]), sides = beside(&bands.first[b]);
            found.most_item = item > found.most_item ? item : found.most_item;
            found.most_beside = sides > found.most_beside ? sides : found.most_beside;
        }
    }
    found.most_expert += found.most_expert ? RBE_BESIDE_EXPERT : 0;
    /* a piece, what surrounds it, and the next one; an expert */
    found.least = rbe__residency_before_tensors(pack) + 2 * found.most_item + found.most_beside + found.most_expert;
    return found;
}

uint64_t rbe__residency_least(const rbe__pack *pack)
{
    const uint64_t least = needs_of(pack).least;
    return least < pack->file.bytes ? least : pack->file.bytes;
}

rbe_status rbe__residency_plan(const rbe__pack *pack, const char *path, uint64_t limit, rbe__residency *out)
{
    *out = (rbe__residency){.file = &pack->file, .experts_offset = pack->file.bytes};
    if (limit == 0 || limit >= pack->file.bytes) {
        return RBE_OK;
    }
    const needs found = needs_of(pack);
    const uint64_t most_item = found.most_item, least = found.least;
    if (limit < least) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "%s: a limit of %llu bytes is too small for this model; it needs at least %llu", path,
                        (unsigned long long)limit, (unsigned long long)least);
    }
    out->limit = limit;
    out->experts_offset = found.experts_offset;
    if (found.most_expert && limit >= found.experts_offset + found.most_expert) { /* all stays but experts */
        out->piece_bytes = most_item;
        out->pinned_bytes = found.experts_offset;
        out->expert_bytes = limit - found.experts_offset - RBE_BESIDE_EXPERT;
        return RBE_OK;
    }
    uint64_t piece = (limit - least) / 8 + most_item;
    piece = piece > MOST_PIECE ? MOST_PIECE : piece;
    out->piece_bytes = piece > most_item ? piece : most_item;
    out->expert_bytes = found.most_expert ? found.most_expert - RBE_BESIDE_EXPERT : 0;
    out->pinned_bytes = limit - found.most_expert - 2 * out->piece_bytes - found.most_beside;
    return RBE_OK;
}
