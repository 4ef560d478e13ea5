/* The memory of gradients: the most that any layer needs of each part. */
#include "gradients/gradients.h"
#include "layers/position.h"
#include "model/model.h"

static size_t largest(size_t a, size_t b)
{
    return a > b ? a : b;
}

const rbe__block *rbe__first_block(const rbe__stack *stack, const rbe__block_kind *kind)
{
    for (uint32_t i = stack->first_layer; i < stack->end_layer; i++) {
        for (uint32_t b = 0; b < stack->layers[i].n_blocks; b++) {
            if (stack->layers[i].blocks[b].kind == kind) {
                return &stack->layers[i].blocks[b];
            }
        }
    }
    return NULL;
}

typedef struct largest_shapes {
    rbe__attention_shape heads; /* n_heads 0: no layer attends */
    size_t gate_rows;
    int norms_in_attention, norms_inside; /* 1: a norm stands before the last matrix of attention, of a feed-forward part */
    uint32_t inner; /* of the widest feed-forward part or expert */
    const rbe__experts_shape *experts; /* of a layer that has some; NULL: none has */
} largest_shapes;

static void add_heads(largest_shapes *most, const rbe__attention_block *attention)
{
    const rbe__attention_shape *heads = &attention->shape;
    most->heads.n_heads = heads->n_heads;
    most->heads.n_kv_heads = (uint32_t)largest(most->heads.n_kv_heads, heads->n_kv_heads);
    most->heads.head_dim = (uint32_t)largest(most->heads.head_dim, heads->head_dim);
    most->heads.options = heads->options;
    most->gate_rows = largest(most->gate_rows, attention->gate.weight ? attention->gate.weight->rows : 0);
    most->norms_in_attention |= attention->inner_norm.weight != NULL;
}

/* The most that any layer has of each size. */
static largest_shapes largest_of(const rbe__stack *stack)
{
    largest_shapes most = {.heads = {0}};
    for (uint32_t i = stack->first_layer; i < stack->end_layer; i++) {
        const rbe__layer *layer = &stack->layers[i];
        for (uint32_t b = 0; b < layer->n_blocks; b++) {
            const rbe__block *block = &layer->blocks[b];
            if (block->kind == &rbe__attention_kind) {
                add_heads(&most, &block->as.attention);
            } else if (block->kind == &rbe__feed_forward_kind) {
                most.inner = (uint32_t)largest(most.inner, block->as.feed_forward.shape.width);
                most.norms_inside |= block->as.feed_forward.inner_norm.weight != NULL;
            } else if (block->kind == &rbe__experts_kind) {
                most.inner = (uint32_t)largest(most.inner, largest(block->as.experts.shape.width, block->as.experts.shared.shape.width));
                most.norms_inside |= block->as.experts.shared.inner_norm.weight != NULL;
                most.experts = &block->as.experts.shape;
            }
        }
    }
    return most;
}

static float *take(rbe_gradients *gradients, size_t rows, size_t cols)
{
    return rbe__arena_take(&gradients->arena, rbe__arena_count(rows, cols), sizeof(float));
}

/* rows: of the gates; 0: none */
static void take_gates(rbe_gradients *gradients, const rbe__attention_shape *shape, size_t rows)
{
    rbe__attention_memory *memory = &gradients->attention;
    const size_t n = gradients->most_tokens;
    memory->gate_raw = take(gradients, n, rows);
    memory->gates = take(gradients, n, rows);
    memory->d_gate = take(gradients, n, rows);
    memory->gated = rows ? take(gradients, n, (size_t)shape->n_heads * shape->head_dim) : NULL;
}

/* sums: a norm of the stream follows the block */
static void take_attention(rbe_gradients *gradients, const largest_shapes *most, int sums)
{
    rbe__attention_memory *memory = &gradients->attention;
    const rbe__attention_shape *shape = &most->heads;
    const size_t n = gradients->most_tokens, width = gradients->stack->width, dim = shape->head_dim;
    float **const of_queries[] = {&memory->q_raw, &memory->q,         &memory->mixed,      &memory->d_mixed,
                                  &memory->d_q,   &memory->key_parts, &memory->value_parts};
    float **const of_keys[] = {&memory->k_raw, &memory->k, &memory->v_raw, &memory->v, &memory->d_k, &memory->d_v};
    for (size_t i = 0; i < sizeof of_queries / sizeof of_queries[0]; i++) {
        *of_queries[i] = take(gradients, n, shape->n_heads * dim);
    }
    for (size_t i = 0; i < sizeof of_keys / sizeof of_keys[0]; i++) {
        *of_keys[i] = take(gradients, n, shape->n_kv_heads * dim);
    }
    if (shape->options.norms_after_rope) {
        memory->q_turned = take(gradients, n, shape->n_heads * dim);
        memory->k_turned = take(gradients, n, shape->n_kv_heads * dim);
    }
    memory->normed = take(gradients, n, width);
    memory->branch = take(gradients, n, width);
    memory->summed = sums ? take(gradients, n, width) : NULL;
    take_gates(gradients, shape, most->gate_rows);
    memory->inner_normed = most->norms_in_attention ? take(gradients, n, shape->n_heads * dim) : NULL;
    const size_t stride = ((size_t)gradients->window_tokens + 15) & ~(size_t)15;
    for (uint32_t t = 0; t < rbe__thread_pool_threads(gradients->thread_pool); t++) {
        rbe__tile_memory *tile = &gradients->tiles[t];
        float **const rows[] = {&tile->weights, &tile->slopes, &tile->capped, &tile->weights_across, &tile->slopes_across};
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            *rows[i] = take(gradients, stride, RBE_QUERY_TILE);
        }
        tile->queries = take(gradients, RBE_QUERY_TILE, dim);
        tile->keys_across = take(gradients, stride, dim);
        tile->values_across = take(gradients, stride, dim);
        tile->ones = take(gradients, stride, 1);
    }
}

static void take_cross(rbe_gradients *gradients, const rbe__attention_shape *shape)
{
    rbe__attention_memory *memory = &gradients->cross;
    const size_t n = gradients->most_tokens, width = gradients->stack->width, dim = shape->head_dim;
    float **const of_queries[] = {&memory->q, &memory->mixed, &memory->d_mixed, &memory->d_q, &memory->key_parts, &memory->value_parts};
    float **const of_keys[] = {&memory->k, &memory->v, &memory->d_k, &memory->d_v};
    float **const of_stream[] = {&memory->normed, &memory->branch};
    for (size_t i = 0; i < sizeof of_queries / sizeof of_queries[0]; i++) {
        *of_queries[i] = take(gradients, n, shape->n_heads * dim);
    }
    for (size_t i = 0; i < sizeof of_keys / sizeof of_keys[0]; i++) {
        *of_keys[i] = take(gradients, n, shape->n_kv_heads * dim);
    }
    for (size_t i = 0; i < sizeof of_stream / sizeof of_stream[0]; i++) {
        *of_stream[i] = take(gradients, n, width);
    }
}

static void take_convolution(rbe_gradients *gradients, uint32_t n_taps, int sums)
{
    rbe__convolution_memory *memory = &gradients->convolution;
    const size_t n = gradients->most_tokens, width = gradients->stack->width;
    float **const rows[] = {&memory->normed, &memory->branch, &memory->read, &memory->sum, &memory->mixed, &memory->d_mixed};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        *rows[i] = take(gradients, n, width);
    }
    memory->d_read = memory->sum;
    memory->thirds = take(gradients, n, 3 * width);
    memory->d_thirds = take(gradients, n, 3 * width);
    memory->d_taps = take(gradients, width, n_taps);
    memory->summed = sums ? take(gradients, n, width) : NULL;
}

static void take_feed_forward(rbe_gradients *gradients, const largest_shapes *most, int sums)
{
    rbe__feed_forward_memory *memory = &gradients->feed_forward;
    const size_t n = gradients->most_tokens, width = gradients->stack->width;
    float **const inner[] = {&memory->gate, &memory->up, &memory->active, &memory->d};
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) {
        *inner[i] = take(gradients, n, most->inner);
    }
    memory->normed = take(gradients, n, width);
    memory->branch = take(gradients, n, width);
    memory->summed = sums ? take(gradients, n, width) : NULL;
    memory->inner_normed = most->norms_inside ? take(gradients, n, most->inner) : NULL;
}

/* The gradients of one vector, a norm, a bias or another, whatever it is of. */
static size_t widest_vector(const rbe__stack *stack, const largest_shapes *most)
{
    const rbe__block *recurrent = rbe__first_block(stack, &rbe__recurrence_kind);
    const rbe__recurrence_block *recurrence = recurrent ? &recurrent->as.recurrence : NULL;
    size_t widest = largest(stack->n_vocabulary, largest(most->inner, most->experts ? most->experts->n : 0));
    widest = largest(widest, rbe__first_block(stack, &rbe__convolution_kind) ? 3 * (size_t)stack->width : stack->width);
    widest = largest(widest, (size_t)most->heads.n_heads * most->heads.head_dim);
    widest = recurrence ? largest(widest, largest(recurrence->q.weight->rows, recurrence->v.weight->rows)) : widest;
    return largest(widest, stack->layer_inputs.n);
}

static void take_stream(rbe_gradients *gradients, const largest_shapes *most)
{
    const rbe__stack *stack = gradients->stack;
    const rbe__layer *layer = &stack->layers[stack->first_layer];
    const size_t n = gradients->most_tokens, width = stack->width;
    const size_t input_norms = stack->layer_inputs.n ? stack->layer_inputs.n / stack->layer_inputs.width : 0;
    const rbe__block *recurrence = rbe__first_block(stack, &rbe__recurrence_kind);
    const size_t gated_norms = recurrence ? recurrence->as.recurrence.shape.n_values : 0;
    const size_t normed = largest(gated_norms, largest(most->heads.n_heads, input_norms)); /* vectors of a token */
    const size_t widest = widest_vector(stack, most);
    gradients->middle = take(gradients, n, width);
    gradients->behind = layer->n_blocks > 2 ? take(gradients, n, width) : NULL;
    gradients->d_layer = layer->blocks[1].reads == RBE_READS_LAYER_INPUT ? take(gradients, n, width) : NULL;
    gradients->narrow = stack->stream_width != width ? take(gradients, n, width) : NULL;
    gradients->d_narrow = stack->stream_width != width ? take(gradients, n, width) : NULL;
    gradients->d_normed = take(gradients, n, width);
    gradients->d_branch = take(gradients, n, width);
    gradients->statistics = take(gradients, n, 2 * largest(1, normed));
    gradients->vector = take(gradients, widest, 1);
    gradients->second_vector = take(gradients, widest, 1);
}

void rbe__gradients_take(rbe_gradients *gradients)
{
    const rbe__stack *stack = gradients->stack;
    const rbe__block *convolution = rbe__first_block(stack, &rbe__convolution_kind), *cross = rbe__first_block(stack, &rbe__cross_kind);
    const largest_shapes most = largest_of(stack);
    const int sums = stack->layers[stack->first_layer].blocks[0].stream_norm.weight != NULL; /* of all blocks, or of none */
    const size_t angles = rbe__arena_count((size_t)stack->n_rope_tables * stack->rope_pairs, gradients->window_tokens);
    take_stream(gradients, &most);
    gradients->cosines = take(gradients, angles, 1);
    gradients->sines = take(gradients, angles, 1);
    gradients->back_sines = take(gradients, angles, 1);
    if (most.heads.n_heads) {
        take_attention(gradients, &most, sums);
    }
    if (convolution) {
        take_convolution(gradients, convolution->as.convolution.taps.weight->cols, sums);
    }
    rbe__recurrence_take(gradients);
    if (cross) {
        take_cross(gradients, &cross->as.attention.shape);
    }
    take_feed_forward(gradients, &most, sums);
    if (most.experts) {
        rbe__experts_take_memory(gradients, most.experts);
    }
    rbe__layer_embedding_take(gradients);
    rbe__head_take(gradients);
}

void rbe__gradients_fill(rbe_gradients *gradients)
{
    const rbe__stack *stack = gradients->stack;
    const rbe__state state = rbe__state_of(stack, RBE_KV_F32, gradients->context);
    const size_t pairs = stack->rope_pairs, n = gradients->window_tokens;
    for (size_t row = 0; state.rope_frequencies && row < stack->n_rope_tables * n; row++) {
        const size_t at = row * pairs;
        rbe__rope_angles(state.rope_frequencies + row / n * pairs, (uint32_t)pairs, (uint32_t)(row % n), state.rope_factor,
                         gradients->cosines + at, gradients->sines + at);
        for (size_t d = 0; d < pairs; d++) {
            gradients->back_sines[at + d] = -gradients->sines[at + d];
        }
    }
    for (uint32_t t = 0; t < rbe__thread_pool_threads(gradients->thread_pool); t++) {
        for (size_t i = 0; gradients->tiles[t].ones && i < n; i++) {
            gradients->tiles[t].ones[i] = 1.0f;
        }
    }
}
