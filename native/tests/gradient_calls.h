/* The part of test_gradients.c about single calls: windows, draws, refusals, cancelling. */
#ifndef RBE_TESTS_GRADIENT_CALLS_H
#define RBE_TESTS_GRADIENT_CALLS_H

/* Windows of one call have the bits of calls of their own. */
static void check_windows(const sums *with, const float *states)
{
    const size_t width = with->model->stack.width, bytes = sizeof(float) * N * width;
    const uint32_t windows[] = {1, 4, N - 1};
    float *together = malloc(bytes), *apart = malloc(bytes);
    for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++) {
        for (size_t i = 0; i < N * width; i++) {
            together[i] = apart[i] = states[i] * .5f + 1.0f;
        }
        CHECK(rbe_gradients_layer(with->gradients, 0, states, N, windows[w], together, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        for (uint32_t first = 0; first < N; first += windows[w]) {
            const uint32_t n = N - first < windows[w] ? N - first : windows[w];
            CHECK(rbe_gradients_layer(with->gradients, 0, states + first * width, n, 0, apart + first * width, NULL, NULL) == RBE_OK, "%s",
                  rbe_last_error());
        }
        CHECK(memcmp(together, apart, bytes) == 0, "windows of %u", windows[w]);
    }
    free(together);
    free(apart);
}

/* Labels that are drawn: nats are those of the label, and on average the entropy of the prediction. */
static void check_draws(const sums *with, const float *states)
{
    enum { DRAWS = 200 };
    const rbe__stack *stack = &with->model->stack;
    const float *hidden = states + (size_t)stack->n_layers * N * stack->width;
    float *d_hidden = malloc(sizeof *d_hidden * N * stack->width);
    double *nats = malloc(sizeof *nats * N * stack->n_vocabulary), drawn[N], sum = 0, squares = 0, entropy = 0;
    uint32_t labels[N];
    for (uint32_t v = 0; v < stack->n_vocabulary; v++) {
        for (uint32_t n = 0; n < N; n++) {
            labels[n] = v;
        }
        CHECK(rbe_gradients_head(with->gradients, hidden, N, 0, labels, 0, nats + (size_t)v * N, d_hidden, NULL, NULL) == RBE_OK, "%s",
              rbe_last_error());
    }
    for (size_t i = 0; i < (size_t)N * stack->n_vocabulary; i++) {
        entropy += nats[i] * exp(-nats[i]) / N;
    }
    for (uint32_t seed = 0; seed < DRAWS; seed++) {
        for (uint32_t n = 0; n < N; n++) {
            labels[n] = RBE_DRAW_TOKEN;
        }
        CHECK(rbe_gradients_head(with->gradients, hidden, N, 0, labels, seed, drawn, d_hidden, NULL, NULL) == RBE_OK, "%s",
              rbe_last_error());
        for (uint32_t n = 0; n < N; n++) {
            CHECK(labels[n] < stack->n_vocabulary && fabs(drawn[n] - nats[(size_t)labels[n] * N + n]) < 1e-9, "label %u", labels[n]);
            sum += drawn[n] / (N * DRAWS);
            squares += drawn[n] * drawn[n] / (N * DRAWS);
        }
    }
    CHECK(fabs(sum - entropy) < 5 * sqrt((squares - sum * sum) / (N * DRAWS)), "entropy %g, drawn %g", entropy, sum);
    free(nats);
    free(d_hidden);
}

/* A vocabulary in several parts has the bits of one part. */
static void check_parts(const sums *with, const float *states)
{
    enum { ROWS = 2500 };
    const rbe__stack *stack = &with->model->stack;
    const size_t width = stack->width, bytes = sizeof(float) * N * width;
    float *weights = malloc(sizeof *weights * ROWS * width), *d[2] = {malloc(bytes), malloc(bytes)};
    for (size_t i = 0; i < ROWS * width; i++) {
        weights[i] = (float)((i * 2654435761u >> 7) % 2001) * 1e-3f - 1.0f;
    }
    rbe_model larger = *with->model;
    rbe__tensor head = *stack->lm_head.weight;
    head.data = (const uint8_t *)weights;
    head.rows = larger.stack.n_vocabulary = ROWS;
    larger.stack.lm_head = (rbe__projection){&head, NULL};
    uint32_t labels[2][N];
    double nats[2][N];
    for (int parts = 0; parts < 2; parts++) {
        rbe_gradients *on = open_gradients(&larger, 2);
        on->head.most_logits = parts ? 1 : on->head.most_logits;
        for (uint32_t n = 0; n < N; n++) {
            labels[parts][n] = n % 3 == 0 ? ROWS - 1 - 400 * n : n % 3 == 1 ? RBE_DRAW_TOKEN : RBE_NO_TOKEN;
        }
        labels[parts][N - 1] = RBE_DRAW_TOKEN;
        labels[parts][6] = ROWS - 1;
        labels[parts][9] = labels[parts][12] = 0;
        CHECK(rbe_gradients_head(on, states, N, 0, labels[parts], 3, nats[parts], d[parts], NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        rbe_gradients_free(on);
    }
    CHECK(memcmp(d[0], d[1], bytes) == 0 && memcmp(labels[0], labels[1], sizeof labels[0]) == 0 &&
              memcmp(nats[0], nats[1], sizeof nats[0]) == 0,
          "parts of the vocabulary");
    free(weights);
    free(d[0]);
    free(d[1]);
}

/* A product that is done in pieces, of its columns and of what it sums over, has the bits of one that is not. */
static void check_pieces(const sums *with)
{
    enum { ROWS = 512, COLS = 257, TOKENS = 4096 };
    float *x = malloc(sizeof *x * TOKENS * COLS), *d = malloc(sizeof *d * TOKENS * ROWS);
    float *found = calloc(ROWS * COLS, sizeof *found), *expected = calloc(ROWS * COLS, sizeof *expected);
    for (uint32_t i = 0; i < TOKENS * COLS; i++) {
        x[i] = (float)((i * 2654435761u >> 7) % 2001) * 1e-3f - 1.0f;
    }
    for (uint32_t i = 0; i < TOKENS * ROWS; i++) {
        d[i] = (float)((i * 2246822519u >> 7) % 2001) * 1e-3f - 1.0f;
    }
    const rbe__dense_product_call whole = {
        .a = {d, 1, ROWS}, .b = {x, COLS, 1}, .c = expected, .c_stride = COLS, .m = ROWS, .n = COLS, .k = TOKENS, .add = 1};
    CHECK(rbe__dense_product(with->gradients->thread_pool, &with->model->kernels, &whole) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_gradients_add(with->gradients, x, d, TOKENS, ROWS, COLS, found) == RBE_OK, "%s", rbe_last_error());
    CHECK(memcmp(found, expected, sizeof *found * ROWS * COLS) == 0, "pieces of a product");
    free(x);
    free(d);
    free(found);
    free(expected);
}

static int call_again(const rbe_gradient *gradient, void *user)
{
    const sums *with = user;
    float d[4] = {0};
    (void)gradient;
    CHECK(rbe_gradients_layer(with->gradients, 0, d, 1, 0, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "a call in a callback");
    return 0;
}

/* Of what lies in states and d nothing is read. */
static void check_curvature_refusals(rbe_gradients *on, const float *states, float *d)
{
    const rbe_curvature_rows good = {
        .struct_bytes = sizeof good, .x = states, .d = states, .n_tokens = N, .window_tokens = 4, .n_rows = 2, .cols = 2};
    rbe_curvature_rows bad[9];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        bad[i] = good;
    }
    bad[0].struct_bytes = 0;
    bad[1].struct_bytes = 1000;
    bad[2].x = NULL;
    bad[3].d = NULL;
    bad[4].n_tokens = 0;
    bad[5].n_rows = 0;
    bad[6].cols = 0;
    bad[7].n_tokens = N + 1;
    bad[8].n_tokens = bad[8].window_tokens = 65536; /* whose square no size_t of 32 bits counts */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const rbe_status expected = i < 7 ? RBE_ERROR_ARGUMENT : RBE_ERROR_CONTEXT, found = rbe_gradients_add_curvature(on, &bad[i], d);
        CHECK(found == expected, "rows %zu: %d", i, (int)found);
    }
    CHECK(rbe_gradients_add_curvature(NULL, &good, d) == RBE_ERROR_ARGUMENT &&
              rbe_gradients_add_curvature(on, NULL, d) == RBE_ERROR_ARGUMENT &&
              rbe_gradients_add_curvature(on, &good, NULL) == RBE_ERROR_ARGUMENT,
          "NULL");
}

static void check_refusals(const char *path, sums *with, const float *states, float *d)
{
    rbe_gradients *on = with->gradients, *none = NULL;
    const rbe__stack *stack = &with->model->stack;
    uint32_t labels[N + 1] = {0}, tokens[N] = {0};
    tokens[1] = labels[2] = stack->n_vocabulary;
    CHECK(rbe_gradients_layer(NULL, 0, states, N, 0, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "NULL");
    CHECK(rbe_gradients_layer(on, 0, NULL, N, 0, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "NULL");
    CHECK(rbe_gradients_layer(on, 0, states, N, 0, NULL, NULL, NULL) == RBE_ERROR_ARGUMENT, "NULL");
    CHECK(rbe_gradients_layer(on, 0, states, 0, 0, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "no token");
    CHECK(rbe_gradients_layer(on, 0, states, N + 1, 0, d, NULL, NULL) == RBE_ERROR_CONTEXT, "too many");
    CHECK(rbe_gradients_layer(on, 0, states, SIZE_MAX, 1, d, NULL, NULL) == RBE_ERROR_CONTEXT, "too many");
    CHECK(rbe_gradients_layer(on, stack->n_layers, states, N, 0, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "layer");
    CHECK(rbe_gradients_layer(on, UINT32_MAX, states, N, 0, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "layer");
    CHECK(rbe_gradients_head(on, states, N, 0, labels, 0, NULL, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "label");
    CHECK(rbe_gradients_head(on, states, N, 0, NULL, 0, NULL, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "NULL");
    CHECK(rbe_gradients_embedding(on, tokens, N, 0, states, d, NULL) == RBE_ERROR_ARGUMENT, "token");
    tokens[1] = 0;
    CHECK(stack->positions || rbe_gradients_embedding(on, tokens, N, 0, states, NULL, d) == RBE_ERROR_ARGUMENT, "positions");
    CHECK(rbe_gradients_add(on, states, states, 1, 0, 1, d) == RBE_ERROR_ARGUMENT, "no rows");
    CHECK(rbe_gradients_add(on, NULL, states, 1, 1, 1, d) == RBE_ERROR_ARGUMENT, "NULL");
    check_curvature_refusals(on, states, d);
    labels[2] = 0;
    CHECK(rbe_gradients_head(on, states, N, 0, labels, 0, NULL, d, call_again, with) == RBE_OK, "%s", rbe_last_error());
    rbe_gradients_options options = {.struct_bytes = sizeof options, .most_tokens = 65537};
    CHECK(rbe_gradients_create(with->model, &options, &none) == RBE_ERROR_ARGUMENT && !none, "too many");
    options = (rbe_gradients_options){.struct_bytes = sizeof options, .n_threads = RBE_MAX_THREADS + 1};
    CHECK(rbe_gradients_create(with->model, &options, &none) == RBE_ERROR_ARGUMENT && !none, "threads");
    options = (rbe_gradients_options){.struct_bytes = sizeof options, .context_tokens = UINT32_MAX};
    CHECK(rbe_gradients_create(with->model, &options, &none) == RBE_ERROR_ARGUMENT && !none, "context");
    options = (rbe_gradients_options){.struct_bytes = 1000};
    CHECK(rbe_gradients_create(with->model, &options, &none) == RBE_ERROR_ARGUMENT && !none, "struct_bytes");
    CHECK(rbe_gradients_create(NULL, NULL, &none) == RBE_ERROR_ARGUMENT &&
              rbe_gradients_create(with->model, NULL, NULL) == RBE_ERROR_ARGUMENT,
          "NULL");
    rbe_model *packed = NULL;
    CHECK(rbe_model_open(path, NULL, &packed) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_gradients_create(packed, NULL, &none) == RBE_ERROR_UNSUPPORTED && !none, "matrices that are not fp32");
    rbe_model_close(packed);
    rbe_gradients_free(NULL);
    rbe_gradients_cancel(NULL);
    rbe_gradients_uncancel(NULL);
}

static int stop(const rbe_gradient *gradient, void *user)
{
    (void)gradient;
    return ++*(int *)user == 3;
}

static int cancel(const rbe_gradient *gradient, void *user)
{
    (void)gradient;
    rbe_gradients_cancel(user);
    return 0;
}

static void check_cancelling(const sums *with, const float *states, float *d)
{
    int n = 0;
    CHECK(rbe_gradients_layer(with->gradients, 0, states, N, 0, d, stop, &n) == RBE_ERROR_CANCELLED && n == 3, "by a callback, %d", n);
    CHECK(rbe_gradients_layer(with->gradients, 0, states, N, 0, d, cancel, with->gradients) == RBE_ERROR_CANCELLED, "by the function");
    CHECK(rbe_gradients_layer(with->gradients, 0, states, N, 0, d, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    rbe_gradients_cancel(with->gradients);
    CHECK(rbe_gradients_layer(with->gradients, 0, states, N, 0, d, NULL, NULL) == RBE_ERROR_CANCELLED, "the next one");
    CHECK(rbe_gradients_layer(with->gradients, 0, states, N, 0, d, NULL, NULL) == RBE_OK, "once");
    rbe_gradients_cancel(with->gradients);
    rbe_gradients_uncancel(with->gradients);
    CHECK(rbe_gradients_layer(with->gradients, 0, states, N, 0, d, NULL, NULL) == RBE_OK, "cancelled though that was taken back");
}

#endif
