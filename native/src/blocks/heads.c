#include "blocks/heads.h"

#include <stdio.h>

#include "base/elementary.h"
#include "blocks/bind.h"

static size_t q_width_of(const rbe__block *block)
{
    return (size_t)block->as.attention.shape.n_heads * block->as.attention.shape.head_dim;
}

size_t rbe__gate_rows(const rbe__block *block)
{
    const rbe__tensor *gate = block->as.attention.gate.weight;
    return gate ? gate->rows : 0;
}

static rbe__heads_scratch take_scratch(const rbe__block *block, uint32_t n_tokens, uint32_t context, rbe__arena *arena)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    const size_t q_values = rbe__arena_count(n_tokens, q_width_of(block));
    const size_t kv_values = rbe__arena_count(n_tokens, (size_t)shape->n_kv_heads * shape->head_dim);
    rbe__heads_scratch scratch = {.most_chunks = (context - 1) / RBE_ATTENTION_CHUNK + 1};
    scratch.q = rbe__arena_take(arena, q_values, sizeof(float));
    scratch.mixed = rbe__arena_take(arena, q_values, sizeof(float));
    scratch.k = rbe__arena_take(arena, kv_values, sizeof(float));
    scratch.v = rbe__arena_take(arena, kv_values, sizeof(float));
    scratch.gates = rbe__arena_take(arena, rbe__arena_count(n_tokens, rbe__gate_rows(block)), sizeof(float));
    scratch.attentions = rbe__arena_take(arena, n_tokens, sizeof *scratch.attentions);
    scratch.partials = rbe__arena_take(arena, rbe__attention_partials(shape->n_heads, shape->head_dim, scratch.most_chunks), sizeof(float));
    return scratch;
}

rbe__heads_scratch rbe__heads_of_pass(const rbe__pass *pass, const rbe__block *block)
{
    rbe__arena arena = {.memory = pass->scratch};
    return take_scratch(block, pass->workspace.most_tokens, pass->context, &arena);
}

size_t rbe__heads_scratch_bytes(const rbe__block *block, uint32_t n_tokens, uint32_t context)
{
    rbe__arena arena = {0};
    (void)take_scratch(block, n_tokens, context, &arena);
    return arena.used;
}

void rbe__heads_bind(rbe__binder *binder, const char *place, const rbe__layer_shape *shape, rbe__block *block)
{
    rbe__attention_block *attention = &block->as.attention;
    const uint32_t head_dim = attention->shape.head_dim;
    const uint32_t q_rows = attention->shape.n_heads * head_dim, kv_rows = attention->shape.n_kv_heads * head_dim;
    char name[96];
#define NAME(part) (snprintf(name, sizeof name, "%s." part, place), name)
    attention->q = rbe__bind_projection(binder, NAME("q"), q_rows, shape->width, 0);
    if (!block->shares_state) {
        attention->k = rbe__bind_projection(binder, NAME("k"), kv_rows, shape->width, 0);
    }
    if (!block->shares_state && !attention->shape.values_are_keys) {
        attention->v = rbe__bind_projection(binder, NAME("v"), kv_rows, shape->width, 0);
    }
    attention->o = rbe__bind_projection(binder, NAME("o"), shape->width, q_rows, 0);
#undef NAME
}

float rbe__heads_temperature(const rbe__head_options *options, uint32_t position)
{
    const uint32_t times = options->temperature != 0.0f ? position / options->temperature_tokens : 0;
    return times ? (float)(1.0 + (double)options->temperature * rbe__log(1.0 + times)) : 1.0f;
}

void rbe__heads_attend(rbe__pass *pass, const rbe__block *block, const rbe__heads_scratch *scratch, rbe__heads_see *set)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    const size_t q_width = q_width_of(block);
    size_t first = 0;
    for (uint32_t r = 0; r < pass->n_runs; r++) {
        const rbe__run *run = &pass->runs[r];
        scratch->attentions[r] = (rbe__attention){.cache = &run->state->blocks[block->state].kv,
                                                  .n_heads = shape->n_heads,
                                                  .scale = shape->scale,
                                                  .softcap = shape->softcap,
                                                  .q = scratch->q + first * q_width,
                                                  .out = scratch->mixed + first * q_width,
                                                  .n_tokens = run->n_tokens};
        set(pass, block, run, &scratch->attentions[r]);
        first += run->n_tokens;
    }
    rbe__attend(&pass->workspace, scratch->attentions, pass->n_runs, scratch->partials, scratch->most_chunks);
}

void rbe__heads_output(rbe__pass *pass, const rbe__block *block, const rbe__heads_scratch *scratch, uint32_t operation)
{
    const rbe__linear_job o = rbe__block_output_job(pass, block, &block->as.attention.o);
    const rbe__linear_input mixed = {pass->n_tokens, pass->planes, (uint32_t)q_width_of(block), scratch->mixed};
    rbe__linear(&pass->workspace, &o, 1, &mixed);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + operation);
    rbe__block_add(pass, block);
}

uint32_t rbe__heads_width(const rbe__block *block)
{
    return (uint32_t)q_width_of(block);
}

uint32_t rbe__heads_dim(const rbe__block *block)
{
    return block->as.attention.shape.head_dim;
}

void rbe__heads_take_state(const rbe__block *block, rbe__arena *arena, rbe_kv_type type, uint32_t context, rbe__block_state *out)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    out->kv = rbe__kv_take(arena, type, context, shape->n_kv_heads, shape->head_dim);
}

/* What is kept of the positions before the one that it goes back to, or of a text, stays. */
uint32_t rbe__heads_reach(const rbe__block_state *state, uint32_t n)
{
    (void)state;
    return n;
}
