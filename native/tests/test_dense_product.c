/* Products of dense matrices: each element the chain of fused multiply-adds that the header promises, whatever the shape, the strides, the
 * threads and the kernel set. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "gradients/dense_product.h"
#include "kernels/scalar/fused.h"

static uint64_t state = 1;

static uint32_t random_between(uint32_t least, uint32_t most)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return least + (uint32_t)((state >> 33) % (most - least + 1u));
}

static float random_float(void)
{
    return ((float)random_between(0, 2000000) - 1000000.0f) * 1e-6f;
}

static float *random_matrix(size_t n)
{
    float *values = malloc((n + 1) * sizeof *values);
    for (size_t i = 0; values != NULL && i < n; i++) {
        values[i] = random_float();
    }
    return values;
}

static float element(rbe__dense_operand of, size_t row, size_t col)
{
    return of.data[row * of.row_stride + col * of.col_stride];
}

/* How many elements of c are not what they should be; before: c before the product. */
static size_t wrong_elements(const rbe__dense_product_call *call, const float *before)
{
    size_t wrong = 0;
    for (size_t i = 0; i < call->m; i++) {
        for (size_t j = 0; j < call->c_stride; j++) {
            float sum = j >= call->n || call->add ? before[i * call->c_stride + j] : 0.0f;
            for (size_t k = 0; j < call->n && k < call->k; k++) {
                sum = rbe__fused(element(call->a, i, k), element(call->b, k, j), sum);
            }
            wrong += memcmp(&sum, &call->c[i * call->c_stride + j], sizeof sum) != 0;
        }
    }
    return wrong;
}

static void test_product(rbe__thread_pool *pool, const rbe_kernels *kernels, uint32_t m, uint32_t n, uint32_t k)
{
    const uint32_t gap = random_between(0, 5), forms = random_between(0, 7);
    const size_t c_stride = n + gap;
    float *a = random_matrix((size_t)(m + gap) * (k + gap)), *b = random_matrix((size_t)(k + gap) * (n + gap)),
          *before = random_matrix(m * c_stride), *c = malloc((m * c_stride + 1) * sizeof *c);
    CHECK(a != NULL && b != NULL && before != NULL && c != NULL, "no memory");
    if (a != NULL && b != NULL && before != NULL && c != NULL) {
        memcpy(c, before, m * c_stride * sizeof *c);
        const rbe__dense_operand plain_a = {a, k + gap, 1}, turned_a = {a, 1, m + gap}, plain_b = {b, n + gap, 1},
                                 turned_b = {b, 1, k + gap};
        const rbe__dense_product_call call = {.a = forms & 1 ? turned_a : plain_a,
                                              .b = forms & 2 ? turned_b : plain_b,
                                              .c = c,
                                              .c_stride = c_stride,
                                              .m = m,
                                              .n = n,
                                              .k = k,
                                              .add = (forms & 4) != 0};
        CHECK(rbe__dense_product(pool, kernels, &call) == RBE_OK, "%s", rbe_last_error());
        const size_t wrong = wrong_elements(&call, before);
        CHECK(wrong == 0, "%s, %u threads, %u x %u x %u, form %u: %zu elements differ", kernels->name, rbe__thread_pool_threads(pool), m, n,
              k, forms, wrong);
    }
    free(a);
    free(b);
    free(before);
    free(c);
}

int main(void)
{
    rbe_kernels kernels;
    const char *name;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        rbe__thread_pool *pool = NULL;
        CHECK(rbe__thread_pool_create(threads, &pool) == RBE_OK, "%s", rbe_last_error());
        for (uint32_t i = 0; (name = rbe_kernel_set_name(i)) != NULL; i++) {
            if (rbe__kernels_select(name, &kernels) != 0) {
                continue;
            }
            for (uint32_t index = 0; index < 24; index++) {
                test_product(pool, &kernels, random_between(0, 40), random_between(0, 150), random_between(0, 70));
            }
            test_product(pool, &kernels, 251, 70, 20); /* past one part, and one panel */
            test_product(pool, &kernels, 13, 65, 600); /* past one depth, twice */
        }
        rbe__thread_pool_free(pool);
    }
    return check_finish();
}
