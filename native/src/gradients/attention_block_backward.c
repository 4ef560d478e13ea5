/* The attention block: projections, norms and rotary positions of heads, attention, the output matrix, with a norm behind it where the model has
 * one. */
#include <string.h>

#include "base/status.h"
#include "blocks/heads.h"
#include "gradients/gradients.h"
#include "layers/activation.h"
#include "layers/position.h"

static const char *name_of(const rbe_gradients *gradients, char name[RBE_GRADIENT_NAME_BYTES], uint32_t layer, const char *part)
{
    return rbe__gradient_name(gradients, name, layer, "attention", part);
}

static rbe__attend_call attend_call(const rbe_gradients *gradients, const rbe__attention_shape *shape)
{
    return (rbe__attend_call){shape, &gradients->attention, gradients->n, gradients->window, gradients->n, gradients->window, 0};
}

/* Heads of all tokens: x [n][n_heads * head_dim]. */
typedef struct heads_job {
    const rbe_gradients *gradients;
    const rbe__attention_shape *shape;
    const float *sines;
    uint32_t n_heads;
    float *x;
} heads_job;

static void turn_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const heads_job *job = context;
    const rbe_gradients *gradients = job->gradients;
    const size_t stride = gradients->stack->rope_pairs, position = token % gradients->window;
    const size_t at = ((size_t)job->shape->rope_table * gradients->window_tokens + position) * stride;
    rbe__rope_apply(gradients->cosines + at, job->sines + at, job->shape->rope_pairs,
                    job->x + (size_t)token * job->n_heads * job->shape->head_dim, job->n_heads, job->shape->head_dim);
}

/* Rotary positions, in place; back: their transpose. */
static void turn(const rbe_gradients *gradients, const rbe__attention_shape *shape, uint32_t n_heads, int back, float *x)
{
    heads_job job = {gradients, shape, back ? gradients->back_sines : gradients->sines, n_heads, x};
    if (gradients->stack->rope_frequencies && !shape->options.without_rope) {
        rbe__thread_pool_run(gradients->thread_pool, gradients->n, turn_token, &job);
    }
}

static void scale_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const heads_job *job = context;
    const float factor = rbe__heads_temperature(&job->shape->options, token % job->gradients->window);
    const size_t width = (size_t)job->n_heads * job->shape->head_dim;
    for (size_t i = 0; factor != 1.0f && i < width; i++) {
        job->x[token * width + i] *= factor;
    }
}

/* What the position multiplies queries by, or their gradient. */
static void scale_queries(const rbe_gradients *gradients, const rbe__attention_shape *shape, float *x)
{
    heads_job job = {gradients, shape, NULL, shape->n_heads, x};
    if (shape->options.temperature != 0.0f) {
        rbe__thread_pool_run(gradients->thread_pool, gradients->n, scale_token, &job);
    }
}

static rbe__norm_call heads_norm(const rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const rbe__norm *norm,
                                 uint32_t n_heads, const float *x, const char *name)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    const uint32_t at_once = shape->options.norm_span == RBE_HEAD_NORM_WHOLE ? n_heads : 1; /* heads of a vector */
    return (rbe__norm_call){.kind = shape->options.norm_kind,
                            .norm = norm,
                            .epsilon = block->norm_epsilon,
                            .cols = at_once * shape->head_dim,
                            .n_weights = shape->options.norm_span == RBE_HEAD_NORM_EACH ? n_heads : 1,
                            .n_rows = (size_t)gradients->n * (n_heads / at_once),
                            .x = x,
                            .name = name,
                            .layer = layer};
}

/* x [n][n_heads * head_dim] from raw, where it lies apart: its norm, where there is one, and positions. turned: NULL, or where the norm comes last. */
static void finish_heads(const rbe_gradients *gradients, const rbe__block *block, const float *weight, uint32_t n_heads, const float *raw,
                         float *turned, float *x)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    const rbe__norm norm = {weight, NULL};
    float *first = turned ? turned : x;
    if (weight && !turned) {
        const rbe__norm_call call = heads_norm(gradients, block, 0, &norm, n_heads, raw, NULL);
        rbe__norm_forward(gradients, &call, x);
    } else {
        memcpy(first, raw, (size_t)gradients->n * n_heads * shape->head_dim * sizeof *first);
    }
    turn(gradients, shape, n_heads, 0, first);
    if (weight && turned) {
        const rbe__norm_call call = heads_norm(gradients, block, 0, &norm, n_heads, turned, NULL);
        rbe__norm_forward(gradients, &call, x);
    } else if (turned) {
        memcpy(x, turned, (size_t)gradients->n * n_heads * shape->head_dim * sizeof *x);
    }
}

/* ---- gates: gated = mixed * logistic(gate_raw) --------------------------------------------------------------------------- */

typedef struct gate_job {
    const rbe_gradients *gradients;
    const rbe__attention_block *attention;
} gate_job;

/* Of one token: the numbers of its gate, the values of its heads, and how many of these a number stands for. */
typedef struct gate_span {
    size_t rows, width, each;
} gate_span;

static gate_span span_of(const rbe__attention_block *attention)
{
    const size_t rows = attention->gate.weight->rows, width = (size_t)attention->shape.n_heads * attention->shape.head_dim;
    return (gate_span){rows, width, width / rows};
}

static const float *read_by_o(const rbe__attention_memory *memory, const rbe__attention_block *attention)
{
    return attention->gate.weight ? memory->gated : memory->mixed;
}

static void gate_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const gate_job *job = context;
    const rbe__attention_memory *memory = &job->gradients->attention;
    const gate_span span = span_of(job->attention);
    float *gates = memory->gates + token * span.rows, *gated = memory->gated + token * span.width;
    const float *mixed = memory->mixed + token * span.width;
    memcpy(gates, memory->gate_raw + token * span.rows, span.rows * sizeof *gates);
    rbe__logistic(job->gradients->stack->kernels, (uint32_t)span.rows, gates);
    for (size_t i = 0; i < span.width; i++) {
        gated[i] = mixed[i] * gates[i / span.each];
    }
}

/* d_mixed, the gradient by gated, becomes that by mixed; d_gate = that by gate_raw: the logistic function's slope is s (1 - s). */
static void ungate_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const gate_job *job = context;
    const rbe__attention_memory *memory = &job->gradients->attention;
    const gate_span span = span_of(job->attention);
    const float *gates = memory->gates + token * span.rows, *mixed = memory->mixed + token * span.width;
    float *d = memory->d_mixed + token * span.width, *d_gate = memory->d_gate + token * span.rows;
    for (size_t r = 0; r < span.rows; r++) {
        float sum = 0.0f;
        for (size_t i = r * span.each; i < (r + 1) * span.each; i++) {
            sum += d[i] * mixed[i];
            d[i] *= gates[r];
        }
        d_gate[r] = sum * (gates[r] * (1.0f - gates[r]));
    }
}

/* Keys and values of an earlier layer. */
static void copy_shared(const rbe_gradients *gradients, const rbe__block *block, size_t kv_rows)
{
    const rbe__attention_memory *memory = &gradients->attention;
    for (size_t n = 0; n < gradients->n; n++) {
        const float *row = gradients->rows + n * gradients->stack->stream_width + block->stream_at;
        memcpy(memory->k + n * kv_rows, row, kv_rows * sizeof *row);
        memcpy(memory->v + n * kv_rows, row + kv_rows, kv_rows * sizeof *row);
    }
}

/* The norm of values, which has no weights that learn. */
static rbe__norm_call values_norm(const rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const rbe__norm *norm)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    return (rbe__norm_call){.kind = RBE_NORM_RMS,
                            .norm = norm,
                            .epsilon = block->norm_epsilon,
                            .cols = shape->head_dim,
                            .n_rows = (size_t)gradients->n * shape->n_kv_heads,
                            .x = gradients->attention.v_raw,
                            .layer = layer};
}

static rbe_status keys_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer)
{
    const rbe__attention_block *attention = &block->as.attention;
    const rbe__attention_shape *shape = &attention->shape;
    const rbe__attention_memory *memory = &gradients->attention;
    const uint32_t kv_rows = shape->n_kv_heads * shape->head_dim;
    RBE_TRY(rbe__matrix_forward(gradients, &attention->k, 0, kv_rows, memory->input, memory->k_raw));
    if (shape->values_are_keys) {
        memcpy(memory->v_raw, memory->k_raw, (size_t)gradients->n * kv_rows * sizeof *memory->v_raw);
    } else {
        RBE_TRY(rbe__matrix_forward(gradients, &attention->v, 0, kv_rows, memory->input, memory->v_raw));
    }
    finish_heads(gradients, block, attention->k_norm, shape->n_kv_heads, memory->k_raw, memory->k_turned, memory->k);
    if (shape->value_norm) {
        const rbe__norm norm = {gradients->stack->ones, NULL};
        const rbe__norm_call call = values_norm(gradients, block, layer, &norm);
        rbe__norm_forward(gradients, &call, memory->v);
    } else {
        memcpy(memory->v, memory->v_raw, (size_t)gradients->n * kv_rows * sizeof *memory->v);
    }
    return RBE_OK;
}

rbe_status rbe__attention_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out)
{
    const rbe__attention_block *attention = &block->as.attention;
    const rbe__attention_shape *shape = &attention->shape;
    rbe__attention_memory *memory = &gradients->attention;
    const uint32_t q_rows = shape->n_heads * shape->head_dim, kv_rows = shape->n_kv_heads * shape->head_dim;
    memory->input = rbe__read_stream(gradients, block, layer, x, memory->normed);
    RBE_TRY(rbe__matrix_forward(gradients, &attention->q, 0, q_rows, memory->input, memory->q_raw));
    finish_heads(gradients, block, attention->q_norm, shape->n_heads, memory->q_raw, memory->q_turned, memory->q);
    scale_queries(gradients, shape, memory->q);
    if (block->shares_state) {
        copy_shared(gradients, block, kv_rows);
    } else {
        RBE_TRY(keys_forward(gradients, block, layer));
    }
    const rbe__attend_call attend = attend_call(gradients, shape);
    RBE_TRY(rbe__attend_forward(gradients, &attend));
    if (attention->gate.weight) {
        RBE_TRY(rbe__matrix_forward(gradients, &attention->gate, 0, attention->gate.weight->rows, memory->input, memory->gate_raw));
        rbe__thread_pool_run(gradients->thread_pool, gradients->n, gate_token, &(gate_job){gradients, attention});
    }
    memory->output_input = rbe__inner_norm_forward(gradients, block, &attention->inner_norm, q_rows, read_by_o(memory, attention),
                                                   memory->inner_normed);
    return rbe__branch_forward(gradients, block, &attention->o, memory->output_input, memory->branch, memory->summed, x, out);
}

/* d [n][n_heads * head_dim] by the finished heads becomes that by raw. */
static rbe_status heads_back(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const char *part, const float *weight,
                             uint32_t n_heads, const float *raw, const float *turned, float *d)
{
    char name[RBE_GRADIENT_NAME_BYTES];
    const rbe__norm norm = {weight, NULL};
    const rbe__norm_call call = heads_norm(gradients, block, layer, &norm, n_heads, turned ? turned : raw,
                                           name_of(gradients, name, layer, part));
    if (weight && turned) {
        RBE_TRY(rbe__norm_backward(gradients, &call, d, 0, d));
    }
    turn(gradients, &block->as.attention.shape, n_heads, 1, d);
    return weight && !turned ? rbe__norm_backward(gradients, &call, d, 0, d) : RBE_OK;
}

/* The gradient by keys and values that later layers read stands in d_rows. add: it is added to by this layer's; else this layer's is taken from
 * there too, and nothing is left: what stood there before the layer was read by none. */
static void join_shared(const rbe_gradients *gradients, const rbe__block *block, size_t kv_rows, int add)
{
    const rbe__attention_memory *memory = &gradients->attention;
    const rbe_kernels *kernels = gradients->stack->kernels;
    for (size_t n = 0; block->stream_at && n < gradients->n; n++) {
        float *row = gradients->d_rows + n * gradients->stack->stream_width + block->stream_at;
        float *d_k = memory->d_k + n * kv_rows, *d_v = memory->d_v + n * kv_rows;
        kernels->add(add ? row : d_k, add ? d_k : row, (uint32_t)kv_rows);
        kernels->add(add ? row + kv_rows : d_v, add ? d_v : row + kv_rows, (uint32_t)kv_rows);
        if (!add) {
            memset(row, 0, 2 * kv_rows * sizeof *row);
        }
    }
}

/* From d_k and d_v on; adds to d_normed. */
static rbe_status keys_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer)
{
    const rbe__attention_block *attention = &block->as.attention;
    const rbe__attention_shape *shape = &attention->shape;
    const rbe__attention_memory *memory = &gradients->attention;
    char name[RBE_GRADIENT_NAME_BYTES];
    RBE_TRY(
        heads_back(gradients, block, layer, "k_norm", attention->k_norm, shape->n_kv_heads, memory->k_raw, memory->k_turned, memory->d_k));
    if (shape->value_norm) {
        const rbe__norm norm = {gradients->stack->ones, NULL};
        const rbe__norm_call call = values_norm(gradients, block, layer, &norm);
        RBE_TRY(rbe__norm_backward(gradients, &call, memory->d_v, 0, memory->d_v));
    }
    for (size_t n = 0; shape->values_are_keys && n < gradients->n; n++) {
        const size_t kv_rows = (size_t)shape->n_kv_heads * shape->head_dim;
        gradients->stack->kernels->add(memory->d_k + n * kv_rows, memory->d_v + n * kv_rows, (uint32_t)kv_rows);
    }
    const rbe__matrix k = {&attention->k, name_of(gradients, name, layer, "k"), layer, memory->input, memory->k_raw};
    RBE_TRY(rbe__matrix_backward(gradients, &k, memory->d_k, 1, gradients->d_normed));
    if (shape->values_are_keys) {
        return RBE_OK;
    }
    const rbe__matrix v = {&attention->v, name_of(gradients, name, layer, "v"), layer, memory->input, memory->v_raw};
    return rbe__matrix_backward(gradients, &v, memory->d_v, 1, gradients->d_normed);
}

rbe_status rbe__attention_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d)
{
    const rbe__attention_block *attention = &block->as.attention;
    const rbe__attention_shape *shape = &attention->shape;
    const rbe__attention_memory *memory = &gradients->attention;
    char name[RBE_GRADIENT_NAME_BYTES];
    const float *d_branch;
    RBE_TRY(rbe__branch_backward(gradients, block, layer, "attention", memory->branch, memory->summed, d, &d_branch));
    const rbe__matrix o = {&attention->o, name_of(gradients, name, layer, "o"), layer, memory->output_input, memory->branch};
    RBE_TRY(rbe__matrix_backward(gradients, &o, d_branch, 0, memory->d_mixed));
    RBE_TRY(rbe__inner_norm_backward(gradients, block, layer, "attention", &attention->inner_norm, shape->n_heads * shape->head_dim,
                                     read_by_o(memory, attention), memory->d_mixed));
    if (attention->gate.weight) {
        rbe__thread_pool_run(gradients->thread_pool, gradients->n, ungate_token, &(gate_job){gradients, attention});
    }
    const rbe__attend_call attend = attend_call(gradients, shape);
    RBE_TRY(rbe__attend_backward(gradients, &attend));
    scale_queries(gradients, shape, memory->d_q);
    RBE_TRY(heads_back(gradients, block, layer, "q_norm", attention->q_norm, shape->n_heads, memory->q_raw, memory->q_turned, memory->d_q));
    join_shared(gradients, block, (size_t)shape->n_kv_heads * shape->head_dim, block->shares_state);
    const rbe__matrix q = {&attention->q, name_of(gradients, name, layer, "q"), layer, memory->input, memory->q_raw};
    RBE_TRY(rbe__matrix_backward(gradients, &q, memory->d_q, 0, gradients->d_normed));
    if (!block->shares_state) {
        RBE_TRY(keys_backward(gradients, block, layer));
    }
    if (attention->gate.weight) {
        const rbe__matrix gate = {&attention->gate, name_of(gradients, name, layer, "gate"), layer, memory->input, memory->gate_raw};
        RBE_TRY(rbe__matrix_backward(gradients, &gate, memory->d_gate, 1, gradients->d_normed));
    }
    return rbe__read_stream_backward(gradients, block, layer, "attention", x, d);
}
