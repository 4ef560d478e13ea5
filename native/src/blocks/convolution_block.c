/* The block of a short convolution with gates: out(C * convolution(B * x)) of B, C and x = in(norm(rows)). The convolution goes along the
 * positions, of each channel for itself, over so few of them that a sequence keeps only the latest. */
#include <stdio.h>

#include "base/status.h"
#include "blocks/bind.h"
#include "blocks/convolution_state.h"
#include "blocks/pass.h"

enum { OPERATION_IN, OPERATION_CONVOLUTION, OPERATION_OUT, N_OPERATIONS };

static const char *const operations[N_OPERATIONS] = {"convolution gates", "short convolution", "convolution output"};

static void bind(rbe__binder *binder, uint32_t index, const rbe__layer_shape *shape, rbe__block *block)
{
    rbe__convolution_block *convolution = &block->as.convolution;
    char place[64], name[96];
    snprintf(place, sizeof place, "%slayers.%u.convolution", binder->prefix, index);
    rbe__bind_block_norms(binder, place, shape, 0, block);
#define NAME(part) (snprintf(name, sizeof name, "%s." part, place), name)
    convolution->in = rbe__bind_projection(binder, NAME("in"), 3 * shape->width, shape->width, 0);
    convolution->out = rbe__bind_projection(binder, NAME("out"), shape->width, shape->width, 0);
    convolution->taps = rbe__bind_projection(binder, NAME("taps"), shape->width, shape->convolution_taps, 0);
#undef NAME
    rbe__bind_dense(binder, convolution->taps.weight);
}

typedef struct convolution_scratch {
    float *thirds; /* [n_tokens][3][width]: B, C and x, which becomes what the convolution reads */
    float *mixed; /* [n_tokens][width] */
    float *taps; /* [taps][width] */
    float *stored; /* [width][taps] */
} convolution_scratch;

static convolution_scratch take_scratch(const rbe__block *block, uint32_t n_tokens, rbe__arena *arena)
{
    const size_t width = block->width, n_taps = block->as.convolution.taps.weight->cols;
    convolution_scratch scratch = {0};
    scratch.thirds = rbe__arena_take(arena, rbe__arena_count(n_tokens, 3 * width), sizeof(float));
    scratch.mixed = rbe__arena_take(arena, rbe__arena_count(n_tokens, width), sizeof(float));
    scratch.taps = rbe__arena_take(arena, rbe__arena_count(n_taps, width), sizeof(float));
    scratch.stored = rbe__arena_take(arena, rbe__arena_count(n_taps, width), sizeof(float));
    return scratch;
}

static convolution_scratch scratch_of(const rbe__pass *pass, const rbe__block *block)
{
    rbe__arena arena = {.memory = pass->scratch};
    return take_scratch(block, pass->workspace.most_tokens, &arena);
}

static size_t scratch_bytes(const rbe__block *block, uint32_t n_tokens, uint32_t context)
{
    (void)context;
    rbe__arena arena = {0};
    (void)take_scratch(block, n_tokens, &arena);
    return arena.used;
}

/* The taps one after the other, as the loop over channels reads them. */
static void turn_taps(const rbe__pass *pass, const rbe__block *block, const convolution_scratch *scratch)
{
    rbe__tensor taps = *block->as.convolution.taps.weight;
    const uint32_t n_taps = taps.cols;
    taps.cols *= taps.rows; /* all of it as one row */
    taps.rows = 1;
    rbe__tensor_row(pass->stack->kernels, &taps, 0, 0, scratch->stored);
    for (uint32_t t = 0; t < n_taps; t++) {
        for (uint32_t c = 0; c < block->width; c++) {
            scratch->taps[(size_t)t * block->width + c] = scratch->stored[(size_t)c * n_taps + t];
        }
    }
}

typedef struct rows_call {
    const rbe__pass *pass;
    const rbe__block *block;
    const convolution_scratch *scratch;
} rows_call;

static float *read_row(const rows_call *call, uint32_t n)
{
    return call->scratch->thirds + (3 * (size_t)n + 2) * call->block->width;
}

/* x of row n becomes B * x. */
static void open_gate(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const rows_call *call = context;
    const size_t width = call->block->width;
    float *x = read_row(call, n);
    const float *gate = x - 2 * width;
    for (size_t c = 0; c < width; c++) {
        x[c] *= gate[c];
    }
}

/* What the convolution has read so many positions before row n; NULL before the first one. */
static const float *earlier_row(const rows_call *call, uint32_t n, uint32_t back)
{
    const rbe__row *rows = call->pass->rows;
    if (rows[n].position < back) {
        return NULL;
    }
    if (n >= back && rows[n - back].state == rows[n].state && rows[n - back].position == rows[n].position - back) {
        return read_row(call, n - back);
    }
    return rbe__convolution_row(&rows[n].state->blocks[call->block->state], rows[n].position - back);
}

/* Each channel adds up in the order of the positions, whatever stands in the pass and what before it. */
static void convolve(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const rows_call *call = context;
    const rbe__convolution_block *convolution = &call->block->as.convolution;
    const size_t width = call->block->width;
    const uint32_t n_taps = convolution->taps.weight->cols;
    const float *gate = call->scratch->thirds + (3 * (size_t)n + 1) * width;
    float *sum = call->scratch->mixed + n * width;
    for (size_t c = 0; c < width; c++) {
        sum[c] = convolution->taps.bias ? convolution->taps.bias[c] : 0.0f;
    }
    for (uint32_t t = 0; t < n_taps; t++) {
        const float *row = earlier_row(call, n, n_taps - 1 - t), *tap = call->scratch->taps + t * width;
        for (size_t c = 0; row && c < width; c++) {
            sum[c] += tap[c] * row[c];
        }
    }
    for (size_t c = 0; c < width; c++) {
        sum[c] *= gate[c];
    }
}

static void store(const rows_call *call)
{
    const rbe__pass *pass = call->pass;
    uint32_t first = 0;
    for (uint32_t r = 0; r < pass->n_runs; r++) {
        const rbe__run *run = &pass->runs[r];
        rbe__convolution_store(&run->state->blocks[call->block->state], run->first_position, run->n_tokens, read_row(call, first),
                               3 * (size_t)call->block->width);
        first += run->n_tokens;
    }
}

/* B, C and x of the rows, and B * x. *x: what the matrix read. */
static void project(const rows_call *call, rbe__pass *pass, const float **x)
{
    const rbe__linear_job in = {&call->block->as.convolution.in, call->scratch->thirds, 3 * (size_t)call->block->width, 0};
    rbe__block_project(pass, call->block, &in, 1, x);
    rbe__profile_lap(pass->workspace.profile, call->block->first_operation + OPERATION_IN);
    rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, open_gate, (void *)(uintptr_t)call);
}

static rbe_status fill(rbe__pass *pass, const rbe__block *block)
{
    const convolution_scratch scratch = scratch_of(pass, block);
    const rows_call call = {pass, block, &scratch};
    const float *x;
    project(&call, pass, &x);
    store(&call);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_CONVOLUTION);
    return RBE_OK;
}

static rbe_status forward(rbe__pass *pass, const rbe__block *block, uint32_t layer)
{
    const convolution_scratch scratch = scratch_of(pass, block);
    rows_call call = {pass, block, &scratch};
    const float *x;
    project(&call, pass, &x);
    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_QKV, x, block->width));
    turn_taps(pass, block, &scratch);
    rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, convolve, &call);
    store(&call);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_CONVOLUTION);

    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_O, scratch.mixed, block->width));
    const rbe__linear_job out = rbe__block_output_job(pass, block, &block->as.convolution.out);
    const rbe__linear_input mixed = {pass->n_tokens, pass->planes, block->width, scratch.mixed};
    rbe__linear(&pass->workspace, &out, 1, &mixed);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_OUT);
    rbe__block_add(pass, block);
    return RBE_OK;
}

static uint64_t read_bytes(const rbe__block *block, uint32_t planes)
{
    const rbe__convolution_block *convolution = &block->as.convolution;
    return planes == RBE_SKIP
               ? rbe__tensor_read_bytes(convolution->in.weight, 0)
               : rbe__tensor_read_bytes(convolution->in.weight, planes) + rbe__tensor_read_bytes(convolution->out.weight, planes) +
                     rbe__tensor_read_bytes(convolution->taps.weight, 0);
}

const rbe__block_kind rbe__convolution_kind = {
    .bind = bind,
    .scratch_bytes = scratch_bytes,
    .forward = forward,
    .fill = fill,
    .take_state = rbe__convolution_take_state,
    .reach = rbe__convolution_reach,
    .rewind = rbe__convolution_rewind,
    .mark = rbe__convolution_mark,
    .settle = rbe__convolution_settle,
    .slide = rbe__convolution_slide,
    .visit = rbe__convolution_visit,
    .read_bytes = read_bytes,
    .matrices = RBE_PLANES_ATTENTION,
    .operations = operations,
    .n_operations = N_OPERATIONS,
};
