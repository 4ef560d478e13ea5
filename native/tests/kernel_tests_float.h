/* Tests of the floating-point kernels: to the bit against the scalar set, which defines them, and against double precision within the
 * bounds that kernels.h states. */
#ifndef RBE_TESTS_KERNEL_TESTS_FLOAT_H
#define RBE_TESTS_KERNEL_TESTS_FLOAT_H

#include <math.h>

#include "kernel_cases.h"

enum { FLOAT_CASES = 120 };

static inline int field_ends(const char *field, const char *ending)
{
    return strcmp(field + strlen(field) - strlen(ending), ending) == 0;
}

/* The value of a finite half, from its definition. */
static inline double half_value(uint16_t half)
{
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return half & 0x8000 ? -magnitude : magnitude;
}

static inline size_t element_bytes(const char *field)
{
    return field_ends(field, "_f32") ? 4 : 2;
}

/* Random numbers of the field's element type at any byte address; returns nothing the reader below cannot tell. */
static inline void random_elements(const char *field, uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float value = random_float();
        uint32_t bits;
        memcpy(&bits, &value, 4);
        if (field_ends(field, "_f32")) {
            memcpy(data + 4 * i, &bits, 4);
        } else {
            const uint16_t bf16 = (uint16_t)(bits >> 16);
            const uint16_t f16 = (uint16_t)(random_bits() & (i % 7 ? 0xbfff : 0x83ff)); /* below 2; every seventh subnormal */
            memcpy(data + 2 * i, field_ends(field, "_bf16") ? &bf16 : &f16, 2);
        }
    }
}

static inline double element(const char *field, const void *data, size_t index)
{
    const uint8_t *bytes = (const uint8_t *)data + index * element_bytes(field);
    uint32_t bits = 0;
    if (field_ends(field, "_f16")) {
        uint16_t half;
        memcpy(&half, bytes, 2);
        return half_value(half);
    }
    memcpy((uint8_t *)&bits + (field_ends(field, "_bf16") ? 2 : 0), bytes, element_bytes(field)); /* little-endian */
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static inline void random_floats(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = random_float();
    }
}

static inline void test_rbe_dense_kernel(const kernel_case *about, rbe_dense_kernel *dense)
{
    for (uint32_t index = 0; index < FLOAT_CASES; index += case_step()) {
        const uint32_t rows = random_between(1, 21), n_tokens = index % 4 ? random_between(1, 13) : 1;
        const uint32_t cols = index < 70 ? index + 1 : random_between(1, 1100);
        const size_t x_stride = cols + random_between(0, 3), y_stride = rows + random_between(0, 3);
        const size_t w_bytes = element_bytes(about->field) * rows * cols;
        const guard_side side = index % 2 ? GUARD_BEFORE : GUARD_BEHIND;
        const guarded w = guard_take(w_bytes + index % 3, side);
        uint8_t *w_data = (uint8_t *)w.data + (side == GUARD_BEFORE ? 0 : index % 3);
        const guarded x = guard_take(((n_tokens - 1) * x_stride + cols) * sizeof(float), side);
        const guarded y = guard_take(((n_tokens - 1) * y_stride + rows) * sizeof(float), side);
        random_elements(about->field, w_data, (size_t)rows * cols);
        random_floats(x.data, (n_tokens - 1) * x_stride + cols);
        const float *x_data = x.data, *y_data = y.data;
        dense(w_data, rows, cols, x_data, x_stride, n_tokens, y.data, y_stride);
        for (uint32_t n = 0; n < n_tokens; n++) {
            for (uint32_t r = 0; r < rows; r++) {
                double sum = 0, magnitude = 0;
                for (uint32_t c = 0; c < cols; c++) {
                    const double product = element(about->field, w_data, (size_t)r * cols + c) * x_data[n * x_stride + c];
                    sum += product;
                    magnitude += fabs(product);
                }
                const float result = y_data[n * y_stride + r];
                CHECK(fabs(result - sum) <= ldexp(magnitude, -20) * (1 + cols / 64.0), "%s %s %ux%u token %u row %u: %g, not %g",
                      about->set, about->field, rows, cols, n, r, result, sum);
            }
        }
        float *defined = malloc(((n_tokens - 1) * y_stride + rows) * sizeof(float));
        memcpy(defined, y_data, ((n_tokens - 1) * y_stride + rows) * sizeof(float));
        ((rbe_dense_kernel *)about->definition)(w_data, rows, cols, x_data, x_stride, n_tokens, defined, y_stride);
        CHECK(same_floats(defined, y_data, (n_tokens - 1) * y_stride + rows), "%s %s %ux%u of %u tokens: not the scalar set's bits",
              about->set, about->field, rows, cols, n_tokens);
        free(defined);
        /* neither the other tokens nor the other rows matter */
        const uint32_t n = random_between(0, n_tokens - 1), r = random_between(0, rows - 1);
        float alone[21];
        dense(w_data + element_bytes(about->field) * r * cols, rows - r, cols, x_data + n * x_stride, x_stride, 1, alone, rows);
        CHECK(memcmp(alone, y_data + n * y_stride + r, (rows - r) * sizeof(float)) == 0, "%s %s %ux%u: token %u alone from row %u differs",
              about->set, about->field, rows, cols, n, r);
        guard_give(y);
        guard_give(x);
        guard_give(w);
    }
}

static inline void test_rbe_accumulate_kernel(const kernel_case *about, rbe_accumulate_kernel *accumulate)
{
    for (uint32_t n = 0; n < FLOAT_CASES; n += case_step()) {
        const guard_side side = n % 2 ? GUARD_BEFORE : GUARD_BEHIND;
        const guarded y = guard_take(n * sizeof(float), side), acc = guard_take(n * sizeof(int32_t), side);
        float before[FLOAT_CASES];
        random_floats(y.data, n);
        memcpy(before, y.data, n * sizeof(float));
        const float scale = random_float() * 0x1p-12f;
        for (uint32_t r = 0; r < n; r++) {
            ((int32_t *)acc.data)[r] = (int32_t)random_between(0, 2 * 4129024) - 4129024; /* 256 * 127 * 127 */
        }
        accumulate(y.data, acc.data, n, scale);
        for (uint32_t r = 0; r < n; r++) {
            const double added = (double)scale * ((const int32_t *)acc.data)[r], result = ((const float *)y.data)[r];
            CHECK(fabs(result - (before[r] + added)) <= ldexp(fabs(before[r]) + fabs(added), -23), "%s %s row %u of %u: %g", about->set,
                  about->field, r, n, result);
        }
        ((rbe_accumulate_kernel *)about->definition)(before, acc.data, n, scale);
        CHECK(same_floats(before, y.data, n), "%s %s of %u: not the scalar set's bits", about->set, about->field, n);
        guard_give(acc);
        guard_give(y);
    }
}

static inline void test_hadamard_block(const kernel_case *about, rbe_hadamard_kernel *hadamard, uint32_t block, uint32_t n)
{
    const guarded x = guard_take(n * sizeof(float), n / block % 2 ? GUARD_BEFORE : GUARD_BEHIND);
    double *expected = malloc(n * sizeof(double));
    float *defined = malloc(n * sizeof(float));
    random_floats(x.data, n);
    memcpy(defined, x.data, n * sizeof(float));
    ((rbe_hadamard_kernel *)about->definition)(defined, n, block);
    for (uint32_t i = 0; i < n; i++) {
        expected[i] = ((const float *)x.data)[i];
    }
    for (uint32_t half = 1; half < block; half *= 2) {
        for (uint32_t i = 0; i < n; i++) {
            if (!(i & half)) {
                const double a = expected[i], b = expected[i + half];
                expected[i] = a + b;
                expected[i + half] = a - b;
            }
        }
    }
    hadamard(x.data, n, block);
    for (uint32_t first = 0; first < n; first += block) {
        double norm = 0, worst = 0;
        for (uint32_t i = first; i < first + block; i++) {
            const double exact = expected[i] / sqrt(block);
            norm += exact * exact; /* the norm of the result is that of x */
            worst = fmax(worst, fabs(((const float *)x.data)[i] - exact));
        }
        CHECK(worst <= ldexp(log2(2.0 * block) * sqrt(norm), -22), "%s %s block %u of %u at %u: error %g", about->set, about->field, block,
              n, first, worst);
    }
    CHECK(same_floats(defined, x.data, n), "%s %s block %u of %u: not the scalar set's bits", about->set, about->field, block, n);
    free(defined);
    free(expected);
    guard_give(x);
}

static inline void test_rbe_hadamard_kernel(const kernel_case *about, rbe_hadamard_kernel *hadamard)
{
    for (uint32_t block = 1; block <= 65536; block *= 2) {
        test_hadamard_block(about, hadamard, block, block);
        for (uint32_t n_blocks = 2; n_blocks <= 5 && block <= 8192; n_blocks++) {
            test_hadamard_block(about, hadamard, block, n_blocks * block);
        }
    }
}

static inline void test_rbe_quantize_kernel(const kernel_case *about, rbe_quantize_kernel *quantize)
{
    enum { MOST = 1000, BLOCKS = MOST / 256 + 1 };
    for (uint32_t index = 0; index < FLOAT_CASES; index += case_step()) {
        const uint32_t n = index % 3 ? random_between(1, MOST) : 256 * random_between(1, 3) + index % 2;
        const guard_side side = index % 2 ? GUARD_BEFORE : GUARD_BEHIND;
        const uint32_t n_blocks = (n + 255) / 256;
        const guarded x = guard_take(n * sizeof(float), side), q = guard_take(up_to_64(n), side);
        const guarded scale = guard_take(n_blocks * sizeof(float), side);
        float *values = x.data;
        static const float sizes[] = {1, 0x1p100f, 0x1p-80f, 0x1p-119f, 0x1p-130f, 0x1p-149f, 0, 0x1.fffffep127f};
        random_floats(values, n);
        for (uint32_t c = 0; c < n; c++) { /* per block another magnitude; every other case halves of a step: ties */
            values[c] = (index % 2 ? (float)random_between(0, 508) * 0.5f - 127 : values[c]) *
                        (index % 2 ? 0x1p-3f : sizes[(index / 2 + c / 256) % 8]);
        }
        random_bytes(q.data, up_to_64(n));
        quantize(values, n, q.data, scale.data);
        int8_t expected_q[(MOST + 63) / 64 * 64];
        float expected_scale[BLOCKS];
        about->scalar->quantize(values, n, expected_q, expected_scale);
        CHECK(memcmp(q.data, expected_q, up_to_64(n)) == 0, "%s %s of %u (case %u)", about->set, about->field, n, index);
        CHECK(memcmp(scale.data, expected_scale, n_blocks * sizeof(float)) == 0, "%s %s of %u (case %u)", about->set, about->field, n,
              index);
        for (uint32_t c = 0; c < n; c++) { /* and the scalar set itself: half a step, and three roundings */
            const double step = expected_scale[c / 256], error = fabs((double)values[c] - step * expected_q[c]);
            CHECK(error <= step * (0.5 + 0x1p-15) || (step == 0 && fabsf(values[c]) < 128 * RBE_QUANTIZE_LEAST),
                  "%s %s value %u of %u: %g left of step %g", about->set, about->field, c, n, error, step);
        }
        guard_give(scale);
        guard_give(q);
        guard_give(x);
    }
}

/* The nearest half, ties to even, saturating: by search among all of them. */
static inline uint16_t nearest_half(float value)
{
    uint16_t low = 0, high = 0x7bff; /* magnitudes are ordered as their bits */
    const double magnitude = fabs((double)value);
    while (low < high) {
        const uint16_t middle = (uint16_t)((low + high + 1) / 2);
        if (half_value(middle) <= magnitude) {
            low = middle;
        } else {
            high = (uint16_t)(middle - 1);
        }
    }
    if (low < 0x7bff) {
        const double below = magnitude - half_value(low), above = half_value((uint16_t)(low + 1)) - magnitude;
        low = (uint16_t)(low + (above < below || (above == below && low % 2)));
    }
    return (uint16_t)(low | (signbit(value) ? 0x8000 : 0));
}

static inline void check_to_half(const kernel_case *about, rbe_to_half_kernel *to_half, const float *values, uint32_t n)
{
    const guarded x = guard_take(n * sizeof(float), GUARD_BEHIND), half = guard_take(n * sizeof(uint16_t), GUARD_BEHIND);
    memcpy(x.data, values, n * sizeof(float));
    to_half(x.data, n, half.data);
    for (uint32_t i = 0; i < n; i++) {
        const uint16_t result = ((const uint16_t *)half.data)[i];
        CHECK(isnan(values[i]) ? (result & 0x7fff) > 0x7c00 : result == nearest_half(values[i]), "%s %s of %a: %04x", about->set,
              about->field, values[i], result);
    }
    guard_give(half);
    guard_give(x);
}

static inline void test_rbe_to_half_kernel(const kernel_case *about, rbe_to_half_kernel *to_half)
{
    enum { N = 1021 };
    static float values[N];
    for (uint32_t step = 0; step < 40; step++) { /* halves, the middles between them, and their neighbours */
        for (uint32_t i = 0; i < N; i++) {
            const uint16_t half = (uint16_t)(random_between(0, 0x7bfe) | (random_bits() & 0x8000));
            const double middle = (half_value(half) + half_value((uint16_t)(half + 1))) / 2;
            const float exact[] = {(float)half_value(half), (float)middle};
            const float near = exact[random_between(0, 1)];
            const float neighbours[] = {near, nextafterf(near, INFINITY), nextafterf(near, -INFINITY), random_float()};
            values[i] = neighbours[random_between(0, 3)];
        }
        const float special[] = {0, -0.0f, INFINITY, -INFINITY, NAN, 65504, 65519, 65520, -65536, 1e30f, 0x1p-25f, 0x1p-149f};
        memcpy(values + step, special, sizeof special);
        check_to_half(about, to_half, values, step < 35 ? step : N);
    }
}

static inline void test_rbe_from_half_kernel(const kernel_case *about, rbe_from_half_kernel *from_half)
{
    const uint32_t sizes[] = {65536, 0, 1, 3, 7, 9, 15, 17, 31, 33, 1000};
    for (uint32_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const uint32_t n = sizes[s];
        const guarded half = guard_take(n * sizeof(uint16_t), GUARD_BEHIND), x = guard_take(n * sizeof(float), GUARD_BEHIND);
        for (uint32_t i = 0; i < n; i++) {
            ((uint16_t *)half.data)[i] = (uint16_t)(s ? random_bits() : i);
        }
        from_half(half.data, n, x.data);
        for (uint32_t i = 0; i < n; i++) {
            const uint16_t bits = ((const uint16_t *)half.data)[i];
            const float result = ((const float *)x.data)[i];
            const int right = (bits & 0x7fff) > 0x7c00    ? isnan(result)
                              : (bits & 0x7fff) == 0x7c00 ? result == (bits & 0x8000 ? -INFINITY : INFINITY)
                                                          : result == half_value(bits) && !signbit(result) == !(bits & 0x8000);
            CHECK(right, "%s %s of %04x: %a", about->set, about->field, bits, result);
        }
        guard_give(x);
        guard_give(half);
    }
}

#endif
