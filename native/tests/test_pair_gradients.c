/* Gradients of an encoder-decoder, made dense: finite differences of every matrix of both stacks, the same bits whatever threads and kernels, and
 * what is refused. Two texts and their answers at a time, of which the second ones are shorter. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "dense_model.h"
#include "rbe/encoder_decoder.h"
#include "rbe/gradients.h"

#define MODEL RBE_GOLDEN_DIR "/encoder_decoders/t5.rbe"
#define DECODER RBE_GOLDEN_DIR "/v1/half.rbe"
#define N_TEXT 35u
#define TEXT_WINDOW 19u /* one more than a block of 16 keys, and some */
#define N_ANSWER 16u
#define WINDOW 9u
#define MOST_LAYERS 4u

/* A model with gradients of both stacks, and states before and behind their layers; behind the last of the texts their norm. */
typedef struct pair_model {
    dense_model dense;
    rbe_gradients *decoder, *encoder;
    float *texts[MOST_LAYERS + 2], *answers[MOST_LAYERS + 2];
    uint32_t width, n_layers, n_encoder_layers, embedding;
    uint64_t digest; /* of all that was shown */
    float **sums; /* by tensor; NULL: only the digest is wanted */
} pair_model;

static int gather(const rbe_gradient *gradient, void *user)
{
    pair_model *pair = user;
    const size_t n = gradient->n_tokens;
    pair->digest = digest_of(pair->digest, gradient->name, strlen(gradient->name));
    pair->digest = digest_of(pair->digest, gradient->d, sizeof(float) * (gradient->x ? n * gradient->n_rows : gradient->cols));
    if (gradient->x) {
        pair->digest = digest_of(pair->digest, gradient->x, sizeof(float) * n * gradient->cols);
    }
    if (pair->sums && gradient->x) {
        float *sum = pair->sums[tensor_of(pair->dense.model, gradient->name)];
        CHECK(rbe_gradients_add(pair->decoder, gradient->x, gradient->d, n, gradient->n_rows, gradient->cols,
                                sum + (size_t)gradient->first_row * gradient->cols) == RBE_OK,
              "%s", rbe_last_error());
    }
    return 0;
}

static uint32_t token_of(const pair_model *pair, uint32_t place)
{
    return (place * place * 5 + 3 * place + 1) % pair->dense.model->config.n_vocabulary;
}

static uint32_t first_token(int of_answers)
{
    return of_answers ? 50 : 0;
}

static rbe_gradients *open_gradients(const rbe_model *model, uint32_t n_threads, uint32_t encoder)
{
    const rbe_gradients_options options = {
        .struct_bytes = sizeof options, .most_tokens = N_TEXT, .context_tokens = TEXT_WINDOW, .n_threads = n_threads, .encoder = encoder};
    rbe_gradients *found = NULL;
    CHECK(rbe_gradients_create(model, &options, &found) == RBE_OK, "%s", rbe_last_error());
    return found;
}

static pair_model open_pair(const char *kernel_set, uint32_t n_threads)
{
    pair_model pair = {.dense = open_dense(MODEL, kernel_set), .digest = 14695981039346656037u};
    const rbe_model *model = pair.dense.model;
    CHECK(pair.dense.weights && model->stack.n_layers <= MOST_LAYERS && model->encoder.n_layers <= MOST_LAYERS, "%s", rbe_last_error());
    pair.width = model->stack.width;
    pair.n_layers = model->stack.n_layers;
    pair.n_encoder_layers = model->encoder.n_layers;
    pair.embedding = tensor_of(model, "embedding");
    pair.decoder = open_gradients(model, n_threads, 0);
    pair.encoder = open_gradients(model, n_threads, 1);
    for (uint32_t i = 0; i < MOST_LAYERS + 2; i++) {
        pair.texts[i] = malloc(sizeof(float) * N_TEXT * pair.width);
        pair.answers[i] = malloc(sizeof(float) * N_ANSWER * pair.width);
    }
    return pair;
}

static void close_pair(pair_model *pair)
{
    for (uint32_t i = 0; i < MOST_LAYERS + 2; i++) {
        free(pair->texts[i]);
        free(pair->answers[i]);
    }
    rbe_gradients_free(pair->decoder);
    rbe_gradients_free(pair->encoder);
    close_dense(&pair->dense);
}

static void look_up(const pair_model *pair, int of_answers, float *hidden)
{
    for (uint32_t i = 0; i < (of_answers ? N_ANSWER : N_TEXT); i++) {
        const float *row = pair->dense.weights[pair->embedding] + (size_t)token_of(pair, first_token(of_answers) + i) * pair->width;
        memcpy(hidden + (size_t)i * pair->width, row, pair->width * sizeof *row);
    }
}

static rbe_gradients_text text_of(const pair_model *pair, float *d_hidden)
{
    return (rbe_gradients_text){.struct_bytes = sizeof(rbe_gradients_text),
                                .hidden = pair->texts[pair->n_encoder_layers + 1],
                                .d_hidden = d_hidden,
                                .n_tokens = N_TEXT,
                                .window_tokens = TEXT_WINDOW};
}

static void go_forward(pair_model *pair)
{
    look_up(pair, 0, pair->texts[0]);
    for (uint32_t layer = 0; layer <= pair->n_encoder_layers; layer++) {
        memcpy(pair->texts[layer + 1], pair->texts[layer], sizeof(float) * N_TEXT * pair->width);
        CHECK(rbe_gradients_forward(pair->encoder, layer, pair->texts[layer + 1], N_TEXT, TEXT_WINDOW, NULL) == RBE_OK, "%s",
              rbe_last_error());
    }
    const rbe_gradients_text text = text_of(pair, NULL);
    look_up(pair, 1, pair->answers[0]);
    for (uint32_t layer = 0; layer < pair->n_layers; layer++) {
        memcpy(pair->answers[layer + 1], pair->answers[layer], sizeof(float) * N_ANSWER * pair->width);
        CHECK(rbe_gradients_forward(pair->decoder, layer, pair->answers[layer + 1], N_ANSWER, WINDOW, &text) == RBE_OK, "%s",
              rbe_last_error());
    }
}

/* The loss of the answers. back: all the way back too. */
static double run(pair_model *pair, int back)
{
    const size_t n_text = (size_t)N_TEXT * pair->width;
    float *d_answers = malloc(sizeof(float) * N_ANSWER * pair->width), *d_texts = calloc(n_text, sizeof *d_texts);
    double nats[N_ANSWER], loss = 0;
    uint32_t labels[N_ANSWER], tokens[N_TEXT];
    for (uint32_t i = 0; i < N_ANSWER; i++) {
        labels[i] = i % 5 == 4 ? RBE_NO_TOKEN : token_of(pair, 90 + i);
    }
    go_forward(pair);
    CHECK(rbe_gradients_head(pair->decoder, pair->answers[pair->n_layers], N_ANSWER, WINDOW, labels, 0, nats, d_answers,
                             back ? gather : NULL, pair) == RBE_OK,
          "%s", rbe_last_error());
    for (uint32_t i = 0; i < N_ANSWER; i++) {
        loss += nats[i];
    }
    const rbe_gradients_text text = text_of(pair, d_texts);
    for (uint32_t layer = pair->n_layers; back && layer-- > 0;) {
        CHECK(rbe_gradients_cross_layer(pair->decoder, layer, pair->answers[layer], N_ANSWER, WINDOW, &text, d_answers, gather, pair) ==
                  RBE_OK,
              "%s", rbe_last_error());
    }
    pair->digest = digest_of(pair->digest, d_texts, n_text * sizeof *d_texts);
    if (back) {
        CHECK(rbe_gradients_norm(pair->encoder, pair->texts[pair->n_encoder_layers], N_TEXT, TEXT_WINDOW, d_texts, gather, pair) == RBE_OK,
              "%s", rbe_last_error());
    }
    for (uint32_t layer = pair->n_encoder_layers; back && layer-- > 0;) {
        CHECK(rbe_gradients_layer(pair->encoder, layer, pair->texts[layer], N_TEXT, TEXT_WINDOW, d_texts, gather, pair) == RBE_OK, "%s",
              rbe_last_error());
    }
    for (int answers = 0; back && pair->sums && answers < 2; answers++) {
        const uint32_t n = answers ? N_ANSWER : N_TEXT;
        for (uint32_t i = 0; i < n; i++) {
            tokens[i] = token_of(pair, first_token(answers) + i);
        }
        CHECK(rbe_gradients_embedding(answers ? pair->decoder : pair->encoder, tokens, n, WINDOW, answers ? d_answers : d_texts,
                                      pair->sums[pair->embedding], NULL) == RBE_OK,
              "%s", rbe_last_error());
    }
    free(d_answers);
    free(d_texts);
    return loss;
}

/* A step along the gradient of each matrix changes the loss by the gradient's norm. */
static void check_differences(pair_model *pair)
{
    const rbe__pack *pack = &pair->dense.model->pack;
    pair->sums = calloc(pack->n_tensors, sizeof *pair->sums);
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        pair->sums[i] = calloc((size_t)pack->tensors[i].rows * pack->tensors[i].cols, sizeof(float));
    }
    (void)run(pair, 1);
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        const rbe__tensor *tensor = &pack->tensors[i];
        const size_t n = (size_t)tensor->rows * tensor->cols;
        double norm = 0, losses[2];
        for (size_t w = 0; w < n; w++) {
            norm += (double)pair->sums[i][w] * (double)pair->sums[i][w];
        }
        norm = sqrt(norm);
        const int is_table = tensor->name_bytes >= 8 && memcmp(tensor->name + tensor->name_bytes - 8, "relative", 8) == 0;
        CHECK(norm > 0 || is_table || tensor->rows == 1, "%.*s has no gradient", (int)tensor->name_bytes, tensor->name);
        for (int side = 0; norm > 0 && side < 2; side++) {
            const double step = (side ? 1e-2 : -1e-2) / norm;
            for (size_t w = 0; w < n; w++) {
                pair->dense.weights[i][w] += (float)(step * (double)pair->sums[i][w]);
            }
            losses[side] = run(pair, 0);
            for (size_t w = 0; w < n; w++) {
                pair->dense.weights[i][w] -= (float)(step * (double)pair->sums[i][w]);
            }
        }
        CHECK(norm == 0 || fabs((losses[1] - losses[0]) / 2e-2 - norm) < 1e-2 * norm, "%.*s: %g, differences say %g",
              (int)tensor->name_bytes, tensor->name, norm, (losses[1] - losses[0]) / 2e-2);
        free(pair->sums[i]);
    }
    free(pair->sums);
    pair->sums = NULL;
}

static uint64_t digest_with(const char *kernel_set, uint32_t n_threads)
{
    pair_model pair = open_pair(kernel_set, n_threads);
    (void)run(&pair, 1);
    const uint64_t found = pair.digest;
    close_pair(&pair);
    return found;
}

static void check_bits(void)
{
    const uint64_t expected = digest_with("scalar", 1);
    const char *name;
    for (uint32_t i = 0; (name = rbe_kernel_set_name(i)) != NULL; i++) {
        if (rbe_kernel_set_available(name)) {
            CHECK(digest_with(name, 1 + i % 3) == expected, "%s: other bits", name);
        }
    }
    CHECK(digest_with(NULL, 3) == expected, "3 threads: other bits");
}

static void check_refusals(pair_model *pair)
{
    float *d = calloc((size_t)N_TEXT * pair->width, sizeof *d);
    const rbe_gradients_text good = text_of(pair, d);
    rbe_gradients_text bad[6] = {good, good, good, good, good, good};
    bad[0].struct_bytes = 1000;
    bad[1].hidden = NULL;
    bad[2].d_hidden = NULL;
    bad[3].n_tokens = 0;
    bad[4].window_tokens = 10; /* four texts, two answers */
    bad[5].n_tokens = N_TEXT + 1;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const rbe_status found = rbe_gradients_cross_layer(pair->decoder, 0, pair->answers[0], N_ANSWER, WINDOW, &bad[i], d, NULL, NULL);
        CHECK(found == (i == 5 ? RBE_ERROR_CONTEXT : RBE_ERROR_ARGUMENT), "text %zu: %d", i, (int)found);
    }
    CHECK(rbe_gradients_layer(pair->decoder, 0, pair->answers[0], N_ANSWER, WINDOW, d, NULL, NULL) == RBE_ERROR_ARGUMENT, "no text");
    CHECK(rbe_gradients_forward(pair->decoder, 0, d, N_ANSWER, WINDOW, NULL) == RBE_ERROR_ARGUMENT, "no text");
    CHECK(rbe_gradients_cross_layer(pair->encoder, 0, pair->texts[0], N_TEXT, TEXT_WINDOW, &good, d, NULL, NULL) == RBE_ERROR_ARGUMENT,
          "an encoder reads no other text");
    CHECK(rbe_gradients_forward(pair->encoder, pair->n_encoder_layers + 1, d, N_TEXT, TEXT_WINDOW, NULL) == RBE_ERROR_ARGUMENT, "layer");
    CHECK(rbe_gradients_forward(NULL, 0, d, 1, 0, NULL) == RBE_ERROR_ARGUMENT, "NULL");
    uint32_t label = 0;
    CHECK(rbe_gradients_head(pair->encoder, d, 1, 0, &label, 0, NULL, d, NULL, NULL) == RBE_ERROR_UNSUPPORTED, "no head");
    rbe_gradients_cancel(pair->decoder);
    CHECK(rbe_gradients_cross_layer(pair->decoder, 0, pair->answers[0], N_ANSWER, WINDOW, &good, d, NULL, NULL) == RBE_ERROR_CANCELLED,
          "cancelled");
    CHECK(rbe_gradients_cross_layer(pair->decoder, 0, pair->answers[0], N_ANSWER, WINDOW, &good, d, NULL, NULL) == RBE_OK, "%s",
          rbe_last_error());
    free(d);
    dense_model decoder = open_dense(DECODER, NULL);
    const rbe_gradients_options options = {.struct_bytes = sizeof options, .encoder = 1};
    rbe_gradients *none = NULL;
    CHECK(rbe_gradients_create(decoder.model, &options, &none) == RBE_ERROR_ARGUMENT && !none, "a decoder has no encoder");
    close_dense(&decoder);
}

int main(void)
{
    pair_model pair = open_pair(NULL, 2);
    check_differences(&pair);
    check_refusals(&pair);
    close_pair(&pair);
    check_bits();
    return check_finish();
}
