/* softmax(q k^T) v over the KV cache. */
#ifndef RBE_ATTENTION_H
#define RBE_ATTENTION_H

#include "layers/kv_cache.h"

#define RBE_ATTENTION_CHUNK 512u /* positions that one thread does at once for one token */

/* What is added to a score by the distance of key and query, by head: values [heads][n]. The last value is of the key that stands `behind`
 * positions behind the query; those farther away have the outermost values. */
typedef struct rbe__distances {
    const float *values;
    uint32_t n, behind;
} rbe__distances;

/* Adds them to the scores of n keys from position `first` on, of a query of that head at `position`. */
void rbe__add_distances(const rbe__distances *distances, uint32_t head, uint32_t position, uint32_t first, uint32_t n, float *scores);

/* Attention of n_tokens consecutive positions, whose keys and values are stored already: to themselves and those before them, or in both
 * directions. */
typedef struct rbe__attention {
    const rbe__kv_layer *cache;
    uint32_t n_heads;
    uint32_t window;  /* a token sees so many positions, its own counted; with n_positions so many on both sides. 0: all */
    uint32_t n_positions; /* of a text whose tokens see in both directions, all of them stored already; 0: they see back alone */
    float scale, softcap;
    const rbe__distances *distances; /* NULL: none */
    const float *q;   /* [n_tokens][n_heads * head_dim] */
    float *out;       /* the same */
    uint32_t first_position, n_tokens;
    uint32_t first_item; /* of the work that threads share; rbe__attend sets it */
} rbe__attention;

/* n attentions, each over a cache of its own, all of the same heads. The result of each depends on no other. partials: scratch of
 * rbe__attention_partials floats. One token over a cache of at most most_chunks * RBE_ATTENTION_CHUNK positions is divided among the
 * threads by chunks. */
void rbe__attend(rbe__workspace *workspace, rbe__attention *attentions, uint32_t n, float *partials, uint32_t most_chunks);

static inline size_t rbe__attention_partials(uint32_t n_heads, uint32_t head_dim, uint32_t most_chunks)
{
    return rbe__arena_count(rbe__arena_count(most_chunks, n_heads), (size_t)head_dim + 2);
}

#endif
