/* Tests of the kernels of attention and of activation functions: to the bit against the scalar set, and against double precision within
 * the bounds that kernels.h states. */
#ifndef RBE_TESTS_KERNEL_TESTS_ATTENTION_H
#define RBE_TESTS_KERNEL_TESTS_ATTENTION_H

#include "kernel_tests_float.h"

static inline void test_rbe_weighted_sum_kernel(const kernel_case *about, rbe_weighted_sum_kernel *weighted_sum)
{
    for (uint32_t index = 0; index < FLOAT_CASES; index += case_step()) {
        const uint32_t n_cols = index < 80 ? index + 1 : random_between(1, 300), n_rows = random_between(0, 70);
        const uint32_t n_out = index % 3 ? random_between(1, 20) : index % 7 + 1;
        const size_t row_stride = n_cols + random_between(0, 3), weight_stride = n_rows + random_between(0, 3);
        const size_t out_stride = n_cols + random_between(0, 3), size = element_bytes(about->field);
        const guard_side side = index % 2 ? GUARD_BEFORE : GUARD_BEHIND;
        const size_t n_weights = (n_out - 1) * weight_stride + n_rows, n_results = (n_out - 1) * out_stride + n_cols;
        const size_t n_elements = n_rows ? (n_rows - 1) * row_stride + n_cols : 0;
        const guarded weight = guard_take(n_weights * sizeof(float), side), out = guard_take(n_results * sizeof(float), side);
        const guarded rows = guard_take(n_elements * size, side), keep = guard_take(n_out * sizeof(float), side);
        random_floats(weight.data, n_weights);
        random_floats(out.data, n_results);
        random_floats(keep.data, n_out);
        random_elements(about->field, rows.data, n_elements);
        const float *weights = weight.data, *results = out.data, *kept = index % 4 ? keep.data : NULL;
        float *before = malloc(n_results * sizeof(float)), *untouched = malloc(n_results * sizeof(float));
        float *alone = malloc(n_cols * sizeof(float));
        memcpy(before, out.data, n_results * sizeof(float));
        memcpy(untouched, out.data, n_results * sizeof(float));
        weighted_sum(weights, weight_stride, rows.data, row_stride, n_rows, n_cols, n_out, kept, out.data, out_stride);
        for (uint32_t n = 0; n < n_out; n++) {
            for (uint32_t c = 0; c < n_cols; c++) {
                double sum = kept ? (double)kept[n] * before[n * out_stride + c] : 0, magnitude = fabs(sum);
                for (uint32_t k = 0; k < n_rows; k++) {
                    const double product = (double)weights[n * weight_stride + k] * element(about->field, rows.data, k * row_stride + c);
                    sum += product;
                    magnitude += fabs(product);
                }
                const float result = results[n * out_stride + c];
                CHECK(fabs(result - sum) <= ldexp(magnitude, -23) * (2.0 + n_rows), "%s %s %u x %u, %u outputs: %g, not %g", about->set,
                      about->field, n_rows, n_cols, n_out, result, sum);
            }
            for (uint32_t c = n_cols; c < out_stride && n + 1 < n_out; c++) {
                CHECK(results[n * out_stride + c] == before[n * out_stride + c], "%s %s: written between outputs", about->set,
                      about->field);
            }
        }
        ((rbe_weighted_sum_kernel *)about->definition)(weights, weight_stride, rows.data, row_stride, n_rows, n_cols, n_out, kept, before,
                                                       out_stride);
        CHECK(same_floats(before, results, n_results), "%s %s %u x %u, %u outputs: not the scalar set's bits", about->set, about->field,
              n_rows, n_cols, n_out);
        /* neither the other outputs nor the other columns matter */
        const uint32_t n = random_between(0, n_out - 1), c = random_between(0, n_cols - 1);
        memcpy(alone, untouched + n * out_stride + c, (n_cols - c) * sizeof(float));
        weighted_sum(weights + n * weight_stride, weight_stride, n_rows ? (const uint8_t *)rows.data + size * c : rows.data, row_stride,
                     n_rows, n_cols - c, 1, kept ? kept + n : NULL, alone, n_cols);
        CHECK(memcmp(alone, results + n * out_stride + c, (n_cols - c) * sizeof(float)) == 0,
              "%s %s: output %u alone from column %u differs", about->set, about->field, n, c);
        free(alone);
        free(untouched);
        free(before);
        guard_give(keep);
        guard_give(rows);
        guard_give(out);
        guard_give(weight);
    }
}

static inline void test_rbe_online_softmax_kernel(const kernel_case *about, rbe_online_softmax_kernel *online_softmax)
{
    for (uint32_t n = 1; n < FLOAT_CASES; n += case_step()) {
        const float size = n % 5 ? 4.0f * (float)(n % 5) : 120.0f;
        for (uint32_t second = 0; second < 2; second++) {
            const guarded x = guard_take(n * sizeof(float), n % 2 ? GUARD_BEFORE : GUARD_BEHIND);
            float *values = x.data, before[FLOAT_CASES], scores[FLOAT_CASES], start = second ? random_float() * size : -INFINITY,
                  largest = start;
            double most = start, sum = 0;
            random_floats(values, n);
            for (uint32_t i = 0; i < n; i++) {
                values[i] *= size;
                if (values[i] > most) { /* fmax here is more than gcc 12 for ARM can compile */
                    most = values[i];
                }
            }
            memcpy(before, values, n * sizeof(float));
            memcpy(scores, values, n * sizeof(float));
            const double total = (double)online_softmax(values, n, &largest);
            float defined_largest = start;
            const float defined_total = ((rbe_online_softmax_kernel *)about->definition)(before, n, &defined_largest);
            const float results[] = {(float)total, largest}, defined[] = {defined_total, defined_largest};
            CHECK(same_floats(before, values, n) && same_floats(defined, results, 2), "%s %s of %u: not the scalar set's bits", about->set,
                  about->field, n);
            CHECK((double)largest == most, "%s %s of %u: largest %g, not %g", about->set, about->field, n, (double)largest, most);
            for (uint32_t i = 0; i < n; i++) {
                const double d = scores[i] - most, exact = exp(d);
                CHECK(fabs(values[i] - exact) <= (0x1p-22 + 0x1p-23 * fabs(d)) * exact + 0x1p-125, "%s %s of %g: %a, not %a", about->set,
                      about->field, d, (double)values[i], exact);
                sum += values[i];
            }
            CHECK(fabs(total - sum) <= 0x1p-24 * (20 + n / 4.0) * sum, "%s %s of %u: sum %g, not %g", about->set, about->field, n, total,
                  sum);
            guard_give(x);
        }
    }
}

/* Numbers of every size from 2^-30 to 2^7, and some special ones, before a guard page. */
static inline guarded activation_arguments(uint32_t n)
{
    const guarded x = guard_take(n * sizeof(float), n % 2 ? GUARD_BEFORE : GUARD_BEHIND);
    static const float special[] = {0, -0.0f, 87, -87, 5.5f, -5.5f, 1, -1, 0x1p-149f};
    for (uint32_t i = 0; i < n; i++) {
        const float value = ldexpf(random_float(), (int)random_between(0, 7) - (random_between(0, 3) ? 0 : 22));
        ((float *)x.data)[i] = random_between(0, 9) ? value : special[random_between(0, 8)];
    }
    return x;
}

static inline void test_rbe_exponential_kernel(const kernel_case *about, rbe_exponential_kernel *exponential)
{
    for (uint32_t n = 0; n < 4 * FLOAT_CASES; n += case_step()) {
        const guarded x = activation_arguments(n);
        float *values = x.data, before[4 * FLOAT_CASES];
        memcpy(before, values, n * sizeof(float));
        exponential(values, n);
        for (uint32_t i = 0; i < n; i++) {
            const double exact = exp(fmin(87, fmax(-87, before[i])));
            CHECK(fabs(values[i] - exact) <= 0x1p-22 * exact, "%s %s of %a: %a, not %a", about->set, about->field, (double)before[i],
                  (double)values[i], exact);
            CHECK(before[i] != 0 || values[i] == 1, "%s %s of 0", about->set, about->field);
        }
        ((rbe_exponential_kernel *)about->definition)(before, n);
        CHECK(same_floats(before, values, n), "%s %s of %u: not the scalar set's bits", about->set, about->field, n);
        guard_give(x);
    }
    float special[] = {NAN, -INFINITY, INFINITY, 1e30f, -1e30f};
    exponential(special, 5);
    CHECK(isnan(special[0]) && special[1] < 1e-37f && special[1] == special[4] && special[2] > 1e37f && special[2] == special[3],
          "%s %s: %g %g %g", about->set, about->field, (double)special[0], (double)special[1], (double)special[2]);
}

static inline double activation_of(const char *field, double x)
{
    if (field_ends(field, "silu")) {
        return x / (1 + exp(-x));
    }
    return field_ends(field, "tanh") ? 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x))) : 0.5 * x * erfc(-x / sqrt(2));
}

static inline void test_rbe_activation_kernel(const kernel_case *about, rbe_activation_kernel *activation)
{
    for (uint32_t n = 0; n < 4 * FLOAT_CASES; n += case_step()) {
        const guarded gate = activation_arguments(n), up = activation_arguments(n);
        const float *gates = n % 3 ? gate.data : NULL, *results = up.data;
        float before[4 * FLOAT_CASES];
        memcpy(before, up.data, n * sizeof(float));
        activation(gates, n, up.data);
        for (uint32_t i = 0; i < n; i++) {
            const double x = gates ? gates[i] : before[i], factor = gates ? before[i] : 1, exact = activation_of(about->field, x) * factor;
            const double bound = (0x1p-21 * fabs(x) + 0x1p-120) * fabs(factor) + 0x1p-24 * fabs(exact) + SUBNORMAL;
            CHECK(fabs(results[i] - exact) <= bound, "%s %s of %a times %g: %a, not %a", about->set, about->field, x, factor,
                  (double)results[i], exact);
        }
        ((rbe_activation_kernel *)about->definition)(gates, n, before);
        CHECK(same_floats(before, results, n), "%s %s of %u: not the scalar set's bits", about->set, about->field, n);
        guard_give(up);
        guard_give(gate);
    }
    float value = NAN;
    activation(NULL, 1, &value);
    CHECK(isnan(value), "%s %s of NaN: %g", about->set, about->field, (double)value);
}

static inline void test_rbe_softcap_kernel(const kernel_case *about, rbe_softcap_kernel *softcap)
{
    for (uint32_t n = 0; n < FLOAT_CASES; n += case_step()) {
        const guarded x = activation_arguments(n);
        const float cap = n % 2 ? 30.0f : 0.5f;
        float *values = x.data, before[FLOAT_CASES];
        memcpy(before, values, n * sizeof(float));
        softcap(values, n, cap);
        for (uint32_t i = 0; i < n; i++) {
            const double exact = cap * tanh((double)before[i] / cap);
            CHECK(fabs(values[i] - exact) <= 0x1p-21 * cap, "%s %s of %g: %g, not %g", about->set, about->field, (double)before[i],
                  (double)values[i], exact);
        }
        ((rbe_softcap_kernel *)about->definition)(before, n, cap);
        CHECK(same_floats(before, values, n), "%s %s of %u: not the scalar set's bits", about->set, about->field, n);
        guard_give(x);
    }
}

/* x[i] <- expected of x[i] and y[i], to the bit. */
static inline void check_in_place(const kernel_case *about, void (*kernel)(float *x, const float *y, uint32_t n),
                                  float (*expected)(float x, float y))
{
    for (uint32_t n = 0; n < FLOAT_CASES; n += case_step()) {
        const guarded x = activation_arguments(n), y = activation_arguments(n);
        float before[FLOAT_CASES];
        memcpy(before, x.data, n * sizeof(float));
        kernel(x.data, y.data, n);
        for (uint32_t i = 0; i < n; i++) {
            CHECK(((float *)x.data)[i] == expected(before[i], ((float *)y.data)[i]), "%s %s of %u", about->set, about->field, n);
        }
        guard_give(y);
        guard_give(x);
    }
}

static inline float product_of(float x, float y)
{
    return x * y;
}

static inline float sum_of(float x, float y)
{
    return x + y;
}

static inline void test_rbe_multiply_kernel(const kernel_case *about, rbe_multiply_kernel *multiply)
{
    check_in_place(about, multiply, product_of);
}

static inline void test_rbe_add_kernel(const kernel_case *about, rbe_add_kernel *add)
{
    check_in_place(about, add, sum_of);
}

static inline void test_rbe_multiply_add_kernel(const kernel_case *about, rbe_multiply_add_kernel *multiply_add)
{
    for (uint32_t n = 0; n < FLOAT_CASES; n += case_step()) {
        const guarded y = activation_arguments(n), a = activation_arguments(n), b = activation_arguments(n);
        float before[FLOAT_CASES];
        memcpy(before, y.data, n * sizeof(float));
        multiply_add(y.data, a.data, b.data, n);
        for (uint32_t i = 0; i < n; i++) {
            const float product = ((float *)a.data)[i] * ((float *)b.data)[i];
            CHECK(((float *)y.data)[i] == before[i] + product, "%s %s of %u", about->set, about->field, n);
        }
        guard_give(b);
        guard_give(a);
        guard_give(y);
    }
}

/* To another place, or to the same. */
static inline void test_rbe_rank_one_kernel(const kernel_case *about, rbe_rank_one_kernel *rank_one)
{
    for (uint32_t index = 0; index < FLOAT_CASES; index += case_step()) {
        const uint32_t rows = random_between(1, 9), cols = index < 70 ? index + 1 : random_between(1, 300), n = rows * cols;
        const guarded from = guard_take(n * sizeof(float), GUARD_BEHIND), to = guard_take(n * sizeof(float), GUARD_BEHIND);
        const guarded weight = guard_take(rows * sizeof(float), GUARD_BEHIND), row = guard_take(cols * sizeof(float), GUARD_BEHIND);
        float *expected = malloc(n * sizeof *expected);
        const float keep = random_float();
        random_floats(from.data, n);
        random_floats(weight.data, rows);
        random_floats(row.data, cols);
        about->scalar->rank_one(from.data, keep, weight.data, row.data, rows, cols, expected);
        for (uint32_t i = 0; i < n; i++) {
            const double kept = (double)keep * ((float *)from.data)[i];
            const double value = kept + (double)((float *)weight.data)[i / cols] * ((float *)row.data)[i % cols];
            CHECK(fabs(expected[i] - value) <= 0x1p-23 * (fabs(kept) + fabs(value)), "%u x %u: %g, not %g", rows, cols, expected[i], value);
        }
        rank_one(from.data, keep, weight.data, row.data, rows, cols, to.data);
        CHECK(memcmp(to.data, expected, n * sizeof(float)) == 0, "%s %s of %u x %u", about->set, about->field, rows, cols);
        rank_one(from.data, keep, weight.data, row.data, rows, cols, from.data);
        CHECK(memcmp(from.data, expected, n * sizeof(float)) == 0, "%s %s of %u x %u in place", about->set, about->field, rows, cols);
        free(expected);
        guard_give(row);
        guard_give(weight);
        guard_give(to);
        guard_give(from);
    }
}

static inline void test_rbe_flip_signs_kernel(const kernel_case *about, rbe_flip_signs_kernel *flip_signs)
{
    for (uint32_t n = 0; n < 2 * FLOAT_CASES; n += case_step()) {
        const guarded x = activation_arguments(n), y = guard_take(n * sizeof(float), GUARD_BEHIND);
        const guarded signs = guard_take((n + 63) / 64 * 8, GUARD_BEHIND);
        random_bytes(signs.data, (n + 63) / 64 * 8);
        flip_signs(x.data, signs.data, n, y.data);
        for (uint32_t i = 0; i < n; i++) {
            const float value = ((float *)x.data)[i], result = ((float *)y.data)[i];
            const int flipped = ((uint8_t *)signs.data)[i / 8] >> i % 8 & 1;
            CHECK(result == (flipped ? -value : value) && (signbit(result) != 0) == ((signbit(value) != 0) != flipped),
                  "%s %s value %u of %u", about->set, about->field, i, n);
        }
        guard_give(signs);
        guard_give(y);
        guard_give(x);
    }
}

/* The terms of a norm's contract, in double precision. */
static inline void norm_terms(rbe__norm_kind kind, const float *x, uint32_t n, double epsilon, double *shift, double *scale)
{
    double mean = 0, square = 0;
    for (uint32_t i = 0; i < n; i++) {
        mean += (double)x[i] / n;
    }
    *shift = kind == RBE_NORM_LAYER ? mean : 0;
    for (uint32_t i = 0; i < n; i++) {
        square += (x[i] - *shift) * (x[i] - *shift) / n;
    }
    *scale = 1 / sqrt(square + epsilon);
}

static inline void test_rbe_normalize_kernel(const kernel_case *about, rbe_normalize_kernel *normalize)
{
    enum { FORMS = 2 * RBE_N_NORM_KINDS }; /* of each kind without and with bias */
    for (uint32_t index = 0; index < FORMS * FLOAT_CASES; index += case_step()) {
        const uint32_t n = index / FORMS < 80 ? index / FORMS + 1 : random_between(1, 5000);
        const rbe__norm_kind kind = (rbe__norm_kind)(index % FORMS / 2);
        const int biased = index % 2, before = index / FORMS % 2;
        const guarded x = guard_take(n * sizeof(float), before ? GUARD_BEFORE : GUARD_BEHIND), weight = activation_arguments(n);
        const guarded bias = activation_arguments(n), other = guard_take(n * sizeof(float), GUARD_BEHIND);
        random_floats(x.data, n);
        const float *values = x.data, epsilon = before ? 1e-5f : 1e-6f;
        double shift, scale;
        norm_terms(kind, values, n, (double)epsilon, &shift, &scale);
        normalize(x.data, n, kind, epsilon, weight.data, biased ? bias.data : NULL, other.data);
        const double worse = 1 + shift * shift * scale * scale;
        for (uint32_t i = 0; i < n; i++) {
            const double w = ((float *)weight.data)[i], b = biased ? ((float *)bias.data)[i] : 0;
            const double exact = (values[i] - shift) * scale * w + b,
                         bound = 0x1p-22 * (4 + n / 64.0) * (fabs(w) + fabs(exact)) * worse + 0x1p-140;
            CHECK(fabs(((float *)other.data)[i] - exact) <= bound, "%s %s kind %d value %u of %u: %g, not %g", about->set, about->field,
                  kind, i, n, (double)((float *)other.data)[i], exact);
        }
        float *defined = malloc(n * sizeof(float));
        ((rbe_normalize_kernel *)about->definition)(x.data, n, kind, epsilon, weight.data, biased ? bias.data : NULL, defined);
        CHECK(same_floats(defined, other.data, n), "%s %s kind %d of %u: not the scalar set's bits", about->set, about->field, kind, n);
        free(defined);
        normalize(x.data, n, kind, epsilon, weight.data, biased ? bias.data : NULL, x.data);
        CHECK(memcmp(x.data, other.data, n * sizeof(float)) == 0, "%s %s of %u differs in place", about->set, about->field, n);
        guard_give(other);
        guard_give(bias);
        guard_give(weight);
        guard_give(x);
    }
}

static inline void test_rbe_scale_products_kernel(const kernel_case *about, rbe_scale_products_kernel *scale_products)
{
    for (uint32_t n = 0; n < FLOAT_CASES; n += case_step()) {
        const guarded products = guard_take(n * sizeof(int32_t), GUARD_BEHIND), x = guard_take(n * sizeof(float), GUARD_BEHIND);
        const guarded scales = activation_arguments(n);
        const float scale = random_float();
        for (uint32_t i = 0; i < n; i++) {
            ((int32_t *)products.data)[i] = (int32_t)(random_bits() >> 39) - (1 << 24);
        }
        scale_products(products.data, n, scale, scales.data, x.data);
        for (uint32_t i = 0; i < n; i++) {
            const float factor = scale * ((float *)scales.data)[i], expected = (float)((int32_t *)products.data)[i] * factor;
            CHECK(((float *)x.data)[i] == expected, "%s %s of %u", about->set, about->field, n);
        }
        guard_give(scales);
        guard_give(x);
        guard_give(products);
    }
}

static inline void test_rbe_from_i4_kernel(const kernel_case *about, rbe_from_i4_kernel *from_i4)
{
    for (uint32_t n = 0; n < FLOAT_CASES; n += 2 * case_step()) {
        const uint32_t half = n / 2;
        const guarded bytes = guard_take(half, n % 4 ? GUARD_BEFORE : GUARD_BEHIND), x = guard_take(n, GUARD_BEHIND);
        random_bytes(bytes.data, half);
        from_i4(bytes.data, n, x.data);
        for (uint32_t i = 0; i < n; i++) {
            const int code = i < half ? ((uint8_t *)bytes.data)[i] % 16 : ((uint8_t *)bytes.data)[i - half] / 16;
            CHECK(((int8_t *)x.data)[i] == 2 * code - 15, "%s %s of %u", about->set, about->field, n);
        }
        guard_give(x);
        guard_give(bytes);
    }
}

#endif
