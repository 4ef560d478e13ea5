/* A session's state in a file (docs/runtime.md, "Saved state") or in another session. The header says which model and which settings it belongs to; a
 * checksum covers all of it, and nothing of a session changes before everything was found right. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "kernels/checksum.h"
#include "platform/platform.h"
#include "session/session.h"

#define STATE_VERSION 1u

static const uint8_t state_magic[8] = {0x89, 'R', 'B', 'S', '\r', '\n', 0x1A, '\n'};

typedef struct state_header {
    uint8_t magic[8];
    uint32_t version;
    uint32_t checksum; /* CRC-32 of the file, itself taken as zero */
    uint64_t file_bytes;
    uint64_t model_bytes;
    uint32_t model_checksum; /* of the model's index, which holds those of its tensors */
    uint32_t kv_type, n_planes;
    uint32_t rope_long; /* 1: the frequencies for long contexts */
    uint32_t n_tokens, has_logits;
    uint32_t reserved[2];
} state_header;

_Static_assert(sizeof(state_header) == 64, "read and written as it stands");

static state_header header_of(const rbe_session *session)
{
    const rbe_model *model = session->model;
    state_header header = {.version = STATE_VERSION,
                           .model_bytes = model->pack.file.bytes,
                           .kv_type = session->kv_type,
                           .n_tokens = session->position,
                           .has_logits = session->has_logits != 0};
    memcpy(header.magic, state_magic, sizeof state_magic);
    memcpy(&header.model_checksum, model->pack.file.data + 12, 4);
    header.n_planes = session->workspace.n_planes ? session->workspace.n_planes : RBE_MAX_PLANES;
    header.rope_long = session->rope_frequencies != model->rope_frequencies;
    return header;
}

/* Shows every piece of memory of the state behind the header: tokens, logits, keys and values. */
static rbe_status visit_state(rbe_session *session, const state_header *header, uint32_t *tokens, rbe__kv_visit *visit, void *context)
{
    RBE_TRY(visit(context, tokens, (size_t)header->n_tokens * sizeof *tokens));
    if (header->has_logits) {
        RBE_TRY(visit(context, session->logits, (size_t)session->model->config.n_vocabulary * sizeof(float)));
    }
    for (uint32_t i = 0; i < session->model->config.n_layers; i++) {
        RBE_TRY(rbe__kv_visit_used(&session->kv[i], header->n_tokens, visit, context));
    }
    return RBE_OK;
}

typedef struct measured_state {
    rbe__crc crc;
    uint32_t checksum;
    uint64_t bytes;
    rbe__new_file *file;
} measured_state;

static rbe_status count_piece(void *context, void *piece, size_t bytes)
{
    (void)piece;
    ((measured_state *)context)->bytes += bytes;
    return RBE_OK;
}

static rbe_status write_piece(void *context, void *piece, size_t bytes)
{
    measured_state *state = context;
    state->checksum = rbe__crc_update(&state->crc, state->checksum, piece, bytes);
    return rbe__new_file_write(state->file, piece, bytes);
}

static rbe_status write_state(rbe_session *session, state_header *header, uint32_t *tokens, measured_state *state)
{
    RBE_TRY(visit_state(session, header, tokens, count_piece, state));
    header->file_bytes = state->bytes;
    RBE_TRY(write_piece(state, header, sizeof *header));
    RBE_TRY(visit_state(session, header, tokens, write_piece, state));
    header->checksum = state->checksum;
    return rbe__new_file_commit(state->file, header, sizeof *header);
}

rbe_status rbe_session_save(rbe_session *session, const uint32_t *tokens, size_t n_tokens, const char *path)
{
    if (!session || !path || (n_tokens && !tokens) || n_tokens != session->position) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_save: a session, a path and the tokens of its context are needed");
    }
    state_header header = header_of(session);
    measured_state state = {.bytes = sizeof header};
    rbe__crc_init(&state.crc);
    RBE_TRY(rbe__new_file_create(path, &state.file));
    rbe_status status = write_state(session, &header, (uint32_t *)(uintptr_t)tokens, &state); /* visited, not changed */
    rbe__new_file_discard(state.file);
    return status;
}

static rbe_status check_integrity(const char *path, const rbe__mapped_file *file, state_header *header)
{
    if (file->bytes < sizeof *header || memcmp(file->data, state_magic, sizeof state_magic) != 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: not a saved session", path);
    }
    memcpy(header, file->data, sizeof *header);
    if (header->version != STATE_VERSION) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: a saved session of version %u, this build reads %u; save it again", path,
                        header->version, STATE_VERSION);
    }
    rbe__crc crc;
    rbe__crc_init(&crc);
    uint32_t actual = rbe__crc_update(&crc, 0, file->data, 12);
    actual = rbe__crc_update(&crc, actual, "\0\0\0", 4);
    actual = rbe__crc_update(&crc, actual, file->data + 16, (size_t)(file->bytes - 16));
    if (header->file_bytes != file->bytes || actual != header->checksum) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: a damaged saved session; delete it", path);
    }
    return RBE_OK;
}

static rbe_status check_settings(const rbe_session *session, const char *path, const state_header *header)
{
    static const char *const kv_types[] = {"f16", "f32", "q8", "q8q4"};
    const state_header own = header_of(session);
    if (header->model_bytes != own.model_bytes || header->model_checksum != own.model_checksum) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: saved with another model; open that one, or begin anew", path);
    }
    if (header->kv_type != own.kv_type) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: saved with a cache of type %s, this session's is %s", path,
                        header->kv_type <= RBE_KV_Q8Q4 ? kv_types[header->kv_type] : "unknown", kv_types[own.kv_type]);
    }
    if (header->n_planes != own.n_planes) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: saved while reading %u planes of each tensor, this session reads %u", path,
                        header->n_planes, own.n_planes);
    }
    if (header->rope_long != own.rope_long) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: saved with the rotary scaling of %s contexts; choose the context's size accordingly",
                        path, header->rope_long ? "longer" : "shorter");
    }
    if (header->n_tokens > session->context) {
        return rbe_fail(RBE_ERROR_CONTEXT, "%s: it holds %u tokens, and this session's context %u", path, header->n_tokens,
                        session->context);
    }
    return RBE_OK;
}

/* Size and tokens: what would make the reading of the rest unsafe. */
static rbe_status check_content(rbe_session *session, const char *path, const state_header *header, const rbe__mapped_file *file)
{
    measured_state expected = {.bytes = sizeof *header};
    int wrong = header->has_logits > 1 || (header->has_logits && header->n_tokens == 0) || header->reserved[0] || header->reserved[1];
    if (!wrong) {
        RBE_TRY(visit_state(session, header, NULL, count_piece, &expected));
        wrong = expected.bytes != file->bytes;
    }
    for (uint32_t i = 0; !wrong && i < header->n_tokens; i++) {
        uint32_t token;
        memcpy(&token, file->data + sizeof *header + (size_t)i * sizeof token, sizeof token);
        wrong = token >= session->model->config.n_vocabulary;
    }
    return wrong ? rbe_fail(RBE_ERROR_FORMAT, "%s: a damaged saved session; delete it", path) : RBE_OK;
}

static rbe_status read_piece(void *context, void *piece, size_t bytes)
{
    const uint8_t **at = context;
    if (bytes) {
        memcpy(piece, *at, bytes);
    }
    *at += bytes;
    return RBE_OK;
}

static rbe_status restore_from(rbe_session *session, const char *path, const rbe__mapped_file *file, uint32_t *tokens, size_t capacity,
                               size_t *n_tokens)
{
    state_header header;
    RBE_TRY(check_integrity(path, file, &header));
    RBE_TRY(check_settings(session, path, &header));
    RBE_TRY(check_content(session, path, &header, file));
    *n_tokens = header.n_tokens;
    if (header.n_tokens > capacity) {
        return rbe_fail(RBE_ERROR_CAPACITY, "room for %zu tokens was given, and %u are in %s", capacity, header.n_tokens, path);
    }
    const uint8_t *at = file->data + sizeof header;
    RBE_TRY(visit_state(session, &header, tokens, read_piece, &at));
    session->position = header.n_tokens;
    session->has_logits = (int)header.has_logits;
    return RBE_OK;
}

rbe_status rbe_session_restore(rbe_session *session, const char *path, uint32_t *tokens, size_t capacity, size_t *n_tokens)
{
    if (!session || !path || !n_tokens || (capacity && !tokens)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_restore: a session, a path, n_tokens and room for the tokens are needed");
    }
    *n_tokens = 0;
    rbe__mapped_file file;
    RBE_TRY(rbe__map_file(path, &file));
    rbe_status status = restore_from(session, path, &file, tokens, capacity, n_tokens);
    rbe__unmap_file(&file);
    return status;
}

static rbe_status gather_piece(void *context, void *piece, size_t bytes)
{
    uint8_t **at = context;
    if (bytes) {
        memcpy(*at, piece, bytes);
    }
    *at += bytes;
    return RBE_OK;
}

/* Layer by layer through a buffer: the pieces lie differently where the contexts differ in size. */
static rbe_status copy_layers(rbe_session *to, const rbe_session *from, uint32_t n_tokens)
{
    measured_state layer = {0};
    RBE_TRY(rbe__kv_visit_used(&from->kv[0], n_tokens, count_piece, &layer));
    uint8_t *buffer = malloc(layer.bytes ? layer.bytes : 1);
    if (!buffer) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory to copy %u tokens", n_tokens);
    }
    for (uint32_t i = 0; i < from->model->config.n_layers; i++) {
        uint8_t *written = buffer;
        const uint8_t *read = buffer;
        rbe__kv_visit_used(&from->kv[i], n_tokens, gather_piece, &written); /* these cannot fail */
        rbe__kv_visit_used(&to->kv[i], n_tokens, read_piece, &read);
    }
    free(buffer);
    return RBE_OK;
}

rbe_status rbe_session_copy(rbe_session *to, const rbe_session *from, size_t n_tokens)
{
    if (!to || !from || to == from || n_tokens > from->position) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_copy: two sessions are needed, and no more tokens than the other one holds");
    }
    const state_header a = header_of(to), b = header_of(from);
    if (a.model_bytes != b.model_bytes || a.model_checksum != b.model_checksum || a.kv_type != b.kv_type || a.n_planes != b.n_planes ||
        a.rope_long != b.rope_long) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED,
                        "a context is copied between sessions of one model, cache type, number of planes and rotary scaling");
    }
    if (n_tokens > to->context) {
        return rbe_fail(RBE_ERROR_CONTEXT, "%zu tokens are to be copied, and the context holds %u", n_tokens, to->context);
    }
    RBE_TRY(copy_layers(to, from, (uint32_t)n_tokens));
    to->position = (uint32_t)n_tokens;
    to->has_logits = 0;
    return RBE_OK;
}
