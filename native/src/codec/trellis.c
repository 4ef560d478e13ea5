#include <math.h>
#include <string.h>

#include "base/status.h"
#include "codec/viterbi.h"

/* Start states tried per lane, by K - 1. On 64-step Gaussian lanes the error is then about 0.5, 0.2, 0.2 and 0.1 % above that of
 * trying all of them (docs/codec.md, "Tail-biting"). */
static const uint32_t start_candidates[4] = {8, 4, 3, 2};

/* Relative squared error on a unit Gaussian that a good codebook of K bits leaves: for the scale of the costs and of rows. */
static const double expected_error[4] = {0.277, 0.0720, 0.0187, 0.00485};

/* Root mean square of all 4096 values over that of a Gaussian when it is encoded best, for the same tables. */
static const double usual_ratio[4] = {0.890, 1.023, 1.089, 1.148};

/* A step's cost is cut off at this many times the expected root mean square error. */
static const double cutoff = 10.0;

/* A target may lie this far outside the range of the values, in units of the cut-off; farther ones are moved in. */
static const double margin = 0.5;

static double rms(const int8_t values[4096])
{
    double sum = 0;
    for (int w = 0; w < 4096; w++) {
        sum += (double)values[w] * values[w];
    }
    return sqrt(sum / 4096);
}

void rbe__trellis_make(const rbe_codebook *codebook, rbe__trellis *out)
{
    const uint32_t bits = codebook->bits;
    memset(out, 0, sizeof *out);
    out->bits = bits;
    out->n_states = 1u << (12 - bits);
    out->settle_steps = (12 - bits + bits - 1) / bits;
    out->n_starts = start_candidates[bits - 1];

    int lowest = 127, highest = -127;
    for (uint32_t w = 0; w < 4096; w++) {
        int value = codebook->t1[(w ^ w >> 8) & 15u] + codebook->t2[w >> 4 & 15u];
        out->values[w] = (int8_t)value;
        lowest = value < lowest ? value : lowest;
        highest = value > highest ? value : highest;
    }

    const double values_rms = rms(out->values);
    out->reach = -lowest < highest ? -lowest : highest;
    out->usual_rms = values_rms > 0 ? values_rms / usual_ratio[bits - 1] : 1;
    out->expected_error = expected_error[bits - 1];

    /* The range that viterbi.h derives, with room for the tags below the metrics. */
    const int tags = 1 << bits;
    out->cost_cap = (int16_t)((32767 - tags) / (int)(out->settle_steps + 1) / tags * tags);
    out->cost_limit = (int16_t)sqrt(out->cost_cap * 65536.0);

    double cut = cutoff * sqrt(expected_error[bits - 1]) * values_rms;
    cut = cut < 1 ? 1 : cut > 254 ? 254 : cut;
    out->resolution = 1;
    while (out->resolution < 16 && 2 * out->resolution * cut < 256) {
        out->resolution = (int16_t)(2 * out->resolution);
    }
    out->full_gain = (int16_t)(out->cost_limit / (cut * out->resolution));
    const double widened = margin * cut;
    out->low = (int16_t)((lowest - widened) * out->resolution);
    out->high = (int16_t)((highest + widened) * out->resolution);
    for (uint32_t i = 0; i < 16; i++) {
        for (uint32_t lane = 0; lane < RBE_SWEEP_LANES; lane++) {
            out->t1[i][lane] = (int16_t)(codebook->t1[i] * out->resolution);
            out->t2[i][lane] = (int16_t)(codebook->t2[i] * out->resolution);
        }
    }
}

rbe_status rbe__codebook_check(const rbe_codebook *codebook)
{
    if (codebook->bits < 1 || codebook->bits > 4) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "a codebook of %u bits; they are 1 to 4", codebook->bits);
    }
    for (int i = 0; i < 256; i++) {
        const int sum = codebook->t1[i % 16] + codebook->t2[i / 16];
        if (sum < -127 || sum > 127) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "codebook: t1[%d] + t2[%d] is %d, outside +-127", i % 16, i / 16, sum);
        }
    }
    return RBE_OK;
}
