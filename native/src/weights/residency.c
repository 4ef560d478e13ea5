#include "weights/residency.h"

/* Matrices alone are read in pieces. Rows of the generated kinds need the whole of their few bytes. */
static int in_pieces(const rbe__tensor *tensor)
{
    return tensor->rows > 1 && !rbe__tensor_by_row(tensor);
}

/* Strips have nearly the same height: one unit more than the mean, at most. */
uint64_t rbe__residency_item_bytes(const rbe__tensor *tensor)
{
    if (!in_pieces(tensor)) {
        return tensor->data_bytes;
    }
    if (rbe__tensor_is_grouped(tensor)) {
        const uint64_t units = (tensor->grouped.n_units - 1) / tensor->grouped.n_strips + 1;
        return tensor->data_bytes / tensor->grouped.n_units * units;
    }
    if (tensor->kind != RBE_KIND_TRELLIS) {
        const uint64_t row_bytes = tensor->data_bytes / tensor->rows;
        return row_bytes * (tensor->rows < RBE_DENSE_ROWS ? tensor->rows : RBE_DENSE_ROWS);
    }
    const uint64_t units = (tensor->layout.n_units - 1) / tensor->layout.n_strips + 1;
    return tensor->data_bytes / tensor->layout.n_units * units + units;
}

static uint64_t offset_of(const rbe__residency *residency, const rbe__tensor *tensor)
{
    return (uint64_t)(tensor->data - residency->file->data);
}

static uint64_t end_of(const rbe__residency *residency, const rbe__tensor *tensor)
{
    return offset_of(residency, tensor) + tensor->data_bytes;
}

int rbe__residency_stays(const rbe__residency *residency, const rbe__tensor *tensor)
{
    return end_of(residency, tensor) <= residency->pinned_bytes || offset_of(residency, tensor) >= residency->experts_offset;
}

uint32_t rbe__residency_items(const rbe__residency *residency, const rbe__tensor *tensor, uint32_t n_items)
{
    if (!in_pieces(tensor)) {
        return n_items;
    }
    const uint64_t items = residency->piece_bytes / rbe__residency_item_bytes(tensor);
    return items < 1 ? 1 : items < n_items ? (uint32_t)items : n_items;
}

void rbe__residency_release(const rbe__residency *residency)
{
    if (residency && residency->limit) {
        rbe__mapped_file_release(residency->file, residency->pinned_bytes, residency->experts_offset - residency->pinned_bytes);
    }
}

void rbe__residency_release_all(const rbe__residency *residency)
{
    if (residency && residency->limit) {
        rbe__mapped_file_release(residency->file, residency->pinned_bytes, residency->file->bytes - residency->pinned_bytes);
    }
}

/* Announces the piece behind the one in which the file's bytes from `from` to `to` end, once for all of these bytes: pieces are counted
 * from the beginning of the file. Behind the last one comes the first that does not stay. */
static void expect_behind(const rbe__residency *residency, uint64_t from, uint64_t to)
{
    const uint64_t bytes = residency->piece_bytes;
    if (to / bytes > from / bytes && to + bytes > residency->pinned_bytes) {
        const uint64_t next = (to / bytes + 1) * bytes;
        const uint64_t first = next < residency->experts_offset && next > residency->pinned_bytes ? next : residency->pinned_bytes;
        rbe__mapped_file_expect(residency->file, first, bytes);
    }
}

void rbe__residency_expect(const rbe__residency *residency, const rbe__tensor *tensor, uint32_t first, uint32_t count, uint32_t n_items)
{
    const uint32_t n_areas = tensor->kind == RBE_KIND_TRELLIS ? tensor->n_planes : 1;
    if (offset_of(residency, tensor) >= residency->experts_offset) {
        return;
    }
    for (uint32_t p = 0; p < n_areas; p++) {
        const uint8_t *data = tensor->data;
        uint64_t bytes = tensor->data_bytes;
        if (tensor->kind == RBE_KIND_TRELLIS) {
            data = tensor->planes[p].stream;
            bytes = rbe__stream_bytes(&tensor->layout, tensor->planes[p].bits);
        } else if (rbe__tensor_is_grouped(tensor)) { /* the scales before them are few */
            data = tensor->grouped.codes;
            bytes = rbe__grouped_code_bytes(&tensor->grouped);
        }
        const uint64_t offset = (uint64_t)(data - residency->file->data);
        expect_behind(residency, offset + bytes / n_items * first, offset + bytes / n_items * (first + count));
    }
}
