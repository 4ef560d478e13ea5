/* Every byte of a small model, of a saved state and of a file of a policy is changed, and each of these files is cut at many lengths, at
 * every one below 4096: what reads them says so in one line or works, changes nothing where it fails, and keeps neither descriptors nor
 * memory (the linker wraps the allocator: see CMakeLists.txt). */
#include <dirent.h>
#include <unistd.h>

#include "check.h"
#include "golden_files.h"
#include "rbe/power.h"
#include "rbe/rbe.h"
#include "wrapped_allocator.h"

#define MODEL RBE_GOLDEN_DIR "/v1/bits2.rbe"
enum { CONTEXT = 8, N_TOKENS = 4 };

static const uint32_t tokens[N_TOKENS] = {1, 2, 3, 4};
static unsigned n_refused;

static int open_descriptors(void)
{
    int n = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory && readdir(directory)) {
        n++;
    }
    if (directory) {
        closedir(directory);
    }
    return n;
}

/* Whether what failed said why, in one line. */
static int is_told(rbe_status status)
{
    const char *line = rbe_last_error();
    n_refused++;
    return (status == RBE_ERROR_FORMAT || status == RBE_ERROR_UNSUPPORTED || status == RBE_ERROR_IO) && line[0] && !strchr(line, '\n');
}

/* Reads the file at a path in some way and gives the status. */
typedef rbe_status reader(const char *path, void *with);

static void write_byte(FILE *file, long at, int byte)
{
    CHECK(fseek(file, at, SEEK_SET) == 0 && fputc(byte, file) == byte && fflush(file) == 0, "byte %ld", at);
}

/* n_padding: bytes between what the file holds, zeros, which no reader looks at. Less than 0: any change may be harmless. */
static void check_damage(const char *what, const char *path, const unsigned char *data, size_t bytes, reader *read, void *with,
                         int n_padding)
{
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(data, 1, bytes, file) == bytes && fflush(file) == 0, "%s cannot be written", path);
    if (!file) {
        return;
    }
    CHECK(read(path, with) == RBE_OK, "%s: %s", what, rbe_last_error());
    const int descriptors = open_descriptors();
    const long live = atomic_load(&n_live);
    const size_t step = getenv("RBE_TEST_BRIEF") ? 17 : 1;
    int n_harmless = 0;
    for (size_t at = 0; at < bytes; at += step) {
        write_byte(file, (long)at, data[at] ^ (1 << at % 8));
        const rbe_status status = read(path, with);
        n_harmless += status == RBE_OK;
        CHECK(status == RBE_OK ? n_padding < 0 || data[at] == 0 : is_told(status), "%s: byte %zu changed: %s: %s", what, at,
              rbe_status_text(status), rbe_last_error());
        write_byte(file, (long)at, data[at]);
    }
    CHECK(n_padding < 0 || n_harmless <= n_padding, "%s: %d bytes may be anything", what, n_harmless);
    CHECK(read(path, with) == RBE_OK, "%s: whole again: %s", what, rbe_last_error());
    for (size_t length = bytes; length > 0;) {
        length -= length > 4096 ? 13 : length > step ? step : 1;
        CHECK(ftruncate(fileno(file), (off_t)length) == 0, "%s", path);
        const rbe_status status = read(path, with);
        CHECK(status == RBE_OK ? n_padding < 0 : is_told(status), "%s: cut to %zu bytes: %s: %s", what, length, rbe_status_text(status),
              rbe_last_error());
    }
    CHECK(open_descriptors() == descriptors, "%s: %d descriptors, and %d before", what, open_descriptors(), descriptors);
    CHECK(atomic_load(&n_live) == live, "%s: %ld blocks kept", what, atomic_load(&n_live) - live);
    fclose(file);
    (void)unlink(path);
}

static rbe_status read_model(const char *path, void *with)
{
    unsigned *n = with; /* most are verified before they are open, the others on a thread of their own, which takes longer */
    const rbe_model_options options = {.struct_bytes = sizeof options, .max_resident_bytes = ++*n % 8 ? 64u << 20 : 0};
    rbe_model *model = NULL;
    rbe_status status = rbe_model_open(path, &options, &model);
    CHECK((status == RBE_OK) == (model != NULL), "an output of a call that failed");
    if (status == RBE_OK) {
        status = rbe_model_verify(model, NULL, NULL);
    }
    rbe_model_close(model);
    return status;
}

/* The session holds its own tokens still where that fails. */
static rbe_status read_state(const char *path, void *with)
{
    rbe_session *session = with;
    size_t n;
    CHECK(rbe_session_rewind(session, 0) == RBE_OK && rbe_session_append(session, tokens, 2, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    const float before = rbe_session_logits(session)[0];
    const rbe_status status = rbe_session_restore(session, path);
    const uint32_t *held = rbe_session_tokens(session, &n);
    CHECK(status == RBE_OK || (n == 2 && held[0] == tokens[0] && held[1] == tokens[1] && rbe_session_logits(session)[0] == before),
          "the session has changed");
    return status;
}

/* The policy stays where that fails. */
static rbe_status read_policy(const char *path, void *with)
{
    rbe_policy policy;
    unsigned char before[sizeof policy];
    const unsigned char *const now = (const unsigned char *)&policy;
    (void)with;
    memset(&policy, 0, sizeof policy);
    policy.struct_bytes = sizeof policy;
    policy.override_mode = 77;
    memcpy(before, now, sizeof before);
    const rbe_status status = rbe_policy_read(path, &policy);
    CHECK(status == RBE_OK ? policy.override_mode <= RBE_MODES : memcmp(now, before, sizeof before) == 0, "the policy has changed");
    return status;
}

int main(void)
{
    static const char policy[] = "# of a laptop\nmode = auto\nbalanced_above = 0.5\nsaver_above = 0.2\n";
    char folder[] = "/tmp/rbe-damage-XXXXXX", path[64];
    size_t bytes;
    unsigned n_models = 0;
    rbe_model *model = NULL;
    rbe_session *session = NULL;
    const rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = CONTEXT, .n_threads = 1};
    CHECK(mkdtemp(folder) != NULL, "no folder");
    snprintf(path, sizeof path, "%s/file", folder);
    unsigned char *data = read_file(MODEL, &bytes);
    CHECK(data != NULL, "%s", MODEL);
    check_damage("model", path, data, bytes, read_model, &n_models, 64);
    free(data);

    CHECK(rbe_model_open(MODEL, NULL, &model) == RBE_OK && rbe_session_create(model, &options, &session) == RBE_OK &&
              rbe_session_append(session, tokens, N_TOKENS, NULL, NULL) == RBE_OK && rbe_session_save(session, path) == RBE_OK,
          "%s", rbe_last_error());
    data = read_file(path, &bytes);
    CHECK(data != NULL, "%s", path);
    check_damage("state", path, data, bytes, read_state, session, 0);
    free(data);
    rbe_session_free(session);
    rbe_model_close(model);

    check_damage("policy", path, (const unsigned char *)policy, sizeof policy - 1, read_policy, NULL, -1);
    CHECK(rmdir(folder) == 0, "something was left behind");
    printf("%u damaged files refused\n", n_refused);
    return check_finish();
}
