/* The experts block: a router chooses a few of many feed-forward parts for each token, and what they give is summed with the router's weights.
 * The rows of a pass are sorted by expert, so that each expert that is chosen is read once and one that is not is not read at all. The sum of a
 * row goes up by the number of the expert, whoever else is in the pass. Last comes what a shared feed-forward part gives of every row, where the
 * layer has one. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "blocks/bind.h"
#include "blocks/feed_forward.h"
#include "layers/activation.h"
#include "rbe/experts.h"

enum { OPERATION_ROUTER, OPERATION_GATE_UP, OPERATION_DOWN, OPERATION_SUM, OPERATION_SHARED, N_OPERATIONS };

static const char *const operations[N_OPERATIONS] = {"router", "experts' gate, up", "experts' down", "sum of experts", "shared part"};

static void bind_expert(rbe__binder *binder, const char *place, uint32_t number, const rbe__experts_shape *shape, uint32_t width,
                        rbe__expert *expert)
{
    char name[96];
#define NAME(part) (snprintf(name, sizeof name, "%s.%u." part, place, number), name)
    if (shape->gated) {
        expert->gate = rbe__bind_projection(binder, NAME("gate"), shape->width, width, 0);
    }
    expert->up = rbe__bind_projection(binder, NAME("up"), shape->width, width, 0);
    expert->down = rbe__bind_projection(binder, NAME("down"), width, shape->width, 0);
#undef NAME
    rbe__bind_shared_rotation(binder, (const rbe__projection *const[]){&expert->gate, &expert->up}, 2);
}

static void bind_shared(rbe__binder *binder, uint32_t index, const rbe__experts_shape *shape, uint32_t width, rbe__experts_block *experts)
{
    const rbe__feed_forward_shape shared = {.width = shape->shared_width, .activation = shape->activation, .gated = shape->gated};
    char place[64], name[96];
    snprintf(place, sizeof place, "%slayers.%u.shared", binder->prefix, index);
    rbe__feed_forward_bind(binder, place, width, &shared, &experts->shared);
    if (shape->shared_has_share) {
        snprintf(name, sizeof name, "%s.share", place);
        experts->share.weight = rbe__bind_tensor(binder, name, 1, width, 0);
        rbe__bind_dense(binder, experts->share.weight);
    }
}

static void bind(rbe__binder *binder, uint32_t index, const rbe__layer_shape *shape, rbe__block *block)
{
    rbe__experts_block *experts = &block->as.experts;
    char place[64], name[96];
    experts->shape = shape->experts;
    snprintf(place, sizeof place, "%slayers.%u.feed_forward", binder->prefix, index);
    rbe__bind_block_norms(binder, place, shape, 0, block);
    snprintf(place, sizeof place, "%slayers.%u.experts", binder->prefix, index);
    snprintf(name, sizeof name, "%s.router", place);
    experts->router.weight = rbe__bind_tensor(binder, name, shape->experts.n, shape->width, 0);
    rbe__bind_dense(binder, experts->router.weight);
    snprintf(name, sizeof name, "%s.router.bias", place);
    experts->choice_bias = rbe__bind_vector(binder, name, shape->experts.n, 1);
    for (uint32_t e = 0; e < shape->experts.n && binder->status == RBE_OK; e++) {
        bind_expert(binder, place, e, &shape->experts, shape->width, &shape->experts.experts[e]);
    }
    if (shape->experts.shared_width) {
        bind_shared(binder, index, &shape->experts, shape->width, experts);
    }
}

static uint32_t inner_width(const rbe__block *block)
{
    const rbe__experts_shape *shape = &block->as.experts.shape;
    return shape->width > shape->shared_width ? shape->width : shape->shared_width;
}

/* A row that has chosen an expert. */
typedef struct choice {
    uint32_t row;
    float weight;
} choice;

typedef struct experts_scratch {
    float *scores, *keys; /* [n_tokens][n] */
    uint32_t *chosen; /* [n_tokens][n_used] experts of each row */
    float *weights; /* the same */
    uint8_t *routed; /* [n_tokens] 0: the row's scores are not finite */
    uint32_t *first; /* [n + 1] of each expert in `choices` */
    choice *choices; /* [n_tokens * n_used] by expert, and then by row */
    float *rows, *gate, *up, *down; /* [n_tokens] of one expert; gate NULL where there is none */
    rbe__feed_forward_scratch shared; /* where there is a shared part */
    float *share; /* [n_tokens] how much it counts; NULL: wholly */
} experts_scratch;

static experts_scratch take_scratch(const rbe__block *block, size_t n_tokens, rbe__arena *arena)
{
    const rbe__experts_shape *shape = &block->as.experts.shape;
    const size_t scores = rbe__arena_count(n_tokens, shape->n), used = rbe__arena_count(n_tokens, shape->n_used);
    const size_t inner = rbe__arena_count(n_tokens, shape->width), width = rbe__arena_count(n_tokens, block->width);
    experts_scratch scratch;
    scratch.scores = rbe__arena_take(arena, scores, sizeof(float));
    scratch.keys = rbe__arena_take(arena, scores, sizeof(float));
    scratch.chosen = rbe__arena_take(arena, used, sizeof(uint32_t));
    scratch.weights = rbe__arena_take(arena, used, sizeof(float));
    scratch.routed = rbe__arena_take(arena, n_tokens, 1);
    scratch.first = rbe__arena_take(arena, (size_t)shape->n + 1, sizeof(uint32_t));
    scratch.choices = rbe__arena_take(arena, used, sizeof(choice));
    scratch.rows = rbe__arena_take(arena, width, sizeof(float));
    scratch.gate = shape->gated ? rbe__arena_take(arena, inner, sizeof(float)) : NULL;
    scratch.up = rbe__arena_take(arena, inner, sizeof(float));
    scratch.down = rbe__arena_take(arena, width, sizeof(float));
    scratch.shared = rbe__feed_forward_take(&block->as.experts.shared.shape, n_tokens, arena);
    scratch.share = shape->shared_has_share ? rbe__arena_take(arena, n_tokens, sizeof(float)) : NULL;
    return scratch;
}

static size_t scratch_bytes(const rbe__block *block, uint32_t n_tokens, uint32_t context)
{
    (void)context;
    rbe__arena arena = {0};
    (void)take_scratch(block, n_tokens, &arena);
    return arena.used;
}

typedef struct route_call {
    const rbe_kernels *kernels;
    const rbe__experts_block *experts;
    const experts_scratch *scratch;
} route_call;

static void route_row(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const route_call *call = context;
    const rbe__experts_shape *shape = &call->experts->shape;
    const experts_scratch *scratch = call->scratch;
    const size_t scores = (size_t)n * shape->n, used = (size_t)n * shape->n_used;
    scratch->routed[n] = (uint8_t)rbe__route(call->kernels, shape, call->experts->choice_bias, scratch->scores + scores,
                                             scratch->keys + scores, scratch->chosen + used, scratch->weights + used);
}

/* Choices by expert, and of one expert by row. */
static void sort_choices(const rbe__experts_shape *shape, uint32_t n_tokens, const experts_scratch *scratch)
{
    const size_t n = (size_t)n_tokens * shape->n_used;
    uint32_t *first = scratch->first;
    memset(first, 0, ((size_t)shape->n + 1) * sizeof *first);
    for (size_t i = 0; i < n; i++) {
        first[scratch->chosen[i] + 1]++;
    }
    for (uint32_t e = 0; e < shape->n; e++) {
        first[e + 1] += first[e];
    }
    for (size_t i = 0; i < n; i++) {
        scratch->choices[first[scratch->chosen[i]]++] = (choice){(uint32_t)(i / shape->n_used), scratch->weights[i]};
    }
    memmove(first + 1, first, shape->n * sizeof *first); /* each has moved to the end of its expert, where the next one begins */
    first[0] = 0;
}

static rbe_status choose(rbe__pass *pass, const rbe__block *block, uint32_t layer, const experts_scratch *scratch, const float **x)
{
    const rbe__experts_block *experts = &block->as.experts;
    const rbe__linear_job jobs[] = {{&experts->router, scratch->scores, experts->shape.n, 0}, {&experts->share, scratch->share, 1, 0}};
    rbe__block_project(pass, block, jobs, scratch->share ? 2 : 1, x);
    route_call call = {pass->stack->kernels, experts, scratch};
    rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, route_row, &call);
    for (uint32_t n = 0; n < pass->n_tokens; n++) {
        if (!scratch->routed[n]) {
            return rbe_fail(RBE_ERROR_FORMAT, "layer %u: the router gives scores that are not finite; the model's weights are damaged",
                            layer);
        }
    }
    sort_choices(&experts->shape, pass->n_tokens, scratch);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_ROUTER);
    return rbe__capture(pass, layer, RBE_CAPTURE_UP, *x, block->width);
}

static rbe_status show(rbe__pass *pass, uint32_t layer, uint32_t point, const float *x, uint32_t n_rows, uint32_t cols)
{
    if (pass->capture && pass->capture(layer, point, x, n_rows, cols, pass->capture_user)) {
        return rbe_fail(RBE_ERROR_CANCELLED, "cancelled");
    }
    return RBE_OK;
}

/* What the expert reads: rows of x beside one another. */
static const float *gather(const float *x, size_t width, uint32_t n_tokens, const choice *choices, uint32_t n_rows, float *rows)
{
    if (n_rows == n_tokens) {
        return x; /* all of them, in their order */
    }
    for (uint32_t i = 0; i < n_rows; i++) {
        memcpy(rows + i * width, x + choices[i].row * width, width * sizeof *rows);
    }
    return rows;
}

/* The next expert from `number` on that some row has chosen; n: none. */
static uint32_t next_chosen(const experts_scratch *scratch, uint32_t number, uint32_t n)
{
    while (number < n && scratch->first[number + 1] == scratch->first[number]) {
        number++;
    }
    return number;
}

/* Makes room for an expert that is to be read, where memory is limited, and announces those behind it: all of one row, else the next. */
static void make_room(const rbe__pass *pass, const rbe__experts_shape *shape, uint32_t number, const experts_scratch *scratch)
{
    rbe__expert_pages *pages = pass->stack->expert_pages;
    if (!pages) {
        return;
    }
    rbe__expert_pages_use(pages, shape->first_expert + number, scratch->first[number + 1] - scratch->first[number]);
    const int is_first = scratch->first[number] == 0;
    if (pass->n_tokens > 1 || is_first) {
        uint32_t e = next_chosen(scratch, number + 1, shape->n);
        for (; e < shape->n; e = next_chosen(scratch, e + 1, shape->n)) {
            rbe__expert_pages_expect(pages, shape->first_expert + e);
            if (pass->n_tokens > 1) {
                break;
            }
        }
    }
}

static void add_weighted(float *sum, const float *given, float weight, uint32_t n)
{
    for (uint32_t c = 0; c < n; c++) {
        sum[c] += weight * given[c];
    }
}

/* One expert for its rows: adds what it gives, weighted, to `branch`. */
static rbe_status run_expert(rbe__pass *pass, const rbe__block *block, uint32_t layer, uint32_t number, const experts_scratch *scratch,
                             const float *x)
{
    const rbe__experts_shape *shape = &block->as.experts.shape;
    const rbe__expert *expert = &shape->experts[number];
    const uint32_t n_rows = scratch->first[number + 1] - scratch->first[number], inner = shape->width;
    const choice *choices = scratch->choices + scratch->first[number];
    rbe__profile *profile = pass->workspace.profile;
    const float *rows = gather(x, block->width, pass->n_tokens, choices, n_rows, scratch->rows);
    RBE_TRY(show(pass, layer, RBE_CAPTURE_EXPERT_INPUT + number, rows, n_rows, block->width));
    const rbe__linear_job up[] = {{&expert->up, scratch->up, inner, 0}, {&expert->gate, scratch->gate, inner, 0}};
    const rbe__linear_input input = {n_rows, pass->planes, block->width, rows};
    rbe__linear(&pass->workspace, up, shape->gated ? 2 : 1, &input);
    rbe__profile_lap(profile, block->first_operation + OPERATION_GATE_UP);
    const rbe__linear_job down = {&expert->down, scratch->down, block->width, 0};
    const rbe__activated_input activated = {.n_tokens = n_rows,
                                            .most_planes = pass->planes,
                                            .width = inner,
                                            .activation = shape->activation,
                                            .gate = scratch->gate,
                                            .up = scratch->up};
    rbe__linear_activated(&pass->workspace, &down, &activated);
    rbe__profile_lap(profile, block->first_operation + OPERATION_DOWN);
    for (uint32_t i = 0; i < n_rows; i++) {
        add_weighted(pass->branch + (size_t)choices[i].row * block->width, scratch->down + (size_t)i * block->width, choices[i].weight,
                     block->width);
    }
    rbe__profile_lap(profile, block->first_operation + OPERATION_SUM);
    return show(pass, layer, RBE_CAPTURE_EXPERT_DOWN + number, scratch->up, n_rows, inner);
}

/* Experts of the one row, from `first` of those that it has chosen on: their matrices share one round of the threads. Returns how many. */
static uint32_t run_group(rbe__pass *pass, const rbe__block *block, const experts_scratch *scratch, const float *x, uint32_t first)
{
    const rbe__experts_shape *shape = &block->as.experts.shape;
    const uint32_t inner = shape->width, left = shape->n_used - first, most = pass->workspace.most_tokens;
    uint32_t n = left < RBE_MAX_LINEAR_GROUPS ? left : RBE_MAX_LINEAR_GROUPS;
    n = n < most ? n : most;
    rbe__linear_job up[RBE_MAX_LINEAR_GROUPS][2], down[RBE_MAX_LINEAR_GROUPS];
    rbe__activated_input activated[RBE_MAX_LINEAR_GROUPS];
    rbe__linear_group groups[RBE_MAX_LINEAR_GROUPS];
    for (uint32_t i = 0; i < n; i++) {
        const rbe__expert *expert = &shape->experts[scratch->chosen[first + i]];
        float *gate = scratch->gate ? scratch->gate + (size_t)i * inner : NULL, *rows = scratch->up + (size_t)i * inner;
        up[i][0] = (rbe__linear_job){&expert->up, rows, inner, 0};
        up[i][1] = (rbe__linear_job){&expert->gate, gate, inner, 0};
        down[i] = (rbe__linear_job){&expert->down, scratch->down + (size_t)i * block->width, block->width, 0};
        activated[i] = (rbe__activated_input){.n_tokens = 1, .width = inner, .activation = shape->activation, .gate = gate, .up = rows};
        groups[i] = (rbe__linear_group){.jobs = up[i], .n_jobs = shape->gated ? 2 : 1, .width = block->width, .x = x};
    }
    rbe__linear_groups(&pass->workspace, groups, n, pass->planes);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_GATE_UP);
    for (uint32_t i = 0; i < n; i++) {
        groups[i] = (rbe__linear_group){.jobs = &down[i], .n_jobs = 1, .width = inner, .activated = &activated[i]};
    }
    rbe__linear_groups(&pass->workspace, groups, n, pass->planes);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_DOWN);
    for (uint32_t i = 0; i < n; i++) {
        add_weighted(pass->branch, scratch->down + (size_t)i * block->width, scratch->weights[first + i], block->width);
    }
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_SUM);
    return n;
}

static rbe_status run_experts(rbe__pass *pass, const rbe__block *block, uint32_t layer, const experts_scratch *scratch, const float *x)
{
    const rbe__experts_shape *shape = &block->as.experts.shape;
    if (pass->n_tokens == 1 && !pass->capture && !pass->workspace.residency) {
        for (uint32_t done = 0; done < shape->n_used;) {
            done += run_group(pass, block, scratch, x, done);
        }
        return RBE_OK;
    }
    for (uint32_t e = next_chosen(scratch, 0, shape->n); e < shape->n; e = next_chosen(scratch, e + 1, shape->n)) {
        make_room(pass, shape, e, scratch);
        RBE_TRY(run_expert(pass, block, layer, e, scratch, x));
    }
    return RBE_OK;
}

/* The shared part of all rows: adds what it gives, by its share, to `branch`. */
static rbe_status run_shared(rbe__pass *pass, const rbe__block *block, uint32_t layer, const experts_scratch *scratch, const float *x)
{
    const rbe__feed_forward_block *shared = &block->as.experts.shared;
    const rbe__linear_input input = {pass->n_tokens, pass->planes, block->width, x};
    rbe__linear_job up[2];
    const uint32_t n_jobs = rbe__feed_forward_up_jobs(shared, &scratch->shared, up);
    rbe__linear(&pass->workspace, up, n_jobs, &input);
    const rbe__linear_job down = {&shared->down, scratch->share ? scratch->down : pass->branch, block->width, scratch->share == NULL};
    rbe__feed_forward_down(pass, block, shared, &scratch->shared, &down);
    if (scratch->share) {
        rbe__logistic(pass->stack->kernels, pass->n_tokens, scratch->share);
    }
    for (uint32_t n = 0; scratch->share && n < pass->n_tokens; n++) {
        const size_t at = (size_t)n * block->width;
        add_weighted(pass->branch + at, scratch->down + at, scratch->share[n], block->width);
    }
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_SHARED);
    return rbe__capture(pass, layer, RBE_CAPTURE_DOWN, scratch->shared.up, shared->shape.width);
}

static rbe_status forward(rbe__pass *pass, const rbe__block *block, uint32_t layer)
{
    rbe__arena arena = {.memory = pass->scratch};
    const experts_scratch scratch = take_scratch(block, pass->workspace.most_tokens, &arena);
    const size_t n_values = (size_t)pass->n_tokens * block->width;
    const float *x;
    RBE_TRY(choose(pass, block, layer, &scratch, &x));
    memset(pass->branch, 0, n_values * sizeof *pass->branch);
    RBE_TRY(run_experts(pass, block, layer, &scratch, x));
    if (block->as.experts.shared.up.weight) {
        RBE_TRY(run_shared(pass, block, layer, &scratch, x));
    }
    for (uint32_t n = 0; !block->post_norm.weight && n < pass->n_tokens; n++) {
        const size_t at = (size_t)n * block->width;
        pass->stack->kernels->add(pass->hidden + at, pass->branch + at, block->width);
    }
    rbe__block_add(pass, block);
    return RBE_OK;
}

/* The experts of a token as large as they are on average. */
static uint64_t read_bytes(const rbe__block *block, uint32_t planes)
{
    const rbe__experts_block *experts = &block->as.experts;
    uint64_t bytes = 0;
    if (planes == RBE_SKIP) {
        return 0;
    }
    for (uint32_t e = 0; e < experts->shape.n; e++) {
        const rbe__expert *expert = &experts->shape.experts[e];
        bytes += rbe__tensor_read_bytes(expert->gate.weight, planes) + rbe__tensor_read_bytes(expert->up.weight, planes) +
                 rbe__tensor_read_bytes(expert->down.weight, planes);
    }
    return rbe__tensor_read_bytes(experts->router.weight, 0) + bytes / experts->shape.n * experts->shape.n_used +
           rbe__feed_forward_read_bytes(&experts->shared, planes) + rbe__tensor_read_bytes(experts->share.weight, 0);
}

const rbe__block_kind rbe__experts_kind = {
    .bind = bind,
    .inner_width = inner_width,
    .scratch_bytes = scratch_bytes,
    .forward = forward,
    .read_bytes = read_bytes,
    .matrices = RBE_PLANES_FEED_FORWARD,
    .operations = operations,
    .n_operations = N_OPERATIONS,
};
