/* A tensor as the layers see it: views into the mapped file, checked when it was opened. */
#ifndef RBE_TENSOR_H
#define RBE_TENSOR_H

#include "kernels/kernels.h"
#include "weights/grouped.h"
#include "weights/layout.h"
#include "weights/smooth_codes/smooth_codes.h"

#define RBE_MAX_PLANES 4u

/* Rows in one item of work, of a matrix that is no trellis. Threads divide the items, and a limit of memory counts in items. */
#define RBE_DENSE_ROWS 64u

enum {
    RBE_KIND_F32 = 1,
    RBE_KIND_F16 = 2,
    RBE_KIND_BF16 = 3,
    RBE_KIND_TRELLIS = 4,
    RBE_KIND_SEED64 = 5,
    RBE_KIND_BASIS = 6,
    RBE_KIND_BANDS = 7, /* never in a file: what rbe__pack_join_bands makes of several trellis tensors */
    RBE_KIND_TERNARY = 8,
    RBE_KIND_BINARY = 9
};

typedef struct rbe__plane {
    uint32_t bits, narrow; /* narrow: as in rbe_strip */
    const int8_t *t1, *t2;
    const uint16_t *row_scales; /* fp16 [rows] */
    const uint8_t *stream;
} rbe__plane;

struct rbe__weight_cache;

typedef struct rbe__tensor {
    const char *name; /* not zero-terminated */
    uint32_t name_bytes;
    uint32_t kind;
    uint32_t rows, cols;
    const uint8_t *data; /* 64-byte aligned */
    uint64_t data_bytes;
    uint32_t checksum;
    float error;

    rbe__basis basis; /* of that kind only */
    struct rbe__weight_cache *cache; /* of the generated kinds; NULL: its rows are not kept */
    size_t first_place;              /* of its rows there */

    rbe__grouped grouped; /* of ternary and binary; their tensor_scale is below */

    /* trellis; seed and scale of seed64 too */
    uint32_t rotation_block; /* 0: none */
    uint64_t seed;
    const uint8_t *signs; /* rbe__sign_bits of seed and cols, made when the model was opened; NULL unless rotated */
    float tensor_scale;
    const float *block_scales; /* [ceil(cols / 256)] or NULL */
    rbe__layout layout;
    uint32_t n_planes;
    rbe__plane planes[RBE_MAX_PLANES];

    /* bands: trellis tensors of the same columns and rotation that hold its rows, one after the other. n_planes and planes are those
     * of the first band with most, to tell their bits; data_bytes is the sum; the matrix has no layout of its own */
    const struct rbe__tensor *bands;
    uint32_t n_bands;
    uint32_t first_row; /* of a band, in its matrix; else 0 */
} rbe__tensor;

/* The tensors that hold the rows of a matrix, in their order: its bands, or itself alone. */
typedef struct rbe__bands {
    const rbe__tensor *first;
    uint32_t n;
} rbe__bands;

static inline rbe__bands rbe__tensor_bands(const rbe__tensor *tensor)
{
    rbe__bands bands = {tensor, 1};
    if (tensor->kind == RBE_KIND_BANDS) {
        bands.first = tensor->bands;
        bands.n = tensor->n_bands;
    }
    return bands;
}

/* 1 for a matrix that is generated inside the product, in its rotated basis. */
static inline int rbe__tensor_is_trellis(const rbe__tensor *tensor)
{
    return tensor->kind == RBE_KIND_TRELLIS || tensor->kind == RBE_KIND_BANDS;
}

/* 1 for numbers of 32 or 16 bits, as they are. */
static inline int rbe__tensor_is_dense(const rbe__tensor *tensor)
{
    return tensor->kind == RBE_KIND_F32 || tensor->kind == RBE_KIND_F16 || tensor->kind == RBE_KIND_BF16;
}

/* 1 for a ternary or binary matrix, whose product reads the activation in int8 before any rotation. */
static inline int rbe__tensor_is_grouped(const rbe__tensor *tensor)
{
    return tensor->kind == RBE_KIND_TERNARY || tensor->kind == RBE_KIND_BINARY;
}

/* The part of a plane that a kernel works on. */
static inline rbe_strip rbe__tensor_strip(const rbe__tensor *tensor, const rbe__plane *plane, const rbe__strip_layout *strip)
{
    rbe_strip view = {
        .stream = plane->stream + rbe__strip_offset(&tensor->layout, strip, plane->bits),
        .t1 = plane->t1,
        .t2 = plane->t2,
        .bits = plane->bits,
        .narrow = plane->narrow,
        .row_steps = strip->row_steps,
        .n_groups = tensor->layout.n_groups,
        .n_cells = strip->n_cells,
    };
    return view;
}

/* How many planes a reader limited to `most` (0: all) takes. */
static inline uint32_t rbe__planes_read(const rbe__tensor *tensor, uint32_t most)
{
    return most && most < tensor->n_planes ? most : tensor->n_planes;
}

/* 1 for a matrix that is generated row by row: no kernel can multiply with its data directly. */
static inline int rbe__tensor_by_row(const rbe__tensor *tensor)
{
    return tensor->kind == RBE_KIND_SEED64 || tensor->kind == RBE_KIND_BASIS;
}

/* out[cols] = the row in the source's basis (rotation undone), from the first most_planes planes (0: all). */
void rbe__tensor_row(const rbe_kernels *kernels, const rbe__tensor *tensor, uint32_t most_planes, uint32_t row, float *out);

/* x[n] <- D x: the signs of docs/format.md, "Rotation", where they are needed once. */
void rbe__apply_signs(float *x, uint32_t n, uint64_t seed);

/* The same signs D of docs/format.md, "Rotation", for the flip_signs kernel: bit c is bit 63 of splitmix64 output c. */
void rbe__sign_bits(uint64_t seed, uint32_t n, uint8_t *bits);

static inline size_t rbe__sign_bytes(uint32_t n)
{
    return ((size_t)n + 63) / 64 * 8;
}

#endif
