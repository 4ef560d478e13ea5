/* Attention and the KV cache: against softmax in double precision, for every kernel set and cache type, with shared heads, windows and
 * capped scores; and the same bits for any tile of tokens and any number of threads. */
#include <math.h>
#include <stdlib.h>

#include "kernel_cases.h"
#include "layers/attention.h"

typedef struct attention_case {
    uint32_t n_heads, n_kv_heads, head_dim, context, window;
    float softcap;
    int both; /* tokens see those behind them too */
    uint32_t n_distances; /* each with a number of its own, which is added to scores; 0: none */
} attention_case;

static const attention_case cases[] = {
    {2, 1, 64, 600, 0, 0, 0, 0}, {6, 2, 64, 80, 0, 0, 0, 0},    {3, 3, 13, 70, 0, 30, 0, 0},   {2, 1, 16, 1050, 600, 0, 0, 0},
    {40, 1, 20, 70, 0, 0, 0, 0}, {7, 1, 80, 110, 33, 2, 0, 0},  {2, 1, 256, 330, 64, 0, 0, 0}, {1, 1, 1, 65, 0, 0, 0, 0},
    {2, 2, 32, 130, 0, 0, 1, 0}, {2, 1, 16, 1050, 65, 0, 1, 0}, {3, 1, 20, 90, 1, 0, 1, 0},    {2, 1, 24, 200, 150, 5, 1, 0},
    {1, 1, 8, 1, 0, 0, 1, 0},    {4, 2, 16, 70, 500, 0, 1, 0},  {1, 1, 64, 540, 0, 0, 1, 0},   {6, 3, 16, 200, 0, 0, 0, 33},
    {2, 2, 24, 70, 9, 0, 0, 90}, {2, 1, 16, 150, 0, 0, 1, 41},
};

enum { MOST_SCRATCH_DIM = 256 };

typedef struct fixture {
    rbe__workspace workspace;
    rbe_kernels kernels;
    rbe__arena arena;
    rbe__kv_layer cache;
    float *partials;
    uint32_t most_chunks;
    attention_case shape;
    float *q, *k, *v; /* [context][heads][head_dim] */
    float *distances; /* [n_heads][n_distances] */
} fixture;

static void take(fixture *f, rbe_kv_type type)
{
    const attention_case *shape = &f->shape;
    const uint32_t dim = shape->head_dim;
    f->cache = rbe__kv_take(&f->arena, type, shape->context, shape->n_kv_heads, dim);
    f->most_chunks = (shape->context - 1) / RBE_ATTENTION_CHUNK + 1;
    f->partials = rbe__arena_take(&f->arena, rbe__attention_partials(shape->n_heads, dim, f->most_chunks), sizeof(float));
    f->workspace.most_tokens = f->workspace.max_cols = 1;
    f->workspace.max_head_dim = dim;
    rbe__workspace_take_threads(&f->workspace, rbe__thread_pool_threads(f->workspace.thread_pool), &f->arena);
}

static float *random_rows(size_t n, float size)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = random_float() * size;
    }
    return x;
}

static fixture open_fixture(const attention_case *shape, const char *set, rbe_kv_type type, uint32_t n_threads)
{
    fixture f = {.shape = *shape};
    CHECK(rbe__kernels_select(set, &f.kernels) == 0, "%s", set);
    CHECK(rbe__thread_pool_create(n_threads, &f.workspace.thread_pool) == RBE_OK, "thread pool");
    f.workspace.kernels = NULL;
    take(&f, type);
    CHECK(rbe__arena_allocate(&f.arena) == 0, "memory");
    take(&f, type);
    random_state = 7;
    f.q = random_rows((size_t)shape->context * shape->n_heads * shape->head_dim, 8);
    f.k = random_rows((size_t)shape->context * shape->n_kv_heads * shape->head_dim, 4);
    f.v = random_rows((size_t)shape->context * shape->n_kv_heads * shape->head_dim, 4);
    f.distances = random_rows((size_t)shape->n_heads * shape->n_distances + 1, 2);
    return f;
}

static void close_fixture(fixture *f)
{
    rbe__thread_pool_free(f->workspace.thread_pool);
    rbe__aligned_free(f->arena.memory);
    free(f->q);
    free(f->k);
    free(f->v);
    free(f->distances);
}

static float attention_scale(const attention_case *shape)
{
    return 1.0f / sqrtf((float)shape->head_dim);
}

static void store(const fixture *f, uint32_t first, uint32_t n)
{
    const size_t width = (size_t)f->shape.n_kv_heads * f->shape.head_dim;
    float *row = malloc(2 * width * sizeof *row);
    for (uint32_t p = first; p < first + n; p++) {
        memcpy(row, f->k + p * width, width * sizeof *row);
        memcpy(row + width, f->v + p * width, width * sizeof *row);
        rbe__kv_store(&f->kernels, &f->cache, p, row, row + width);
    }
    free(row);
}

/* float[context][n_heads][head_dim], from malloc: all positions in passes of `pass_tokens` tokens. */
static float *attend_all(fixture *f, uint32_t pass_tokens)
{
    const attention_case *shape = &f->shape;
    const size_t q_width = (size_t)shape->n_heads * shape->head_dim;
    float *out = malloc(shape->context * q_width * sizeof *out);
    const rbe__distances distances = {f->distances, shape->n_distances, shape->both ? shape->n_distances / 2 : 0};
    f->workspace.kernels = &f->kernels;
    if (shape->both) {
        store(f, 0, shape->context);
    }
    for (uint32_t first = 0; first < shape->context; first += pass_tokens) {
        const uint32_t n = shape->context - first < pass_tokens ? shape->context - first : pass_tokens;
        if (!shape->both) {
            store(f, first, n);
        }
        rbe__attention attention = {.cache = &f->cache,
                                    .n_heads = shape->n_heads,
                                    .window = shape->window,
                                    .n_positions = shape->both ? shape->context : 0,
                                    .scale = attention_scale(shape),
                                    .softcap = shape->softcap,
                                    .distances = distances.n ? &distances : NULL,
                                    .q = f->q + first * q_width,
                                    .out = out + first * q_width,
                                    .first_position = first,
                                    .n_tokens = n};
        rbe__attend(&f->workspace, &attention, 1, f->partials, f->most_chunks);
    }
    return out;
}

/* The result of one head at one position, in double precision from k and v as they were given. */
static void exact_head(const fixture *f, uint32_t position, uint32_t head, double *out)
{
    const attention_case *shape = &f->shape;
    const uint32_t dim = shape->head_dim, kv_head = head / (shape->n_heads / shape->n_kv_heads);
    const uint32_t begin = shape->window && position + 1 > shape->window ? position + 1 - shape->window : 0;
    const uint32_t last = !shape->both                                                  ? position
                          : !shape->window || shape->window > shape->context - position ? shape->context - 1
                                                                                        : position + shape->window - 1;
    const float *q = f->q + ((size_t)position * shape->n_heads + head) * dim;
    double total = 0;
    memset(out, 0, dim * sizeof *out);
    for (uint32_t p = begin; p <= last; p++) {
        const size_t at = ((size_t)p * shape->n_kv_heads + kv_head) * dim;
        double score = 0;
        for (uint32_t d = 0; d < dim; d++) {
            score += (double)q[d] * f->k[at + d];
        }
        score *= attention_scale(shape);
        if (shape->n_distances) {
            const int64_t most = shape->n_distances - 1, behind = shape->both ? shape->n_distances / 2 : 0;
            const int64_t place = (int64_t)p - position + most - behind;
            score += f->distances[head * shape->n_distances + (place < 0 ? 0 : place > most ? most : place)];
        }
        score = shape->softcap != 0 ? shape->softcap * tanh(score / shape->softcap) : score;
        const double weight = exp(score);
        total += weight;
        for (uint32_t d = 0; d < dim; d++) {
            out[d] += weight * f->v[at + d];
        }
    }
    for (uint32_t d = 0; d < dim; d++) {
        out[d] /= total;
    }
}

/* Root of the mean square of the difference over that of the exact result, on some positions. */
static double relative_error(const fixture *f, const float *out)
{
    const attention_case *shape = &f->shape;
    double exact[MOST_SCRATCH_DIM], difference = 0, power = 0;
    for (uint32_t position = 0; position < shape->context; position += position + 7 < shape->context ? 7 : 1) {
        for (uint32_t head = 0; head < shape->n_heads; head++) {
            const float *result = out + ((size_t)position * shape->n_heads + head) * shape->head_dim;
            exact_head(f, position, head, exact);
            for (uint32_t d = 0; d < shape->head_dim; d++) {
                difference += (result[d] - exact[d]) * (result[d] - exact[d]);
                power += exact[d] * exact[d];
            }
        }
    }
    return sqrt(difference / power);
}

/* What each type may lose: random keys and values have no structure that would make it less, scores here spread over +-3. With int8, keys, values,
 * queries and weights are rounded. */
static double allowed_error(rbe_kv_type type)
{
    return type == RBE_KV_F32 ? 1e-6 : type == RBE_KV_F16 ? 7e-4 : type == RBE_KV_Q8 ? 0.02 : 0.14;
}

static void check_case(const attention_case *shape, const char *set, rbe_kv_type type)
{
    fixture f = open_fixture(shape, set, type, 1);
    float *expected = attend_all(&f, 1);
    const double error = relative_error(&f, expected);
    CHECK(error <= allowed_error(type), "%s, type %d, %u heads of %u: error %g", set, (int)type, shape->n_heads, shape->head_dim, error);
    for (uint32_t pass_tokens = 5; pass_tokens <= 64; pass_tokens += 59) { /* tiles of 5, and of as many as there is room for */
        float *out = attend_all(&f, pass_tokens);
        CHECK(memcmp(out, expected, (size_t)shape->context * shape->n_heads * shape->head_dim * sizeof *out) == 0,
              "%s, type %d, %u heads of %u: differs in passes of %u tokens", set, (int)type, shape->n_heads, shape->head_dim, pass_tokens);
        free(out);
    }
    close_fixture(&f);
    fixture threads = open_fixture(shape, set, type, 3);
    for (uint32_t pass_tokens = 1; pass_tokens <= 40; pass_tokens += 39) {
        float *out = attend_all(&threads, pass_tokens);
        CHECK(memcmp(out, expected, (size_t)shape->context * shape->n_heads * shape->head_dim * sizeof *out) == 0,
              "%s, type %d, %u heads of %u: differs on 3 threads, passes of %u tokens", set, (int)type, shape->n_heads, shape->head_dim,
              pass_tokens);
        free(out);
    }
    close_fixture(&threads);
    free(expected);
}

/* An outlier dimension, as keys have them: rotated, it costs the others nothing. */
static void check_outlier(void)
{
    const attention_case shape = {2, 1, 64, 64, 0, 0, 0, 0};
    fixture f = open_fixture(&shape, NULL, RBE_KV_Q8, 1);
    for (uint32_t p = 0; p < shape.context; p++) {
        f.k[p * 64 + 5] = 60.0f;
        f.q[(2 * p) * 64 + 5] = f.q[(2 * p + 1) * 64 + 5] = 0.1f;
    }
    float *out = attend_all(&f, 64);
    const double rotated = relative_error(&f, out);
    free(out);
    f.cache.rotation = 1;
    out = attend_all(&f, 64);
    const double plain = relative_error(&f, out);
    CHECK(rotated < 0.05 && rotated < 0.5 * plain, "error %g, without rotation %g", rotated, plain);
    free(out);
    close_fixture(&f);
}

int main(void)
{
    const char *name;
    rbe_weighted_sum_kernel *done = NULL;
    rbe_multiply_tile_kernel *multiplied = NULL;
    for (uint32_t i = 0; (name = rbe_kernel_set_name(i)) != NULL; i++) {
        rbe_kernels kernels;
        if (rbe__kernels_select(name, &kernels) != 0 || (kernels.weighted_sum_f32 == done && kernels.multiply_tile == multiplied)) {
            /* not here, or nothing new to this test */
            continue;
        }
        done = kernels.weighted_sum_f32;
        multiplied = kernels.multiply_tile;
        for (uint32_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
            const int large = cases[c].context > 300;
            for (rbe_kv_type type = RBE_KV_F16; type <= RBE_KV_Q8Q4; type++) {
                if (i > 0 || !large) { /* the scalar set is slow, and the same code */
                    check_case(&cases[c], name, type);
                }
            }
        }
    }
    check_outlier();
    return check_finish();
}
