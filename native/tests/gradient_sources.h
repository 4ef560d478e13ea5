/* The part of test_gradients.c about sources: a loss that is the divergence from what another model predicts. */
#ifndef RBE_TESTS_GRADIENT_SOURCES_H
#define RBE_TESTS_GRADIENT_SOURCES_H

/* What a source's last layer might give where the model's gives `hidden`. */
static float *moved_states(const float *hidden, size_t n)
{
    float *moved = malloc(n * sizeof *moved);
    for (size_t i = 0; i < n; i++) {
        moved[i] = hidden[i] * .9f + (float)((i * 2654435761u >> 7) % 2001) * 2e-4f - .2f;
    }
    return moved;
}

/* nats[v][n] = -log p(v) of every token of the vocabulary. */
static double *all_nats(const sums *with, const float *hidden)
{
    const rbe__stack *stack = &with->model->stack;
    double *nats = malloc(sizeof *nats * N * stack->n_vocabulary);
    float *d = malloc(sizeof *d * N * stack->width);
    uint32_t labels[N];
    for (uint32_t v = 0; v < stack->n_vocabulary; v++) {
        for (uint32_t n = 0; n < N; n++) {
            labels[n] = v;
        }
        CHECK(rbe_gradients_head(with->gradients, hidden, N, 0, labels, 0, nats + (size_t)v * N, d, NULL, NULL) == RBE_OK, "%s",
              rbe_last_error());
    }
    free(d);
    return nats;
}

/* The sum over the tokens. */
static double divergence_of(const sums *with, const float *hidden, const float *theirs)
{
    double *own = all_nats(with, hidden), *other = all_nats(with, theirs), sum = 0;
    for (size_t i = 0; i < (size_t)N * with->model->stack.n_vocabulary; i++) {
        sum += exp(-other[i]) * (own[i] - other[i]);
    }
    free(own);
    free(other);
    return sum;
}

/* The loss is the divergence, its gradient the difference that a step makes; nothing is lost where one of the two is not wanted. */
static void check_divergence(const sums *with, const float *states)
{
    const rbe__stack *stack = &with->model->stack;
    const size_t n = (size_t)N * stack->width;
    const float *hidden = states + stack->n_layers * n;
    float *theirs = moved_states(hidden, n), *d = malloc(n * sizeof *d), *again = malloc(n * sizeof *again);
    double nats[N], alone[N], sum = 0, sides[2];
    rbe_gradients *on = with->gradients;
    CHECK(rbe_gradients_head_toward(on, hidden, with->model, theirs, N, 0, nats, d, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_gradients_head_toward(on, hidden, with->model, theirs, N, 0, alone, NULL, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_gradients_head_toward(on, hidden, with->model, theirs, N, 0, NULL, again, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(memcmp(nats, alone, sizeof nats) == 0 && memcmp(d, again, n * sizeof *d) == 0, "apart");
    for (uint32_t i = 0; i < N; i++) {
        CHECK(nats[i] > 0, "token %u: %g", i, nats[i]);
        sum += nats[i];
    }
    const double expected = divergence_of(with, hidden, theirs), norm = norm_of(d, n), step = .02 / norm;
    CHECK(fabs(sum - expected) < 1e-4 * expected, "divergence %g, found %g", expected, sum);
    float *stepped = malloc(n * sizeof *stepped);
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < n; i++) {
            stepped[i] = hidden[i] + (float)((side ? step : -step) / norm) * d[i];
        }
        sides[side] = divergence_of(with, stepped, theirs);
    }
    const double slope = (sides[1] - sides[0]) / (2 * step);
    CHECK(fabs(slope - norm) < 1e-2 * norm, "gradient %g, difference %g", norm, slope);
    CHECK(rbe_gradients_head_toward(on, hidden, with->model, hidden, N, 0, nats, d, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t i = 0; i < N; i++) {
        CHECK(fabs(nats[i]) < 1e-5, "from itself: %g", nats[i]);
    }
    CHECK(norm_of(d, n) < 1e-5 * norm, "from itself: gradient %g", norm_of(d, n));
    free(stepped);
    free(again);
    free(theirs);
    free(d);
}

/* The same bits whatever the kernel set and the number of threads. */
static void check_source_bits(const char *path, const float *states)
{
    const char *name;
    float *first = NULL;
    double first_nats[N];
    for (uint32_t i = 0; (name = rbe_kernel_set_name(i)) != NULL; i++) {
        for (uint32_t threads = 1; threads <= 3 && rbe_kernel_set_available(name); threads++) {
            dense_model dense = open_dense(path, name);
            const size_t n = (size_t)N * dense.model->stack.width;
            const float *hidden = states + dense.model->stack.n_layers * n;
            float *theirs = moved_states(hidden, n), *d = malloc(n * sizeof *d);
            double nats[N];
            rbe_gradients *on = open_gradients(dense.model, threads);
            CHECK(rbe_gradients_head_toward(on, hidden, dense.model, theirs, N, 4, nats, d, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
            if (first) {
                CHECK(memcmp(d, first, n * sizeof *d) == 0 && memcmp(nats, first_nats, sizeof nats) == 0, "%s, %u threads", name, threads);
                free(d);
            } else {
                memcpy(first_nats, nats, sizeof nats);
                first = d;
            }
            free(theirs);
            rbe_gradients_free(on);
            close_dense(&dense);
        }
    }
    free(first);
}

/* A source with another width, whose vocabulary comes in several parts. */
static void check_source_parts(const sums *with, const float *states)
{
    enum { ROWS = 2500 };
    const rbe__stack *stack = &with->model->stack;
    const size_t width = stack->width, narrow = width / 2, n = N * width;
    float *weights = malloc(sizeof *weights * ROWS * width), *d[2] = {malloc(n * sizeof(float)), malloc(n * sizeof(float))};
    for (size_t i = 0; i < ROWS * width; i++) {
        weights[i] = (float)((i * 2654435761u >> 7) % 2001) * 1e-3f - 1.0f;
    }
    rbe_model larger = *with->model, source = *with->model;
    rbe__tensor head = *stack->lm_head.weight, theirs = head;
    head.data = theirs.data = (const uint8_t *)weights;
    head.rows = theirs.rows = larger.stack.n_vocabulary = source.stack.n_vocabulary = ROWS;
    theirs.cols = source.stack.width = (uint32_t)narrow;
    larger.stack.lm_head = (rbe__projection){&head, NULL};
    source.stack.lm_head = (rbe__projection){&theirs, NULL};
    double nats[2][N];
    for (int parts = 0; parts < 2; parts++) {
        rbe_gradients *on = open_gradients(&larger, 2);
        on->head.most_logits = parts ? 1 : on->head.most_logits;
        CHECK(rbe_gradients_head_toward(on, states, &source, states + 7, N, 0, nats[parts], d[parts], NULL, NULL) == RBE_OK, "%s",
              rbe_last_error());
        CHECK(rbe_gradients_head_toward(on, states, &larger, states, N, 0, NULL, d[1], NULL, NULL) == RBE_OK, "a wider one: %s",
              rbe_last_error());
        CHECK(rbe_gradients_head_toward(on, states, &source, states + 7, N, 0, nats[parts], d[parts], NULL, NULL) == RBE_OK, "%s",
              rbe_last_error());
        rbe_gradients_free(on);
    }
    CHECK(memcmp(d[0], d[1], n * sizeof(float)) == 0 && memcmp(nats[0], nats[1], sizeof nats[0]) == 0, "parts of the vocabulary");
    free(weights);
    free(d[0]);
    free(d[1]);
}

static void check_source_refusals(const char *path, const sums *with, const float *states, float *d)
{
    rbe_gradients *on = with->gradients;
    double nats[N];
    int n = 0;
    rbe_model other = *with->model, *packed = NULL;
    other.stack.n_vocabulary--;
    CHECK(rbe_gradients_head_toward(NULL, states, with->model, states, N, 0, nats, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "NULL");
    CHECK(rbe_gradients_head_toward(on, NULL, with->model, states, N, 0, nats, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "NULL");
    CHECK(rbe_gradients_head_toward(on, states, NULL, states, N, 0, nats, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "NULL");
    CHECK(rbe_gradients_head_toward(on, states, with->model, NULL, N, 0, nats, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "NULL");
    CHECK(rbe_gradients_head_toward(on, states, with->model, states, N, 0, NULL, NULL, NULL, NULL) == RBE_ERROR_ARGUMENT, "nothing");
    CHECK(rbe_gradients_head_toward(on, states, with->model, states, N + 1, 0, nats, d, NULL, NULL) == RBE_ERROR_CONTEXT, "too many");
    CHECK(rbe_gradients_head_toward(on, states, &other, states, N, 0, nats, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "vocabulary");
    CHECK(rbe_model_open(path, NULL, &packed) == RBE_OK, "%s", rbe_last_error());
    if (packed->stack.lm_head.weight->kind != RBE_KIND_F32) {
        CHECK(rbe_gradients_head_toward(on, states, packed, states, N, 0, nats, d, NULL, NULL) == RBE_ERROR_UNSUPPORTED, "not fp32");
    }
    rbe_model_close(packed);
    CHECK(rbe_gradients_head_toward(on, states, with->model, states, N, 0, nats, d, cancel, on) == RBE_ERROR_CANCELLED, "cancelled");
    CHECK(rbe_gradients_head_toward(on, states, with->model, states, N, 0, nats, NULL, stop, &n) == RBE_OK && n == 0, "shown");
}

#endif
