/* Benchmarks of the floating-point kernels: each type of the list in kernels.h. */
#ifndef RBE_BENCH_FLOATS_H
#define RBE_BENCH_FLOATS_H

#include "kernels/kernels.h"
#include "measure.h"

static void fill_floats(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)((int)(i * 37 % 255) - 127) / 64.0f;
    }
}

/* One task serves all: pointers to large enough memory and the sizes. */
typedef struct float_task {
    union {
        rbe_dense_kernel *dense;
        rbe_accumulate_kernel *accumulate;
        rbe_hadamard_kernel *hadamard;
        rbe_quantize_kernel *quantize;
        rbe_weighted_sum_kernel *weighted_sum;
        rbe_online_softmax_kernel *online_softmax;
        rbe_exponential_kernel *exponential;
        rbe_activation_kernel *activation;
        rbe_softcap_kernel *softcap;
        rbe_multiply_kernel *multiply;
        rbe_add_kernel *add;
        rbe_multiply_add_kernel *multiply_add;
        rbe_rank_one_kernel *rank_one;
        rbe_flip_signs_kernel *flip_signs;
        rbe_normalize_kernel *normalize;
        rbe_scale_products_kernel *scale_products;
        rbe_from_i4_kernel *from_i4;
        rbe_to_half_kernel *to_half;
        rbe_from_half_kernel *from_half;
    } kernel;
    uint32_t rows, cols, n_tokens;
    float *x, *y;
    void *w;
} float_task;

static void run_dense(void *task)
{
    const float_task *t = task;
    t->kernel.dense(t->w, t->rows, t->cols, t->x, t->cols, t->n_tokens, t->y, t->rows);
}

static void run_accumulate(void *task)
{
    const float_task *t = task;
    t->kernel.accumulate(t->y, t->w, t->cols, 1e-20f);
}

static void run_hadamard(void *task)
{
    const float_task *t = task;
    t->kernel.hadamard(t->x, t->cols, t->rows);
}

static void run_quantize(void *task)
{
    const float_task *t = task;
    t->kernel.quantize(t->x, t->cols, t->w, t->y);
}

static void run_weighted_sum(void *task)
{
    const float_task *t = task;
    t->kernel.weighted_sum(t->x, t->rows, t->w, t->cols, t->rows, t->cols, t->n_tokens, NULL, t->y, t->cols);
}

static void run_online_softmax(void *task)
{
    const float_task *t = task;
    float largest = 0;
    t->kernel.online_softmax(t->x, t->cols, &largest);
}

static void run_exponential(void *task)
{
    const float_task *t = task;
    memset(t->x, 0, t->cols * sizeof(float)); /* or it would grow */
    t->kernel.exponential(t->x, t->cols);
}

static void run_activation(void *task)
{
    const float_task *t = task;
    memset(t->y, 0, t->cols * sizeof(float)); /* or it would shrink to subnormal numbers, which are slow */
    t->kernel.activation(t->x, t->cols, t->y);
}

static void run_softcap(void *task)
{
    const float_task *t = task;
    t->kernel.softcap(t->x, t->cols, 30.0f);
}

static void run_multiply(void *task)
{
    const float_task *t = task;
    t->kernel.multiply(t->y, t->w, t->cols);
}

static void run_add(void *task)
{
    const float_task *t = task;
    t->kernel.add(t->y, t->w, t->cols);
}

static void run_multiply_add(void *task)
{
    const float_task *t = task;
    t->kernel.multiply_add(t->y, t->w, t->x, t->cols);
}

static void run_rank_one(void *task)
{
    const float_task *t = task;
    t->kernel.rank_one(t->w, 0.75f, t->x, t->x, t->rows, t->cols, t->y);
}

static void run_flip_signs(void *task)
{
    const float_task *t = task;
    t->kernel.flip_signs(t->x, t->w, t->cols, t->y);
}

static void run_normalize(void *task)
{
    const float_task *t = task;
    t->kernel.normalize(t->x, t->cols, RBE_NORM_RMS, 1e-5f, t->x, NULL, t->y);
}

static void run_scale_products(void *task)
{
    const float_task *t = task;
    t->kernel.scale_products(t->w, t->cols, 0.5f, t->x, t->y);
}

static void run_from_i4(void *task)
{
    const float_task *t = task;
    t->kernel.from_i4(t->w, t->cols, (int8_t *)t->x);
}

static void run_to_half(void *task)
{
    const float_task *t = task;
    t->kernel.to_half(t->x, t->cols, t->w);
}

static void run_from_half(void *task)
{
    const float_task *t = task;
    t->kernel.from_half(t->w, t->cols, t->x);
}

/* w: zeros as half or float, and as int32; they take no special path on any processor. */
static float_task make_floats(uint32_t rows, uint32_t cols, uint32_t n_tokens)
{
    float_task task = {.rows = rows, .cols = cols, .n_tokens = n_tokens};
    const size_t n = (size_t)n_tokens * (rows > cols ? rows : cols);
    task.x = take(n * sizeof(float));
    task.y = take(n * sizeof(float));
    task.w = take((size_t)rows * cols * sizeof(float));
    fill_floats(task.x, n);
    fill_floats(task.y, n);
    memset(task.w, 0, (size_t)rows * cols * sizeof(float));
    return task;
}

static void measure_floats(measurement m, float_task *task, void (*work)(void *), const char *unit, double amount)
{
    m.work = work;
    m.task = task;
    m.unit = unit;
    m.amount = amount;
    measure(&m);
    free(task->x);
    free(task->y);
    free(task->w);
}

static void bench_rbe_dense_kernel(measurement m, rbe_dense_kernel *kernel)
{
    const uint32_t shapes[][3] = {{512, 512, 1}, {512, 512, 8}, {512, 512, 64}, {512, 1536, 64}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        float_task task = make_floats(shapes[i][0], shapes[i][1], shapes[i][2]);
        task.kernel.dense = kernel;
        set_shape(&m, "%u x %u, %u tokens", task.rows, task.cols, task.n_tokens);
        measure_floats(m, &task, run_dense, "MAC", (double)task.rows * task.cols * task.n_tokens);
    }
}

static void bench_rbe_accumulate_kernel(measurement m, rbe_accumulate_kernel *kernel)
{
    float_task task = make_floats(1, 256, 1);
    task.kernel.accumulate = kernel;
    set_shape(&m, "256");
    measure_floats(m, &task, run_accumulate, "values", 256);
}

static void bench_rbe_hadamard_kernel(measurement m, rbe_hadamard_kernel *kernel)
{
    const uint32_t blocks[] = {64, 512, 2048};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        float_task task = make_floats(blocks[i], 2048, 1);
        task.kernel.hadamard = kernel;
        set_shape(&m, "2048 in blocks of %u", blocks[i]);
        measure_floats(m, &task, run_hadamard, "values", 2048);
    }
}

static void bench_rbe_weighted_sum_kernel(measurement m, rbe_weighted_sum_kernel *kernel)
{
    const uint32_t outputs[] = {1, 3, 32};
    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++) {
        float_task task = make_floats(64, 64, outputs[i]);
        task.kernel.weighted_sum = kernel;
        set_shape(&m, "64 rows of 64, %u outputs", outputs[i]);
        measure_floats(m, &task, run_weighted_sum, "MAC", 64.0 * 64 * outputs[i]);
    }
}

static void bench_rbe_rank_one_kernel(measurement m, rbe_rank_one_kernel *kernel)
{
    float_task task = make_floats(128, 128, 128);
    task.kernel.rank_one = kernel;
    set_shape(&m, "128 rows of 128");
    measure_floats(m, &task, run_rank_one, "values", 128.0 * 128);
}

/* The kernels that go through one row of values. */
#define BENCH_VALUES(name)                                                            \
    static void bench_rbe_##name##_kernel(measurement m, rbe_##name##_kernel *kernel) \
    {                                                                                 \
        float_task task = make_floats(1, 2048, 1);                                    \
        task.kernel.name = kernel;                                                    \
        set_shape(&m, "2048");                                                        \
        measure_floats(m, &task, run_##name, "values", 2048);                         \
    }
BENCH_VALUES(quantize)
BENCH_VALUES(online_softmax)
BENCH_VALUES(exponential)
BENCH_VALUES(activation)
BENCH_VALUES(softcap)
BENCH_VALUES(multiply)
BENCH_VALUES(add)
BENCH_VALUES(multiply_add)
BENCH_VALUES(flip_signs)
BENCH_VALUES(normalize)
BENCH_VALUES(scale_products)
BENCH_VALUES(from_i4)
BENCH_VALUES(to_half)
BENCH_VALUES(from_half)

#endif
