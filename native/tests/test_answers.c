/* One answer on every machine: each golden model, and the demo, through every kernel set of this processor and every kind of
 * KV cache. The logits are those of the first set to the bit, however they are computed, and their digests are those in
 * tests/golden/answers/digests.txt, so that machines that never meet are compared.
 *
 *     test_answers            compares
 *     test_answers --print    prints the lines of digests.txt: model, cache, and digests of the logits, of those behind a slide, and of
 *                             tokens that are drawn */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "golden_files.h"
#include "rbe/rbe.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

enum { N_TOKENS = 24, N_KV_TYPES = 4, SLID_CONTEXT = 10, SINKS = 2 };

static const char *const kv_names[N_KV_TYPES] = {"f16", "f32", "q8", "q8q4"}; /* by rbe_kv_type */

typedef struct subject {
    const char *name; /* of the file */
    const char *set;
    const rbe_model *model;
    uint32_t kv, n_vocabulary;
    uint32_t tokens[N_TOKENS];
    float *logits; /* [N_TOKENS][n_vocabulary]: in one pass, by one thread */
} subject;

typedef struct golden_line {
    char name[64], kv[8];
    unsigned long long whole, slid, drawn;
} golden_line;

#define DIGEST_START 0xcbf29ce484222325u /* FNV-1a */

static uint64_t digest_word(uint64_t digest, uint32_t word)
{
    for (uint32_t b = 0; b < 32; b += 8) {
        digest = (digest ^ (word >> b & 255u)) * 0x100000001b3u;
    }
    return digest;
}

static uint64_t digest_of(const float *values, size_t n)
{
    uint64_t digest = DIGEST_START;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        digest = digest_word(digest, bits);
    }
    return digest;
}

static rbe_session *make_session(const subject *about, uint32_t context, uint32_t n_threads, uint32_t sinks)
{
    const rbe_session_options options = {.struct_bytes = sizeof options,
                                         .context_tokens = context,
                                         .n_threads = n_threads,
                                         .pass_tokens = n_threads == 2 ? 5 : 0,
                                         .kv_type = about->kv,
                                         .sink_tokens = sinks};
    rbe_session *session = NULL;
    const rbe_status status = rbe_session_create(about->model, &options, &session);
    CHECK(status == RBE_OK || sinks != 0, "%s: %s", about->name, rbe_last_error());
    return session;
}

static void append(const subject *about, rbe_session *session, uint32_t first, uint32_t n)
{
    CHECK(rbe_session_append(session, about->tokens + first, n, NULL, NULL) == RBE_OK, "%s: %s", about->name, rbe_last_error());
}

/* The logits of the session are those after token `last` of the whole. */
static void check_logits(const subject *about, const rbe_session *session, uint32_t last, const char *how)
{
    const float *logits = rbe_session_logits(session), *whole = about->logits + (size_t)last * about->n_vocabulary;
    CHECK(logits && memcmp(logits, whole, about->n_vocabulary * sizeof *logits) == 0, "%s %s %s: %s differs", about->name, about->set,
          kv_names[about->kv], how);
}

static void test_pieces(const subject *about)
{
    const uint32_t sizes[] = {N_TOKENS, 7, 1};
    for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
        rbe_session *session = make_session(about, N_TOKENS, n_threads, 0);
        for (uint32_t first = 0; session && first < N_TOKENS; first += sizes[n_threads - 1]) {
            const uint32_t left = N_TOKENS - first, n = left < sizes[n_threads - 1] ? left : sizes[n_threads - 1];
            append(about, session, first, n);
            check_logits(about, session, first + n - 1, "a prompt in pieces");
        }
        rbe_session_free(session);
    }
}

/* Two sessions at different places step together; then one goes back, is copied, saved and restored. */
static void test_batch_and_states(const subject *about, const char *folder)
{
    const rbe_batch_options options = {.struct_bytes = sizeof options, .max_sessions = 2, .n_threads = 2};
    rbe_session *sessions[2] = {make_session(about, N_TOKENS, 1, 0), make_session(about, N_TOKENS, 3, 0)};
    rbe_batch *batch = NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/saved", folder);
    CHECK(rbe_batch_create(about->model, &options, &batch) == RBE_OK, "%s", rbe_last_error());
    if (batch && sessions[0] && sessions[1]) {
        append(about, sessions[0], 0, 9);
        append(about, sessions[1], 0, 4);
        for (uint32_t step = 0; step < 5; step++) {
            const uint32_t tokens[] = {about->tokens[9 + step], about->tokens[4 + step]};
            rbe_status statuses[2];
            CHECK(rbe_batch_decode(batch, sessions, tokens, 2, statuses) == RBE_OK, "%s", rbe_last_error());
            check_logits(about, sessions[0], 9 + step, "a batch");
            check_logits(about, sessions[1], 4 + step, "a batch");
        }
        CHECK(rbe_session_copy(sessions[1], sessions[0], 12) == RBE_OK, "%s", rbe_last_error());
        append(about, sessions[1], 12, 3);
        check_logits(about, sessions[1], 14, "a copy");
        CHECK(rbe_session_save(sessions[1], path) == RBE_OK, "%s", rbe_last_error());
        CHECK(rbe_session_rewind(sessions[0], 3) == RBE_OK, "%s", rbe_last_error());
        append(about, sessions[0], 3, 4);
        check_logits(about, sessions[0], 6, "going back");
        CHECK(rbe_session_restore(sessions[0], path) == RBE_OK, "%s", rbe_last_error());
        append(about, sessions[0], 15, N_TOKENS - 15);
        check_logits(about, sessions[0], N_TOKENS - 1, "a restored state");
    }
    remove(path);
    rbe_batch_free(batch);
    rbe_session_free(sessions[0]);
    rbe_session_free(sessions[1]);
}

/* The digest behind a context that slid; 0 for models that cannot, with learned positions. */
static uint64_t slid(const subject *about, uint32_t most_threads)
{
    uint64_t digest = 0;
    for (uint32_t n_threads = 1; n_threads <= most_threads; n_threads++) {
        rbe_session *session = make_session(about, SLID_CONTEXT, n_threads, SINKS);
        if (!session) {
            return 0;
        }
        for (uint32_t first = 0; first < N_TOKENS; first += 2) { /* where it slides depends on the pieces */
            append(about, session, first, 2);
        }
        const float *logits = rbe_session_logits(session);
        const uint64_t found = logits ? digest_of(logits, about->n_vocabulary) : 0;
        CHECK(logits && (n_threads == 1 || found == digest), "%s %s %s: differs behind a slide", about->name, about->set,
              kv_names[about->kv]);
        digest = found;
        rbe_session_free(session);
    }
    return digest;
}

/* Of tokens that are drawn from the logits of the whole, by several settings. */
static uint64_t drawn(const subject *about)
{
    const rbe_sampling_options settings[] = {
        {.struct_bytes = sizeof *settings, .temperature = 0, .repeat_penalty = 1.1f},
        {.struct_bytes = sizeof *settings, .temperature = 1, .seed = 1},
        {.struct_bytes = sizeof *settings, .temperature = 0.7f, .top_k = 40, .top_p = 0.9f, .repeat_penalty = 1.2f, .seed = 2},
        {.struct_bytes = sizeof *settings, .temperature = 1.5f, .top_p = 0.95f, .min_p = 0.02f, .seed = 3},
    };
    uint64_t digest = DIGEST_START;
    for (size_t s = 0; s < sizeof settings / sizeof *settings; s++) {
        rbe_sampler *sampler = NULL;
        CHECK(rbe_sampler_create(about->n_vocabulary, &settings[s], &sampler) == RBE_OK, "%s", rbe_last_error());
        for (uint32_t i = 0; sampler && i < 4 * N_TOKENS; i++) {
            uint32_t token = 0;
            CHECK(rbe_sampler_draw(sampler, about->logits + (size_t)(i % N_TOKENS) * about->n_vocabulary, &token) == RBE_OK &&
                      rbe_sampler_accept(sampler, token) == RBE_OK,
                  "%s", rbe_last_error());
            digest = digest_word(digest, token);
        }
        rbe_sampler_free(sampler);
    }
    return digest;
}

static void whole(subject *about)
{
    rbe_session *session = make_session(about, N_TOKENS, 1, 0);
    const rbe_status status = session ? rbe_session_score(session, about->tokens, N_TOKENS, NULL, about->logits, NULL, NULL) : RBE_OK;
    CHECK(status == RBE_OK, "%s: %s", about->name, rbe_last_error());
    rbe_session_free(session);
}

static const golden_line *find(const golden_line *lines, size_t n, const char *name, const char *kv)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(lines[i].name, name) == 0 && strcmp(lines[i].kv, kv) == 0) {
            return &lines[i];
        }
    }
    return NULL;
}

/* folder: for saved states; NULL: digests alone. Two types of cache between them have all that a cache may do. */
static void test_model(subject *about, const golden_line *lines, size_t n_lines, int print, const char *folder)
{
    for (about->kv = 0; about->kv < N_KV_TYPES; about->kv++) {
        const int is_thorough = folder && (about->kv == RBE_KV_F16 || about->kv == RBE_KV_Q8Q4);
        whole(about);
        const golden_line found = {.whole = digest_of(about->logits, (size_t)N_TOKENS * about->n_vocabulary),
                                   .slid = slid(about, is_thorough ? 3 : 1),
                                   .drawn = drawn(about)};
        const golden_line *golden = find(lines, n_lines, about->name, kv_names[about->kv]);
        if (print) {
            printf("%s %s %016llx %016llx %016llx\n", about->name, kv_names[about->kv], found.whole, found.slid, found.drawn);
            continue;
        }
        CHECK(golden && golden->whole == found.whole && golden->slid == found.slid && golden->drawn == found.drawn,
              "%s %s %s: %016llx %016llx %016llx are not the golden digests", about->name, about->set, kv_names[about->kv], found.whole,
              found.slid, found.drawn);
        if (is_thorough) {
            test_pieces(about);
            test_batch_and_states(about, folder);
        }
    }
}

/* Through every set, or through the first alone where the digests are printed. */
static void test_file(const char *path, const golden_line *lines, size_t n_lines, int print, const char *folder)
{
    const char *set;
    for (uint32_t index = 0; (set = rbe_kernel_set_name(index)) != NULL && !(print && index > 0); index++) {
        rbe_model_options options = {.struct_bytes = sizeof options, .kernel_set = set};
        rbe_model_info info = {.struct_bytes = sizeof info};
        rbe_model *model = NULL;
        if (!rbe_kernel_set_available(set)) {
            continue;
        }
        CHECK(rbe_model_open(path, &options, &model) == RBE_OK && rbe_model_get_info(model, &info) == RBE_OK, "%s", rbe_last_error());
        if (model) {
            subject about = {.name = strrchr(path, '/') + 1, .set = set, .model = model, .n_vocabulary = info.n_vocabulary};
            for (uint32_t i = 0; i < N_TOKENS; i++) {
                about.tokens[i] = (i * i * 7 + 3 * i + 1) % (info.n_vocabulary < 256 ? info.n_vocabulary : 256);
            }
            about.logits = calloc((size_t)N_TOKENS * info.n_vocabulary, sizeof *about.logits);
            test_model(&about, lines, n_lines, print, folder);
            free(about.logits);
        }
        rbe_model_close(model);
    }
}

/* From now on subnormal numbers count as zero in this thread and in those that it makes, as in the vectors of 32-bit ARM. 0: not here. */
static int flush_subnormals(void)
{
#if defined(__SSE2__)
    _mm_setcsr(_mm_getcsr() | 0x8040u); /* results (FTZ) and operands (DAZ) */
    return 1;
#else
    return 0;
#endif
}

static size_t read_digests(golden_line *lines, size_t capacity)
{
    FILE *file = fopen(RBE_GOLDEN_DIR "/answers/digests.txt", "r");
    size_t n = 0;
    while (file && n < capacity &&
           fscanf(file, "%63s %7s %llx %llx %llx", lines[n].name, lines[n].kv, /* NOLINT(cert-err34-c) */
                  &lines[n].whole, &lines[n].slid, &lines[n].drawn) == 5) {
        n++;
    }
    if (file) {
        fclose(file);
    }
    return n;
}

int main(int argc, char **argv)
{
    static golden_line lines[256];
    const int print = argc == 2 && strcmp(argv[1], "--print") == 0;
    const size_t n_lines = print ? 0 : read_digests(lines, 256);
    golden_files files = {0};
    add_golden_files("answers", &files);
    add_golden_files("v1", &files);
    add_golden_files("v2", &files);
    qsort(files.path, (size_t)files.n, sizeof files.path[0], compare_paths);
    CHECK(files.n > 0, "no models in %s/answers", RBE_GOLDEN_DIR);
    char folder[] = "/tmp/rbe-answers-XXXXXX";
    CHECK(mkdtemp(folder) != NULL, "no temporary directory");
    for (int i = 0; i < files.n; i++) {
        test_file(files.path[i], lines, n_lines, print, folder);
    }
    test_file(RBE_GOLDEN_DIR "/../../rbe_edge/demo/demo.rbe", lines, n_lines, print, NULL);
    for (int i = 0; !print && i < files.n && flush_subnormals(); i++) {
        test_file(files.path[i], lines, n_lines, print, NULL);
    }
    rmdir(folder);
    return print ? check_failures != 0 : check_finish();
}
