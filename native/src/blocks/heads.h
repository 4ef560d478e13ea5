/* What blocks that attend have in common: scratch for the heads of a pass, the state that keeps keys and values, and the way to the output
 * matrix. The block's matrices are those of rbe__attention_block. */
#ifndef RBE_HEADS_H
#define RBE_HEADS_H

#include "blocks/pass.h"
#include "layers/attention.h"

typedef struct rbe__heads_scratch {
    float *q, *mixed;           /* [n_tokens][n_heads * head_dim] */
    float *k, *v;               /* [n_tokens][n_kv_heads * head_dim] */
    float *gates;               /* [n_tokens][rows of the gate]; none without one */
    rbe__attention *attentions; /* of the runs: [n_tokens] at most */
    float *partials;            /* of rbe__attend */
    uint32_t most_chunks;
} rbe__heads_scratch;

/* Numbers of the block's gate for each token; 0: it has none. */
size_t rbe__gate_rows(const rbe__block *block);

/* In the pass's scratch. */
rbe__heads_scratch rbe__heads_of_pass(const rbe__pass *pass, const rbe__block *block);

/* q, k, v and o of "PLACE.q" ...; which of them share a rotation is the block's to say. */
void rbe__heads_bind(rbe__binder *binder, const char *place, const rbe__layer_shape *shape, rbe__block *block);

/* `attention`, of which the heads, the scores and the cache of the run's state are filled in, for each run: scratch.q to scratch.mixed.
 * set: says what each run sees. */
typedef void rbe__heads_see(const rbe__pass *pass, const rbe__block *block, const rbe__run *run, rbe__attention *attention);
void rbe__heads_attend(rbe__pass *pass, const rbe__block *block, const rbe__heads_scratch *scratch, rbe__heads_see *set);

/* scratch.mixed through the output matrix, whose operation of a profile is `operation` of the block, and what follows the block. */
void rbe__heads_output(rbe__pass *pass, const rbe__block *block, const rbe__heads_scratch *scratch, uint32_t operation);

/* What q of a position is multiplied by behind norms and rotary positions; 1 where it is not. */
float rbe__heads_temperature(const rbe__head_options *options, uint32_t position);

/* Functions of the kinds (block.h). */
uint32_t rbe__heads_width(const rbe__block *block);
uint32_t rbe__heads_dim(const rbe__block *block);
size_t rbe__heads_scratch_bytes(const rbe__block *block, uint32_t n_tokens, uint32_t context);
void rbe__heads_take_state(const rbe__block *block, rbe__arena *arena, rbe_kv_type type, uint32_t context, rbe__block_state *out);
uint32_t rbe__heads_reach(const rbe__block_state *state, uint32_t n);

#endif
