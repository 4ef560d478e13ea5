/* Saved sessions and steps of several sessions on the golden packs: a restored session goes on with the same bits, a damaged file
 * changes nothing or runs, steps together give the bits of single steps. Made to run under sanitizers too. */
#if defined(_WIN32)
#include "platform/windows/windows.h"

#include "platform/windows/paths.h"
#else
#include <sys/stat.h>
#endif
#include <unistd.h>

#include "check.h"
#include "golden_files.h"
#include "mutation.h"
#include "rbe/rbe.h"

#define CONTEXT 12u
#define N_TOKENS 8u
#define N_MUTATIONS 60

static rbe_session *open_session(const rbe_model *model, uint32_t kv_type)
{
    rbe_session_options options = {
        .struct_bytes = sizeof options, .context_tokens = CONTEXT, .n_threads = 1, .pass_tokens = 4, .kv_type = kv_type};
    rbe_session *session = NULL;
    CHECK(rbe_session_create(model, &options, &session) == RBE_OK, "%s", rbe_last_error());
    return session;
}

static int same_logits(const rbe_session *a, const rbe_session *b, uint32_t n_vocabulary)
{
    return memcmp(rbe_session_logits(a), rbe_session_logits(b), n_vocabulary * sizeof(float)) == 0;
}

static void check_steps(rbe_session *single, rbe_session *other, const rbe_model *model, uint32_t n_vocabulary)
{
    rbe_batch *batch = NULL;
    const rbe_batch_options options = {.struct_bytes = sizeof options, .max_sessions = 2, .n_threads = 2};
    CHECK(rbe_batch_create(model, &options, &batch) == RBE_OK, "%s", rbe_last_error());
    rbe_session *beside = open_session(model, RBE_KV_F32);
    rbe_session *sessions[2] = {beside, other};
    rbe_status statuses[2];
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t tokens[2] = {(i + 1) % n_vocabulary, (i + 5) % n_vocabulary};
        CHECK(rbe_batch_decode(batch, sessions, tokens, 2, statuses) == RBE_OK, "%s", rbe_last_error());
        CHECK(statuses[0] == RBE_OK && statuses[1] == RBE_OK, "%s", rbe_last_error());
        CHECK(rbe_session_append(single, &tokens[1], 1, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        CHECK(same_logits(single, other, n_vocabulary), "step %u differs from a single one", i);
    }
    const uint32_t tokens[2] = {0, n_vocabulary};
    sessions[0] = other;
    CHECK(rbe_batch_decode(batch, sessions, tokens, 2, statuses) == RBE_ERROR_ARGUMENT, "a token outside the vocabulary, a session twice");
    rbe_session_free(beside);
    rbe_batch_free(batch);
}

static void write_file(const char *path, const unsigned char *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(data, 1, bytes, file) == bytes, "%s cannot be written", path);
    CHECK(file && fclose(file) == 0, "%s cannot be written", path);
}

static void check_mutations(rbe_session *session, const char *path)
{
    size_t n_tokens, bytes;
    for (int i = 0; i < N_MUTATIONS; i++) {
        unsigned char *data = read_file(path, &bytes);
        char damaged[80];
        snprintf(damaged, sizeof damaged, "%.70s.damaged", path);
        CHECK(data != NULL, "%s cannot be read", path);
        if (!data) {
            return;
        }
        mutate(data, &bytes, draw(2) ? 64 : (uint32_t)bytes);
        if (bytes >= 24) {
            repair_head(data, bytes, bytes);
        }
        write_file(damaged, data, bytes);
        if (rbe_session_restore(session, damaged) == RBE_OK && rbe_session_tokens(session, &n_tokens) && n_tokens < CONTEXT) {
            const rbe_status status = rbe_session_append(session, &(uint32_t){0}, 1, NULL, NULL);
            const int not_finite = status == RBE_ERROR_FORMAT && strstr(rbe_last_error(), "not finite"); /* to a router */
            CHECK(status == RBE_OK || not_finite, "%s", rbe_last_error());
        }
        free(data);
        unlink(damaged);
    }
}

/* A copied beginning goes on as the whole does, in a context of another size too. */
static void check_copy(const rbe_session *from, const rbe_model *model, const uint32_t *tokens, uint32_t kv_type, uint32_t n_vocabulary)
{
    rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = 2 * CONTEXT, .n_threads = 1, .kv_type = kv_type};
    rbe_session *to = NULL;
    CHECK(rbe_session_create(model, &options, &to) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_append(to, tokens, 2, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_copy(to, from, N_TOKENS + 1) == RBE_ERROR_ARGUMENT && rbe_session_logits(to), "more than there is");
    CHECK(rbe_session_copy(to, to, 1) == RBE_ERROR_ARGUMENT, "a copy of itself");
    CHECK(rbe_session_copy(to, from, N_TOKENS - 1) == RBE_OK && !rbe_session_logits(to), "%s", rbe_last_error());
    CHECK(rbe_session_append(to, &tokens[N_TOKENS - 1], 1, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(same_logits(from, to, n_vocabulary), "what follows a copied beginning differs");
    rbe_session *other = open_session(model, kv_type == RBE_KV_F16 ? RBE_KV_F32 : RBE_KV_F16);
    CHECK(rbe_session_copy(other, from, 1) == RBE_ERROR_UNSUPPORTED, "another type of cache");
    rbe_session_free(other);
    rbe_session_free(to);
}

#if defined(_WIN32)
/* Who may read it is what the folder says. The C library takes no such long names. */
static int remove_private(const char *path)
{
    wchar_t *wide;
    const int removed = rbe__wide_path(path, &wide) == RBE_OK && DeleteFileW(wide);
    free(wide);
    return removed;
}

static void check_pipe(const rbe_session *session, const char *folder)
{
    (void)folder;
    CHECK(rbe_session_save(session, "NUL") == RBE_ERROR_IO, "a device");
}
#else
/* A file that nobody else may read. */
static int remove_private(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0 && (found.st_mode & 0777u) == 0600u && unlink(path) == 0;
}

static void check_pipe(const rbe_session *session, const char *folder)
{
    char path[400];
    struct stat found;
    snprintf(path, sizeof path, "%s/pipe", folder);
    CHECK(mkfifo(path, 0600) == 0, "no pipe");
    CHECK(rbe_session_save(session, path) == RBE_ERROR_IO, "a pipe");
    CHECK(lstat(path, &found) == 0 && S_ISFIFO(found.st_mode) && unlink(path) == 0, "the pipe stays");
    CHECK(symlink("nothing", path) == 0 && rbe_session_save(session, path) == RBE_ERROR_IO && unlink(path) == 0, "a link to nothing");
}
#endif

/* Long names are cut for the temporary file, and what is no file stays. */
static void check_places(const rbe_session *session, const char *folder)
{
    char path[400], name[257];
    for (int i = 0; i < 2; i++) {
        for (int at = 0; at < 255; at++) { /* "n" 255 times; "n" and then "ü" 127 times */
            name[at] = (char)(i == 0 || at == 0 ? 'n' : at % 2 ? 0xC3 : 0xBC);
        }
        name[255] = 0;
        snprintf(path, sizeof path, "%s/%s", folder, name);
        CHECK(rbe_session_save(session, path) == RBE_OK, "%s", rbe_last_error());
        CHECK(remove_private(path), "a name of 255 bytes");
    }
    memset(name, 'n', 256);
    name[256] = 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    CHECK(rbe_session_save(session, path) == RBE_ERROR_IO, "a name of 256 bytes");
    CHECK(rbe_session_save(session, folder) == RBE_ERROR_IO, "a directory");
    CHECK(rbe_session_save(session, "") == RBE_ERROR_IO, "no name");
    check_pipe(session, folder);
}

/* other_type: of the session that the file is restored into; the same cache. */
static void check_file(const char *model_path, const char *folder, const char *path, uint32_t kv_type, uint32_t other_type)
{
    rbe_model *model = NULL;
    rbe_model_info info = {.struct_bytes = sizeof info};
    CHECK(rbe_model_open(model_path, NULL, &model) == RBE_OK && rbe_model_get_info(model, &info) == RBE_OK, "%s", rbe_last_error());
    uint32_t tokens[N_TOKENS];
    size_t n_tokens;
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        tokens[i] = (i * 7 + 3) % info.n_vocabulary;
    }
    rbe_session *session = open_session(model, kv_type), *other = open_session(model, other_type);
    CHECK(rbe_session_append(session, tokens, N_TOKENS, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_save(session, path) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_logits(other) == NULL, "nothing was restored");
    CHECK(rbe_session_restore(other, path) == RBE_OK, "%s", rbe_last_error());
    const uint32_t *read = rbe_session_tokens(other, &n_tokens);
    CHECK(n_tokens == N_TOKENS && memcmp(read, tokens, sizeof tokens) == 0, "%zu tokens", n_tokens);
    CHECK(same_logits(session, other, info.n_vocabulary), "restored logits");
    check_copy(session, model, tokens, kv_type, info.n_vocabulary);
    check_steps(session, other, model, info.n_vocabulary);
    check_mutations(other, path);
    check_places(session, folder);
    rbe_session_free(session);
    rbe_session_free(other);
    rbe_model_close(model);
}

int main(void)
{
    golden_files files = list_golden_files();
    char folder[] = "/tmp/rbe-state-XXXXXX", path[64];
    CHECK(files.n > 0, "no golden packs under %s", RBE_GOLDEN_DIR);
    CHECK(mkdtemp(folder) != NULL, "no temporary directory");
    snprintf(path, sizeof path, "%s/state", folder);
    for (int i = 0; i < files.n; i++) {
        for (uint32_t type = RBE_KV_F16; type <= RBE_KV_Q8Q4; type++) {
            check_file(files.path[i], folder, path, type, type);
        }
        check_file(files.path[i], folder, path, RBE_KV_AUTO, RBE_KV_Q8);
        check_file(files.path[i], folder, path, RBE_KV_Q8, RBE_KV_AUTO);
    }
    unlink(path);
    CHECK(rmdir(folder) == 0, "something was left beside the file");
    return check_finish();
}
