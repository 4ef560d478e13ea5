#include "codec/cell.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static int16_t quantised_target(const rbe__trellis *trellis, float target)
{
    float scaled = target * (float)trellis->resolution;
    if (scaled <= (float)trellis->low) {
        return trellis->low;
    }
    return scaled >= (float)trellis->high ? trellis->high : (int16_t)lrintf(scaled);
}

/* A gain above 0 is never quantised to 0, which would make the row not count. */
static int16_t quantised_gain(const rbe__trellis *trellis, float gain)
{
    int16_t quantised = (int16_t)lrintf(gain * (float)trellis->full_gain);
    return quantised == 0 && gain > 0 ? 1 : quantised;
}

static void fill_lanes(const rbe__trellis *trellis, const rbe__cell *cell, uint32_t first_lane, rbe__sweep_lanes *lanes)
{
    for (uint32_t t = 0; t < lanes->n_steps; t++) {
        const float *gains = cell->gains + (size_t)4 * (t % cell->row_steps);
        for (uint32_t i = 0; i < 4; i++) {
            const int16_t gain = quantised_gain(trellis, gains[i]);
            const int16_t limit = gain > 0 ? (int16_t)(trellis->cost_limit / gain) : 32767;
            for (uint32_t lane = 4 * i; lane < 4 * i + 4; lane++) {
                lanes->target[t][first_lane + lane] = quantised_target(trellis, cell->targets[t * RBE_LANES + lane]);
                lanes->gain[t][first_lane + lane] = gain;
                lanes->limit[t][first_lane + lane] = limit;
            }
        }
    }
}

/* The newest K bits of each window, from the most significant bit of the lane's first byte. */
static void write_lane(const rbe__trellis *trellis, const rbe__cell_space *space, uint32_t first_lane, uint32_t lane, const rbe__cell *cell)
{
    const uint32_t bits = trellis->bits;
    uint32_t pending = 0, n_pending = 0;
    uint8_t *next = cell->stream + lane;
    for (uint32_t t = 0; t < space->lanes.n_steps; t++) {
        const uint32_t w = space->branches[t][first_lane + lane];
        cell->values[t * RBE_LANES + lane] = trellis->values[w];
        pending = pending << bits | (w & ((1u << bits) - 1));
        n_pending += bits;
        if (n_pending >= 8) {
            n_pending -= 8;
            *next = (uint8_t)(pending >> n_pending);
            next += RBE_LANES;
        }
    }
    assert(n_pending == 0);
}

void rbe__encode_cells(const rbe__sweeps *sweeps, const rbe__trellis *trellis, const rbe__cell *cells, uint32_t n_cells,
                       rbe__cell_space *space)
{
    assert(n_cells >= 1 && n_cells <= RBE_SWEEP_CELLS);
    rbe__sweep_lanes *lanes = &space->lanes;
    lanes->n_steps = cells[0].n_groups * cells[0].row_steps;
    lanes->n_lanes = n_cells * RBE_LANES;
    assert(lanes->n_steps <= RBE_MAX_LANE_STEPS);
    memset(lanes->gain, 0, sizeof lanes->gain); /* lanes that stay free cost nothing */
    for (uint32_t c = 0; c < n_cells; c++) {
        assert(cells[c].n_groups * cells[c].row_steps == lanes->n_steps);
        fill_lanes(trellis, &cells[c], c * RBE_LANES, lanes);
    }
    rbe__viterbi(sweeps, trellis, lanes, &space->sweep, space->branches);
    for (uint32_t c = 0; c < n_cells; c++) {
        for (uint32_t lane = 0; lane < RBE_LANES; lane++) {
            write_lane(trellis, space, c * RBE_LANES, lane, &cells[c]);
        }
    }
}
