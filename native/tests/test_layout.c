/* The plane layout against the rules of docs/format.md, computed here one strip and one cell at a time. */
#include "check.h"
#include "rbe/codec.h"
#include "weights/layout.h"

static void check_shape(uint32_t rows, uint32_t cols, uint32_t bits, uint32_t unit_rows)
{
    rbe_plane_layout public_layout;
    CHECK(rbe_plane_get_layout(rows, cols, bits, unit_rows, &public_layout) == RBE_OK, "%s", rbe_last_error());
    rbe__layout layout;
    CHECK(rbe__layout_make(rows, cols, public_layout.unit_rows, &layout) == RBE_OK, "%s", rbe_last_error());

    uint32_t p = public_layout.unit_rows;
    uint32_t units = (rows + p - 1) / p, strips = (units * p + 255) / 256, groups = (cols + 3) / 4;
    CHECK(public_layout.n_strips == strips && public_layout.n_groups == groups, "%u x %u", rows, cols);

    uint64_t offset = 0;
    uint32_t next_row = 0, shortest = 0xFFFFFFFFu;
    for (uint32_t s = 0; s < strips; s++) {
        uint32_t unit = (uint32_t)((uint64_t)s * units / strips), end = (uint32_t)((uint64_t)(s + 1) * units / strips);
        rbe__strip_layout strip = rbe__layout_strip(&layout, s);
        uint32_t r = (end - unit) * p / 4;
        CHECK(strip.first_row == unit * p && strip.first_row == next_row && strip.row_steps == r, "strip %u", s);
        CHECK(r >= 2 && r <= 64 && r * bits % 8 == 0, "R = %u", r);
        CHECK(rbe__strip_offset(&layout, &strip, bits) == offset, "strip %u", s);
        next_row += 4 * r;
        CHECK(strip.rows == (next_row > rows ? rows - strip.first_row : 4 * r), "strip %u", s);
        uint32_t m = (uint32_t)(64.0 / r + 0.5);
        uint32_t cells = (groups + m - 1) / m;
        CHECK(strip.n_cells == cells, "strip %u: %u cells, not %u", s, strip.n_cells, cells);
        for (uint32_t c = 0; c < cells; c++) {
            uint32_t first = rbe__cell_first_group(&layout, &strip, c), past = rbe__cell_first_group(&layout, &strip, c + 1);
            CHECK(past > first && (past - first) * r <= RBE_MAX_LANE_STEPS, "cell %u of %u groups, R %u", c, past - first, r);
            shortest = (past - first) * r < shortest ? (past - first) * r : shortest;
            offset += (uint64_t)(past - first) * rbe__group_bytes(&strip, bits);
        }
    }
    CHECK(next_row >= rows && next_row - rows < p, "%u rows covered of %u", next_row, rows);
    CHECK(public_layout.stream_bytes == offset, "%u x %u, K %u", rows, cols, bits);
    CHECK(public_layout.min_steps == shortest, "%u x %u: %u steps, not %u", rows, cols, public_layout.min_steps, shortest);
}

int main(void)
{
    static const uint32_t cols[] = {1, 2, 4, 5, 36, 64, 172, 255, 256, 257, 768, 1024};
    for (uint32_t rows = 1; rows <= 1100; rows++) {
        for (uint32_t i = 0; i < sizeof cols / sizeof *cols; i++) {
            for (uint32_t bits = 1; bits <= 4; bits++) {
                check_shape(rows, cols[i], bits, 0);
                check_shape(rows, cols[i], bits, 32);
            }
        }
    }
    rbe_plane_layout out;
    CHECK(rbe_plane_get_layout(1u << 28, 1u << 12, 4, 0, &out) == RBE_OK && out.stream_bytes == 1ull << 39, "largest");
    CHECK(rbe_plane_get_layout(1, 1u << 28, 3, 0, &out) == RBE_OK && out.stream_bytes == (1ull << 26) * 16 * 3, "widest");
    CHECK(rbe_plane_get_layout(0, 4, 4, 0, &out) == RBE_ERROR_ARGUMENT, "no rows");
    CHECK(rbe_plane_get_layout(4, 0, 4, 0, &out) == RBE_ERROR_ARGUMENT, "no columns");
    CHECK(rbe_plane_get_layout(0xFFFFFFFFu, 4, 4, 0, &out) == RBE_ERROR_ARGUMENT, "rows");
    CHECK(rbe_plane_get_layout(1u << 28, 1u << 28, 4, 0, &out) == RBE_ERROR_ARGUMENT, "too many weights");
    CHECK(rbe_plane_get_layout(4, 4, 0, 0, &out) == RBE_ERROR_ARGUMENT, "bits 0");
    CHECK(rbe_plane_get_layout(4, 4, 5, 0, &out) == RBE_ERROR_ARGUMENT, "bits 5");
    CHECK(rbe_plane_get_layout(4, 4, 4, 12, &out) == RBE_ERROR_ARGUMENT, "unit rows 12");
    CHECK(rbe_plane_get_layout(4, 4, 3, 16, &out) == RBE_ERROR_ARGUMENT, "unit rows under P");
    CHECK(rbe_plane_get_layout(4, 4, 4, 0, NULL) == RBE_ERROR_ARGUMENT, "no output");
    return check_finish();
}
