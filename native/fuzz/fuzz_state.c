/* Restores saved sessions of any content. The first byte of an input chooses the model, the cache's type, and whether the header's fields that
 * name both are made right; the checksum always is. A refused file changes nothing; a restored session goes on, and is saved and restored the same. */
#include "fuzz.h"
#include "mutation.h"
#include "rbe/encoder_decoder.h"

enum { N_MODELS = 8, CONTEXT = 12, N_TOKENS = 6, HEADER = 64, KV_TYPES = 4 };

/* Where the header has its numbers (session/saved_state.c). */
enum { AT_VERSION = 8, AT_CHECKSUM = 12, AT_MODEL = 24, AT_KV_TYPE = 36, AT_CONFIG = 56, AT_TEXT = 60 };

static rbe_model *models[N_MODELS];
static uint8_t *saved[N_MODELS][KV_TYPES]; /* a good state of each */
static rbe_session *sessions[N_MODELS][KV_TYPES][2]; /* stay: making one reads what the processor is from many files */

static rbe_session *open_session(int model, uint32_t kv_type)
{
    const rbe_session_options options = {
        .struct_bytes = sizeof options, .context_tokens = CONTEXT, .n_threads = 1, .pass_tokens = 4, .kv_type = kv_type};
    rbe_session *session;
    demand(rbe_session_create(models[model], &options, &session) == RBE_OK, "a session");
    return session;
}

/* Begins the session's context anew. */
static void append(rbe_session *session, size_t n)
{
    static const uint32_t tokens[N_TOKENS] = {3, 10, 17, 0, 7, 14};
    demand(rbe_session_rewind(session, 0) == RBE_OK, "a session begins anew");
    (void)rbe_session_encode(session, tokens, 3, NULL, NULL); /* of most models refused */
    demand(rbe_session_append(session, tokens, n, NULL, NULL) == RBE_OK, "tokens are taken");
}

static uint8_t *save(const rbe_session *session, size_t *bytes)
{
    char path[64];
    temporary_name(path);
    const int descriptor = mkstemp(path);
    demand(descriptor >= 0 && close(descriptor) == 0 && rbe_session_save(session, path) == RBE_OK, "a session is saved");
    uint8_t *data = read_file(path, bytes);
    demand(data && unlink(path) == 0, "a saved session is read");
    return data;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const names[N_MODELS] = {"v1/half.rbe",    "v3/state_space.rbe", "v3/delta_net.rbe", "v3/hybrid.rbe",
                                                "v3/experts.rbe", "v3/layers.rbe",      "v3/shared.rbe",    "encoder_decoders/t5.rbe"};
    (void)argc, (void)argv;
    for (int i = 0; i < N_MODELS; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", RBE_GOLDEN_DIR, names[i]);
        demand(rbe_model_open(path, NULL, &models[i]) == RBE_OK, "the golden packs");
        for (uint32_t type = 0; type < KV_TYPES; type++) {
            rbe_session *session = sessions[i][type][0] = open_session(i, type);
            sessions[i][type][1] = open_session(i, type);
            char name[64];
            size_t bytes;
            append(session, N_TOKENS);
            saved[i][type] = save(session, &bytes);
            uint8_t *start = malloc(bytes + 1);
            demand(start != NULL, "memory");
            start[0] = (uint8_t)(i | (int)type << 3);
            memcpy(start + 1, saved[i][type], bytes);
            snprintf(name, sizeof name, "state-%d-%u", i, type);
            seed(name, start, bytes + 1);
            free(start);
        }
    }
    return 0;
}

static void mend(uint8_t *data, size_t bytes, const uint8_t *good, int is_named)
{
    if (bytes >= HEADER && is_named) {
        memcpy(data, good, AT_VERSION + 4);
        memcpy(data + AT_MODEL, good + AT_MODEL, AT_KV_TYPE + 4 - AT_MODEL);
        memcpy(data + AT_CONFIG, good + AT_CONFIG, 4);
    }
    if (bytes >= 24) {
        repair_head(data, bytes, bytes);
    }
}

/* What was restored is a state as any: it goes on, and where `saves` it is restored from what it is saved to. That takes most of the time, for
 * what is saved is flushed to the disk. */
static void go_on(rbe_session *session, rbe_session *other, int saves)
{
    size_t n_tokens, again, bytes;
    (void)rbe_session_tokens(session, &n_tokens);
    demand(n_tokens <= CONTEXT, "tokens that fit");
    if (saves) {
        uint8_t *data = save(session, &bytes);
        demand(rbe_session_restore(other, file_of(data, bytes)) == RBE_OK, "what was restored is saved and restored");
        (void)rbe_session_tokens(other, &again);
        demand(again == n_tokens && !rbe_session_logits(session) == !rbe_session_logits(other),
               "the same tokens, and logits where there are some");
        free(data);
    }
    (void)explained(rbe_session_append(session, &(uint32_t){0}, 1, NULL, NULL)); /* without a text, or full; or numbers are not finite */
    (void)explained(rbe_session_rewind(session, n_tokens / 2));
    (void)explained(rbe_session_append(session, &(uint32_t){1}, 1, NULL, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    const int model = input[0] % N_MODELS;
    const uint32_t type = input[0] >> 3 & 3;
    rbe_session *session = sessions[model][type][0], *other = sessions[model][type][1];
    uint8_t *data = copy_of(input + 1, bytes - 1);
    mend(data, bytes - 1, saved[model][type], !(input[0] & 32));
    append(session, 2);
    append(other, 2);
    if (explained(rbe_session_restore(session, file_of(data, bytes - 1))) == RBE_OK) {
        go_on(session, other, data[AT_CHECKSUM] % 8 == 0);
    } else {
        rbe_model_info info = {.struct_bytes = sizeof info};
        demand(rbe_model_get_info(models[model], &info) == RBE_OK, "a model tells of itself");
        for (int i = 0; i < 2; i++) {
            demand(memcmp(rbe_session_logits(session), rbe_session_logits(other), info.n_vocabulary * sizeof(float)) == 0,
                   "a refused file changes nothing");
            demand(rbe_session_append(session, &(uint32_t){5}, 1, NULL, NULL) == RBE_OK &&
                       rbe_session_append(other, &(uint32_t){5}, 1, NULL, NULL) == RBE_OK,
                   "a session goes on");
        }
    }
    free(data);
    return 0;
}
