/* Encoding of cells: real targets in, stream bytes and integers out. The caller decides the order of the cells and their targets (error
 * feedback). */
#ifndef RBE_CODEC_CELL_H
#define RBE_CODEC_CELL_H

#include "codec/viterbi.h"

/* A cell of n_groups column groups x row_steps steps of 16 lanes. */
typedef struct rbe__cell {
    uint32_t n_groups, row_steps; /* n_groups x row_steps is at most RBE_MAX_LANE_STEPS */
    const float *targets;         /* [n_groups][row_steps][16], finite, in units of T1 + T2 */
    const float *gains;           /* [4 row_steps]: the error of a row counts gain^2; 0 to 1; 0: the row does not count */
    uint8_t *stream;              /* 2 n_groups row_steps K bytes */
    int8_t *values;               /* [n_groups][row_steps][16], T1 + T2 as a decoder gives them */
} rbe__cell;

/* What one thread works in. */
typedef struct rbe__cell_space {
    rbe__sweep_lanes lanes;
    rbe__sweep_space sweep;
    uint16_t branches[RBE_MAX_LANE_STEPS][RBE_SWEEP_LANES];
} rbe__cell_space;

/* n_cells is 1 to RBE_SWEEP_CELLS; all have the same n_groups x row_steps. Where vectors are wide, two at once take little longer than one.
 * The result of a cell does not depend on the others. */
void rbe__encode_cells(const rbe__sweeps *sweeps, const rbe__trellis *trellis, const rbe__cell *cells, uint32_t n_cells,
                       rbe__cell_space *space);

#endif
