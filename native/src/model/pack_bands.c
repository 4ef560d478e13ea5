#include "model/pack_bands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "model/pack_entries.h"
#include "model/parts.h"

/* Characters of the matrix's name in that of a band; 0 where the tensor is none. */
static uint32_t stem_bytes(const rbe__tensor *tensor)
{
    const char *mark = memchr(tensor->name, '#', tensor->name_bytes);
    return mark ? (uint32_t)(mark - tensor->name) : 0;
}

/* 1 where a tensor is named as band `number` of the matrix that `first` is a band of. */
static int is_band(const rbe__tensor *tensor, const rbe__tensor *first, uint32_t number)
{
    char digits[16];
    const uint32_t stem = stem_bytes(first), n = (uint32_t)snprintf(digits, sizeof digits, "#%u", number);
    return tensor->name_bytes == stem + n && memcmp(tensor->name, first->name, stem) == 0 && memcmp(tensor->name + stem, digits, n) == 0;
}

/* NULL where a tensor can follow others of the same matrix. */
static const char *problem_of(const rbe__tensor *tensor, const rbe__tensor *first, uint64_t rows)
{
    return tensor->kind != RBE_KIND_TRELLIS                                                 ? "are not of the kind trellis"
           : tensor->cols != first->cols                                                    ? "differ in their columns"
           : tensor->rotation_block != first->rotation_block || tensor->seed != first->seed ? "differ in their rotation"
           : rows > RBE_MAX_SIDE || rows * tensor->cols > RBE_MAX_WEIGHTS                   ? "have too many rows together"
           : tensor > first && tensor->data < tensor[-1].data + tensor[-1].data_bytes       ? "do not follow one another in the file"
                                                                                            : NULL;
}

/* The bands that begin at tensor `index`, as one matrix. */
static rbe_status join(const rbe__pack *pack, uint32_t index, rbe__tensor *out)
{
    const rbe__tensor *first = &pack->tensors[index];
    double error = 0;
    *out = (rbe__tensor){
        .name = first->name,
        .name_bytes = stem_bytes(first),
        .kind = RBE_KIND_BANDS,
        .cols = first->cols,
        .data = first->data,
        .rotation_block = first->rotation_block,
        .seed = first->seed,
    };
    while (index + out->n_bands < pack->n_tensors && is_band(first + out->n_bands, first, out->n_bands)) {
        const rbe__tensor *band = first + out->n_bands;
        const char *problem = problem_of(band, first, (uint64_t)out->rows + band->rows);
        if (problem) {
            return rbe_fail(RBE_ERROR_FORMAT, "%s: damaged file: the bands of tensor `%.*s` %s", pack->path, (int)out->name_bytes,
                            out->name, problem);
        }
        error += (double)band->error * band->rows;
        out->rows += band->rows;
        out->data_bytes += band->data_bytes;
        if (band->n_planes > out->n_planes) { /* the first band that has most tells how many bits they have */
            out->n_planes = band->n_planes;
            memcpy(out->planes, band->planes, sizeof out->planes);
        }
        out->n_bands++;
    }
    if (!out->n_bands) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: damaged file: tensor `%.*s` is a band out of its place", pack->path, (int)first->name_bytes,
                        first->name);
    }
    out->error = (float)(error / out->rows);
    return RBE_OK;
}

/* Moves bands to where they stay, and the other tensors together. */
static rbe_status join_all(rbe__pack *pack)
{
    uint32_t to = 0, step = 1;
    for (uint32_t i = 0; i < pack->n_tensors; i += step, to++) {
        step = 1;
        if (!stem_bytes(&pack->tensors[i])) {
            pack->tensors[to] = pack->tensors[i];
            continue;
        }
        rbe__tensor whole;
        RBE_TRY(join(pack, i, &whole));
        rbe__tensor *bands = pack->bands + pack->n_bands;
        memcpy(bands, &pack->tensors[i], whole.n_bands * sizeof *bands);
        for (uint32_t b = 1; b < whole.n_bands; b++) {
            bands[b].first_row = bands[b - 1].first_row + bands[b - 1].rows;
        }
        whole.bands = bands;
        step = whole.n_bands;
        pack->n_bands += whole.n_bands;
        pack->tensors[to] = whole;
    }
    pack->n_tensors = to;
    return RBE_OK;
}

rbe_status rbe__pack_join_bands(rbe__pack *pack)
{
    const rbe__part *part = rbe__pack_part(pack, RBE_PART_BANDS);
    if (!part || !part->known) {
        return RBE_OK;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        n += stem_bytes(&pack->tensors[i]) != 0;
    }
    pack->bands = calloc(n ? n : 1, sizeof *pack->bands);
    if (!pack->bands) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory for its index", pack->path);
    }
    RBE_TRY(join_all(pack));
    free(pack->tensors_by_name);
    pack->tensors_by_name = NULL;
    return rbe__pack_check_names(pack); /* a matrix may have the name of a tensor */
}
