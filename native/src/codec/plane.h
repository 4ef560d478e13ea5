/* One plane of one matrix being encoded: what its parts share. */
#ifndef RBE_CODEC_PLANE_H
#define RBE_CODEC_PLANE_H

#include "codec/cell.h"
#include "parallel/thread_pool.h"
#include "weights/layout.h"

typedef struct rbe__plane_encoder {
    const float *weights; /* [rows][cols] */
    rbe__layout layout;
    rbe__trellis trellis;
    const rbe__sweeps *sweeps;
    float tensor_scale;
    float *units_per_weight; /* [padded rows] 1 / (tensor scale x row scale); 0 where that is 0 or the row does not exist */
    float *decoded_scales;   /* [padded rows] tensor scale x row scale as it is stored; with feedback more than 1 / units_per_weight */
    float *gains;            /* [padded rows] as in rbe__cell */
    double *squares;         /* [rows] sum of w^2 */
    double *sizes;           /* [rows] what the scale is in proportion to: the root mean square, or more: see plane.c */
    double *errors;          /* [rows] squared error after the fit */
    uint16_t *row_scales;    /* fp16 [rows] */
    uint8_t *stream;
    int8_t *values;          /* [strip][group][row step][16] */
} rbe__plane_encoder;

/* Rows with those that do not exist: U x P. */
static inline uint32_t rbe__padded_rows(const rbe__layout *layout)
{
    return layout->n_units * layout->unit_rows;
}

/* Where the values of a group begin. */
static inline size_t rbe__values_offset(const rbe__layout *layout, const rbe__strip_layout *strip, uint32_t group)
{
    return (size_t)4 * strip->first_row * layout->n_groups + (size_t)group * strip->row_steps * RBE_LANES;
}

/* What rbe_encode_plane and rbe_decode_plane ask of their arguments alike, and the layout. */
rbe_status rbe__plane_check(uint32_t rows, uint32_t cols, const rbe_codebook *codebook, uint32_t unit_rows, rbe__layout *layout);

/* squares and sizes. RBE_ERROR_ARGUMENT names the first row that holds a value that is not finite. */
rbe_status rbe__plane_measure_rows(rbe__plane_encoder *plane);

/* Row scales that give each row the size `units`, in units of T1 + T2, and the gains that go with them. */
void rbe__plane_set_scales(rbe__plane_encoder *plane, double units);

/* decoded_scales. unbiased: first raises the stored scales, not the units, so that errors do not depend on the weights: see plane.c. */
void rbe__plane_set_decoded_scales(rbe__plane_encoder *plane, int unbiased);

/* The squared error of the values. fit: first sets the row scales that fit them best (least squares). */
double rbe__plane_finish(rbe__plane_encoder *plane, int fit, rbe__thread_pool *thread_pool);

#endif
