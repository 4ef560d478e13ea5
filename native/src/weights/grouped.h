/* Binary and ternary matrices with a scale for each group of columns: docs/format.md, "Groups". Views of checked tensors. */
#ifndef RBE_GROUPED_H
#define RBE_GROUPED_H

#include "kernels/kernels.h"
#include "rbe/rbe.h"

#define RBE_LEAST_GROUP 32u
#define RBE_MOST_GROUP 65536u

typedef struct rbe__grouped {
    const uint16_t *scales; /* fp16 */
    const uint8_t *codes;
    uint32_t cols;
    uint32_t code_cols;  /* columns of a code: 5 of a ternary matrix, 8 of a binary one */
    uint32_t block_cols; /* of an integer sum: 32, 64, 128 or 256 */
    uint32_t scale_cols; /* that share a scale: the group, or all columns */
    uint32_t n_scales;   /* of a row */
    uint32_t n_codes;    /* of a row */
    uint32_t n_units;    /* of RBE_GROUPED_ROWS rows */
    uint32_t n_strips;
} rbe__grouped;

/* rows and cols as rbe__layout_make wants them. group: 0 (a row has one scale), or a power of two from RBE_LEAST_GROUP to RBE_MOST_GROUP,
 * which is not checked. scales and codes are NULL. */
rbe__grouped rbe__grouped_make(uint32_t rows, uint32_t cols, uint32_t group, int binary);

/* Bytes of all scales, a multiple of 64, and of all codes; each under 2^45. */
uint64_t rbe__grouped_scale_bytes(const rbe__grouped *grouped);
uint64_t rbe__grouped_code_bytes(const rbe__grouped *grouped);

/* Strip `index` < n_strips, and in *first_row its first row. */
rbe_grouped_strip rbe__grouped_strip(const rbe__grouped *grouped, uint32_t index, uint32_t *first_row);

/* out[cols] = a row, exactly: tensor_scale times its scales, which is rounded once. */
void rbe__grouped_row(const rbe_kernels *kernels, const rbe__grouped *grouped, float tensor_scale, uint32_t row, float *out);

#endif
