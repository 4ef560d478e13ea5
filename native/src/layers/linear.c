#include <assert.h>
#include <string.h>

#include "layers/activation.h"
#include "layers/grouped_product.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/trellis_product.h"
#include "weights/weight_cache.h"

typedef struct linear_call {
    rbe__workspace *workspace;
    const rbe__linear_job *jobs;
    uint32_t n_jobs;
    uint32_t first_item[RBE_MAX_LINEAR_JOBS + 1];
    uint32_t first;   /* item of what the threads share at the moment */
    uint32_t n_whole; /* the items behind these are done in n_parts parts, some of the tokens each */
    uint32_t n_parts;
    int8_t *quantized; /* of the workspace, from the first token of this call on; and so the next */
    float *scales;
    uint32_t first_token; /* of the workspace's `plain` and its scales */
    const float *x;
    size_t x_stride;
    uint32_t n_tokens, most_planes;
    const rbe__tensor *rotation; /* a trellis tensor among the jobs, for seed and block; NULL: there is none */
    const rbe__tensor *grouped;  /* a binary or ternary one; NULL: there is none */
    uint32_t scale_stride;
    const rbe__normed_input *normed; /* x is made from one of these, if not NULL */
    const rbe__activated_input *activated;
} linear_call;

/* The least tokens of a part of a strip. Each part generates the strip's weights again, which takes as long as multiplying them with 5 tokens
 * (docs/performance.md: generate and multiply_tile). */
#define LEAST_PART 16u

typedef struct token_span {
    uint32_t first, n;
} token_span;

/* The norm or the activation function, where there is one; x, quantised, where a matrix is binary or ternary; x' = H D x, quantised, where
 * one is of the trellis: once for all jobs, while the token is in the cache. */
static void prepare_token(void *context, uint32_t token, uint32_t thread)
{
    const linear_call *call = context;
    rbe__workspace *workspace = call->workspace;
    const rbe__tensor *tensor = call->rotation;
    const size_t first = token * call->x_stride;
    const float *x = call->x + first;
    if (call->normed) {
        const rbe__normed_input *input = call->normed;
        rbe__normalize(workspace->kernels, input->kind, input->norm, input->epsilon, input->x + first, (uint32_t)call->x_stride, 1,
                       input->normed + first);
    } else if (call->activated) {
        const rbe__activated_input *input = call->activated;
        rbe__activate(workspace->kernels, input->activation, input->gate ? input->gate + first : NULL, (uint32_t)call->x_stride,
                      input->up + first);
    }
    if (call->grouped) {
        workspace->kernels->quantize(x, call->grouped->cols, workspace->plain + (size_t)(call->first_token + token) * workspace->max_cols,
                                     workspace->plain_scales + (size_t)(call->first_token + token) * call->scale_stride);
    }
    if (!tensor) {
        return;
    }
    float *rotated = workspace->threads[thread].rotated;
    if (tensor->rotation_block) {
        workspace->kernels->flip_signs(x, tensor->signs, tensor->cols, rotated);
        workspace->kernels->hadamard(rotated, tensor->cols, tensor->rotation_block);
        x = rotated;
    }
    workspace->kernels->quantize(x, tensor->cols, call->quantized + (size_t)token * workspace->max_cols,
                                 call->scales + (size_t)token * call->scale_stride);
}

/* What stands in y before the products: the bias, on what was there where the job adds. */
static void start_rows(const rbe_kernels *kernels, const rbe__linear_job *job, uint32_t first_row, uint32_t rows, float *y)
{
    const float *bias = job->projection->bias;
    if (!job->adds) {
        memset(y, 0, rows * sizeof *y);
    }
    if (bias) {
        kernels->add(y, bias + first_row, rows);
    }
}

/* tensor: the job's matrix, or a band of it. */
static void run_strip(const linear_call *call, token_span tokens, const rbe__linear_job *job, const rbe__tensor *tensor, uint32_t index,
                      rbe__thread_scratch *scratch)
{
    const rbe_kernels *kernels = call->workspace->kernels;
    rbe__strip_layout layout = rbe__layout_strip(&tensor->layout, index);
    const rbe__trellis_input input = {.quantized = call->quantized + (size_t)tokens.first * call->workspace->max_cols,
                                      .scales = call->scales + (size_t)tokens.first * call->scale_stride,
                                      .scale_stride = call->scale_stride,
                                      .n_tokens = tokens.n,
                                      .is_alone = call->n_tokens == 1};
    for (uint32_t p = 0; p < rbe__planes_read(tensor, call->most_planes); p++) {
        const rbe__plane *plane = &tensor->planes[p];
        rbe_strip strip = rbe__tensor_strip(tensor, plane, &layout);
        rbe__trellis_product(call->workspace, &strip, tensor->block_scales, &input, scratch);
        kernels->from_half(plane->row_scales + layout.first_row, layout.rows, scratch->row_scale);
        for (uint32_t r = 0; r < layout.rows; r++) {
            scratch->row_scale[r] *= tensor->tensor_scale;
        }
        for (uint32_t n = 0; n < tokens.n; n++) {
            const uint32_t first_row = tensor->first_row + layout.first_row;
            float *y = job->y + (tokens.first + n) * job->y_stride + first_row;
            if (p == 0) {
                start_rows(kernels, job, first_row, layout.rows, y);
            }
            kernels->multiply_add(y, scratch->row_scale, scratch->sum + (size_t)n * 4 * layout.row_steps, layout.rows);
        }
    }
}

/* As run_strip, of a binary or ternary matrix. */
static void run_grouped(const linear_call *call, token_span tokens, const rbe__linear_job *job, uint32_t index,
                        rbe__thread_scratch *scratch)
{
    const rbe_kernels *kernels = call->workspace->kernels;
    const rbe__tensor *tensor = job->projection->weight;
    uint32_t first_row;
    const rbe_grouped_strip strip = rbe__grouped_strip(&tensor->grouped, index, &first_row);
    const uint32_t padded_rows = strip.n_units * RBE_GROUPED_ROWS, left = tensor->rows - first_row;
    const uint32_t rows = left < padded_rows ? left : padded_rows;
    rbe__grouped_product(call->workspace, tensor, &strip, call->first_token + tokens.first, tokens.n, call->scale_stride, scratch);
    for (uint32_t r = 0; r < rows; r++) {
        scratch->row_scale[r] = tensor->tensor_scale;
    }
    for (uint32_t n = 0; n < tokens.n; n++) {
        float *y = job->y + (tokens.first + n) * job->y_stride + first_row;
        start_rows(kernels, job, first_row, rows, y);
        kernels->multiply_add(y, scratch->row_scale, scratch->sum + (size_t)n * padded_rows, rows);
    }
}

/* Row after row, from the cache or through a buffer: slow, for codes that no projection is worth storing in (docs/smooth_codes.md). */
static void run_by_row(const linear_call *call, token_span tokens, const rbe__linear_job *job, uint32_t first_row, uint32_t rows,
                       float *buffer, float *y, size_t y_stride)
{
    const rbe_kernels *kernels = call->workspace->kernels;
    const rbe__tensor *tensor = job->projection->weight;
    uint32_t generated = 0;
    for (uint32_t r = first_row; r < first_row + rows; r++) {
        const float *weights = rbe__cached_row(kernels, tensor, r, buffer, &generated);
        kernels->dense_f32(weights, 1, tensor->cols, call->x + tokens.first * call->x_stride, call->x_stride, tokens.n, y + r - first_row,
                           y_stride);
    }
    rbe__weight_cache_count(tensor, rows, generated);
}

static void run_dense(const linear_call *call, token_span tokens, const rbe__linear_job *job, uint32_t index, rbe__thread_scratch *scratch)
{
    const rbe_kernels *kernels = call->workspace->kernels;
    const rbe__tensor *tensor = job->projection->weight;
    rbe_dense_kernel *kernel = tensor->kind == RBE_KIND_F32   ? kernels->dense_f32
                               : tensor->kind == RBE_KIND_F16 ? kernels->dense_f16
                                                              : kernels->dense_bf16;
    uint32_t first_row = index * RBE_DENSE_ROWS;
    uint32_t rows = tensor->rows - first_row < RBE_DENSE_ROWS ? tensor->rows - first_row : RBE_DENSE_ROWS;
    size_t row_bytes = (size_t)tensor->cols * (tensor->kind == RBE_KIND_F32 ? 4 : 2);
    float *to = job->y + tokens.first * job->y_stride + first_row, *y = job->adds ? scratch->sum : to;
    size_t y_stride = job->adds ? RBE_DENSE_ROWS : job->y_stride;
    if (rbe__tensor_by_row(tensor)) {
        run_by_row(call, tokens, job, first_row, rows, scratch->row, y, y_stride);
    } else {
        kernel(tensor->data + first_row * row_bytes, rows, tensor->cols, call->x + tokens.first * call->x_stride, call->x_stride, tokens.n,
               y, y_stride);
    }
    for (uint32_t n = 0; (job->adds || job->projection->bias) && n < tokens.n; n++) {
        float *row = to + n * job->y_stride;
        if (job->projection->bias) {
            kernels->add(row, job->projection->bias + first_row, rows);
        }
        if (job->adds) {
            kernels->add(row, y + n * y_stride, rows);
        }
    }
}

static void run_item(void *context, uint32_t index, uint32_t thread)
{
    const linear_call *call = context;
    uint32_t item = call->first + index, j = 0;
    token_span tokens = {0, call->n_tokens};
    if (item >= call->n_whole) {
        const uint32_t behind = item - call->n_whole, part = behind % call->n_parts;
        item = call->n_whole + behind / call->n_parts;
        tokens.first = rbe__balanced(part, call->n_tokens, call->n_parts);
        tokens.n = rbe__balanced(part + 1, call->n_tokens, call->n_parts) - tokens.first;
    }
    while (item >= call->first_item[j + 1]) {
        j++;
    }
    const rbe__tensor *tensor = call->jobs[j].projection->weight;
    rbe__thread_scratch *scratch = &call->workspace->threads[thread];
    item -= call->first_item[j];
    if (rbe__tensor_is_grouped(tensor)) {
        run_grouped(call, tokens, &call->jobs[j], item, scratch);
        return;
    }
    if (!rbe__tensor_is_trellis(tensor)) {
        run_dense(call, tokens, &call->jobs[j], item, scratch);
        return;
    }
    const rbe__tensor *band = rbe__tensor_bands(tensor).first;
    for (; item >= band->layout.n_strips; band++) {
        item -= band->layout.n_strips;
    }
    run_strip(call, tokens, &call->jobs[j], band, item, scratch);
}

/* Strips of a trellis matrix or a grouped one, blocks of rows of another. */
static uint32_t count_items(const rbe__tensor *tensor)
{
    if (rbe__tensor_is_grouped(tensor)) {
        return tensor->grouped.n_strips;
    }
    if (!rbe__tensor_is_trellis(tensor)) {
        return (tensor->rows - 1) / RBE_DENSE_ROWS + 1;
    }
    const rbe__bands bands = rbe__tensor_bands(tensor);
    uint32_t n = 0;
    for (uint32_t b = 0; b < bands.n; b++) {
        n += bands.first[b].layout.n_strips;
    }
    return n;
}

/* Items of a matrix that is no band, or of a band, from `first` on: some at a time, with pages given back in between. */
static void run_pieces(linear_call *call, const rbe__tensor *tensor, uint32_t first)
{
    const rbe__residency *residency = call->workspace->residency;
    const uint32_t n_items = count_items(tensor);
    const int stays = rbe__residency_stays(residency, tensor);
    const uint32_t most = stays ? n_items : rbe__residency_items(residency, tensor, n_items);
    for (uint32_t done = 0; done < n_items;) {
        const uint32_t count = n_items - done < most ? n_items - done : most;
        if (!stays) {
            rbe__residency_release(residency);
        }
        rbe__residency_expect(residency, tensor, done, count, n_items);
        call->first = first + done;
        rbe__thread_pool_run(call->workspace->thread_pool, count, run_item, call);
        done += count;
    }
}

/* Piece by piece, each matrix and band for itself. */
static void run_sparing(linear_call *call)
{
    for (uint32_t j = 0; j < call->n_jobs; j++) {
        const rbe__bands bands = rbe__tensor_bands(call->jobs[j].projection->weight);
        uint32_t first = call->first_item[j];
        for (uint32_t b = 0; b < bands.n; b++) {
            run_pieces(call, &bands.first[b], first);
            first += count_items(&bands.first[b]);
        }
    }
}

/* Counts the items of a call whose tokens lie from `first_token` of the workspace on. Returns 1 where its tokens may be divided: rows that are
 * generated one by one are not to be generated once per part. */
static int plan_call(linear_call *call, uint32_t first_token)
{
    rbe__workspace *workspace = call->workspace;
    assert(call->n_jobs >= 1 && call->n_jobs <= RBE_MAX_LINEAR_JOBS && call->n_tokens >= 1 &&
           first_token + call->n_tokens <= workspace->most_tokens);
    int divides = !workspace->residency;
    call->scale_stride = workspace->max_cols / RBE_BLOCK_COLS + 1;
    call->quantized = workspace->quantized + (size_t)first_token * workspace->max_cols;
    call->scales = workspace->scales + (size_t)first_token * call->scale_stride;
    call->first_token = first_token;
    for (uint32_t j = 0; j < call->n_jobs; j++) {
        const rbe__tensor *tensor = call->jobs[j].projection->weight;
        if (rbe__tensor_is_trellis(tensor)) {
            call->rotation = tensor;
        }
        call->grouped = rbe__tensor_is_grouped(tensor) ? tensor : call->grouped;
        divides &= !rbe__tensor_by_row(tensor);
        call->first_item[j + 1] = call->first_item[j] + count_items(tensor);
    }
    call->n_whole = call->first_item[call->n_jobs];
    call->n_parts = 1;
    return divides;
}

static void run_linear(linear_call call)
{
    rbe__workspace *workspace = call.workspace;
    const int divides = plan_call(&call, 0);
    if (call.rotation || call.grouped || call.normed || call.activated) {
        rbe__thread_pool_run(workspace->thread_pool, call.n_tokens, prepare_token, &call);
    }
    rbe__profile_lap(workspace->profile, RBE_OPERATION_PREPARE);
    const uint32_t n_items = call.n_whole, n_threads = rbe__thread_pool_threads(workspace->thread_pool);
    if (divides &&
        call.n_tokens >=
            n_threads * LEAST_PART) { /* the last items, fewer than threads: all threads compute each, some of its tokens every one */
        call.n_whole -= n_items % n_threads;
        call.n_parts = n_threads;
    }
    if (workspace->residency) {
        run_sparing(&call);
    } else {
        rbe__thread_pool_run(workspace->thread_pool, call.n_whole + (n_items - call.n_whole) * call.n_parts, run_item, &call);
    }
}

typedef struct groups_call {
    linear_call calls[RBE_MAX_LINEAR_GROUPS];
    uint32_t first_item[RBE_MAX_LINEAR_GROUPS + 1];
} groups_call;

static void prepare_group(void *context, uint32_t group, uint32_t thread)
{
    groups_call *all = context;
    prepare_token(&all->calls[group], 0, thread);
}

static void run_group_item(void *context, uint32_t index, uint32_t thread)
{
    groups_call *all = context;
    uint32_t group = 0;
    while (index >= all->first_item[group + 1]) {
        group++;
    }
    run_item(&all->calls[group], index - all->first_item[group], thread);
}

void rbe__linear_groups(rbe__workspace *workspace, const rbe__linear_group *groups, uint32_t n_groups, uint32_t most_planes)
{
    groups_call all = {0};
    assert(n_groups >= 1 && n_groups <= RBE_MAX_LINEAR_GROUPS && !workspace->residency);
    for (uint32_t g = 0; g < n_groups; g++) {
        const rbe__linear_group *group = &groups[g];
        linear_call *call = &all.calls[g];
        *call = (linear_call){.workspace = workspace,
                              .jobs = group->jobs,
                              .n_jobs = group->n_jobs,
                              .activated = group->activated,
                              .x = group->activated ? group->activated->up : group->x,
                              .x_stride = group->width,
                              .n_tokens = 1,
                              .most_planes = most_planes};
        (void)plan_call(call, g);
        all.first_item[g + 1] = all.first_item[g] + call->n_whole;
    }
    rbe__thread_pool_run(workspace->thread_pool, n_groups, prepare_group, &all);
    rbe__profile_lap(workspace->profile, RBE_OPERATION_PREPARE);
    rbe__thread_pool_run(workspace->thread_pool, all.first_item[n_groups], run_group_item, &all);
}

void rbe__linear(rbe__workspace *workspace, const rbe__linear_job *jobs, uint32_t n_jobs, const rbe__linear_input *input)
{
    run_linear((linear_call){.workspace = workspace,
                             .jobs = jobs,
                             .n_jobs = n_jobs,
                             .x = input->x,
                             .x_stride = input->width,
                             .n_tokens = input->n_tokens,
                             .most_planes = input->most_planes});
}

void rbe__linear_normed(rbe__workspace *workspace, const rbe__linear_job *jobs, uint32_t n_jobs, const rbe__normed_input *input)
{
    run_linear((linear_call){.workspace = workspace,
                             .jobs = jobs,
                             .n_jobs = n_jobs,
                             .normed = input,
                             .x = input->normed,
                             .x_stride = input->width,
                             .n_tokens = input->n_tokens,
                             .most_planes = input->most_planes});
}

void rbe__linear_activated(rbe__workspace *workspace, const rbe__linear_job *job, const rbe__activated_input *input)
{
    run_linear((linear_call){.workspace = workspace,
                             .jobs = job,
                             .n_jobs = 1,
                             .activated = input,
                             .x = input->up,
                             .x_stride = input->width,
                             .n_tokens = input->n_tokens,
                             .most_planes = input->most_planes});
}
