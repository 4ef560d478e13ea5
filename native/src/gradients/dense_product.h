/* Products of dense matrices in fp32, as the backward pass needs them: with either factor transposed, added to what is there or not. */
#ifndef RBE_GRADIENTS_DENSE_PRODUCT_H
#define RBE_GRADIENTS_DENSE_PRODUCT_H

#include "kernels/kernels.h"
#include "parallel/thread_pool.h"

/* A matrix that is read: element (i, j) is data[i * row_stride + j * col_stride]. Its transpose has the strides exchanged. */
typedef struct rbe__dense_operand {
    const float *data;
    size_t row_stride, col_stride;
} rbe__dense_operand;

/* c[m][n] = a[m][k] b[k][n], or with `add` c += a b. Each element of c is one chain of fused multiply-adds, ascending in k, that begins with
 * 0 or with what is there: its bits depend on nothing but its row of a and its column of b. */
typedef struct rbe__dense_product_call {
    rbe__dense_operand a, b;
    float *c; /* aliases neither operand */
    size_t c_stride; /* between rows of c */
    uint32_t m, n, k;
    int add;
} rbe__dense_product_call;

/* On all threads of the pool. Takes 64 KiB for each thread, and where a's columns are not beside one another m k floats, for as long as it
 * runs. RBE_ERROR_MEMORY where there is no memory; c is then as it was. */
rbe_status rbe__dense_product(rbe__thread_pool *pool, const rbe_kernels *kernels, const rbe__dense_product_call *call);

#endif
