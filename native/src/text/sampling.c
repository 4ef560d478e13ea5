#include "text/sampling.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/elementary.h"
#include "base/random.h"
#include "base/status.h"
#include "rbe/sampling.h"

#define DEFAULT_REPEAT_LAST 64u
#define MAX_REPEAT_LAST 65536u
#define MAX_PENALTY 100.0f

typedef struct candidate {
    float logit;
    uint32_t token;
} candidate;

struct rbe_sampler {
    rbe_sampling_options options;
    uint32_t n_vocabulary;
    uint64_t state;       /* of splitmix64 */
    candidate *candidates; /* [n_vocabulary] */
    double *weights;       /* [n_vocabulary]: exp(logit - most) of the candidates that are left */
    uint32_t *penalized;   /* [n_vocabulary]: the draw in which the token was penalised last, so that it is once */
    uint32_t draw;
    uint32_t *recent;      /* ring of repeat_last tokens */
    uint32_t n_recent, next_recent;
    float presence, frequency; /* penalties */
    uint32_t *counts;          /* [n_vocabulary]: times that a token was accepted since they are; NULL without them */
    size_t n_biases;
    uint32_t *biased; /* [n_biases] */
    float *biases;    /* [n_biases] */
};

static rbe_status check_options(const rbe_sampling_options *options)
{
    const char *wrong = !(options->temperature >= 0 && options->temperature <= 100)         ? "temperature must be 0 to 100"
                        : !(options->top_p >= 0 && options->top_p <= 1)                     ? "top_p must be 0 to 1"
                        : !(options->min_p >= 0 && options->min_p <= 1)                     ? "min_p must be 0 to 1"
                        : !(options->repeat_penalty >= 0 && options->repeat_penalty <= 100) ? "repeat_penalty must be 0 to 100"
                        : options->repeat_last > MAX_REPEAT_LAST                            ? "repeat_last must be at most 65536"
                                                                                            : NULL;
    return wrong ? rbe_fail(RBE_ERROR_ARGUMENT, "sampling: %s", wrong) : RBE_OK;
}

uint64_t rbe__sampler_bytes(uint32_t n_vocabulary)
{
    const rbe_sampler *sampler = NULL;
    const uint64_t per_token = sizeof *sampler->candidates + sizeof *sampler->weights + sizeof *sampler->penalized;
    return sizeof *sampler + n_vocabulary * per_token + DEFAULT_REPEAT_LAST * sizeof *sampler->recent;
}

rbe_status rbe_sampler_create(uint32_t n_vocabulary, const rbe_sampling_options *options, rbe_sampler **out)
{
    if (!out || n_vocabulary == 0 || n_vocabulary > 1u << 24) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_sampler_create: out is NULL or n_vocabulary not 1 to 2^24");
    }
    *out = NULL;
    rbe_sampling_options chosen = {0};
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    RBE_TRY(check_options(&chosen));
    chosen.repeat_last = chosen.repeat_last ? chosen.repeat_last : DEFAULT_REPEAT_LAST;
    chosen.repeat_penalty = chosen.repeat_penalty != 0 ? chosen.repeat_penalty : 1.0f;
    rbe_sampler *sampler = calloc(1, sizeof *sampler);
    if (!sampler) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a sampler");
    }
    sampler->options = chosen;
    sampler->n_vocabulary = n_vocabulary;
    sampler->state = chosen.seed;
    sampler->candidates = malloc(n_vocabulary * sizeof *sampler->candidates);
    sampler->weights = malloc(n_vocabulary * sizeof *sampler->weights);
    sampler->penalized = calloc(n_vocabulary, sizeof *sampler->penalized);
    sampler->recent = malloc(chosen.repeat_last * sizeof *sampler->recent);
    if (!sampler->candidates || !sampler->weights || !sampler->penalized || !sampler->recent) {
        rbe_sampler_free(sampler);
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a sampler of %u tokens", n_vocabulary);
    }
    *out = sampler;
    return RBE_OK;
}

void rbe_sampler_free(rbe_sampler *sampler)
{
    if (sampler) {
        free(sampler->candidates);
        free(sampler->weights);
        free(sampler->penalized);
        free(sampler->recent);
        free(sampler->counts);
        free(sampler->biased);
        free(sampler->biases);
        free(sampler);
    }
}

uint32_t rbe__sampler_vocabulary(const rbe_sampler *sampler)
{
    return sampler->n_vocabulary;
}

rbe_status rbe_sampler_accept(rbe_sampler *sampler, uint32_t token)
{
    if (!sampler || token >= sampler->n_vocabulary) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_sampler_accept: token %u is not in the vocabulary", token);
    }
    sampler->recent[sampler->next_recent] = token;
    sampler->next_recent = (sampler->next_recent + 1) % sampler->options.repeat_last;
    sampler->n_recent += sampler->n_recent < sampler->options.repeat_last;
    if (sampler->counts) {
        sampler->counts[token]++;
    }
    return RBE_OK;
}

rbe_status rbe_sampler_penalize(rbe_sampler *sampler, float presence, float frequency)
{
    if (!sampler || !(fabsf(presence) <= MAX_PENALTY) || !(fabsf(frequency) <= MAX_PENALTY)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_sampler_penalize: sampler is NULL, or a penalty is not -100 to 100");
    }
    uint32_t *counts = NULL;
    if (presence != 0 || frequency != 0) {
        counts = calloc(sampler->n_vocabulary, sizeof *counts);
        if (!counts) {
            return rbe_fail(RBE_ERROR_MEMORY, "no memory for the penalties of %u tokens", sampler->n_vocabulary);
        }
    }
    free(sampler->counts);
    sampler->counts = counts;
    sampler->presence = presence;
    sampler->frequency = frequency;
    return RBE_OK;
}

rbe_status rbe_sampler_bias(rbe_sampler *sampler, const uint32_t *tokens, const float *biases, size_t n)
{
    if (!sampler || (n && (!tokens || !biases)) || n > sampler->n_vocabulary) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_sampler_bias: an argument is NULL, or there are more biases than tokens");
    }
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] >= sampler->n_vocabulary || !(biases[i] < INFINITY)) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "logit bias: token %u is not in the vocabulary of %u, or its bias is no number", tokens[i],
                            sampler->n_vocabulary);
        }
    }
    uint32_t *biased = n ? malloc(n * sizeof *biased) : NULL;
    float *copied = n ? malloc(n * sizeof *copied) : NULL;
    if (n && (!biased || !copied)) {
        free(biased);
        free(copied);
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for the biases of %zu tokens", n);
    }
    if (n) {
        memcpy(biased, tokens, n * sizeof *biased);
        memcpy(copied, biases, n * sizeof *copied);
    }
    free(sampler->biased);
    free(sampler->biases);
    sampler->biased = biased;
    sampler->biases = copied;
    sampler->n_biases = n;
    return RBE_OK;
}

/* Higher logits first, the lower id where equal, so that the order does not depend on the algorithm. */
static int precedes(const candidate *a, const candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

static void sift_down(candidate *heap, uint32_t n, uint32_t at)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= n) {
            return;
        }
        child += child + 1 < n && precedes(&heap[child + 1], &heap[child]);
        if (!precedes(&heap[child], &heap[at])) {
            return;
        }
        candidate swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
        at = child;
    }
}

/* Moves the best of the heap of n to the place after the heap. After k calls the end of the array holds the best k, best last. */
static void pop_best(candidate *heap, uint32_t n)
{
    candidate best = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = best;
    sift_down(heap, n - 1, 0);
}

/* A. Keskar et al.: "CTRL", 2019, with llama.cpp's rule for negative logits: both signs move towards less likely. */
static void penalize(rbe_sampler *sampler)
{
    float penalty = sampler->options.repeat_penalty;
    if (++sampler->draw == 0) {
        memset(sampler->penalized, 0, sampler->n_vocabulary * sizeof *sampler->penalized);
        sampler->draw = 1;
    }
    for (uint32_t i = 0; i < sampler->n_recent; i++) {
        uint32_t token = sampler->recent[i];
        if (sampler->penalized[token] != sampler->draw) {
            float *logit = &sampler->candidates[token].logit;
            *logit = *logit > 0 ? *logit / penalty : *logit * penalty;
            sampler->penalized[token] = sampler->draw;
        }
    }
}

/* Penalties of the answer's own tokens. The products are rounded alone (-ffp-contract=off), so the bits are the same everywhere. */
static void penalize_answer(rbe_sampler *sampler)
{
    for (uint32_t i = 0; i < sampler->n_vocabulary; i++) {
        if (sampler->counts[i]) {
            sampler->candidates[i].logit -= sampler->presence + sampler->frequency * (float)sampler->counts[i];
        }
    }
}

/* Drops what is not finite; the number left. */
static uint32_t keep_finite(candidate *candidates, uint32_t n)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (isfinite(candidates[i].logit)) {
            candidates[kept++] = candidates[i];
        }
    }
    return kept;
}

static uint32_t best_of(const candidate *candidates, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        best = precedes(&candidates[i], &candidates[best]) ? i : best;
    }
    return best;
}

/* top-k and top-p: leaves the chosen at the front, best first; their number. */
static uint32_t cut_tail(rbe_sampler *sampler, uint32_t n, float most)
{
    const rbe_sampling_options *options = &sampler->options;
    candidate *candidates = sampler->candidates;
    uint32_t limit = options->top_k && options->top_k < n ? options->top_k : n;
    int nucleus = options->top_p > 0 && options->top_p < 1;
    if (limit == n && !nucleus) {
        return n;
    }
    double inverse = 1.0 / (double)options->temperature, total = 0, reached = 0;
    for (uint32_t i = n / 2; i-- > 0;) {
        sift_down(candidates, n, i);
    }
    if (limit < n) {
        for (uint32_t i = 0; i < limit; i++) {
            pop_best(candidates, n - i);
            total += rbe__exp((double)(candidates[n - 1 - i].logit - most) * inverse);
        }
    } else {
        for (uint32_t i = 0; i < n; i++) {
            total += rbe__exp((double)(candidates[i].logit - most) * inverse);
        }
    }
    uint32_t kept = limit;
    for (uint32_t i = 0; nucleus && i < limit; i++) {
        if (limit == n) {
            pop_best(candidates, n - i);
        }
        reached += rbe__exp((double)(candidates[n - 1 - i].logit - most) * inverse);
        if (reached >= (double)options->top_p * total) {
            kept = i + 1;
            break;
        }
    }
    for (uint32_t i = 0; i < n / 2; i++) { /* best first */
        candidate swap = candidates[i];
        candidates[i] = candidates[n - 1 - i];
        candidates[n - 1 - i] = swap;
    }
    return kept;
}

rbe_status rbe_sampler_draw(rbe_sampler *sampler, const float *logits, uint32_t *token)
{
    if (!sampler || !logits || !token) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_sampler_draw: an argument is NULL");
    }
    candidate *candidates = sampler->candidates;
    for (uint32_t i = 0; i < sampler->n_vocabulary; i++) {
        candidates[i] = (candidate){logits[i], i};
    }
    for (size_t i = 0; i < sampler->n_biases; i++) {
        candidates[sampler->biased[i]].logit += sampler->biases[i];
    }
    if (sampler->options.repeat_penalty != 1.0f) {
        penalize(sampler);
    }
    if (sampler->counts) {
        penalize_answer(sampler);
    }
    uint32_t n = keep_finite(candidates, sampler->n_vocabulary);
    if (n == 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, sampler->n_biases ? "the biases, or the caller, exclude every token"
                                                              : "the logits hold no finite value; the model's weights are damaged");
    }
    float most = candidates[best_of(candidates, n)].logit;
    if (sampler->options.temperature == 0) {
        *token = candidates[best_of(candidates, n)].token;
        return RBE_OK;
    }
    n = cut_tail(sampler, n, most);
    double inverse = 1.0 / (double)sampler->options.temperature, total = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        double weight = rbe__exp((double)(candidates[i].logit - most) * inverse);
        if (weight >= (double)sampler->options.min_p) { /* the best one weighs 1 */
            candidates[kept] = candidates[i];
            sampler->weights[kept++] = weight;
            total += weight;
        }
    }
    double left = (double)(rbe__splitmix64(&sampler->state) >> 11) * 0x1p-53 * total;
    uint32_t chosen = 0;
    while (chosen + 1 < kept && left >= sampler->weights[chosen]) {
        left -= sampler->weights[chosen++];
    }
    *token = candidates[chosen].token;
    return RBE_OK;
}
