/* Speed of every kernel of every set that this processor can run, and of plain reading from memory.
 *
 *     bench_kernels [--json] [--set NAME] [--kernel TEXT] [--repetitions N]
 *
 * One thread, in its processor time: what other programs take of the core does not count, though they still share its
 * caches and the memory. Each number is the median of the repetitions, and the best. */
#include "bench_floats.h"
#include "bench_grouped.h"
#include "kernels/checksum.h"
#include "kernels/kernels.h"
#include "measure.h"
#include "rbe/rbe.h"

static const size_t large_bytes = (size_t)128 << 20; /* beyond the caches: 4 times the 32 MiB of the reference machine */
static const char *only_set, *only_kernel;

static void fill_bytes(void *memory, size_t bytes)
{
    uint32_t state = 1;
    for (size_t i = 0; i < bytes; i++) {
        state = state * 1664525u + 1013904223u;
        ((uint8_t *)memory)[i] = (uint8_t)(state >> 24);
    }
}

/* ---- trellis ---------------------------------------------------------------------------------------------------- */

/* The wide and the narrow tables of K = 4 (docs/codec.md). */
static const int8_t tables[2][2][16] = {
    {{27, 71, 3, -27, -3, -35, -14, -20, -45, 36, -72, 21, 14, 8, 46, -9},
     {-54, -3, -19, 5, 54, -7, 2, -14, 24, 17, 14, -8, 37, -24, -37, 8}},
    {{-1, -10, -6, 7, -19, 19, 2, -8, -3, 0, -4, 9, 5, -13, 12, 3}, {3, 3, -4, 0, -2, 6, 2, 4, 0, -8, 8, 1, 12, -5, -12, -1}}};

typedef struct trellis_task {
    rbe_dot_kernel *dot;
    rbe_generate_kernel *generate;
    rbe_strip strip;
    uint32_t n_strips;
    int8_t *x, *tile;
    float *scales;
    float sum[RBE_STRIP_ROWS];
} trellis_task;

static void run_dot(void *task)
{
    trellis_task *t = task;
    rbe_strip strip = t->strip;
    const size_t strip_bytes = (size_t)2 * strip.row_steps * strip.bits * strip.n_groups;
    for (uint32_t s = 0; s < t->n_strips; s++) {
        t->dot(&strip, t->x, t->scales, t->sum);
        strip.stream += strip_bytes;
    }
}

static void run_generate(void *task)
{
    trellis_task *t = task;
    for (uint32_t g = 0; g < t->strip.n_groups; g += 16) {
        t->generate(&t->strip, g, 16, t->tile);
    }
}

static uint32_t field_bits(const char *field)
{
    return (uint32_t)(field[strlen(field) - 1] - '0');
}

/* rows and cols: multiples of 4 * row_steps and of 64 */
static trellis_task make_trellis(uint32_t bits, uint32_t narrow, uint32_t row_steps, uint32_t rows, uint32_t cols, size_t *bytes)
{
    trellis_task task = {.n_strips = rows / (4 * row_steps)};
    *bytes = (size_t)rows * cols / 8 * bits;
    uint8_t *stream = take(*bytes);
    fill_bytes(stream, *bytes);
    task.x = take(cols);
    fill_bytes(task.x, cols);
    for (uint32_t c = 0; c < cols; c++) {
        task.x[c] = (int8_t)(task.x[c] == -128 ? -127 : task.x[c]);
    }
    task.tile = take(16 * 64 * 16);
    task.scales = take((cols / RBE_BLOCK_COLS + 1) * sizeof *task.scales);
    for (uint32_t b = 0; b <= cols / RBE_BLOCK_COLS; b++) {
        task.scales[b] = 1e-3f;
    }
    const uint32_t span = (128 / row_steps + 1) / 2 ? (128 / row_steps + 1) / 2 : 1; /* groups per cell, docs/format.md */
    task.strip = (rbe_strip){.stream = stream,
                             .t1 = tables[narrow][0],
                             .t2 = tables[narrow][1],
                             .bits = bits,
                             .narrow = narrow,
                             .row_steps = row_steps,
                             .n_groups = cols / 4,
                             .n_cells = (cols / 4 + span - 1) / span};
    return task;
}

static void drop_trellis(trellis_task *task)
{
    free((void *)task->strip.stream);
    free(task->x);
    free(task->tile);
    free(task->scales);
}

static void bench_rbe_dot_kernel(measurement m, rbe_dot_kernel *kernel)
{
    const uint32_t bits = field_bits(m.kernel);
    const uint32_t shapes[][3] = {{64, 1024, 1024}, {48, 576, 576}, {16, 64, 1024}, {64, 1024, (uint32_t)(large_bytes * 8 / bits / 1024)}};
    for (size_t i = 0; i < 2 * (sizeof shapes / sizeof shapes[0]); i++) {
        size_t bytes;
        const uint32_t narrow = i % 2, *shape = shapes[i / 2];
        const uint32_t rows = shape[1], cols = shape[2] / 64 * 64;
        trellis_task task = make_trellis(bits, narrow, shape[0], rows, cols, &bytes);
        task.dot = kernel;
        m.unit = "weights";
        m.amount = (double)rows * cols;
        m.bytes_read = bytes;
        m.work = run_dot;
        m.task = &task;
        set_shape(&m, "%u x %u by %u, %s", rows, cols, 4 * shape[0], narrow ? "narrow" : "wide");
        measure(&m);
        drop_trellis(&task);
    }
}

static void bench_rbe_generate_kernel(measurement m, rbe_generate_kernel *kernel)
{
    size_t bytes;
    trellis_task task = make_trellis(field_bits(m.kernel), 0, 64, 256, 1024, &bytes);
    task.generate = kernel;
    m.unit = "weights";
    m.amount = 256.0 * 1024;
    m.work = run_generate;
    m.task = &task;
    set_shape(&m, "tiles of 256 x 64");
    measure(&m);
    drop_trellis(&task);
}

typedef struct tile_task {
    rbe_multiply_tile_kernel *kernel;
    int8_t *tile, *x;
    uint32_t n_groups, n_tokens;
    int32_t *acc;
} tile_task;

static void run_tile(void *task)
{
    const tile_task *t = task;
    t->kernel(t->tile, 64, t->n_groups, t->x, 4 * (size_t)t->n_groups, t->n_tokens, t->acc);
}

static void bench_rbe_multiply_tile_kernel(measurement m, rbe_multiply_tile_kernel *kernel)
{
    const uint32_t shapes[][2] = {{64, 1}, {64, 2}, {64, 8}, {64, 64}, {16, 64}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        tile_task task = {.kernel = kernel, .n_groups = shapes[i][0], .n_tokens = shapes[i][1]};
        task.tile = take(64 * 16 * (size_t)task.n_groups);
        task.x = take(4 * (size_t)task.n_groups * task.n_tokens);
        task.acc = take(256 * sizeof(int32_t) * task.n_tokens);
        fill_bytes(task.tile, 64 * 16 * (size_t)task.n_groups);
        for (size_t w = 0; strstr(m.kernel, "narrow") && w < 64 * 16 * (size_t)task.n_groups; w++) {
            task.tile[w] = (int8_t)(task.tile[w] % (RBE_NARROW_SUM + 1));
        }
        memset(task.x, 3, 4 * (size_t)task.n_groups * task.n_tokens);
        m.unit = "MAC";
        m.amount = 256.0 * 4 * task.n_groups * task.n_tokens;
        m.work = run_tile;
        m.task = &task;
        set_shape(&m, "256 x %u, %u tokens", 4 * task.n_groups, task.n_tokens);
        measure(&m);
        free(task.acc);
        free(task.x);
        free(task.tile);
    }
}

typedef struct checksum_task {
    rbe_checksum_kernel *kernel;
    rbe__crc crc;
    uint8_t *data;
    uint32_t value;
} checksum_task;

enum { CHECKSUM_BYTES = 1 << 20 };

static void run_checksum(void *task)
{
    checksum_task *t = task;
    t->value = t->kernel(&t->crc, t->value, t->data, CHECKSUM_BYTES);
}

static void bench_rbe_checksum_kernel(measurement m, rbe_checksum_kernel *kernel)
{
    checksum_task task = {.kernel = kernel, .data = take(CHECKSUM_BYTES)};
    rbe_kernels kernels;
    rbe__kernels_select("scalar", &kernels);
    rbe__crc_init(&kernels, &task.crc);
    fill_bytes(task.data, CHECKSUM_BYTES);
    m.unit = "bytes";
    m.amount = CHECKSUM_BYTES;
    m.bytes_read = CHECKSUM_BYTES;
    m.work = run_checksum;
    m.task = &task;
    set_shape(&m, "1 MiB");
    measure(&m);
    free(task.data);
}

/* ---- all ---------------------------------------------------------------------------------------------------------- */

typedef struct read_task {
    const uint64_t *words;
    size_t n;
    uint64_t sum;
} read_task;

static void run_read(void *task)
{
    read_task *t = task;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i + 8 <= t->n; i += 8) {
        for (size_t j = 0; j < 8; j++) {
            sums[j] ^= t->words[i + j];
        }
    }
    for (size_t j = 0; j < 8; j++) {
        t->sum += sums[j];
    }
}

static void bench_reading(void)
{
    void *memory = take(large_bytes);
    fill_bytes(memory, large_bytes);
    read_task task = {.words = memory, .n = large_bytes / 8};
    measurement m = {.set = "-",
                     .kernel = "read",
                     .unit = "bytes",
                     .amount = (double)large_bytes,
                     .bytes_read = large_bytes,
                     .work = run_read,
                     .task = &task};
    set_shape(&m, "%zu MiB", large_bytes >> 20);
    measure(&m);
    free(memory);
}

/* Only what a set does itself: what it takes over from the set before stands there. */
static void bench_set(const char *name, const rbe_kernels *before, const rbe_kernels *table)
{
#define BENCH_KERNEL(field, type)                                                                                    \
    if ((before == NULL || table->field != before->field) && (only_kernel == NULL || strstr(#field, only_kernel))) { \
        bench_##type((measurement){.set = name, .kernel = #field}, table->field);                                    \
    }
    RBE_KERNEL_LIST(BENCH_KERNEL)
#undef BENCH_KERNEL
}

static void read_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--json") == 0) {
            as_json = 1;
        } else if (strcmp(argv[i], "--set") == 0 && value) {
            only_set = argv[++i];
        } else if (strcmp(argv[i], "--kernel") == 0 && value) {
            only_kernel = argv[++i];
        } else if (strcmp(argv[i], "--repetitions") == 0 && value && atoi(value) > 0 && atoi(value) <= MOST_REPETITIONS) {
            n_repetitions = atoi(argv[++i]);
        } else {
            fprintf(stderr, "usage: bench_kernels [--json] [--set NAME] [--kernel TEXT] [--repetitions 1..%d]\n", MOST_REPETITIONS);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    read_arguments(argc, argv);
    if (as_json) {
        printf("[");
    }
    if (only_kernel == NULL || strstr("read", only_kernel)) {
        bench_reading();
    }
    rbe_kernels table, before;
    int has_before = 0;
    const char *name;
    for (uint32_t index = 0; (name = rbe_kernel_set_name(index)) != NULL; index++) {
        if (rbe__kernels_select(name, &table) != 0) {
            continue;
        }
        if (only_set == NULL || strcmp(only_set, name) == 0) {
            bench_set(name, has_before ? &before : NULL, &table);
        }
        before = table;
        has_before = 1;
    }
    if (as_json) {
        printf("\n]\n");
    }
    return 0;
}
