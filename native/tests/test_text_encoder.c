/* Texts through the golden encoders: the same bits alone and in company, in passes of any size, with any number of threads and through every
 * kernel set; what is refused, and what a cancelled call leaves. Their digests are those in tests/golden/answers/encoders.txt, so that
 * machines that never meet are compared.
 *
 *     test_text_encoder            compares
 *     test_text_encoder --print    prints the lines of encoders.txt */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "rbe/encoder.h"
#include "rbe/fit.h"

enum { N_TEXTS = 9, MOST_TOKENS = 192, N_PLACES = 5 };

static const size_t lengths[N_TEXTS] = {12, 1, 64, 65, 3, 192, 130, 2, 12};
static const uint32_t places[N_PLACES] = {0, 7, 7, 11, 3};
static const char *const names[] = {"encoder", "encoder_modern"};

typedef struct subject {
    const char *name, *set;
    char path[512];
    rbe_model *model;
    rbe_model_info info;
    rbe_encoder_info about;
    uint32_t tokens[N_TEXTS][MOST_TOKENS];
    uint8_t segments[MOST_TOKENS];
    rbe_encoder_text texts[N_TEXTS];
    size_t n_hidden, n_words; /* numbers of all texts */
} subject;

/* What an encoder gives for all texts: hidden states, pooled vectors, logits of places of the first text. */
typedef struct results {
    float *hidden, *pooled, *words;
} results;

static subject open_subject(const char *name, const char *set)
{
    subject s = {.name = name, .set = set, .info = {.struct_bytes = sizeof s.info}, .about = {.struct_bytes = sizeof s.about}};
    const rbe_model_options options = {.struct_bytes = sizeof options, .kernel_set = set};
    snprintf(s.path, sizeof s.path, "%s/v3/%s.rbe", RBE_GOLDEN_DIR, name);
    CHECK(rbe_model_open(s.path, &options, &s.model) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_model_get_info(s.model, &s.info) == RBE_OK && rbe_model_get_encoder_info(s.model, &s.about) == RBE_OK, "%s",
          rbe_last_error());
    return s;
}

/* The texts refer to the subject, which must stay where it is. */
static void make_texts(subject *s)
{
    for (uint32_t i = 0; i < MOST_TOKENS; i++) {
        s->segments[i] = (uint8_t)(s->about.n_segments > 1 && i >= 8);
    }
    for (uint32_t t = 0; t < N_TEXTS; t++) {
        for (uint32_t i = 0; i < lengths[t]; i++) {
            s->tokens[t][i] = (i * i * 7 + 3 * i + t) % s->info.n_vocabulary;
        }
        s->texts[t] = (rbe_encoder_text){s->tokens[t], t % 2 ? s->segments : NULL, lengths[t]};
        s->n_hidden += lengths[t] * s->info.width;
    }
    s->n_words = s->about.has_word_head ? (size_t)N_PLACES * s->info.n_vocabulary : 0;
}

static rbe_encoder *make_encoder(const subject *s, uint32_t n_threads, uint32_t pass_tokens)
{
    const rbe_encoder_options options = {.struct_bytes = sizeof options, .n_threads = n_threads, .pass_tokens = pass_tokens};
    rbe_encoder *encoder = NULL;
    CHECK(rbe_encoder_create(s->model, &options, &encoder) == RBE_OK, "%s", rbe_last_error());
    return encoder;
}

static results take_results(const subject *s)
{
    return (results){malloc(s->n_hidden * sizeof(float)), malloc((size_t)N_TEXTS * s->about.n_pooled * sizeof(float)),
                     malloc((s->n_words + 1) * sizeof(float))};
}

static void free_results(results *r)
{
    free(r->hidden);
    free(r->pooled);
    free(r->words);
}

/* at_once: texts of one call. */
static results run(const subject *s, rbe_encoder *encoder, size_t at_once)
{
    results r = take_results(s);
    float *hidden = r.hidden;
    for (size_t first = 0; first < N_TEXTS; first += at_once) {
        const size_t n = N_TEXTS - first < at_once ? N_TEXTS - first : at_once;
        CHECK(rbe_encoder_hidden(encoder, s->texts + first, n, hidden, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        CHECK(rbe_encoder_pool(encoder, s->texts + first, n, r.pooled + first * s->about.n_pooled, NULL, NULL) == RBE_OK, "%s",
              rbe_last_error());
        for (size_t i = first; i < first + n; i++) {
            hidden += lengths[i] * s->info.width;
        }
    }
    if (s->n_words) {
        CHECK(rbe_encoder_word_logits(encoder, &s->texts[0], places, N_PLACES, r.words) == RBE_OK, "%s", rbe_last_error());
    }
    return r;
}

static int same(const subject *s, const results *a, const results *b)
{
    return memcmp(a->hidden, b->hidden, s->n_hidden * sizeof(float)) == 0 &&
           memcmp(a->pooled, b->pooled, (size_t)N_TEXTS * s->about.n_pooled * sizeof(float)) == 0 &&
           memcmp(a->words, b->words, s->n_words * sizeof(float)) == 0;
}

static void check_company(const subject *s, const results *alone)
{
    static const uint32_t ways[][3] = {/* threads, tokens of a pass, texts of a call */
                                       {1, 512, N_TEXTS},
                                       {2, 128, N_TEXTS},
                                       {3, 64, 4},
                                       {2, 7, N_TEXTS},
                                       {1, 1, N_TEXTS}};
    for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++) {
        rbe_encoder *encoder = make_encoder(s, ways[w][0], ways[w][1]);
        results r = run(s, encoder, ways[w][2]);
        CHECK(same(s, alone, &r), "%s %s: differs with %u threads and passes of %u tokens", s->name, s->set, ways[w][0], ways[w][1]);
        free_results(&r);
        rbe_encoder_free(encoder);
    }
}

static unsigned long long digest_of(const float *values, size_t n)
{
    unsigned long long digest = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < n * sizeof *values; i++) {
        digest = (digest ^ ((const unsigned char *)values)[i]) * 0x100000001b3u;
    }
    return digest;
}

/* Of the digests of a line of encoders.txt; 0 where there is none. */
static int read_digests(const char *name, unsigned long long found[3])
{
    FILE *file = fopen(RBE_GOLDEN_DIR "/answers/encoders.txt", "r");
    char line[64];
    int known = 0;
    while (file && !known && fscanf(file, "%63s %llx %llx %llx", line, &found[0], &found[1], &found[2]) == 4) { /* NOLINT(cert-err34-c) */
        known = strcmp(line, name) == 0;
    }
    if (file) {
        fclose(file);
    }
    return known;
}

static void check_digests(const subject *s, const results *r, int print)
{
    const unsigned long long found[3] = {digest_of(r->hidden, s->n_hidden), digest_of(r->pooled, (size_t)N_TEXTS * s->about.n_pooled),
                                         digest_of(r->words, s->n_words)};
    unsigned long long golden[3];
    if (print) {
        printf("%s %016llx %016llx %016llx\n", s->name, found[0], found[1], found[2]);
        return;
    }
    CHECK(read_digests(s->name, golden) && memcmp(found, golden, sizeof found) == 0,
          "%s %s: %016llx %016llx %016llx are not the golden digests", s->name, s->set, found[0], found[1], found[2]);
}

static void check_refused(const subject *s)
{
    rbe_encoder *encoder = make_encoder(s, 1, 16);
    uint32_t wrong_tokens[MOST_TOKENS + 1] = {s->info.n_vocabulary};
    const uint8_t wrong_segments[1] = {2};
    float *out = malloc((MOST_TOKENS + 1) * (size_t)(s->info.width + s->info.n_vocabulary) * sizeof *out);
    const struct {
        rbe_encoder_text text;
        rbe_status status;
        const char *said;
    } cases[] = {{{wrong_tokens, NULL, 1}, RBE_ERROR_ARGUMENT, "text 1: token"},
                 {{s->tokens[0], NULL, 0}, RBE_ERROR_ARGUMENT, "text 1 has no tokens"},
                 {{NULL, NULL, 4}, RBE_ERROR_ARGUMENT, "text 1 has no tokens"},
                 {{s->tokens[0], wrong_segments, 1}, RBE_ERROR_ARGUMENT, "text 1: segment 2"},
                 {{wrong_tokens, NULL, MOST_TOKENS + 1}, RBE_ERROR_CONTEXT, "text 1 has 193 tokens, and the model takes at most 192"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const rbe_encoder_text texts[] = {s->texts[0], cases[i].text};
        CHECK(rbe_encoder_hidden(encoder, texts, 2, out, NULL, NULL) == cases[i].status && strstr(rbe_last_error(), cases[i].said), "%s",
              rbe_last_error());
    }
    CHECK(rbe_encoder_hidden(encoder, NULL, 0, NULL, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_encoder_pool(NULL, s->texts, 1, out, NULL, NULL) == RBE_ERROR_ARGUMENT, "no encoder");
    const uint32_t beyond = (uint32_t)lengths[0];
    const rbe_status words = rbe_encoder_word_logits(encoder, &s->texts[0], &beyond, 1, out);
    CHECK(words == (s->about.has_word_head ? RBE_ERROR_ARGUMENT : RBE_ERROR_UNSUPPORTED), "%s", rbe_last_error());
    free(out);
    rbe_encoder_free(encoder);
    const rbe_encoder_options wrong[] = {{.struct_bytes = sizeof *wrong, .n_threads = 65},
                                         {.struct_bytes = sizeof *wrong, .pass_tokens = 513},
                                         {.struct_bytes = sizeof *wrong, .pooling = 5},
                                         {.struct_bytes = sizeof *wrong, .n_planes = 5}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK(rbe_encoder_create(s->model, &wrong[i], &encoder) == RBE_ERROR_ARGUMENT && encoder == NULL, "options %zu", i);
    }
}

/* An encoder has no context: nothing of a session that would write into one. */
static void check_sessions(const subject *s)
{
    const rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = 64, .n_threads = 1, .pass_tokens = 64};
    rbe_session *session = NULL, *other = NULL;
    rbe_batch *batch = NULL;
    CHECK(rbe_session_create(s->model, &options, &session) == RBE_OK && rbe_session_create(s->model, &options, &other) == RBE_OK, "%s",
          rbe_last_error());
    const rbe_status statuses[] = {
        rbe_session_append(session, s->tokens[0], 2, NULL, NULL), rbe_session_score(session, s->tokens[0], 2, NULL, NULL, NULL, NULL),
        rbe_session_save(session, "/tmp/rbe-encoder-state"), rbe_session_copy(session, other, 0), rbe_batch_create(s->model, NULL, &batch)};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        CHECK(statuses[i] == RBE_ERROR_UNSUPPORTED, "call %zu: %d", i, (int)statuses[i]);
    }
    CHECK(strstr(rbe_last_error(), "is an encoder, which writes no text"), "%s", rbe_last_error());
    rbe_session_free(session);
    rbe_session_free(other);
}

/* The estimate of memory: no cache, and what a text of so many tokens takes, which arenas are rounded up from. */
static void check_fit(const subject *s)
{
    enum { SMALL_PASS = 16 };
    const rbe_session_options session = {
        .struct_bytes = sizeof session, .context_tokens = MOST_TOKENS, .n_threads = 1, .pass_tokens = SMALL_PASS};
    const rbe_fit_options options = {.struct_bytes = sizeof options, .session = &session};
    rbe_fit fit = {.struct_bytes = sizeof fit};
    rbe_fit_advice advice = {.struct_bytes = sizeof advice};
    rbe_model_memory memory = {.struct_bytes = sizeof memory};
    float *hidden = malloc((size_t)MOST_TOKENS * s->info.width * sizeof *hidden);
    const rbe_encoder_text text = {s->tokens[5], NULL, MOST_TOKENS};
    rbe_encoder *encoder = make_encoder(s, 1, SMALL_PASS);
    CHECK(rbe_fit_file(s->path, &options, &fit) == RBE_OK && fit.kv_bytes == 0 && fit.context_tokens == MOST_TOKENS, "%s",
          rbe_last_error());
    CHECK(rbe_encoder_hidden(encoder, &text, 1, hidden, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_model_get_memory(s->model, &memory) == RBE_OK && memory.sessions_peak >= fit.pass_bytes &&
              2 * memory.sessions_peak <= 3 * fit.pass_bytes + 8192,
          "%s: %llu bytes were taken, %llu foreseen", s->name, (unsigned long long)memory.sessions_peak,
          (unsigned long long)fit.pass_bytes);
    CHECK(rbe_fit_advise(s->path, &options, fit.total - 1, &advice) == RBE_OK && !advice.fits && advice.kv_type == 0, "no cache to round");
    rbe_encoder_free(encoder);
    free(hidden);
}

static int stop(uint64_t done, uint64_t total, void *user)
{
    uint64_t *calls = user;
    return done > total || --*calls == 0;
}

/* However far it came, the next call gives what it always gives. */
static void check_cancelled(const subject *s, const results *alone)
{
    rbe_encoder *encoder = make_encoder(s, 2, 64);
    results r = take_results(s);
    for (uint64_t calls = 1; calls < 8; calls++) {
        uint64_t left = calls;
        CHECK(rbe_encoder_hidden(encoder, s->texts, N_TEXTS, r.hidden, stop, &left) == RBE_ERROR_CANCELLED, "call %d", (int)calls);
    }
    rbe_encoder_cancel(encoder);
    CHECK(rbe_encoder_pool(encoder, s->texts, N_TEXTS, r.pooled, NULL, NULL) == RBE_ERROR_CANCELLED, "cancelled before");
    rbe_encoder_cancel(encoder);
    rbe_encoder_uncancel(encoder);
    free_results(&r);
    r = run(s, encoder, N_TEXTS);
    CHECK(same(s, alone, &r), "%s: differs behind a call that was cancelled", s->name);
    free_results(&r);
    rbe_encoder_free(encoder);
}

int main(int argc, char **argv)
{
    const int print = argc == 2 && strcmp(argv[1], "--print") == 0;
    const char *set;
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        for (uint32_t i = 0; (set = rbe_kernel_set_name(i)) != NULL && !(print && i); i++) {
            if (!rbe_kernel_set_available(set)) {
                continue;
            }
            subject s = open_subject(names[n], set);
            make_texts(&s);
            if (!print) {
                check_fit(&s); /* before anything else takes memory */
            }
            rbe_encoder *encoder = make_encoder(&s, 1, 512);
            results alone = run(&s, encoder, 1);
            rbe_encoder_free(encoder);
            check_digests(&s, &alone, print);
            if (!print) {
                check_company(&s, &alone);
                check_refused(&s);
                check_sessions(&s);
                check_cancelled(&s, &alone);
            }
            free_results(&alone);
            rbe_model_close(s.model);
        }
    }
    return print ? check_failures != 0 : check_finish();
}
