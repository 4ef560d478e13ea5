/* Benchmarks of the kernels of binary and ternary matrices. */
#ifndef RBE_BENCH_GROUPED_H
#define RBE_BENCH_GROUPED_H

#include "kernels/kernels.h"
#include "measure.h"
#include "weights/grouped.h"

typedef struct grouped_task {
    rbe_grouped_dot_kernel *dot;
    rbe_grouped_generate_kernel *generate;
    rbe_accumulate_rows_kernel *accumulate;
    rbe__grouped grouped;
    uint8_t *codes;
    uint16_t *scales;
    int8_t *x, *tile;
    float *x_scales;
    float sum[RBE_STRIP_ROWS];
    int32_t acc[RBE_STRIP_ROWS];
} grouped_task;

static void run_grouped_dot(void *task)
{
    grouped_task *t = task;
    for (uint32_t s = 0; s < t->grouped.n_strips; s++) {
        uint32_t first_row;
        const rbe_grouped_strip strip = rbe__grouped_strip(&t->grouped, s, &first_row);
        t->dot(&strip, t->x, t->x_scales, t->sum);
    }
}

static void run_grouped_generate(void *task)
{
    grouped_task *t = task;
    uint32_t first_row;
    const rbe_grouped_strip strip = rbe__grouped_strip(&t->grouped, 0, &first_row);
    for (uint32_t b = 0; b * strip.block_cols < strip.cols; b++) {
        t->generate(&strip, b, t->tile);
    }
}

static void run_accumulate_rows(void *task)
{
    grouped_task *t = task;
    t->accumulate(t->sum, t->acc, RBE_STRIP_ROWS, 1e-20f, t->scales);
}

static grouped_task make_grouped(uint32_t rows, uint32_t cols, int binary)
{
    grouped_task task = {.grouped = rbe__grouped_make(rows, cols, binary ? 128 : 256, binary)};
    const size_t n_codes = (size_t)rbe__grouped_code_bytes(&task.grouped), n_scales = (size_t)rbe__grouped_scale_bytes(&task.grouped);
    task.codes = take(n_codes);
    task.scales = take(n_scales);
    task.x = take(cols);
    task.x_scales = take((cols / RBE_BLOCK_COLS + 1) * sizeof(float));
    task.tile = take((size_t)RBE_BLOCK_COLS * RBE_STRIP_ROWS);
    for (size_t i = 0; i < n_codes; i++) {
        task.codes[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    for (size_t i = 0; i < n_scales / 2; i++) {
        task.scales[i] = 0x2000;
    }
    for (uint32_t c = 0; c < cols; c++) {
        task.x[c] = (int8_t)(c * 37 % 255 - 127);
    }
    memset(task.x_scales, 0, (cols / RBE_BLOCK_COLS + 1) * sizeof(float));
    task.grouped.codes = task.codes;
    task.grouped.scales = task.scales;
    return task;
}

static void drop_grouped(grouped_task *task)
{
    free(task->codes);
    free(task->scales);
    free(task->x);
    free(task->x_scales);
    free(task->tile);
}

static int is_binary_field(const char *field)
{
    return strstr(field, "binary") != NULL;
}

static void bench_rbe_grouped_dot_kernel(measurement m, rbe_grouped_dot_kernel *kernel)
{
    const uint32_t shapes[][2] = {{1024, 1024}, {576, 576}, {64, 1024}, {16384, 32768}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        grouped_task task = make_grouped(shapes[i][0], shapes[i][1], is_binary_field(m.kernel));
        task.dot = kernel;
        m.unit = "weights";
        m.amount = (double)shapes[i][0] * shapes[i][1];
        m.bytes_read = (size_t)(rbe__grouped_code_bytes(&task.grouped) + rbe__grouped_scale_bytes(&task.grouped));
        m.work = run_grouped_dot;
        m.task = &task;
        set_shape(&m, "%u x %u", shapes[i][0], shapes[i][1]);
        measure(&m);
        drop_grouped(&task);
    }
}

static void bench_rbe_grouped_generate_kernel(measurement m, rbe_grouped_generate_kernel *kernel)
{
    grouped_task task = make_grouped(256, 1024, is_binary_field(m.kernel));
    task.generate = kernel;
    m.unit = "weights";
    m.amount = 256.0 * 1024;
    m.work = run_grouped_generate;
    m.task = &task;
    set_shape(&m, "256 x 1024");
    measure(&m);
    drop_grouped(&task);
}

static void bench_rbe_accumulate_rows_kernel(measurement m, rbe_accumulate_rows_kernel *kernel)
{
    grouped_task task = make_grouped(256, 256, 0);
    task.accumulate = kernel;
    m.unit = "values";
    m.amount = RBE_STRIP_ROWS;
    m.work = run_accumulate_rows;
    m.task = &task;
    set_shape(&m, "256");
    measure(&m);
    drop_grouped(&task);
}

#endif
