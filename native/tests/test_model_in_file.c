/* A model that lies within a larger file: it opens where the options say, gives the same bits as the file alone, and any other place or size
 * is refused with the reason. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "golden_files.h"
#include "rbe/rbe.h"

#define GRAIN 65536u
#define N_BEHIND 999u

static char path[] = "model-in-file-XXXXXX";

/* `front` bytes, the model, N_BEHIND bytes. */
static void write_around(const unsigned char *model, size_t bytes, size_t front)
{
    FILE *file = fopen(path, "wb");
    for (size_t i = 0; i < front; i++) {
        fputc((int)(i * 7 % 251), file);
    }
    fwrite(model, 1, bytes, file);
    for (size_t i = 0; i < N_BEHIND; i++) {
        fputc(0x89, file);
    }
    CHECK(fclose(file) == 0, "written");
}

static rbe_status open_part(uint64_t offset, uint64_t bytes, uint64_t limit, rbe_model **model)
{
    const rbe_model_options options = {
        .struct_bytes = sizeof options, .kernel_set = "scalar", .file_offset = offset, .file_bytes = bytes, .max_resident_bytes = limit};
    return rbe_model_open(path, &options, model);
}

/* The logits behind five tokens, from malloc; NULL on failure. */
static float *logits_of(const rbe_model *model, size_t *n)
{
    const rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = 8, .n_threads = 1};
    const uint32_t tokens[] = {1, 2, 3, 2, 1};
    rbe_model_info info = {.struct_bytes = sizeof info};
    rbe_session *session = NULL;
    float *logits = NULL;
    if (rbe_model_get_info(model, &info) == RBE_OK && rbe_session_create(model, &options, &session) == RBE_OK &&
        rbe_session_append(session, tokens, 5, NULL, NULL) == RBE_OK) {
        *n = info.n_vocabulary * sizeof *logits;
        logits = malloc(*n);
        memcpy(logits, rbe_session_logits(session), *n);
    }
    CHECK(logits, "%s", rbe_last_error());
    rbe_session_free(session);
    return logits;
}

static void same_bits(const char *original, uint64_t bytes)
{
    const rbe_model_options scalar = {.struct_bytes = sizeof scalar, .kernel_set = "scalar"};
    rbe_model *alone = NULL, *part = NULL;
    rbe_model_info info = {.struct_bytes = sizeof info};
    size_t n = 0, n_part = 1;
    CHECK(rbe_model_open(original, &scalar, &alone) == RBE_OK, "%s", rbe_last_error());
    CHECK(open_part(GRAIN, bytes, 0, &part) == RBE_OK, "%s: %s", original, rbe_last_error());
    if (alone && part) {
        CHECK(rbe_model_get_info(part, &info) == RBE_OK && info.file_bytes == bytes, "file_bytes are those of the model");
        float *a = logits_of(alone, &n), *b = logits_of(part, &n_part);
        CHECK(a && b && n == n_part && memcmp(a, b, n) == 0, "%s: other bits", original);
        free(a);
        free(b);
    }
    rbe_model_close(alone);
    rbe_model_close(part);
}

static void refused(uint64_t offset, uint64_t bytes, rbe_status status, const char *reason)
{
    rbe_model *model = (rbe_model *)&offset;
    CHECK(open_part(offset, bytes, 0, &model) == status && !model, "%llu, %llu: not refused as it should", (unsigned long long)offset,
          (unsigned long long)bytes);
    CHECK(strstr(rbe_last_error(), reason), "%s", rbe_last_error());
}

static void refusals(uint64_t bytes)
{
    const uint64_t all = GRAIN + bytes + N_BEHIND;
    refused(GRAIN + 4096, bytes, RBE_ERROR_ARGUMENT, "multiple of 65536");
    refused(UINT64_MAX, 0, RBE_ERROR_ARGUMENT, "multiple of 65536");
    refused(UINT64_MAX - GRAIN + 1, GRAIN, RBE_ERROR_FORMAT, "no model of");
    refused((all / GRAIN + 1) * GRAIN, 0, RBE_ERROR_FORMAT, "no model of");
    refused(GRAIN, all - GRAIN + 1, RBE_ERROR_FORMAT, "no model of");
    refused(GRAIN, UINT64_MAX, RBE_ERROR_FORMAT, "no model of");
    refused(GRAIN, 0, RBE_ERROR_FORMAT, "file_bytes");
    refused(GRAIN, bytes - 1, RBE_ERROR_FORMAT, "file_bytes");
    refused(GRAIN, 63, RBE_ERROR_FORMAT, "magic");
    refused(0, 0, RBE_ERROR_FORMAT, "magic");
}

int main(void)
{
    const golden_files files = list_golden_files();
    const int descriptor = mkstemp(path);
    CHECK(files.n > 0 && descriptor >= 0, "nothing to test with");
    close(descriptor);
    for (int i = 0; i < files.n; i++) {
        size_t bytes;
        unsigned char *model = read_file(files.path[i], &bytes);
        write_around(model, bytes, GRAIN);
        same_bits(files.path[i], bytes);
        if (i == 0) {
            rbe_model *limited = NULL;
            CHECK(open_part(GRAIN, bytes, 1, &limited) == RBE_ERROR_ARGUMENT && strstr(rbe_last_error(), "too small"), "%s",
                  rbe_last_error());
            CHECK(open_part(GRAIN, bytes, bytes, &limited) == RBE_OK, "a limit of all: %s", rbe_last_error());
            rbe_model_close(limited);
            refusals(bytes);
        }
        free(model);
    }
    unlink(path);
    return check_finish();
}
