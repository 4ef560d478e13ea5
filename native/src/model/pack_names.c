/* Names in the lists of a pack: each is there once, and leads to its entry. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "model/pack_entries.h"

typedef struct named {
    const char *name;
    uint32_t bytes, index;
} named;

static int compare_names(const char *a, uint32_t a_bytes, const char *b, uint32_t b_bytes)
{
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order ? order : a_bytes < b_bytes ? -1 : a_bytes > b_bytes;
}

static int compare_named(const void *a, const void *b)
{
    const named *x = a, *y = b;
    return compare_names(x->name, x->bytes, y->name, y->bytes);
}

/* Sorts the names of one list (name and length at given places of its entries), refuses duplicates; order may be NULL. */
static rbe_status check_names(const rbe__pack *pack, const char *list, uint32_t n, named *names, uint32_t *order)
{
    qsort(names, n, sizeof *names, compare_named);
    for (uint32_t i = 0; i < n; i++) {
        if (i && compare_named(&names[i - 1], &names[i]) == 0) {
            return rbe_fail(RBE_ERROR_FORMAT, "%s: damaged file: two %s are named `%.*s`", pack->path, list, (int)names[i].bytes,
                            names[i].name);
        }
        if (order) {
            order[i] = names[i].index;
        }
    }
    return RBE_OK;
}

/* names: room for the entries of the longest list. */
static rbe_status check_lists(rbe__pack *pack, named *names)
{
    for (uint32_t i = 0; i < pack->n_metadata; i++) {
        names[i] = (named){pack->metadata[i].key, (uint32_t)pack->metadata[i].key_bytes, i};
    }
    RBE_TRY(check_names(pack, "metadata entries", pack->n_metadata, names, NULL));
    for (uint32_t i = 0; i < pack->n_blobs; i++) {
        names[i] = (named){pack->blobs[i].name, pack->blobs[i].name_bytes, i};
    }
    RBE_TRY(check_names(pack, "blobs", pack->n_blobs, names, NULL));
    for (uint32_t i = 0; i < pack->n_parts; i++) {
        names[i] = (named){pack->parts[i].name, pack->parts[i].name_bytes, i};
    }
    RBE_TRY(check_names(pack, "parts", pack->n_parts, names, NULL));
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        names[i] = (named){pack->tensors[i].name, pack->tensors[i].name_bytes, i};
    }
    return check_names(pack, "tensors", pack->n_tensors, names, pack->tensors_by_name);
}

rbe_status rbe__pack_check_names(rbe__pack *pack)
{
    uint32_t most = pack->n_tensors > pack->n_metadata ? pack->n_tensors : pack->n_metadata;
    most = most > pack->n_blobs ? most : pack->n_blobs;
    most = most > pack->n_parts ? most : pack->n_parts;
    named *names = malloc((most ? most : 1) * sizeof *names);
    pack->tensors_by_name = malloc((pack->n_tensors ? pack->n_tensors : 1) * sizeof *pack->tensors_by_name);
    const rbe_status status = names && pack->tensors_by_name ? check_lists(pack, names)
                                                             : rbe_fail(RBE_ERROR_MEMORY, "%s: no memory for its index", pack->path);
    free(names);
    return status;
}

const rbe__tensor *rbe__pack_tensor(const rbe__pack *pack, const char *name)
{
    uint32_t name_bytes = (uint32_t)strlen(name), low = 0, high = pack->n_tensors;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const rbe__tensor *tensor = &pack->tensors[pack->tensors_by_name[middle]];
        int order = compare_names(tensor->name, tensor->name_bytes, name, name_bytes);
        if (order == 0) {
            return tensor;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const rbe_metadata *rbe__pack_metadata(const rbe__pack *pack, const char *key)
{
    for (uint32_t i = 0; i < pack->n_metadata; i++) {
        const rbe_metadata *entry = &pack->metadata[i];
        if (compare_names(entry->key, (uint32_t)entry->key_bytes, key, (uint32_t)strlen(key)) == 0) {
            return entry;
        }
    }
    return NULL;
}

const rbe__blob *rbe__pack_blob(const rbe__pack *pack, const char *name)
{
    for (uint32_t i = 0; i < pack->n_blobs; i++) {
        if (compare_names(pack->blobs[i].name, pack->blobs[i].name_bytes, name, (uint32_t)strlen(name)) == 0) {
            return &pack->blobs[i];
        }
    }
    return NULL;
}

const rbe__part *rbe__pack_part(const rbe__pack *pack, const char *name)
{
    for (uint32_t i = 0; i < pack->n_parts; i++) {
        if (compare_names(pack->parts[i].name, pack->parts[i].name_bytes, name, (uint32_t)strlen(name)) == 0) {
            return &pack->parts[i];
        }
    }
    return NULL;
}
