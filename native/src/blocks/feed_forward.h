/* A feed-forward part: up (and gate), the activation function, down. A block of its own, or beside experts, where every token goes through it. */
#ifndef RBE_FEED_FORWARD_H
#define RBE_FEED_FORWARD_H

#include "blocks/pass.h"

typedef struct rbe__feed_forward_scratch {
    float *gate, *up; /* [n_tokens][width]; gate NULL where there is none */
} rbe__feed_forward_scratch;

/* The tensors that begin with `place`, of a stream of so many values. */
void rbe__feed_forward_bind(rbe__binder *binder, const char *place, uint32_t width, const rbe__feed_forward_shape *shape,
                            rbe__feed_forward_block *out);

/* The arena may only measure. */
rbe__feed_forward_scratch rbe__feed_forward_take(const rbe__feed_forward_shape *shape, size_t n_tokens, rbe__arena *arena);

/* up, and gate where there is one, which read one activation, into the scratch. Returns how many jobs they are. */
uint32_t rbe__feed_forward_up_jobs(const rbe__feed_forward_block *feed_forward, const rbe__feed_forward_scratch *scratch,
                                   rbe__linear_job jobs[2]);

/* Once these have run: down of the activation, which is normed before it where the block says so. scratch->up becomes what down reads. */
void rbe__feed_forward_down(rbe__pass *pass, const rbe__block *block, const rbe__feed_forward_block *feed_forward,
                            const rbe__feed_forward_scratch *scratch, const rbe__linear_job *down);

/* As rbe__block_kind.read_bytes. */
uint64_t rbe__feed_forward_read_bytes(const rbe__feed_forward_block *feed_forward, uint32_t planes);

#endif
