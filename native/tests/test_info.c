/* Information structures grow: a caller with a shorter or a longer one than this build's gets what both know, and nothing else is
 * written. */
#include <stddef.h>

#include "check.h"
#include "golden_files.h"
#include "rbe/modes.h"
#include "rbe/parts.h"
#include "rbe/rbe.h"

#define MOST_BYTES 256u
#define UNTOUCHED 0xA5

typedef rbe_status get_info(const void *of, void *out);

static rbe_status model_info(const void *model, void *out)
{
    return rbe_model_get_info(model, out);
}

static rbe_status model_memory(const void *model, void *out)
{
    return rbe_model_get_memory(model, out);
}

static rbe_status first_tensor(const void *model, void *out)
{
    return rbe_model_tensor(model, 0, out);
}

static rbe_status session_info(const void *session, void *out)
{
    return rbe_session_get_info(session, out);
}

static rbe_status first_part(const void *model, void *out)
{
    return rbe_model_part_info(model, 0, out);
}

static rbe_status saver_mode(const void *model, void *out)
{
    return rbe_model_mode(model, RBE_MODE_SAVER, out);
}

static int all_are(const unsigned char *bytes, size_t n, unsigned char value)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != value) {
            return 0;
        }
    }
    return 1;
}

typedef struct field {
    size_t offset, bytes;
} field;

typedef union structure {
    size_t struct_bytes;
    unsigned char byte[MOST_BYTES];
    uint64_t align;
} structure;

/* What the first n bytes hold of each field, without the padding between them. */
static int same_fields(const structure *a, const structure *b, size_t n, const field *fields, size_t n_fields)
{
    for (size_t i = 0; i < n_fields && fields[i].offset < n; i++) {
        const size_t left = n - fields[i].offset, bytes = left < fields[i].bytes ? left : fields[i].bytes;
        if (memcmp(a->byte + fields[i].offset, b->byte + fields[i].offset, bytes) != 0) {
            return 0;
        }
    }
    return 1;
}

/* `bytes`: of the structure as this build knows it. */
static void check_growth(const char *name, get_info *get, const void *of, size_t bytes, const field *fields, size_t n_fields)
{
    structure whole = {0}, out;
    whole.struct_bytes = bytes;
    CHECK(get(of, &whole) == RBE_OK && whole.struct_bytes == bytes, "%s: %s", name, rbe_last_error());
    for (size_t n = sizeof(size_t); n <= MOST_BYTES; n++) {
        memset(&out, UNTOUCHED, sizeof out);
        out.struct_bytes = n;
        CHECK(get(of, &out) == RBE_OK && out.struct_bytes == n, "%s of %zu bytes: %s", name, n, rbe_last_error());
        CHECK(same_fields(&out, &whole, n, fields, n_fields), "%s of %zu bytes: fields", name, n);
        CHECK(n <= bytes || all_are(out.byte + bytes, n - bytes, 0), "%s of %zu bytes: unknown fields are not zero", name, n);
        CHECK(all_are(out.byte + n, sizeof out - n, UNTOUCHED), "%s of %zu bytes: written behind its end", name, n);
    }
    const size_t wrong[] = {0, 1, sizeof(size_t) - 1, 1u << 20, (size_t)-1};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memset(&out, UNTOUCHED, sizeof out);
        out.struct_bytes = wrong[i];
        CHECK(get(of, &out) == RBE_ERROR_ARGUMENT, "%s of %zu bytes is accepted", name, wrong[i]);
        CHECK(all_are(out.byte + sizeof(size_t), sizeof out - sizeof(size_t), UNTOUCHED), "%s of %zu bytes is written", name, wrong[i]);
    }
    CHECK(get(of, NULL) == RBE_ERROR_ARGUMENT && get(NULL, &whole) == RBE_ERROR_ARGUMENT, "%s: NULL is accepted", name);
}

#define FIELD(type, name) {offsetof(type, name), sizeof(((type *)NULL)->name)}

static const field model_info_fields[] = {FIELD(rbe_model_info, file_bytes),     FIELD(rbe_model_info, n_parameters),
                                          FIELD(rbe_model_info, format_version), FIELD(rbe_model_info, n_metadata),
                                          FIELD(rbe_model_info, n_tensors),      FIELD(rbe_model_info, n_layers),
                                          FIELD(rbe_model_info, width),          FIELD(rbe_model_info, n_vocabulary),
                                          FIELD(rbe_model_info, context_tokens), FIELD(rbe_model_info, kernel_set)};
static const field model_memory_fields[] = {
    FIELD(rbe_model_memory, sessions_in_use), FIELD(rbe_model_memory, sessions_peak),   FIELD(rbe_model_memory, sessions_held),
    FIELD(rbe_model_memory, sessions_taken),  FIELD(rbe_model_memory, sessions_reused), FIELD(rbe_model_memory, cache_limit),
    FIELD(rbe_model_memory, cache_used),      FIELD(rbe_model_memory, cache_hits),      FIELD(rbe_model_memory, cache_misses),
    FIELD(rbe_model_memory, resident_limit),  FIELD(rbe_model_memory, resident_pinned)};
static const field tensor_info_fields[] = {
    FIELD(rbe_tensor_info, name),  FIELD(rbe_tensor_info, name_bytes), FIELD(rbe_tensor_info, kind),
    FIELD(rbe_tensor_info, rows),  FIELD(rbe_tensor_info, cols),       FIELD(rbe_tensor_info, rotation_block),
    FIELD(rbe_tensor_info, seed),  FIELD(rbe_tensor_info, n_planes),   FIELD(rbe_tensor_info, plane_bits),
    FIELD(rbe_tensor_info, error), FIELD(rbe_tensor_info, data_bytes)};
static const field session_info_fields[] = {FIELD(rbe_session_info, arena_bytes), FIELD(rbe_session_info, kv_bytes),
                                            FIELD(rbe_session_info, context_tokens), FIELD(rbe_session_info, position),
                                            FIELD(rbe_session_info, n_threads)};
static const field part_info_fields[] = {FIELD(rbe_part_info, name),  FIELD(rbe_part_info, name_bytes), FIELD(rbe_part_info, version),
                                         FIELD(rbe_part_info, flags), FIELD(rbe_part_info, known),      FIELD(rbe_part_info, data_bytes)};
static const field mode_fields[] = {FIELD(rbe_mode, mode),      FIELD(rbe_mode, found),        FIELD(rbe_mode, embedding),
                                    FIELD(rbe_mode, lm_head),   FIELD(rbe_mode, n_layers),     FIELD(rbe_mode, against),
                                    FIELD(rbe_mode, attention), FIELD(rbe_mode, feed_forward), FIELD(rbe_mode, bytes_per_token),
                                    FIELD(rbe_mode, n_tokens),  FIELD(rbe_mode, perplexity),   FIELD(rbe_mode, kl),
                                    FIELD(rbe_mode, kl_error),  FIELD(rbe_mode, top1),         FIELD(rbe_mode, reason),
                                    FIELD(rbe_mode, text)};

#define CHECK_GROWTH(type, get, of) \
    check_growth("rbe_" #type, get, of, sizeof(rbe_##type), type##_fields, sizeof type##_fields / sizeof(field))

int main(void)
{
    const golden_files files = list_golden_files();
    rbe_model *model = NULL, *with_parts = NULL;
    rbe_session *session = NULL;
    CHECK(files.n > 0 && rbe_model_open(files.path[0], NULL, &model) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_create(model, NULL, &session) == RBE_OK, "%s", rbe_last_error());
    if (model && session) {
        CHECK_GROWTH(model_info, model_info, model);
        CHECK_GROWTH(model_memory, model_memory, model);
        CHECK_GROWTH(tensor_info, first_tensor, model);
        CHECK_GROWTH(session_info, session_info, session);
    }
    CHECK(rbe_model_open(RBE_GOLDEN_DIR "/v3/parts.rbe", NULL, &with_parts) == RBE_OK, "%s", rbe_last_error());
    if (with_parts) {
        CHECK_GROWTH(part_info, first_part, with_parts);
        CHECK_GROWTH(mode, saver_mode, with_parts);
    }
    rbe_session_free(session);
    rbe_model_close(model);
    rbe_model_close(with_parts);
    return check_finish();
}
