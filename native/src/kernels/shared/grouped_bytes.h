/* `multiply` of grouped.h, for sets that look up bytes: tables of TABLE bytes are made of all codes of a block, and two vectors of rows go through
 * them at once.
 *
 * The including file defines: vec, the codes of VECTOR_ROWS rows, which divide 32; row_sums, what these rows add up; TABLE;
 *     PREFETCHES (1: codes are prefetched here too)
 *     void make_ternary(const int8_t *x, uint8_t *out)     the TERNARY_TABLES tables of one code; make_binary: the BINARY_TABLES
 *     vec load_codes(const uint8_t *codes)
 *     row_sums sums_start(void)                            of nothing
 *     void add_ternary(row_sums *sums, vec codes, const uint8_t *tables)   of one code for each row, its tables as made; and add_binary
 *     void store_rows(int32_t *acc, const row_sums *sums, int32_t start)   acc[VECTOR_ROWS] = start + the sums
 */
#ifndef RBE_KERNELS_SHARED_GROUPED_BYTES_H
#define RBE_KERNELS_SHARED_GROUPED_BYTES_H

#include "kernels/shared/grouped.h"

enum { VECTORS = 2, TERNARY_TABLES = 6, BINARY_TABLES = 4 };

RBE_INLINE void multiply(const grouped_walk *at, int is_ternary, const int8_t *x, int32_t start, int32_t *acc)
{
    uint8_t tables[MOST_CODES * TERNARY_TABLES * TABLE];
    const size_t of_code = (is_ternary ? (size_t)TERNARY_TABLES : BINARY_TABLES) * TABLE;
    for (uint32_t c = 0; c < at->n_codes; c++) {
        if (is_ternary) {
            make_ternary(x + (size_t)RBE_TERNARY_COLS * c, tables + of_code * c);
        } else {
            make_binary(x + (size_t)RBE_BINARY_COLS * c, tables + of_code * c);
        }
    }
    for (uint32_t first = 0; first < at->rows; first += VECTORS * VECTOR_ROWS) {
        row_sums sums[VECTORS];
        RBE_UNROLL(2)
        for (uint32_t v = 0; v < VECTORS; v++) {
            sums[v] = sums_start();
        }
        const uint8_t *codes = at->codes + first;
        for (uint32_t c = 0; c < at->n_codes; c++, codes += at->rows) {
            if (PREFETCHES) {
                prefetch_ahead(codes, 1);
            }
            RBE_UNROLL(2)
            for (uint32_t v = 0; v < VECTORS; v++) {
                const vec of_rows = load_codes(codes + (size_t)VECTOR_ROWS * v);
                if (is_ternary) {
                    add_ternary(&sums[v], of_rows, tables + of_code * c);
                } else {
                    add_binary(&sums[v], of_rows, tables + of_code * c);
                }
            }
        }
        RBE_UNROLL(2)
        for (uint32_t v = 0; v < VECTORS; v++) {
            store_rows(acc + first + (size_t)VECTOR_ROWS * v, &sums[v], start);
        }
    }
}

#endif
