/* Binding: tensors of a file, found by name through a look-up that the model hands in, checked against the shapes that the hyper-parameters give. */
#ifndef RBE_BIND_H
#define RBE_BIND_H

#include "blocks/block.h"

/* Begins with status RBE_OK. After the first failure, which the status keeps, every call does nothing and returns NULL. */
struct rbe__binder {
    const rbe__tensor *(*find)(const void *context, const char *name); /* NULL where there is none of that name */
    const void *context;
    const char *path; /* for messages */
    const char *prefix; /* of the names of a stack's layers */
    rbe_status status;
    int has_rows_only; /* some projection is of a kind of rbe__tensor_by_row */
    int has_grouped; /* and of rbe__tensor_is_grouped */
};

/* NULL where it is optional and absent. */
const rbe__tensor *rbe__bind_tensor(rbe__binder *binder, const char *name, uint32_t rows, uint32_t cols, int optional);
const float *rbe__bind_vector(rbe__binder *binder, const char *name, uint32_t n, int optional);

/* "name" and "name.bias", which may be absent. */
rbe__norm rbe__bind_norm(rbe__binder *binder, const char *name, uint32_t width, int optional);
rbe__projection rbe__bind_projection(rbe__binder *binder, const char *name, uint32_t rows, uint32_t cols, int optional);

/* Fails where a bound tensor is neither fp32 nor of 16 bits; NULL is none. */
void rbe__bind_dense(rbe__binder *binder, const rbe__tensor *tensor);

/* The norms of a block whose tensors begin with `place`; optional: the one before it may be absent. */
void rbe__bind_block_norms(rbe__binder *binder, const char *place, const rbe__layer_shape *shape, int optional, rbe__block *block);

/* Tensors that read one activation are rotated alike, so that it is rotated once. */
void rbe__bind_shared_rotation(rbe__binder *binder, const rbe__projection *const *projections, int n);

/* The blocks of layer `index` of a stack: attention or what stands in its place, where the shape says so cross attention, feed-forward, and what
 * layer embeddings give. */
void rbe__bind_layer(rbe__binder *binder, uint32_t index, const rbe__layer_shape *shape, rbe__stack *stack);

#endif
