/* Which experts a router chooses, against sums in double precision and a plain sort; its gradient, against differences; and which experts stay in
 * memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blocks/routing.h"
#include "check.h"
#include "gradients/gradients.h"
#include "weights/expert_pages.h"

#define MOST 64u

typedef struct routed {
    float scores[MOST], weights[MOST];
    uint32_t chosen[MOST];
} routed;

static int route(const rbe_kernels *kernels, const rbe__experts_shape *shape, const float *logits, const float *bias, routed *out)
{
    float keys[MOST];
    for (uint32_t e = 0; e < shape->n; e++) {
        out->scores[e] = logits[e];
    }
    return rbe__route(kernels, shape, bias, out->scores, keys, out->chosen, out->weights);
}

static double score_of(const rbe__experts_shape *shape, const float *logits, uint32_t expert)
{
    double sum = 0;
    for (uint32_t e = 0; e < shape->n; e++) {
        sum += exp((double)logits[e]);
    }
    return shape->score == RBE_SCORE_SOFTMAX ? exp((double)logits[expert]) / sum : 1 / (1 + exp(-(double)logits[expert]));
}

/* Experts that a token prefers to this one: larger, or as large and before it. */
static uint32_t rank_of(const rbe__experts_shape *shape, const float *scores, const float *bias, uint32_t expert)
{
    uint32_t rank = 0;
    const float own = bias ? scores[expert] + bias[expert] : scores[expert];
    for (uint32_t e = 0; e < shape->n; e++) {
        const float key = bias ? scores[e] + bias[e] : scores[e];
        rank += key > own || (key == own && e < expert);
    }
    return rank;
}

static void check_route(const rbe_kernels *kernels, const rbe__experts_shape *shape, const float *logits, const float *bias)
{
    routed found;
    double sum = 0;
    CHECK(route(kernels, shape, logits, bias, &found), "finite logits are refused");
    for (uint32_t i = 0; i < shape->n_used; i++) {
        CHECK(i == 0 || found.chosen[i] > found.chosen[i - 1], "experts do not ascend");
        CHECK(found.chosen[i] < shape->n && rank_of(shape, found.scores, bias, found.chosen[i]) < shape->n_used, "expert %u",
              found.chosen[i]);
        sum += score_of(shape, logits, found.chosen[i]);
    }
    for (uint32_t i = 0; i < shape->n_used; i++) {
        const double expected = score_of(shape, logits, found.chosen[i]) / (shape->normalizes ? sum : 1) * shape->scale;
        CHECK(fabs(found.weights[i] - expected) <= 1e-5 * expected, "%s: weight %g, not %g", kernels->name, found.weights[i], expected);
    }
}

static float next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-29f; /* -4 to 4 */
}

static void test_routes(const rbe_kernels *kernels)
{
    uint32_t state = 7;
    for (uint32_t n = 1; n <= MOST; n += n < 9 ? 1 : 11) {
        for (uint32_t kind = 0; kind < 8; kind++) {
            float logits[MOST], bias[MOST];
            const rbe__experts_shape shape = {.n = n,
                                              .n_used = n < 3 ? n : 1 + n / 3,
                                              .score = kind & 1 ? RBE_SCORE_SIGMOID : RBE_SCORE_SOFTMAX,
                                              .normalizes = kind & 2 ? 1 : 0,
                                              .scale = kind & 1 ? 1.5f : 1.0f};
            for (uint32_t e = 0; e < n; e++) {
                logits[e] = kind == 5 ? (float)(e % 3) : next(&state); /* many are equal */
                bias[e] = next(&state) / 8;
            }
            check_route(kernels, &shape, logits, kind & 4 ? bias : NULL);
        }
    }
}

static void test_what_is_not_finite(const rbe_kernels *kernels)
{
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const rbe__experts_shape shape = {.n = 4, .n_used = 2, .scale = 1.0f};
        float logits[4] = {1, 2, 3, 4}, bias[4] = {0, 0, 0, 0};
        routed found;
        bias[2] = bad[i];
        CHECK(!route(kernels, &shape, logits, bias, &found), "a bias of %g", bad[i]);
        logits[1] = bad[i];
        CHECK(!route(kernels, &shape, logits, NULL, &found), "a logit of %g", bad[i]);
    }
}

/* A bias alone may choose experts whose scores are next to nothing. */
static void test_scores_of_nothing(const rbe_kernels *kernels)
{
    const rbe__experts_shape shape = {.n = 3, .n_used = 2, .normalizes = 1, .scale = 1.0f};
    const float logits[3] = {500, -500, -500}, bias[3] = {-5, 5, 5};
    routed found;
    CHECK(route(kernels, &shape, logits, bias, &found) && found.chosen[0] == 1 && found.chosen[1] == 2, "the bias chooses");
    CHECK(isfinite(found.weights[0]) && isfinite(found.weights[1]), "%g %g", found.weights[0], found.weights[1]);
}

/* d_logits against differences of rbe__route, whose choice a step of a logit does not change. */
static void check_gradient(const rbe_kernels *kernels, const rbe__experts_shape *shape, const float *logits, const float *bias)
{
    const float d_weights[2] = {.75f, -2.0f}, step = 1.0f / 64;
    float d_logits[4];
    routed found;
    CHECK(route(kernels, shape, logits, bias, &found), "finite logits are refused");
    rbe__scores_backward(shape, found.scores, found.chosen, d_weights, d_logits);
    for (uint32_t e = 0; e < shape->n; e++) {
        double values[2] = {0, 0}, size = 0;
        for (int side = 0; side < 2; side++) {
            float moved[4];
            routed other;
            memcpy(moved, logits, sizeof moved);
            moved[e] += side ? step : -step;
            CHECK(route(kernels, shape, moved, bias, &other) && other.chosen[0] == found.chosen[0], "the choice stays");
            for (uint32_t i = 0; i < shape->n_used; i++) {
                values[side] += (double)d_weights[i] * (double)other.weights[i];
                size += fabs((double)d_weights[i] * (double)other.weights[i]);
            }
        }
        const double difference = (values[1] - values[0]) / (2.0 * (double)step);
        CHECK(fabs((double)d_logits[e] - difference) <= 1e-3 * size, "%s: expert %u: gradient %g, difference %g", kernels->name, e,
              (double)d_logits[e], difference);
    }
}

static void test_gradients(const rbe_kernels *kernels)
{
    const float bias[4] = {0, 5, 9, 0}, logits[4] = {-1.5f, .25f, 1, .5f}, low[4] = {-51, -50.5f, -50, -52};
    for (uint32_t kind = 0; kind < 4; kind++) {
        const rbe__experts_shape shape = {
            .n = 4, .n_used = 2, .score = kind & 1 ? RBE_SCORE_SIGMOID : RBE_SCORE_SOFTMAX, .normalizes = kind & 2 ? 1 : 0, .scale = 2.5f};
        check_gradient(kernels, &shape, logits, bias);
        check_gradient(kernels, &shape, low, bias); /* sigmoids below what scores are divided by at least */
    }
}

/* Sets do the same, bit for bit. */
static void test_sets(void)
{
    rbe_kernels scalar, kernels;
    const char *name;
    CHECK(rbe__kernels_select("scalar", &scalar) == 0, "no scalar kernels");
    for (uint32_t i = 0; (name = rbe_kernel_set_name(i)) != NULL; i++) {
        if (rbe__kernels_select(name, &kernels) != 0) {
            continue;
        }
        test_routes(&kernels);
        test_what_is_not_finite(&kernels);
        test_scores_of_nothing(&kernels);
        test_gradients(&kernels);
        uint32_t state = 3;
        for (uint32_t turn = 0; turn < 200; turn++) {
            const rbe__experts_shape shape = {
                .n = MOST, .n_used = 8, .score = turn % 2 ? RBE_SCORE_SIGMOID : RBE_SCORE_SOFTMAX, .scale = 1.0f};
            float logits[MOST];
            routed one, other;
            for (uint32_t e = 0; e < MOST; e++) {
                logits[e] = 4 * next(&state);
            }
            CHECK(route(&scalar, &shape, logits, NULL, &one) && route(&kernels, &shape, logits, NULL, &other), "not routed");
            for (uint32_t e = 0; e < shape.n_used; e++) {
                CHECK(one.chosen[e] == other.chosen[e] && one.weights[e] == other.weights[e], "%s: expert %u", kernels.name, e);
            }
        }
    }
}

/* What the list of experts holds is seen by what it announces: nothing of those that are in memory. */
static void test_pages(void)
{
    rbe__mapped_file file;
    CHECK(rbe__map_file(RBE_GOLDEN_DIR "/v3/experts.rbe", &file) == RBE_OK, "%s", rbe_last_error());
    rbe__expert_area *areas = calloc(4, sizeof *areas);
    for (uint32_t e = 0; e < 4; e++) {
        areas[e] = (rbe__expert_area){e * 4096ull, 4096};
    }
    rbe__expert_pages *pages = NULL;
    CHECK(rbe__expert_pages_create(&file, areas, 4, 2 * 4096, &pages) == RBE_OK, "%s", rbe_last_error());
    rbe__expert_pages_use(pages, 0, 5);
    rbe__expert_pages_use(pages, 1, 1);
    CHECK(rbe__expert_pages_holds(pages, 0) && rbe__expert_pages_holds(pages, 1), "two fit");
    rbe__expert_pages_use(pages, 2, 2); /* in the place of what was used least */
    CHECK(rbe__expert_pages_holds(pages, 0) && !rbe__expert_pages_holds(pages, 1) && rbe__expert_pages_holds(pages, 2), "1 goes");
    rbe__expert_pages_use(pages, 3, 1);
    CHECK(rbe__expert_pages_holds(pages, 0) && rbe__expert_pages_holds(pages, 3) && !rbe__expert_pages_holds(pages, 2), "2 goes");
    for (uint32_t i = 0; i < 4000; i++) { /* what was used long ago is forgotten */
        rbe__expert_pages_use(pages, 1 + i % 2, 1);
    }
    CHECK(rbe__expert_pages_holds(pages, 1) && rbe__expert_pages_holds(pages, 2), "0 was used long ago");
    rbe__expert_pages_expect(pages, 0);
    CHECK(!rbe__expert_pages_holds(pages, 0), "announced, and not yet used");
    rbe__expert_pages_free(pages);
    rbe__unmap_file(&file);
}

int main(void)
{
    test_sets();
    test_pages();
    return check_finish();
}
