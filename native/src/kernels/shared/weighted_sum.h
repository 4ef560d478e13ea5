/* Sums of weighted rows, for every vector width: after shared/float.h. The queries of a key-value head stand beside one another in
 * registers, so that a row is read (and converted) once for all of them. */
#ifndef RBE_KERNELS_SHARED_WEIGHTED_SUM_H
#define RBE_KERNELS_SHARED_WEIGHTED_SUM_H

#include "kernels/shared/float.h"

enum { WEIGHTED_SUM_OUT = 6, WEIGHTED_SUM_SUMS = 24 };

typedef struct weighted_sum_call {
    const float *weight;
    size_t weight_stride;
    const uint8_t *rows;
    size_t row_stride;
    uint32_t n_rows;
    const float *keep;
    float *out;
    size_t out_stride;
} weighted_sum_call;

/* Keys and values of a long context come from memory, and its rows go on behind those of a call: rows that are stored as fp32 are
 * buffers. WEIGHTED_SUM_AHEAD: how far ahead to ask, in bytes, 0 not at all (docs/performance.md, "A growing context"). */
RBE_INLINE void prefetch_rows(element kind, const uint8_t *row, uint32_t n_values)
{
    for (uint32_t i = 0; WEIGHTED_SUM_AHEAD != 0 && kind != F32 && i < element_bytes(kind) * n_values; i += 64) {
        __builtin_prefetch((const void *)((uintptr_t)row + WEIGHTED_SUM_AHEAD + i), 0, 2);
    }
}

/* n_out sums of n_vectors vectors (both constants; the last vector of n_last values) from column c on. */
RBE_INLINE void weighted_sum_tile(element kind, const weighted_sum_call *call, uint32_t n_out, uint32_t n_vectors, uint32_t n_last,
                                  uint32_t c)
{
    vf sums[WEIGHTED_SUM_SUMS], row[WEIGHTED_SUM_SUMS];
    RBE_UNROLL(24)
    for (uint32_t i = 0; i < n_out * n_vectors; i++) {
        const uint32_t n = i / n_vectors, v = i % n_vectors, values = v + 1 < n_vectors ? VF : n_last;
        sums[i] = call->keep ? vf_mul(vf_set1(call->keep[n]), load_floats(call->out + n * call->out_stride + c + VF * v, values))
                             : vf_zero();
    }
    const uint8_t *p = call->rows + element_bytes(kind) * c;
    const float *weight = call->weight;
    for (uint32_t k = 0; k < call->n_rows; k++) {
        RBE_UNROLL(8)
        for (uint32_t v = 0; v < n_vectors; v++) {
            row[v] = load_elements(kind, p + element_bytes(kind) * VF * v, v + 1 < n_vectors ? VF : n_last);
        }
        RBE_UNROLL(24)
        for (uint32_t i = 0; i < n_out * n_vectors; i++) {
            sums[i] = vf_fma(vf_set1(weight[i / n_vectors * call->weight_stride]), row[i % n_vectors], sums[i]);
        }
        prefetch_rows(kind, p, VF * (n_vectors - 1) + n_last);
        p += element_bytes(kind) * call->row_stride;
        weight++;
    }
    RBE_UNROLL(24)
    for (uint32_t i = 0; i < n_out * n_vectors; i++) {
        const uint32_t n = i / n_vectors, v = i % n_vectors;
        store_floats(call->out + n * call->out_stride + c + VF * v, sums[i], v + 1 < n_vectors ? VF : n_last);
    }
}

/* n_out, n_vectors: constants */
RBE_INLINE void weighted_sum_columns(element kind, const weighted_sum_call *call, uint32_t n_out, uint32_t n_vectors, uint32_t n_cols)
{
    uint32_t c = 0;
    for (; c + n_vectors * VF <= n_cols; c += n_vectors * VF) {
        weighted_sum_tile(kind, call, n_out, n_vectors, VF, c);
    }
    for (; c + VF <= n_cols; c += VF) {
        weighted_sum_tile(kind, call, n_out, 1, VF, c);
    }
    if (c < n_cols) {
        weighted_sum_tile(kind, call, n_out, 1, n_cols - c, c);
    }
}

RBE_INLINE void weighted_sum(element kind, weighted_sum_call call, uint32_t n_cols, uint32_t n_out)
{
    while (n_out > 0) {
        uint32_t here = 1;
        if (n_out >= WEIGHTED_SUM_OUT) {
            here = WEIGHTED_SUM_OUT;
            weighted_sum_columns(kind, &call, WEIGHTED_SUM_OUT, WEIGHTED_SUM_MANY, n_cols);
        } else if (n_out >= 3) {
            here = 3;
            weighted_sum_columns(kind, &call, 3, WEIGHTED_SUM_MANY, n_cols);
        } else if (n_out == 2) {
            here = 2;
            weighted_sum_columns(kind, &call, 2, WEIGHTED_SUM_2, n_cols);
        } else {
            weighted_sum_columns(kind, &call, 1, WEIGHTED_SUM_1, n_cols);
        }
        call.weight += here * call.weight_stride;
        call.out += here * call.out_stride;
        call.keep = call.keep ? call.keep + here : NULL;
        n_out -= here;
    }
}

#define WEIGHTED_SUM_KERNEL(name, kind)                                                                                                 \
    static void weighted_sum_##name(const float *weight, size_t weight_stride, const void *rows, size_t row_stride, uint32_t n_rows,    \
                                    uint32_t n_cols, uint32_t n_out, const float *keep, float *out, size_t out_stride)                  \
    {                                                                                                                                   \
        weighted_sum(kind, (weighted_sum_call){weight, weight_stride, rows, row_stride, n_rows, keep, out, out_stride}, n_cols, n_out); \
    }

WEIGHTED_SUM_KERNEL(f32, F32)
WEIGHTED_SUM_KERNEL(f16, F16)

static void set_weighted_sum(rbe_kernels *table)
{
    table->weighted_sum_f32 = weighted_sum_f32;
    table->weighted_sum_f16 = weighted_sum_f16;
}

#endif
