/* Sampling against its definition: which tokens may come, how often, and that a seed decides. */
#include <math.h>

#include "check.h"
#include "rbe/rbe.h"
#include "rbe/sampling.h"

#define N 6u
static const float logits[N] = {1.0f, 3.0f, 2.0f, -1.0f, 0.0f, 2.5f}; /* order of likelihood: 1 5 2 0 4 3 */

/* Counts of many draws; remembers nothing between draws unless `accept`. */
static void count_draws(rbe_sampling_options options, const float *values, uint32_t n_draws, uint32_t counts[N])
{
    rbe_sampler *sampler;
    options.struct_bytes = sizeof options;
    for (uint32_t i = 0; i < N; i++) {
        counts[i] = 0;
    }
    CHECK(rbe_sampler_create(N, &options, &sampler) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t i = 0; i < n_draws; i++) {
        uint32_t token;
        CHECK(rbe_sampler_draw(sampler, values, &token) == RBE_OK && token < N, "draw failed");
        counts[token]++;
    }
    rbe_sampler_free(sampler);
}

static void check_frequencies(void)
{
    enum { DRAWS = 40000 };
    uint32_t counts[N];
    count_draws((rbe_sampling_options){.temperature = 0.7f, .seed = 7}, logits, DRAWS, counts);
    double total = 0;
    for (uint32_t i = 0; i < N; i++) {
        total += exp((double)logits[i] / 0.7);
    }
    for (uint32_t i = 0; i < N; i++) {
        double p = exp((double)logits[i] / 0.7) / total, expected = DRAWS * p;
        /* five standard deviations of a binomial count */
        CHECK(fabs(counts[i] - expected) <= 5 * sqrt(expected * (1 - p)) + 1, "token %u came %u times, expected %.0f", i, counts[i],
              expected);
    }
}

static void check_support(const char *what, rbe_sampling_options options, const int may[N])
{
    uint32_t counts[N];
    options.temperature = 2.0f;
    count_draws(options, logits, 20000, counts);
    for (uint32_t i = 0; i < N; i++) {
        CHECK((counts[i] > 0) == may[i], "%s: token %u came %u times", what, i, counts[i]);
    }
}

static void check_seed(void)
{
    uint32_t first[64], token;
    for (int round = 0; round < 3; round++) {
        rbe_sampling_options options = {.struct_bytes = sizeof options, .temperature = 1, .seed = round == 2 ? 6 : 5};
        rbe_sampler *sampler;
        int same = 1;
        CHECK(rbe_sampler_create(N, &options, &sampler) == RBE_OK, "create");
        for (int i = 0; i < 64; i++) {
            CHECK(rbe_sampler_draw(sampler, logits, &token) == RBE_OK, "draw");
            if (round == 0) {
                first[i] = token;
            }
            same &= first[i] == token;
        }
        rbe_sampler_free(sampler);
        CHECK(same == (round < 2), "round %d", round);
    }
}

static void check_penalty(void)
{
    rbe_sampling_options options = {.struct_bytes = sizeof options, .repeat_penalty = 2, .repeat_last = 2};
    rbe_sampler *sampler;
    uint32_t token = 99;
    CHECK(rbe_sampler_create(N, &options, &sampler) == RBE_OK, "create");
    CHECK(rbe_sampler_draw(sampler, logits, &token) == RBE_OK && token == 1, "the best is 1, got %u", token);
    CHECK(rbe_sampler_accept(sampler, 1) == RBE_OK && rbe_sampler_accept(sampler, 1) == RBE_OK, "accept");
    CHECK(rbe_sampler_draw(sampler, logits, &token) == RBE_OK && token == 5, "1 halves to 1.5, once: the best is 5, got %u", token);
    CHECK(rbe_sampler_accept(sampler, 5) == RBE_OK, "accept");
    CHECK(rbe_sampler_draw(sampler, logits, &token) == RBE_OK && token == 2, "the best is 2, got %u", token);
    CHECK(rbe_sampler_accept(sampler, 2) == RBE_OK, "accept");
    CHECK(rbe_sampler_draw(sampler, logits, &token) == RBE_OK && token == 1, "1 is out of the window: got %u", token);
    rbe_sampler_free(sampler);
}

static uint32_t best(rbe_sampler *sampler)
{
    uint32_t token = 99;
    CHECK(rbe_sampler_draw(sampler, logits, &token) == RBE_OK, "%s", rbe_last_error());
    return token;
}

/* Of the answer alone, and all of it, whatever the window of the repetition penalty. */
static void check_answer_penalties(void)
{
    rbe_sampling_options options = {.struct_bytes = sizeof options, .repeat_last = 1};
    rbe_sampler *sampler;
    CHECK(rbe_sampler_create(N, &options, &sampler) == RBE_OK, "create");
    CHECK(rbe_sampler_accept(sampler, 1) == RBE_OK, "a token of the prompt");
    CHECK(rbe_sampler_penalize(sampler, 0.25f, 0.5f) == RBE_OK && best(sampler) == 1, "the prompt does not count");
    CHECK(rbe_sampler_accept(sampler, 1) == RBE_OK && best(sampler) == 5, "1: 3 - .25 - .5 is below 2.5 of 5");
    CHECK(rbe_sampler_accept(sampler, 5) == RBE_OK && best(sampler) == 1, "1: 2.25, 5: 1.75");
    CHECK(rbe_sampler_accept(sampler, 1) == RBE_OK && best(sampler) == 2, "1: 3 - .25 - 2 * .5 = 1.75; 2 has 2");
    CHECK(rbe_sampler_penalize(sampler, 0.25f, 0) == RBE_OK && best(sampler) == 1, "what was counted is forgotten");
    for (int i = 0; i < 3; i++) {
        CHECK(rbe_sampler_accept(sampler, 1) == RBE_OK && best(sampler) == 1, "presence counts once: 2.75");
    }
    CHECK(rbe_sampler_penalize(sampler, -1, 0) == RBE_OK && rbe_sampler_accept(sampler, 2) == RBE_OK, "penalize");
    CHECK(best(sampler) == 1 && rbe_sampler_accept(sampler, 5) == RBE_OK && best(sampler) == 5, "a negative one favours: 5 has 3.5");
    CHECK(rbe_sampler_penalize(sampler, 0, 0) == RBE_OK && best(sampler) == 1, "off");
    CHECK(rbe_sampler_penalize(sampler, NAN, 0) == RBE_ERROR_ARGUMENT && rbe_sampler_penalize(sampler, 0, 101) == RBE_ERROR_ARGUMENT &&
              rbe_sampler_penalize(NULL, 0, 0) == RBE_ERROR_ARGUMENT,
          "out of range");
    rbe_sampler_free(sampler);
}

static void check_biases(void)
{
    rbe_sampling_options options = {.struct_bytes = sizeof options, .temperature = 2};
    const uint32_t tokens[] = {3, 1, 3, 0};
    const float biases[] = {6, -INFINITY, 4, -1e30f};
    uint32_t token;
    rbe_sampler *sampler;
    CHECK(rbe_sampler_create(N, &options, &sampler) == RBE_OK, "create");
    CHECK(rbe_sampler_bias(sampler, tokens, biases, 4) == RBE_OK, "%s", rbe_last_error());
    uint32_t counts[N] = {0};
    for (int i = 0; i < 20000; i++) {
        CHECK(rbe_sampler_draw(sampler, logits, &token) == RBE_OK && token < N, "draw");
        counts[token]++;
    }
    /* 3 has -1 + 6 + 4 = 9, twice: e^(9/2) against e^(2.5/2) + e^(2/2) + e^0 is .928 */
    CHECK(counts[1] == 0 && counts[0] == 0 && counts[3] > 18400 && counts[3] < 18720 && counts[5] > 0, "3 came %u times", counts[3]);
    CHECK(rbe_sampler_bias(sampler, tokens, biases, N + 1) == RBE_ERROR_ARGUMENT, "more than tokens");
    CHECK(rbe_sampler_bias(sampler, (const uint32_t[]){N}, biases, 1) == RBE_ERROR_ARGUMENT, "no such token");
    CHECK(rbe_sampler_bias(sampler, tokens, (const float[]){NAN}, 1) == RBE_ERROR_ARGUMENT, "NaN");
    CHECK(rbe_sampler_bias(sampler, tokens, (const float[]){INFINITY}, 1) == RBE_ERROR_ARGUMENT, "infinity");
    CHECK(rbe_sampler_bias(sampler, NULL, NULL, 1) == RBE_ERROR_ARGUMENT, "NULL");
    CHECK(rbe_sampler_draw(sampler, logits, &token) == RBE_OK && token != 1 && token != 0, "a refused call changes nothing");
    const uint32_t all[N] = {0, 1, 2, 3, 4, 5};
    const float never[N] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
    CHECK(rbe_sampler_bias(sampler, all, never, N) == RBE_OK, "all");
    CHECK(rbe_sampler_draw(sampler, logits, &token) == RBE_ERROR_ARGUMENT, "nothing is left");
    CHECK(rbe_sampler_bias(sampler, NULL, NULL, 0) == RBE_OK && rbe_sampler_draw(sampler, logits, &token) == RBE_OK, "off");
    rbe_sampler_free(sampler);
    CHECK(rbe_generation_sampler(NULL) == NULL, "no generation");
}

static void check_bad_input(void)
{
    static const float nothing[N] = {NAN, -INFINITY, INFINITY, NAN, NAN, NAN};
    static const float some[N] = {NAN, -INFINITY, INFINITY, NAN, -5.0f, NAN};
    rbe_sampling_options options = {.struct_bytes = sizeof options, .temperature = 1};
    rbe_sampler *sampler;
    uint32_t token = 0;
    CHECK(rbe_sampler_create(N, &options, &sampler) == RBE_OK, "create");
    CHECK(rbe_sampler_draw(sampler, nothing, &token) == RBE_ERROR_ARGUMENT, "nothing to draw from");
    CHECK(rbe_sampler_draw(sampler, some, &token) == RBE_OK && token == 4, "only 4 is finite");
    CHECK(rbe_sampler_draw(sampler, NULL, &token) == RBE_ERROR_ARGUMENT, "no logits");
    CHECK(rbe_sampler_accept(sampler, N) == RBE_ERROR_ARGUMENT, "no such token");
    rbe_sampler_free(sampler);
    options.temperature = NAN;
    CHECK(rbe_sampler_create(N, &options, &sampler) == RBE_ERROR_ARGUMENT && !sampler, "temperature NaN");
    options.temperature = 1;
    options.top_p = 1.5f;
    CHECK(rbe_sampler_create(N, &options, &sampler) == RBE_ERROR_ARGUMENT && !sampler, "top_p 1.5");
    options.struct_bytes = 3;
    CHECK(rbe_sampler_create(N, &options, &sampler) == RBE_ERROR_ARGUMENT && !sampler, "struct_bytes 3");
}

int main(void)
{
    uint32_t counts[N];
    count_draws((rbe_sampling_options){.temperature = 0}, logits, 100, counts);
    CHECK(counts[1] == 100, "temperature 0 takes the best");
    check_frequencies();
    check_support("top-k 2", (rbe_sampling_options){.top_k = 2}, (const int[N]){0, 1, 0, 0, 0, 1});
    check_support("top-k 99", (rbe_sampling_options){.top_k = 99}, (const int[N]){1, 1, 1, 1, 1, 1});
    /* at temperature 2 the probabilities are .118 .321 .195 .043 .072 .250 */
    check_support("top-p 0.6", (rbe_sampling_options){.top_p = 0.6f}, (const int[N]){0, 1, 1, 0, 0, 1});
    check_support("top-p 0.1", (rbe_sampling_options){.top_p = 0.1f}, (const int[N]){0, 1, 0, 0, 0, 0});
    check_support("top-k 3 and top-p 0.6", (rbe_sampling_options){.top_k = 3, .top_p = 0.6f}, (const int[N]){0, 1, 0, 0, 0, 1});
    /* weights against the best: e^((l - 3) / 2): 1 .779 .607 .368 .223 .135 */
    check_support("min-p 0.3", (rbe_sampling_options){.min_p = 0.3f}, (const int[N]){1, 1, 1, 0, 0, 1});
    check_seed();
    check_penalty();
    check_answer_penalties();
    check_biases();
    check_bad_input();
    return check_finish();
}
