#include "blocks/recurrence_heads.h"

#include <math.h>
#include <string.h>

#include "blocks/recurrence_rule.h"
#include "layers/activation.h"
#include "layers/norm.h"

#define CHANNELS 64u /* that are convolved at once: their taps lie side by side */

/* ---- convolutions ----------------------------------------------------------------------------------------------------- */

/* Channels of one head, of those of a row; n: of which are done at once. */
typedef struct head_channels {
    const rbe__projection *taps;
    uint32_t first_row; /* of the taps */
    uint32_t first, n; /* in a row */
} head_channels;

/* The heads of q, of k and of v. */
static head_channels channels_of(const rbe__recurrence_block *recurrence, uint32_t head)
{
    const rbe__recurrence_shape *shape = &recurrence->shape;
    const uint32_t keys = shape->n_keys * shape->key_dim, n_keys = shape->n_keys;
    if (head < n_keys) {
        return (head_channels){&recurrence->q_taps, head * shape->key_dim, head * shape->key_dim, shape->key_dim};
    }
    if (head < 2 * n_keys) {
        const uint32_t row = (head - n_keys) * shape->key_dim;
        return (head_channels){&recurrence->k_taps, row, keys + row, shape->key_dim};
    }
    const uint32_t row = (head - 2 * n_keys) * shape->value_dim;
    return (head_channels){&recurrence->v_taps, row, 2 * keys + row, shape->value_dim};
}

/* What a convolution reads: a run's rows behind what the state has kept of those before it. */
typedef struct row_source {
    const float *kept; /* [taps - 1][channels]; NULL: all zero */
    const float *rows; /* [n_tokens][channels] */
    uint32_t n_kept;
    size_t stride;
} row_source;

/* Row i of both, one after the other; NULL: zeros. */
static const float *source_row(const row_source *source, uint32_t i)
{
    if (i >= source->n_kept) {
        return source->rows + (i - source->n_kept) * source->stride;
    }
    return source->kept ? source->kept + i * source->stride : NULL;
}

/* [taps][CHANNELS] of so many channels. */
static void turn_taps(const rbe_kernels *kernels, const head_channels *channels, float *taps)
{
    rbe__tensor part = *channels->taps->weight;
    const uint32_t n_taps = part.cols;
    const size_t row_bytes = (size_t)(part.data_bytes / part.rows);
    float stored[RBE_MOST_TAPS * CHANNELS];
    part.data += channels->first_row * row_bytes; /* their rows as one */
    part.rows = 1;
    part.cols = n_taps * channels->n;
    rbe__tensor_row(kernels, &part, 0, 0, stored);
    for (uint32_t c = 0; c < channels->n; c++) {
        for (uint32_t t = 0; t < n_taps; t++) {
            taps[t * CHANNELS + c] = stored[c * n_taps + t];
        }
    }
}

/* Each channel adds up in the order of the positions. */
static void convolve_row(const rbe_kernels *kernels, const head_channels *channels, const float *taps, const row_source *source,
                         uint32_t token, float *out)
{
    const float *bias = channels->taps->bias;
    if (bias) {
        memcpy(out, bias + channels->first_row, channels->n * sizeof *out);
    } else {
        memset(out, 0, channels->n * sizeof *out);
    }
    for (uint32_t t = 0; t <= source->n_kept; t++) {
        const float *row = source_row(source, token + t);
        if (row) {
            kernels->multiply_add(out, taps + (size_t)t * CHANNELS, row + channels->first, channels->n);
        }
    }
    kernels->silu(NULL, channels->n, out);
}

/* The rows that are kept after n_tokens of a run. kept may be where the source's are. */
static void keep_rows(const head_channels *channels, const row_source *source, uint32_t n_tokens, float *kept)
{
    for (uint32_t i = 0; i < source->n_kept; i++) {
        const float *row = source_row(source, n_tokens + i);
        float *to = kept + i * source->stride + channels->first;
        if (row) {
            memmove(to, row + channels->first, channels->n * sizeof *to);
        } else {
            memset(to, 0, channels->n * sizeof *to);
        }
    }
}

static row_source source_of(const rbe__recurrence_call *call, uint32_t run, uint32_t first_row)
{
    const rbe__recurrence_shape *shape = &call->block->as.recurrence.shape;
    const float *from = call->scratch->steps[run].from;
    const size_t stride = rbe__recurrence_channels(shape);
    return (row_source){from ? from + rbe__recurrence_matrices(shape) : NULL, call->scratch->rows + first_row * stride, shape->taps - 1,
                        stride};
}

static void convolve_channels(const rbe__recurrence_call *call, const head_channels *channels)
{
    const rbe__pass *pass = call->pass;
    const rbe_kernels *kernels = pass->stack->kernels;
    const size_t matrices = rbe__recurrence_matrices(&call->block->as.recurrence.shape);
    float taps[RBE_MOST_TAPS * CHANNELS];
    uint32_t first = 0;
    turn_taps(kernels, channels, taps);
    for (uint32_t r = 0; r < pass->n_runs; r++) {
        const row_source source = source_of(call, r, first);
        const rbe__recurrence_step *step = &call->scratch->steps[r];
        for (uint32_t i = 0; i < pass->runs[r].n_tokens; i++) {
            float *out = call->scratch->read + (first + i) * source.stride + channels->first;
            convolve_row(kernels, channels, taps, &source, i, out);
        }
        for (uint32_t i = 0; i < step->n_copies; i++) {
            keep_rows(channels, &source, step->copies[i].n_tokens, step->copies[i].values + matrices);
        }
        keep_rows(channels, &source, pass->runs[r].n_tokens, step->to + matrices);
        first += pass->runs[r].n_tokens;
    }
}

/* A head of q, k or v, in all rows of the pass. */
static void convolve_head(void *context, uint32_t head, uint32_t thread)
{
    (void)thread;
    const rbe__recurrence_call *call = context;
    const rbe__recurrence_shape *shape = &call->block->as.recurrence.shape;
    const head_channels all = channels_of(&call->block->as.recurrence, head);
    for (uint32_t first = 0; first < all.n; first += CHANNELS) {
        const uint32_t n = all.n - first < CHANNELS ? all.n - first : CHANNELS;
        const head_channels channels = {all.taps, all.first_row + first, all.first + first, n};
        convolve_channels(call, &channels);
    }
    if (shape->rule == RBE_MIXER_DELTA_NET && head < 2 * shape->n_keys) {
        const double scale = head < shape->n_keys ? 1.0 / sqrt(shape->key_dim) : 1.0;
        for (uint32_t n = 0; n < call->pass->n_tokens; n++) {
            rbe__recurrence_unit(all.n, scale, call->scratch->read + n * (size_t)rbe__recurrence_channels(shape) + all.first);
        }
    }
}

void rbe__recurrence_convolve(const rbe__recurrence_call *call)
{
    const rbe__recurrence_shape *shape = &call->block->as.recurrence.shape;
    rbe__thread_pool_run(call->pass->workspace.thread_pool, 2 * shape->n_keys + shape->n_values, convolve_head, (void *)(uintptr_t)call);
}

/* ---- the rule --------------------------------------------------------------------------------------------------------- */

/* Of one head, in n rows of the pass from `first` on: the decays of its matrix, and what a token's value is multiplied by. */
static void open_head(const rbe__recurrence_call *call, uint32_t head, uint32_t first, uint32_t n)
{
    const rbe__recurrence_block *recurrence = &call->block->as.recurrence;
    const rbe_kernels *kernels = call->pass->stack->kernels;
    const uint32_t n_values = recurrence->shape.n_values;
    const size_t at = (size_t)head * call->pass->workspace.most_tokens + first;
    float *decays = call->scratch->decays + at, *shares = call->scratch->shares + at;
    for (uint32_t i = 0; i < n; i++) {
        decays[i] = call->scratch->decay_rows[(size_t)(first + i) * n_values + head];
    }
    rbe__softplus(kernels, n, decays, call->scratch->exponents + at);
    if (recurrence->shape.rule == RBE_MIXER_DELTA_NET) {
        for (uint32_t i = 0; i < n; i++) {
            shares[i] = call->scratch->beta_rows[(size_t)(first + i) * n_values + head];
        }
        rbe__logistic(kernels, n, shares);
    } else {
        memcpy(shares, decays, n * sizeof *shares);
    }
    for (uint32_t i = 0; i < n; i++) {
        decays[i] *= -recurrence->rate[head];
    }
    rbe__recurrence_decays(kernels, n, decays);
}

/* What a head gives, y [value_dim] of row n, times its gate. Its norm is of itself, or of a group of heads (norm_groups). */
static void close_head(const rbe__recurrence_call *call, uint32_t head, uint32_t n, float *y)
{
    const rbe__recurrence_block *recurrence = &call->block->as.recurrence;
    const rbe__recurrence_shape *shape = &recurrence->shape;
    const rbe_kernels *kernels = call->pass->stack->kernels;
    const float *gate = call->scratch->gates + ((size_t)n * shape->n_values + head) * shape->value_dim;
    if (shape->rule == RBE_MIXER_DELTA_NET) {
        kernels->normalize(y, shape->value_dim, RBE_NORM_RMS, recurrence->epsilon, recurrence->gated_norm.weight, NULL, y);
    }
    kernels->silu(gate, shape->value_dim, y);
}

static rbe__recurrence_token token_of(const rbe__recurrence_call *call, uint32_t head, uint32_t n)
{
    const rbe__recurrence_block *recurrence = &call->block->as.recurrence;
    const rbe__recurrence_shape *shape = &recurrence->shape;
    const uint32_t keys = shape->n_keys * shape->key_dim, key_head = head / (shape->n_values / shape->n_keys);
    const float *row = call->scratch->read + n * (size_t)rbe__recurrence_channels(shape);
    const size_t at = (size_t)head * call->pass->workspace.most_tokens + n;
    return (rbe__recurrence_token){.q = row + (size_t)key_head * shape->key_dim,
                                   .k = row + keys + (size_t)key_head * shape->key_dim,
                                   .v = row + 2 * (size_t)keys + (size_t)head * shape->value_dim,
                                   .decay = call->scratch->decays[at],
                                   .share = call->scratch->shares[at],
                                   .skip = recurrence->skip ? recurrence->skip[head] : 0.0f};
}

/* A head of a run, token by token. */
static void mix_head(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const rbe__recurrence_call *call = context;
    const rbe__recurrence_shape *shape = &call->block->as.recurrence.shape;
    const uint32_t head = item % shape->n_values, run = item / shape->n_values, n = call->pass->runs[run].n_tokens;
    const rbe__recurrence_step *step = &call->scratch->steps[run];
    const size_t matrix = (size_t)shape->key_dim * shape->value_dim, at = head * matrix;
    const float *from = step->from ? step->from + at : step->to + at;
    uint32_t first = 0, copy = 0;
    for (uint32_t r = 0; r < run; r++) {
        first += call->pass->runs[r].n_tokens;
    }
    if (!step->from) {
        memset(step->to + at, 0, matrix * sizeof *from);
    }
    open_head(call, head, first, n);
    for (uint32_t i = 0; i < n; i++) {
        const rbe__recurrence_token token = token_of(call, head, first + i);
        float *y = call->scratch->mixed + ((size_t)(first + i) * shape->n_values + head) * shape->value_dim;
        rbe__recurrence_step_head(call->pass->stack->kernels, shape, &token, from, step->to + at, y);
        from = step->to + at;
        if (call->has_gates) {
            close_head(call, head, first + i, y);
        }
        if (copy < step->n_copies && step->copies[copy].n_tokens == i + 1) {
            memcpy(step->copies[copy++].values + at, from, matrix * sizeof *from);
        }
    }
}

/* The norm of what the heads of each group give in row n. */
static void norm_groups(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const rbe__recurrence_call *call = context;
    const rbe__recurrence_block *recurrence = &call->block->as.recurrence;
    const uint32_t values = recurrence->shape.n_values * recurrence->shape.value_dim, width = values / recurrence->shape.n_keys;
    const rbe__vector_norm norm = {.kind = RBE_NORM_RMS,
                                   .weight = recurrence->gated_norm.weight,
                                   .n = recurrence->shape.n_keys,
                                   .width = width,
                                   .stride = width,
                                   .epsilon = recurrence->epsilon};
    rbe__normalize_vectors(call->pass->stack->kernels, &norm, call->scratch->mixed + (size_t)n * values);
}

void rbe__recurrence_mix(const rbe__recurrence_call *call)
{
    const rbe__recurrence_shape *shape = &call->block->as.recurrence.shape;
    rbe__thread_pool *threads = call->pass->workspace.thread_pool;
    rbe__thread_pool_run(threads, call->pass->n_runs * shape->n_values, mix_head, (void *)(uintptr_t)call);
    if (call->has_gates && shape->rule == RBE_MIXER_STATE_SPACE) {
        rbe__thread_pool_run(threads, call->pass->n_tokens, norm_groups, (void *)(uintptr_t)call);
    }
}
