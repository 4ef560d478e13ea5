#include "model/pack_reader.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "model/pack_bands.h"
#include "model/pack_entries.h"
#include "model/pack_required.h"
#include "model/parts.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the format is little-endian and read in place; this machine is big-endian"
#endif

#define HEADER_BYTES 64u
#define VERSION_OF_PARTS 3u
#define CHECKED_BYTES (1u << 20) /* at a time */
#define MAX_INDEX_BYTES (256ull << 20)

static const uint8_t magic[8] = {0x89, 'R', 'B', 'E', '\r', '\n', 0x1A, '\n'};

/* Allocates a list. Fails where its entries cannot fit in the rest of the index, so that a damaged count allocates nothing large. */
static rbe_status take_list(rbe__cursor *at, const char *list, uint32_t count, uint32_t limit, uint32_t least_bytes, size_t entry_bytes,
                            void *out)
{
    at->list = list;
    at->entry = 0;
    if (count > limit || (uint64_t)count * least_bytes > at->end - at->position) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: damaged file: header field `n_%s` is larger than the file allows", at->path, list);
    }
    void *entries = calloc(count ? count : 1, entry_bytes);
    if (!entries) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory for its index", at->path);
    }
    memcpy(out, &entries, sizeof entries);
    return RBE_OK;
}

typedef struct area {
    const uint8_t *data;
    uint64_t bytes;
} area;

static int compare_areas(const void *a, const void *b)
{
    const area *x = a, *y = b;
    return x->data != y->data ? (x->data < y->data ? -1 : 1) : x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static rbe_status check_overlaps(const rbe__pack *pack)
{
    size_t n = 0;
    area *areas = malloc(((size_t)pack->n_tensors + pack->n_blobs + pack->n_parts + 1) * sizeof *areas);
    if (!areas) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory for its index", pack->path);
    }
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        areas[n++] = (area){pack->tensors[i].data, pack->tensors[i].data_bytes};
    }
    for (uint32_t i = 0; i < pack->n_blobs; i++) {
        areas[n++] = (area){pack->blobs[i].data, pack->blobs[i].bytes};
    }
    for (uint32_t i = 0; i < pack->n_parts; i++) {
        areas[n++] = (area){pack->parts[i].data, pack->parts[i].bytes};
    }
    qsort(areas, n, sizeof *areas, compare_areas);
    size_t i = 1;
    while (i < n && (uint64_t)(areas[i].data - areas[i - 1].data) >= areas[i - 1].bytes) {
        i++;
    }
    free(areas);
    return i >= n ? RBE_OK : rbe_fail(RBE_ERROR_FORMAT, "%s: damaged file: field `offset`: two data areas overlap", pack->path);
}

static rbe_status read_header(rbe__pack *pack, const rbe__crc *crc, rbe__cursor *at, uint32_t counts[5])
{
    const uint8_t *data = pack->file.data;
    uint32_t checksum;
    uint64_t file_bytes, index_bytes;
    if (pack->file.mapped_bytes < HEADER_BYTES || memcmp(data, magic, sizeof magic) != 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: not a .rbe file (field `magic`)", pack->path);
    }
    memcpy(&pack->version, data + 8, 4);
    memcpy(&checksum, data + 12, 4);
    memcpy(&file_bytes, data + 16, 8);
    memcpy(&index_bytes, data + 24, 8);
    memcpy(counts, data + 32, 20);
    if (pack->version < 1 || pack->version > RBE_FORMAT_VERSION) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED,
                        "%s: field `version`: format %u, this build reads 1 to %u; pack the model again with `rbe pack`", pack->path,
                        pack->version, RBE_FORMAT_VERSION);
    }
    if (file_bytes != pack->file.bytes) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: field `file_bytes`: the file should be %llu bytes and is %llu; copy it again", pack->path,
                        (unsigned long long)file_bytes, (unsigned long long)pack->file.bytes);
    }
    if (index_bytes < HEADER_BYTES || index_bytes > pack->file.mapped_bytes || index_bytes > MAX_INDEX_BYTES) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: damaged file: header field `index_bytes`", pack->path);
    }
    uint32_t actual = rbe__crc_update(crc, 0, data, 12);
    actual = rbe__crc_update(crc, actual, "\0\0\0", 4);
    actual = rbe__crc_update(crc, actual, data + 16, (size_t)(index_bytes - 16));
    if (actual != checksum) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: damaged file: field `index_checksum` does not match; copy it again", pack->path);
    }
    const int has_parts = pack->version >= VERSION_OF_PARTS;
    counts[4] = has_parts ? counts[4] : 0;
    for (int i = has_parts ? 52 : 48; i < 64; i++) {
        if (data[i]) {
            return rbe_fail(RBE_ERROR_FORMAT, "%s: damaged file: header field `reserved` is not zero", pack->path);
        }
    }
    *at = (rbe__cursor){.path = pack->path, .data = data, .position = HEADER_BYTES, .end = index_bytes};
    return RBE_OK;
}

static rbe_status read_lists(rbe__pack *pack, const rbe__crc *crc, int sparing, rbe__cursor *at, const uint32_t counts[5])
{
    RBE_TRY(take_list(at, "metadata", counts[0], 65536, 13, sizeof *pack->metadata, &pack->metadata));
    for (pack->n_metadata = counts[0]; at->entry < counts[0]; at->entry++) {
        RBE_TRY(rbe__take_metadata(at, &pack->metadata[at->entry]));
    }
    RBE_TRY(take_list(at, "codebooks", counts[1], 64, 36, sizeof *pack->codebooks, &pack->codebooks));
    for (pack->n_codebooks = counts[1]; at->entry < counts[1]; at->entry++) {
        RBE_TRY(rbe__take_codebook(at, &pack->codebooks[at->entry]));
    }
    RBE_TRY(take_list(at, "blobs", counts[2], 64, 25, sizeof *pack->blobs, &pack->blobs));
    for (pack->n_blobs = counts[2]; at->entry < counts[2]; at->entry++) {
        RBE_TRY(rbe__take_blob(at, pack, crc, &pack->blobs[at->entry]));
    }
    RBE_TRY(take_list(at, "tensors", counts[3], 1048576, 41, sizeof *pack->tensors, &pack->tensors));
    for (pack->n_tensors = counts[3]; at->entry < counts[3]; at->entry++) {
        RBE_TRY(rbe__take_tensor(at, pack, &pack->tensors[at->entry]));
        if (sparing) { /* scales were looked at */
            rbe__mapped_file_release(&pack->file, 0, pack->file.bytes);
        }
    }
    RBE_TRY(take_list(at, "parts", counts[4], 256, 37, sizeof *pack->parts, &pack->parts));
    for (pack->n_parts = counts[4]; at->entry < counts[4]; at->entry++) {
        RBE_TRY(rbe__take_part(at, pack, &pack->parts[at->entry]));
    }
    if (at->position != at->end) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: damaged file: header field `index_bytes`: the lists end elsewhere", pack->path);
    }
    return RBE_OK;
}

static uint32_t checksum_of(const rbe__pack *pack, const rbe__crc *crc, int sparing, const uint8_t *data, uint64_t bytes)
{
    uint32_t checksum = 0;
    for (uint64_t first = 0; first < bytes; first += CHECKED_BYTES) {
        const uint64_t left = bytes - first;
        checksum = rbe__crc_update(crc, checksum, data + first, (size_t)(left < CHECKED_BYTES ? left : CHECKED_BYTES));
        if (sparing) {
            rbe__mapped_file_release(&pack->file, 0, pack->file.bytes);
        }
    }
    return checksum;
}

static rbe_status verify_parts(rbe__pack *pack, const rbe__crc *crc, int sparing, int known_alone)
{
    for (uint32_t i = 0; i < pack->n_parts; i++) {
        rbe__part *part = &pack->parts[i];
        if (known_alone && !part->known) {
            continue;
        }
        if (checksum_of(pack, crc, sparing, part->data, part->bytes) != part->checksum) {
            return rbe__part_damaged(pack->path, part);
        }
        part->verified = 1;
    }
    return RBE_OK;
}

static void identify_tensors(rbe__pack *pack, const rbe__crc *crc)
{
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        const rbe__tensor *tensor = &pack->tensors[i];
        const uint32_t facts[4] = {tensor->kind, tensor->rows, tensor->cols, tensor->checksum};
        pack->tensor_bytes += tensor->data_bytes;
        pack->tensors_checksum = rbe__crc_update(crc, pack->tensors_checksum, tensor->name, tensor->name_bytes);
        pack->tensors_checksum = rbe__crc_update(crc, pack->tensors_checksum, facts, sizeof facts);
    }
}

/* Index and lists of a file that is mapped, whole or in part. */
static rbe_status read_index(rbe__pack *pack, const rbe__crc *crc, int sparing)
{
    rbe__cursor at;
    uint32_t counts[5];
    RBE_TRY(read_header(pack, crc, &at, counts));
    RBE_TRY(read_lists(pack, crc, sparing, &at, counts));
    return rbe__pack_check_names(pack);
}

static rbe_status join_bands(rbe__pack *pack)
{
    RBE_TRY(rbe__pack_join_bands(pack));
    return rbe__pack_check_required(pack);
}

/* How many bytes the header gives the index; of what is no header as many as that has. */
static rbe_status index_size(const char *path, uint64_t *out)
{
    rbe__mapped_file start;
    *out = HEADER_BYTES;
    RBE_TRY(rbe__map_file_start(path, HEADER_BYTES, &start));
    if (start.mapped_bytes == HEADER_BYTES) {
        memcpy(out, start.data + 24, 8);
        *out = *out < HEADER_BYTES ? HEADER_BYTES : *out > MAX_INDEX_BYTES ? MAX_INDEX_BYTES : *out;
    }
    rbe__unmap_file(&start);
    return RBE_OK;
}

rbe_status rbe__pack_open_index(const char *path, const rbe_kernels *kernels, rbe__pack *out)
{
    uint64_t index_bytes;
    rbe__crc crc;
    memset(out, 0, sizeof *out);
    RBE_TRY(index_size(path, &index_bytes));
    RBE_TRY(rbe__map_file_start(path, index_bytes, &out->whole));
    out->file = out->whole;
    out->file.descriptor = -1;
    out->path = path;
    out->index_only = 1;
    rbe__crc_init(kernels, &crc);
    rbe_status status = read_index(out, &crc, 0);
    const rbe_status settled = rbe__mapped_file_settle(path, &out->whole);
    if (settled == RBE_OK && status == RBE_OK) {
        identify_tensors(out, &crc);
        status = join_bands(out);
    }
    if (settled != RBE_OK || status != RBE_OK) {
        rbe__pack_close(out);
    }
    out->path = NULL;
    return settled != RBE_OK ? settled : status;
}

/* The part of the mapped file that the model is. */
static rbe_status find_part(const rbe__mapped_file *whole, const rbe_model_options *options, const char *path, rbe__mapped_file *part)
{
    const uint64_t offset = options->file_offset, bytes = options->file_bytes;
    if (offset % RBE_MODEL_GRAIN) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "%s: a model within a file begins at a multiple of %u bytes, not at %llu", path,
                        RBE_MODEL_GRAIN, (unsigned long long)offset);
    }
    if (offset >= whole->bytes || bytes > whole->bytes - offset) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: no model of %llu bytes lies at byte %llu, for the file has %llu; copy it again", path,
                        (unsigned long long)bytes, (unsigned long long)offset, (unsigned long long)whole->bytes);
    }
    const uint64_t n = bytes ? bytes : whole->bytes - offset;
    *part = (rbe__mapped_file){.data = whole->data + offset, .bytes = n, .mapped_bytes = n, .descriptor = -1};
    return RBE_OK;
}

static rbe_status read_pack(const rbe_kernels *kernels, const rbe_model_options *options, rbe__pack *out)
{
    const int skip_checksums = options->skip_checksums != 0, sparing = options->max_resident_bytes != 0;
    rbe__crc crc;
    RBE_TRY(find_part(&out->whole, options, out->path, &out->file));
    if (!sparing) {
        rbe__mapped_file_prefer_large_pages(&out->file);
    }
    rbe__crc_init(kernels, &crc);
    rbe_status status = read_index(out, &crc, sparing);
    if (status == RBE_OK) {
        status = check_overlaps(out);
    }
    if (status == RBE_OK) {
        status = verify_parts(out, &crc, sparing, skip_checksums);
    }
    if (status == RBE_OK) {
        identify_tensors(out, &crc);
        status = join_bands(out);
    }
    return status;
}

rbe_status rbe__pack_open(const char *path, const rbe_kernels *kernels, const rbe_model_options *options, rbe__pack *out)
{
    memset(out, 0, sizeof *out);
    out->path = path;
    RBE_TRY(rbe__map_file(path, &out->whole));
    rbe_status status = read_pack(kernels, options, out);
    const rbe_status settled = rbe__mapped_file_settle(path, &out->whole); /* says more than the damage that a change looks like */
    status = settled != RBE_OK ? settled : status;
    if (status != RBE_OK) {
        rbe__pack_close(out);
    }
    out->path = NULL;
    return status;
}

void rbe__pack_close(rbe__pack *pack)
{
    free(pack->metadata);
    free(pack->codebooks);
    free(pack->blobs);
    free(pack->tensors);
    free(pack->bands);
    free(pack->tensors_by_name);
    free(pack->parts);
    rbe__unmap_file(&pack->whole);
    memset(pack, 0, sizeof *pack);
}
