/* The recurrent block, a gated delta net or a state space: o(mixed) of q, k and v, which go through convolutions and SiLU, of what the heads make of
 * them (recurrence_heads_backward.c), and of a gate beside a norm, window by window, with a norm behind it where the model has one. */
#include <math.h>
#include <string.h>

#include "base/elementary.h"
#include "base/status.h"
#include "blocks/recurrence_rule.h"
#include "gradients/gradients.h"
#include "layers/activation.h"

static const char *name_of(const rbe_gradients *gradients, char name[RBE_GRADIENT_NAME_BYTES], uint32_t layer, const char *part)
{
    return rbe__gradient_name(gradients, name, layer, "recurrence", part);
}

static int is_delta(const rbe__recurrence_block *recurrence)
{
    return recurrence->shape.rule == RBE_MIXER_DELTA_NET;
}

static size_t inner_of(const rbe__recurrence_block *recurrence)
{
    return (size_t)recurrence->shape.n_values * recurrence->shape.value_dim;
}

/* ---- memory --------------------------------------------------------------------------------------------------------------- */

static float *take(rbe_gradients *gradients, size_t rows, size_t cols)
{
    return rbe__arena_take(&gradients->arena, rbe__arena_count(rows, cols), sizeof(float));
}

static void take_channels(rbe_gradients *gradients, size_t rows, float *d_taps, rbe__channels_memory *channels)
{
    float **const all[] = {&channels->raw, &channels->sum, &channels->values, &channels->d};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        *all[i] = take(gradients, gradients->most_tokens, rows);
    }
    channels->d_raw = channels->sum;
    channels->d_taps = d_taps;
}

static void take_tiles(rbe_gradients *gradients, const rbe__recurrence_shape *shape)
{
    const size_t spacing = rbe__recurrence_spacing(gradients->window_tokens), n_kept = (gradients->window_tokens - 1) / spacing + 1;
    const size_t matrix = (size_t)shape->key_dim * shape->value_dim;
    for (uint32_t t = 0; t < rbe__thread_pool_threads(gradients->thread_pool); t++) {
        rbe__recurrence_tile *tile = &gradients->recurrence_tiles[t];
        tile->kept = take(gradients, n_kept, matrix);
        tile->between = take(gradients, spacing, matrix);
        tile->slopes = take(gradients, matrix, 1);
        tile->difference = take(gradients, shape->value_dim, 1);
        tile->update = take(gradients, shape->value_dim, 1);
        tile->d_update = take(gradients, shape->value_dim, 1);
        tile->products = take(gradients, shape->key_dim, 1);
    }
}

/* One after the other, what belongs to a token, by what there is of it. */
static void take_rows(rbe_gradients *gradients, const rbe__recurrence_block *recurrence)
{
    rbe__recurrence_memory *memory = &gradients->recurrence;
    const rbe__recurrence_shape *shape = &recurrence->shape;
    const size_t n = gradients->most_tokens, inner = inner_of(recurrence);
    float **const of_stream[] = {&memory->normed, &memory->branch};
    float **const of_inner[] = {&memory->y, &memory->d_y, &memory->gate, &memory->d_gate, &memory->inner, &memory->mixed};
    float **const of_heads[] = {&memory->decay_raw,   &memory->beta_raw, &memory->steps,   &memory->decays,  &memory->shares,
                                &memory->d_exponents, &memory->d_shares, &memory->d_skips, &memory->d_rates, &memory->d_decays};
    float **const of_parts[] = {&memory->query_parts, &memory->key_parts};
    float **const of_keys[] = {&memory->q_scales, &memory->k_scales};
    const struct {
        float **const *all;
        size_t n, cols;
    } groups[] = {{of_stream, sizeof of_stream / sizeof of_stream[0], gradients->stack->width},
                  {of_inner, sizeof of_inner / sizeof of_inner[0], inner},
                  {of_heads, sizeof of_heads / sizeof of_heads[0], shape->n_values},
                  {of_parts, sizeof of_parts / sizeof of_parts[0], (size_t)shape->n_values * shape->key_dim},
                  {of_keys, sizeof of_keys / sizeof of_keys[0], shape->n_keys}};
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
        for (size_t i = 0; i < groups[g].n; i++) {
            *groups[g].all[i] = take(gradients, n, groups[g].cols);
        }
    }
}

void rbe__recurrence_take(rbe_gradients *gradients)
{
    const rbe__block *block = rbe__first_block(gradients->stack, &rbe__recurrence_kind); /* all have one shape */
    rbe__recurrence_memory *memory = &gradients->recurrence;
    if (!block) {
        return;
    }
    const rbe__recurrence_block *recurrence = &block->as.recurrence;
    const rbe__recurrence_shape *shape = &recurrence->shape;
    const size_t keys = (size_t)shape->n_keys * shape->key_dim, inner = inner_of(recurrence);
    take_rows(gradients, recurrence);
    float *d_taps = take(gradients, keys > inner ? keys : inner, shape->taps);
    take_channels(gradients, keys, d_taps, &memory->q);
    take_channels(gradients, keys, d_taps, &memory->k); /* behind q, as the rule reads them */
    take_channels(gradients, inner, d_taps, &memory->v);
    memory->summed = block->stream_norm.weight ? take(gradients, gradients->most_tokens, gradients->stack->width) : NULL;
    take_tiles(gradients, shape);
}

/* ---- q, k and v ----------------------------------------------------------------------------------------------------------- */

/* One of the three, and what its tensors are called. */
typedef struct channels {
    const rbe__projection *matrix, *taps;
    const rbe__channels_memory *memory;
    const char *name, *taps_name;
} channels;

enum { N_CHANNELS = 3 };

static void list_channels(const rbe_gradients *gradients, const rbe__recurrence_block *recurrence, channels all[N_CHANNELS])
{
    const rbe__recurrence_memory *memory = &gradients->recurrence;
    all[0] = (channels){&recurrence->q, &recurrence->q_taps, &memory->q, "q", "q_taps"};
    all[1] = (channels){&recurrence->k, &recurrence->k_taps, &memory->k, "k", "k_taps"};
    all[2] = (channels){&recurrence->v, &recurrence->v_taps, &memory->v, "v", "v_taps"};
}

static rbe_status channels_forward(const rbe_gradients *gradients, const channels *of)
{
    const uint32_t rows = of->matrix->weight->rows;
    RBE_TRY(rbe__matrix_forward(gradients, of->matrix, 0, rows, gradients->recurrence.input, of->memory->raw));
    rbe__taps_forward(gradients, of->taps, of->memory->raw, of->memory->sum);
    rbe__activation_forward(gradients, RBE_ACTIVATION_SILU, NULL, of->memory->sum, (size_t)gradients->n * rows, of->memory->values);
    return rbe__gradients_check(gradients);
}

/* From the gradient by what the heads read. add: to d_normed. */
static rbe_status channels_backward(rbe_gradients *gradients, uint32_t layer, const channels *of, int add)
{
    const rbe__channels_memory *memory = of->memory;
    char name[RBE_GRADIENT_NAME_BYTES];
    rbe__activation_backward(gradients, RBE_ACTIVATION_SILU, NULL, memory->sum, (size_t)gradients->n * of->matrix->weight->rows, memory->d,
                             NULL);
    const rbe__matrix taps = {of->taps, name_of(gradients, name, layer, of->taps_name), layer, memory->raw, NULL};
    RBE_TRY(rbe__taps_backward(gradients, &taps, memory->d, memory->d_taps, memory->d_raw));
    const rbe__matrix matrix = {of->matrix, name_of(gradients, name, layer, of->name), layer, gradients->recurrence.input, memory->raw};
    return rbe__matrix_backward(gradients, &matrix, memory->d_raw, add, gradients->d_normed);
}

/* ---- of one token --------------------------------------------------------------------------------------------------------- */

typedef struct token_job {
    const rbe_gradients *gradients;
    const rbe__recurrence_block *recurrence;
} token_job;

/* Queries of a delta net are of this length, keys of length 1. */
static double query_length(const rbe__recurrence_shape *shape)
{
    return 1.0 / sqrt((double)shape->key_dim);
}

/* x [n_keys][key_dim], each head to a length; scales: [n_keys] */
static void scale_heads(const rbe__recurrence_shape *shape, double length, float *x, float *scales)
{
    for (uint32_t h = 0; h < shape->n_keys; h++) {
        scales[h] = rbe__recurrence_unit(shape->key_dim, length, x + (size_t)h * shape->key_dim);
    }
}

/* d [n_keys][key_dim], the gradient by what that gave, x, becomes that by what it was given: scale (d - x (x . d) / length^2). */
static void scale_heads_back(const rbe__recurrence_shape *shape, double length, const float *x, const float *scales, float *d)
{
    for (uint32_t h = 0; h < shape->n_keys; h++) {
        const float *head = x + (size_t)h * shape->key_dim;
        float *d_head = d + (size_t)h * shape->key_dim;
        double slope = 0;
        for (uint32_t i = 0; i < shape->key_dim; i++) {
            slope += (double)head[i] * (double)d_head[i];
        }
        slope /= length * length;
        for (uint32_t i = 0; i < shape->key_dim; i++) {
            d_head[i] = (float)((double)scales[h] * ((double)d_head[i] - (double)head[i] * slope));
        }
    }
}

static double logistic(double x)
{
    return 1.0 / (1.0 + rbe__exp(-x));
}

/* What the heads read of a token, from what its matrices gave. */
static void read_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const token_job *job = context;
    const rbe_kernels *kernels = job->gradients->stack->kernels;
    const rbe__recurrence_shape *shape = &job->recurrence->shape;
    const rbe__recurrence_memory *memory = &job->gradients->recurrence;
    const uint32_t n = shape->n_values;
    const size_t at = (size_t)token * n, key = (size_t)token * shape->n_keys;
    float *steps = memory->steps + at, *decays = memory->decays + at;
    memcpy(steps, memory->decay_raw + at, n * sizeof *steps);
    rbe__softplus(kernels, n, steps, decays);
    for (uint32_t h = 0; h < n; h++) {
        decays[h] = -job->recurrence->rate[h] * steps[h];
    }
    rbe__recurrence_decays(kernels, n, decays);
    memcpy(memory->shares + at, is_delta(job->recurrence) ? memory->beta_raw + at : steps, n * sizeof *steps);
    if (is_delta(job->recurrence)) {
        rbe__logistic(kernels, n, memory->shares + at);
        scale_heads(shape, query_length(shape), memory->q.values + key * shape->key_dim, memory->q_scales + key);
        scale_heads(shape, 1.0, memory->k.values + key * shape->key_dim, memory->k_scales + key);
    }
}

/* The way back of that. d_shares becomes the gradient by what `beta` gave. */
static void read_token_back(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const token_job *job = context;
    const rbe__recurrence_shape *shape = &job->recurrence->shape;
    const rbe__recurrence_memory *memory = &job->gradients->recurrence;
    const size_t at = (size_t)token * shape->n_values, key = (size_t)token * shape->n_keys;
    const int delta = is_delta(job->recurrence);
    for (uint32_t h = 0; h < shape->n_values; h++) {
        const double d_exponent = (double)memory->d_exponents[at + h], share = (double)memory->shares[at + h];
        const double d_share = (double)memory->d_shares[at + h];
        const double d_step = (delta ? 0.0 : d_share) - (double)job->recurrence->rate[h] * d_exponent;
        memory->d_rates[at + h] = (float)(-(double)memory->steps[at + h] * d_exponent);
        memory->d_decays[at + h] = (float)(d_step * logistic((double)memory->decay_raw[at + h]));
        memory->d_shares[at + h] = (float)(d_share * share * (1.0 - share));
    }
    if (delta) {
        scale_heads_back(shape, query_length(shape), memory->q.values + key * shape->key_dim, memory->q_scales + key,
                         memory->q.d + key * shape->key_dim);
        scale_heads_back(shape, 1.0, memory->k.values + key * shape->key_dim, memory->k_scales + key, memory->k.d + key * shape->key_dim);
    }
}

/* ---- gate and norm -------------------------------------------------------------------------------------------------------- */

/* Of a delta net each value head of y is normed, all with the same weights; of a state space what stands behind the gate, by key head. */
static rbe__norm_call gated_norm(const rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const char *name)
{
    const rbe__recurrence_block *recurrence = &block->as.recurrence;
    const rbe__recurrence_shape *shape = &recurrence->shape;
    const int delta = is_delta(recurrence);
    return (rbe__norm_call){.kind = RBE_NORM_RMS,
                            .norm = &recurrence->gated_norm,
                            .epsilon = recurrence->epsilon,
                            .cols = delta ? shape->value_dim : shape->n_values / shape->n_keys * shape->value_dim,
                            .n_weights = delta ? 1 : shape->n_keys,
                            .n_rows = (size_t)gradients->n * (delta ? shape->n_values : shape->n_keys),
                            .x = delta ? gradients->recurrence.y : gradients->recurrence.inner,
                            .name = name,
                            .layer = layer};
}

static void gate_forward(const rbe_gradients *gradients, const rbe__block *block)
{
    const rbe__recurrence_memory *memory = &gradients->recurrence;
    const rbe__norm_call norm = gated_norm(gradients, block, 0, NULL);
    const size_t n = gradients->n * inner_of(&block->as.recurrence);
    if (is_delta(&block->as.recurrence)) {
        rbe__norm_forward(gradients, &norm, memory->inner);
        rbe__activation_forward(gradients, RBE_ACTIVATION_SILU, memory->gate, memory->inner, n, memory->mixed);
    } else {
        rbe__activation_forward(gradients, RBE_ACTIVATION_SILU, memory->gate, memory->y, n, memory->inner);
        rbe__norm_forward(gradients, &norm, memory->mixed);
    }
}

/* d_y, the gradient by mixed, becomes that by y. */
static rbe_status gate_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer)
{
    const rbe__recurrence_memory *memory = &gradients->recurrence;
    char name[RBE_GRADIENT_NAME_BYTES];
    const rbe__norm_call norm = gated_norm(gradients, block, layer, name_of(gradients, name, layer, "gated_norm"));
    const size_t n = gradients->n * inner_of(&block->as.recurrence);
    if (is_delta(&block->as.recurrence)) {
        rbe__activation_backward(gradients, RBE_ACTIVATION_SILU, memory->gate, memory->inner, n, memory->d_y, memory->d_gate);
        return rbe__norm_backward(gradients, &norm, memory->d_y, 0, memory->d_y);
    }
    RBE_TRY(rbe__norm_backward(gradients, &norm, memory->d_y, 0, memory->d_y));
    rbe__activation_backward(gradients, RBE_ACTIVATION_SILU, memory->gate, memory->y, n, memory->d_y, memory->d_gate);
    return rbe__gradients_check(gradients);
}

/* ---- the block ------------------------------------------------------------------------------------------------------------ */

rbe_status rbe__recurrence_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out)
{
    const rbe__recurrence_block *recurrence = &block->as.recurrence;
    rbe__recurrence_memory *memory = &gradients->recurrence;
    channels all[N_CHANNELS];
    list_channels(gradients, recurrence, all);
    memory->input = rbe__read_stream(gradients, block, layer, x, memory->normed);
    for (uint32_t i = 0; i < N_CHANNELS; i++) {
        RBE_TRY(channels_forward(gradients, &all[i]));
    }
    const uint32_t n_values = recurrence->shape.n_values;
    RBE_TRY(rbe__matrix_forward(gradients, &recurrence->decay, 0, n_values, memory->input, memory->decay_raw));
    if (is_delta(recurrence)) {
        RBE_TRY(rbe__matrix_forward(gradients, &recurrence->beta, 0, n_values, memory->input, memory->beta_raw));
    }
    RBE_TRY(rbe__matrix_forward(gradients, &recurrence->gate, 0, recurrence->gate.weight->rows, memory->input, memory->gate));
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, read_token, &(token_job){gradients, recurrence});
    RBE_TRY(rbe__heads_forward(gradients, recurrence));
    gate_forward(gradients, block);
    return rbe__branch_forward(gradients, block, &recurrence->o, memory->mixed, memory->branch, memory->summed, x, out);
}

/* What one number of a head has to do with its matrix. */
static rbe_status show_vectors(rbe_gradients *gradients, const rbe__recurrence_block *recurrence, uint32_t layer)
{
    const rbe__recurrence_memory *memory = &gradients->recurrence;
    const uint32_t n_values = recurrence->shape.n_values;
    char name[RBE_GRADIENT_NAME_BYTES];
    RBE_TRY(rbe__vector_show(gradients, name_of(gradients, name, layer, "rate"), layer, memory->d_rates, n_values));
    return recurrence->skip ? rbe__vector_show(gradients, name_of(gradients, name, layer, "skip"), layer, memory->d_skips, n_values)
                            : RBE_OK;
}

rbe_status rbe__recurrence_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d)
{
    const rbe__recurrence_block *recurrence = &block->as.recurrence;
    const rbe__recurrence_memory *memory = &gradients->recurrence;
    char name[RBE_GRADIENT_NAME_BYTES];
    const float *d_branch;
    RBE_TRY(rbe__branch_backward(gradients, block, layer, "recurrence", memory->branch, memory->summed, d, &d_branch));
    const rbe__matrix o = {&recurrence->o, name_of(gradients, name, layer, "o"), layer, memory->mixed, memory->branch};
    RBE_TRY(rbe__matrix_backward(gradients, &o, d_branch, 0, memory->d_y));
    RBE_TRY(gate_backward(gradients, block, layer));
    RBE_TRY(rbe__heads_backward(gradients, recurrence));
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, read_token_back, &(token_job){gradients, recurrence});
    RBE_TRY(show_vectors(gradients, recurrence, layer));
    channels all[N_CHANNELS];
    list_channels(gradients, recurrence, all);
    for (uint32_t i = 0; i < N_CHANNELS; i++) {
        RBE_TRY(channels_backward(gradients, layer, &all[i], i > 0));
    }
    const rbe__matrix gate = {&recurrence->gate, name_of(gradients, name, layer, "gate"), layer, memory->input, memory->gate};
    RBE_TRY(rbe__matrix_backward(gradients, &gate, memory->d_gate, 1, gradients->d_normed));
    const rbe__matrix decay = {&recurrence->decay, name_of(gradients, name, layer, "decay"), layer, memory->input, memory->decay_raw};
    RBE_TRY(rbe__matrix_backward(gradients, &decay, memory->d_decays, 1, gradients->d_normed));
    if (is_delta(recurrence)) {
        const rbe__matrix beta = {&recurrence->beta, name_of(gradients, name, layer, "beta"), layer, memory->input, memory->beta_raw};
        RBE_TRY(rbe__matrix_backward(gradients, &beta, memory->d_shares, 1, gradients->d_normed));
    }
    return rbe__read_stream_backward(gradients, block, layer, "recurrence", x, d);
}
