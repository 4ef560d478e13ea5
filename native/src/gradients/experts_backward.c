/* The experts block: the sum over the experts that the router chooses of weight x down(activation(gate(x)) up(x)). The choice itself has no
 * gradient; the weights of the chosen have one, and through them the router. Each expert is computed for its tokens alone, in the way back
 * once more, so that memory is that of one. A shared part is a feed-forward part of all tokens, times its share where it has one. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "gradients/gradients.h"
#include "layers/activation.h"

static const char *name_of(const rbe_gradients *gradients, char name[RBE_GRADIENT_NAME_BYTES], uint32_t layer, uint32_t expert,
                           const char *part)
{
    char place[RBE_GRADIENT_NAME_BYTES];
    snprintf(place, sizeof place, "experts.%u", expert);
    return rbe__gradient_name(gradients, name, layer, place, part);
}

void rbe__experts_take_memory(rbe_gradients *gradients, const rbe__experts_shape *shape)
{
    rbe__experts_memory *memory = &gradients->experts;
    rbe__arena *arena = &gradients->arena;
    const size_t n = gradients->most_tokens, scores = rbe__arena_count(n, shape->n), used = rbe__arena_count(n, shape->n_used);
    const size_t hidden = rbe__arena_count(n, gradients->stack->width);
    memory->logits = rbe__arena_take(arena, scores, sizeof(float));
    memory->scores = rbe__arena_take(arena, scores, sizeof(float));
    memory->d_logits = rbe__arena_take(arena, scores, sizeof(float));
    memory->keys = rbe__arena_take(arena, shape->n, sizeof(float));
    memory->chosen = rbe__arena_take(arena, used, sizeof(uint32_t));
    memory->weights = rbe__arena_take(arena, used, sizeof(float));
    memory->d_weights = rbe__arena_take(arena, used, sizeof(float));
    memory->tokens = rbe__arena_take(arena, n, sizeof(uint32_t));
    memory->places = rbe__arena_take(arena, n, sizeof(uint32_t));
    memory->rows = rbe__arena_take(arena, hidden, sizeof(float));
    memory->given = rbe__arena_take(arena, hidden, sizeof(float));
    memory->d_rows = rbe__arena_take(arena, hidden, sizeof(float));
    const size_t shares = shape->shared_has_share ? n : 0;
    memory->share_raw = rbe__arena_take(arena, shares, sizeof(float));
    memory->share = rbe__arena_take(arena, shares, sizeof(float));
    memory->d_share = rbe__arena_take(arena, shares, sizeof(float));
}

/* The router's scores of all tokens, and which experts each uses. */
static rbe_status route(rbe_gradients *gradients, const rbe__block *block, uint32_t layer)
{
    const rbe__experts_block *experts = &block->as.experts;
    const rbe__experts_shape *shape = &experts->shape;
    const rbe__experts_memory *memory = &gradients->experts;
    RBE_TRY(rbe__matrix_forward(gradients, &experts->router, 0, shape->n, gradients->feed_forward.input, memory->logits));
    memcpy(memory->scores, memory->logits, (size_t)gradients->n * shape->n * sizeof *memory->scores);
    for (size_t n = 0; n < gradients->n; n++) {
        if (!rbe__route(gradients->stack->kernels, shape, experts->choice_bias, memory->scores + n * shape->n, memory->keys,
                        memory->chosen + n * shape->n_used, memory->weights + n * shape->n_used)) {
            return rbe_fail(RBE_ERROR_FORMAT, "layer %u: the router gives scores that are not finite; the model's weights are damaged",
                            layer);
        }
    }
    return RBE_OK;
}

/* The tokens of an expert, ascending, with their places in `weights`, and what they read. Returns how many they are. */
static uint32_t gather(rbe_gradients *gradients, const rbe__block *block, uint32_t expert)
{
    const rbe__experts_shape *shape = &block->as.experts.shape;
    const rbe__experts_memory *memory = &gradients->experts;
    const size_t width = block->width, n_choices = (size_t)gradients->n * shape->n_used;
    uint32_t n = 0;
    for (size_t i = 0; i < n_choices; i++) {
        if (memory->chosen[i] == expert) {
            const size_t token = i / shape->n_used;
            memory->tokens[n] = (uint32_t)token;
            memory->places[n] = (uint32_t)i;
            memcpy(memory->rows + n * width, gradients->feed_forward.input + token * width, width * sizeof *memory->rows);
            n++;
        }
    }
    return n;
}

/* What the expert gives of memory->rows, of which there are gradients->n for the time. */
static rbe_status run_expert(rbe_gradients *gradients, const rbe__block *block, uint32_t number)
{
    const rbe__experts_shape *shape = &block->as.experts.shape;
    const rbe__expert *expert = &shape->experts[number];
    const rbe__feed_forward_memory *inner = &gradients->feed_forward;
    const float *rows = gradients->experts.rows, *gate = shape->gated ? inner->gate : NULL;
    if (gate) {
        RBE_TRY(rbe__matrix_forward(gradients, &expert->gate, 0, shape->width, rows, inner->gate));
    }
    RBE_TRY(rbe__matrix_forward(gradients, &expert->up, 0, shape->width, rows, inner->up));
    rbe__activation_forward(gradients, shape->activation, gate, inner->up, (size_t)gradients->n * shape->width, inner->active);
    return rbe__matrix_forward(gradients, &expert->down, 0, block->width, inner->active, gradients->experts.given);
}

/* The gathered rows, as many as the call then is of; all of its tokens again afterwards. */
static rbe_status run_rows(rbe_gradients *gradients, const rbe__block *block, uint32_t number, uint32_t n_rows)
{
    const uint32_t n = gradients->n;
    gradients->n = n_rows;
    const rbe_status status = run_expert(gradients, block, number);
    gradients->n = n;
    return status;
}

/* What the shared part gives of all tokens, and its share. */
static rbe_status run_shared(rbe_gradients *gradients, const rbe__block *block)
{
    const rbe__experts_block *experts = &block->as.experts;
    const rbe__feed_forward_memory *inner = &gradients->feed_forward;
    const rbe__experts_memory *memory = &gradients->experts;
    RBE_TRY(rbe__feed_forward_inner(gradients, block, &experts->shared, inner->input));
    if (experts->share.weight) {
        RBE_TRY(rbe__matrix_forward(gradients, &experts->share, 0, 1, inner->input, memory->share_raw));
        memcpy(memory->share, memory->share_raw, gradients->n * sizeof *memory->share);
        rbe__logistic(gradients->stack->kernels, gradients->n, memory->share);
    }
    return rbe__matrix_forward(gradients, &experts->shared.down, 0, block->width, inner->output_input, memory->given);
}

static void add_weighted(float *sum, const float *given, float weight, size_t n)
{
    for (size_t c = 0; c < n; c++) {
        sum[c] += weight * given[c];
    }
}

static rbe_status add_shared(rbe_gradients *gradients, const rbe__block *block)
{
    const rbe__experts_memory *memory = &gradients->experts;
    const size_t width = block->width;
    RBE_TRY(run_shared(gradients, block));
    for (size_t n = 0; n < gradients->n; n++) {
        const float share = block->as.experts.share.weight ? memory->share[n] : 1.0f;
        add_weighted(gradients->feed_forward.branch + n * width, memory->given + n * width, share, width);
    }
    return RBE_OK;
}

rbe_status rbe__experts_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out)
{
    rbe__feed_forward_memory *memory = &gradients->feed_forward;
    const rbe__experts_memory *experts = &gradients->experts;
    const size_t width = block->width;
    memory->input = rbe__read_stream(gradients, block, layer, x, memory->normed);
    RBE_TRY(route(gradients, block, layer));
    memset(memory->branch, 0, gradients->n * width * sizeof *memory->branch);
    const int is_read = out || block->stream_norm.weight || block->post_norm.weight;
    for (uint32_t e = 0; is_read && e < block->as.experts.shape.n; e++) {
        const uint32_t n_rows = gather(gradients, block, e);
        if (!n_rows) {
            continue;
        }
        RBE_TRY(run_rows(gradients, block, e, n_rows));
        for (size_t i = 0; i < n_rows; i++) {
            add_weighted(memory->branch + experts->tokens[i] * width, experts->given + i * width, experts->weights[experts->places[i]],
                         width);
        }
    }
    if (is_read && block->as.experts.shared.up.weight) {
        RBE_TRY(add_shared(gradients, block));
    }
    return rbe__branch_sum(gradients, block, memory->branch, memory->summed, x, out);
}

/* The way back through a matrix of an expert, window by window: an expert has as many tokens of each as have chosen it. */
static rbe_status matrix_back(rbe_gradients *gradients, const rbe__matrix *matrix, uint32_t n_rows, const float *d, int add, float *d_x)
{
    const uint32_t n = gradients->n, window = gradients->window, *tokens = gradients->experts.tokens;
    const size_t cols = matrix->projection->weight->cols, rows = matrix->projection->weight->rows;
    rbe_status status = RBE_OK;
    for (uint32_t first = 0, past; status == RBE_OK && first < n_rows; first = past) {
        for (past = first + 1; past < n_rows && tokens[past] / window == tokens[first] / window; past++) {
        }
        rbe__matrix part = *matrix;
        part.x += first * cols;
        part.y += first * rows;
        gradients->n = gradients->window = past - first;
        status = rbe__matrix_backward(gradients, &part, d + first * rows, add, d_x + first * cols);
        gradients->n = n;
        gradients->window = window;
    }
    return status;
}

/* One expert: its matrices, its part of d_normed, and the gradient by its weights. d: by the branch. */
static rbe_status expert_back(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, uint32_t number, uint32_t n_rows,
                              const float *d)
{
    const rbe__experts_shape *shape = &block->as.experts.shape;
    const rbe__expert *expert = &shape->experts[number];
    const rbe__experts_memory *memory = &gradients->experts;
    const rbe__feed_forward_memory *inner = &gradients->feed_forward;
    const size_t width = block->width, n_inner = (size_t)n_rows * shape->width;
    char name[RBE_GRADIENT_NAME_BYTES];
    for (size_t i = 0; i < n_rows; i++) {
        const float weight = memory->weights[memory->places[i]], *given = memory->given + i * width;
        const float *d_row = d + memory->tokens[i] * width;
        double sum = 0;
        for (size_t c = 0; c < width; c++) {
            sum += (double)d_row[c] * given[c];
            memory->d_rows[i * width + c] = weight * d_row[c];
        }
        memory->d_weights[memory->places[i]] = (float)sum;
    }
    const rbe__matrix down = {&expert->down, name_of(gradients, name, layer, number, "down"), layer, inner->active, memory->given};
    RBE_TRY(matrix_back(gradients, &down, n_rows, memory->d_rows, 0, inner->d));
    float *d_gate = inner->active; /* which nothing reads any more */
    rbe__activation_backward(gradients, shape->activation, shape->gated ? inner->gate : NULL, inner->up, n_inner, inner->d, d_gate);
    const rbe__matrix up = {&expert->up, name_of(gradients, name, layer, number, "up"), layer, memory->rows, inner->up};
    RBE_TRY(matrix_back(gradients, &up, n_rows, inner->d, 0, memory->d_rows));
    if (shape->gated) {
        const rbe__matrix gate = {&expert->gate, name_of(gradients, name, layer, number, "gate"), layer, memory->rows, inner->gate};
        RBE_TRY(matrix_back(gradients, &gate, n_rows, d_gate, 1, memory->d_rows));
    }
    for (size_t i = 0; i < n_rows; i++) {
        gradients->stack->kernels->add(gradients->d_normed + memory->tokens[i] * width, memory->d_rows + i * width, (uint32_t)width);
    }
    return RBE_OK;
}

void rbe__scores_backward(const rbe__experts_shape *shape, const float *scores, const uint32_t *chosen, const float *d_weights,
                          float *d_logits)
{
    double sum = 0, mean = 0, shared = 0;
    for (uint32_t i = 0; i < shape->n_used; i++) {
        sum += scores[chosen[i]];
        mean += (double)d_weights[i] * scores[chosen[i]];
    }
    const int is_sum = shape->normalizes && sum > RBE_LEAST_SCORES; /* which the scores are divided by, else by a constant */
    const double divisor = is_sum ? sum : shape->normalizes ? RBE_LEAST_SCORES : 1.0;
    memset(d_logits, 0, shape->n * sizeof *d_logits);
    for (uint32_t i = 0; i < shape->n_used; i++) { /* by the scores */
        const double d = (is_sum ? d_weights[i] - mean / sum : d_weights[i]) / divisor;
        d_logits[chosen[i]] = (float)(shape->scale * d);
        shared += shape->scale * d * scores[chosen[i]];
    }
    for (uint32_t e = 0; e < shape->n; e++) {
        const double score = scores[e];
        d_logits[e] = (float)(shape->score == RBE_SCORE_SOFTMAX ? score * (d_logits[e] - shared) : score * (1 - score) * d_logits[e]);
    }
}

static rbe_status router_back(rbe_gradients *gradients, const rbe__block *block, uint32_t layer)
{
    const rbe__experts_block *experts = &block->as.experts;
    const rbe__experts_memory *memory = &gradients->experts;
    const size_t n_all = experts->shape.n, n_used = experts->shape.n_used;
    char name[RBE_GRADIENT_NAME_BYTES];
    for (size_t n = 0; n < gradients->n; n++) {
        rbe__scores_backward(&experts->shape, memory->scores + n * n_all, memory->chosen + n * n_used, memory->d_weights + n * n_used,
                             memory->d_logits + n * n_all);
    }
    const rbe__matrix router = {&experts->router, rbe__gradient_name(gradients, name, layer, "experts", "router"), layer,
                                gradients->feed_forward.input, memory->logits};
    return rbe__matrix_backward(gradients, &router, memory->d_logits, 1, gradients->d_normed);
}

/* The shared part, and the number that is its share. d: by the branch. */
static rbe_status shared_back(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *d)
{
    const rbe__experts_block *experts = &block->as.experts;
    const rbe__experts_memory *memory = &gradients->experts;
    const size_t width = block->width;
    const int has_share = experts->share.weight != NULL;
    RBE_TRY(run_shared(gradients, block));
    for (size_t n = 0; has_share && n < gradients->n; n++) {
        const float share = memory->share[n], *given = memory->given + n * width;
        double sum = 0;
        for (size_t c = n * width; c < (n + 1) * width; c++) {
            sum += (double)d[c] * given[c - n * width];
            memory->d_rows[c] = share * d[c];
        }
        memory->d_share[n] = (float)(sum * share * (1.0 - share));
    }
    const rbe__feed_forward_back back = {&experts->shared, "shared", memory->given, has_share ? memory->d_rows : d, 1};
    RBE_TRY(rbe__feed_forward_inner_backward(gradients, block, layer, &back));
    if (!has_share) {
        return RBE_OK;
    }
    char name[RBE_GRADIENT_NAME_BYTES];
    const rbe__matrix matrix = {&experts->share, rbe__gradient_name(gradients, name, layer, "shared", "share"), layer,
                                gradients->feed_forward.input, memory->share_raw};
    return rbe__matrix_backward(gradients, &matrix, memory->d_share, 1, gradients->d_normed);
}

rbe_status rbe__experts_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d)
{
    const rbe__feed_forward_memory *memory = &gradients->feed_forward;
    const float *d_branch;
    RBE_TRY(rbe__branch_backward(gradients, block, layer, "feed_forward", memory->branch, memory->summed, d, &d_branch));
    memset(gradients->d_normed, 0, (size_t)gradients->n * block->width * sizeof *gradients->d_normed);
    for (uint32_t e = 0; e < block->as.experts.shape.n; e++) {
        const uint32_t n_rows = gather(gradients, block, e);
        if (n_rows) {
            RBE_TRY(run_rows(gradients, block, e, n_rows));
            RBE_TRY(expert_back(gradients, block, layer, e, n_rows, d_branch));
        }
    }
    if (block->as.experts.shared.up.weight) {
        RBE_TRY(shared_back(gradients, block, layer, d_branch));
    }
    RBE_TRY(router_back(gradients, block, layer));
    return rbe__read_stream_backward(gradients, block, layer, "feed_forward", x, d);
}
