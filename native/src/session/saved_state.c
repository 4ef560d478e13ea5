/* Saves a session's state to a file (docs/runtime.md, "Saved state"), restores it, and copies it to another session. The header names
 * the model and the settings. A checksum covers the whole file. A session changes only after all checks have passed. */
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "kernels/checksum.h"
#include "platform/platform.h"
#include "session/session.h"

#define STATE_VERSION 3u

static const uint8_t state_magic[8] = {0x89, 'R', 'B', 'S', '\r', '\n', 0x1A, '\n'};

/* Version 1 identified the model by the bytes and the index of its file, and held one number of planes for all kinds of matrices. Version 2
 * identified it by its tensors alone. */
typedef struct state_header {
    uint8_t magic[8];
    uint32_t version;
    uint32_t checksum; /* CRC-32 of the file, itself taken as zero */
    uint64_t file_bytes;
    uint64_t tensor_bytes; /* of all tensors; version 1: of the model's file */
    uint32_t tensors_checksum; /* as rbe__pack has it; version 1: of the model's index */
    uint32_t kv_type;
    uint8_t planes[RBE_PLANES_KINDS]; /* the least that was read; version 1: one u32 */
    uint32_t rope_long; /* 1: the frequencies for long contexts */
    uint32_t n_tokens, has_logits;
    uint32_t config_checksum; /* of the hyper-parameters, as rbe__config has it; before version 3: 0 */
    uint32_t n_text; /* tokens of an encoder's text; of a model without an encoder in front of it 0 */
} state_header;

_Static_assert(sizeof(state_header) == 64, "read and written as it stands");

static state_header header_of(const rbe_session *session)
{
    const rbe__pack *pack = &session->model->pack;
    state_header header = {.version = STATE_VERSION,
                           .tensor_bytes = pack->tensor_bytes,
                           .tensors_checksum = pack->tensors_checksum,
                           .config_checksum = session->model->config.checksum,
                           .kv_type = session->state.type,
                           .n_tokens = session->position,
                           .has_logits = session->has_logits != 0,
                           .n_text = session->state.n_text};
    memcpy(header.magic, state_magic, sizeof state_magic);
    memcpy(header.planes, session->state.planes, sizeof header.planes);
    header.rope_long = (uint32_t)rbe__state_is_long(&session->state);
    return header;
}

/* Shows every piece of memory of the state behind the header: tokens, logits, what the blocks keep. */
static rbe_status visit_state(const rbe_session *session, const state_header *header, uint32_t *tokens, rbe__kv_visit *visit, void *context)
{
    RBE_TRY(visit(context, tokens, (size_t)header->n_tokens * sizeof *tokens));
    if (header->has_logits) {
        RBE_TRY(visit(context, session->logits, (size_t)session->pass.stack->n_vocabulary * sizeof(float)));
    }
    return rbe__state_visit(&session->state, header->n_tokens, visit, context);
}

typedef struct written_state {
    rbe__crc crc;
    uint32_t checksum;
    rbe__new_file *file;
} written_state;

static rbe_status write_piece(void *context, void *piece, size_t bytes)
{
    written_state *state = context;
    state->checksum = rbe__crc_update(&state->crc, state->checksum, piece, bytes);
    return rbe__new_file_write(state->file, piece, bytes);
}

static rbe_status write_state(const rbe_session *session, state_header *header, written_state *state)
{
    RBE_TRY(visit_state(session, header, session->tokens, rbe__state_count(), &header->file_bytes));
    RBE_TRY(write_piece(state, header, sizeof *header));
    RBE_TRY(visit_state(session, header, session->tokens, write_piece, state));
    header->checksum = state->checksum;
    return rbe__new_file_commit(state->file, header, sizeof *header);
}

rbe_status rbe_session_save(const rbe_session *session, const char *path)
{
    if (!session || !path) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_save: a session and a path are needed");
    }
    RBE_TRY(rbe__check_whole(session->model));
    RBE_TRY(rbe_model_verify(session->model, NULL, NULL));
    state_header header = header_of(session);
    header.file_bytes = sizeof header;
    written_state state = {0};
    rbe__crc_init(&session->model->kernels, &state.crc);
    RBE_TRY(rbe__new_file_create(path, &state.file));
    rbe_status status = write_state(session, &header, &state);
    rbe__new_file_discard(state.file);
    return status;
}

static rbe_status check_integrity(const rbe_kernels *kernels, const char *path, const rbe__mapped_file *file, state_header *header)
{
    if (file->bytes < sizeof *header || memcmp(file->data, state_magic, sizeof state_magic) != 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: not a saved session", path);
    }
    memcpy(header, file->data, sizeof *header);
    if (header->version < 1 || header->version > STATE_VERSION) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: a saved session of version %u, this build reads up to %u; save it again", path,
                        header->version, STATE_VERSION);
    }
    rbe__crc crc;
    rbe__crc_init(kernels, &crc);
    uint32_t actual = rbe__crc_update(&crc, 0, file->data, 12);
    actual = rbe__crc_update(&crc, actual, "\0\0\0", 4);
    actual = rbe__crc_update(&crc, actual, file->data + 16, (size_t)(file->bytes - 16));
    if (header->file_bytes != file->bytes || actual != header->checksum) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: a damaged saved session; delete it", path);
    }
    return RBE_OK;
}

static int is_of_model(const state_header *header, const rbe_model *model)
{
    const rbe__pack *pack = &model->pack;
    if (header->version == 1) {
        uint32_t index_checksum;
        memcpy(&index_checksum, pack->file.data + 12, sizeof index_checksum);
        return header->tensor_bytes == pack->file.bytes && header->tensors_checksum == index_checksum;
    }
    return header->tensor_bytes == pack->tensor_bytes && header->tensors_checksum == pack->tensors_checksum &&
           (header->version == 2 || header->config_checksum == model->config.checksum);
}

static rbe_status check_settings(const rbe_session *session, const char *path, const state_header *header)
{
    static const char *const kv_types[] = {"f16", "f32", "q8", "q8q4"};
    const state_header own = header_of(session);
    if (!is_of_model(header, session->model)) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: saved with another model; open that one, or begin anew", path);
    }
    if (header->kv_type != own.kv_type) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: saved with a cache of type %s, this session's is %s", path,
                        header->kv_type <= RBE_KV_Q8Q4 ? kv_types[header->kv_type] : "unknown", kv_types[own.kv_type]);
    }
    if (header->rope_long != own.rope_long) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: saved with the rotary scaling of %s contexts; choose the context's size accordingly",
                        path, header->rope_long ? "longer" : "shorter");
    }
    if (header->n_tokens > session->state.context) {
        return rbe_fail(RBE_ERROR_CONTEXT, "%s: it holds %u tokens, and this session's context %u", path, header->n_tokens,
                        session->state.context);
    }
    if (header->n_text > (session->pass.stack->crosses ? session->state.context : 0)) {
        return rbe_fail(RBE_ERROR_CONTEXT, "%s: its text has %u tokens, and this session has room for %u", path, header->n_text,
                        session->pass.stack->crosses ? session->state.context : 0);
    }
    return RBE_OK;
}

/* The least planes that were read of each kind of matrix; 0 where the header holds no such numbers. */
static int read_planes(const state_header *header, uint8_t *planes)
{
    uint32_t all;
    memcpy(&all, header->planes, sizeof all);
    int good = 1;
    for (uint32_t kind = 0; kind < RBE_PLANES_KINDS; kind++) {
        planes[kind] = header->version == 1 ? (uint8_t)(all <= RBE_MAX_PLANES ? all : 0) : header->planes[kind];
        good &= planes[kind] >= 1 && planes[kind] <= RBE_MAX_PLANES;
    }
    return good;
}

/* Checks size and tokens: with wrong ones it is unsafe to read the rest. */
static rbe_status check_content(const rbe_session *session, const char *path, const state_header *header, const rbe__mapped_file *file)
{
    uint64_t expected = sizeof *header;
    uint8_t planes[RBE_PLANES_KINDS];
    int wrong = !read_planes(header, planes) || header->has_logits > 1 || (header->has_logits && header->n_tokens == 0) ||
                (header->version < 3 && header->config_checksum) || (header->n_tokens && session->pass.stack->crosses && !header->n_text);
    if (!wrong) {
        RBE_TRY(visit_state(session, header, NULL, rbe__state_count(), &expected));
        wrong = expected != file->bytes;
    }
    for (uint32_t i = 0; !wrong && i < header->n_tokens; i++) {
        uint32_t token;
        memcpy(&token, file->data + sizeof *header + (size_t)i * sizeof token, sizeof token);
        wrong = token >= session->pass.stack->n_vocabulary;
    }
    return wrong ? rbe_fail(RBE_ERROR_FORMAT, "%s: a damaged saved session; delete it", path) : RBE_OK;
}

static rbe_status restore_from(rbe_session *session, const char *path, const rbe__mapped_file *file)
{
    state_header header;
    RBE_TRY(check_integrity(&session->model->kernels, path, file, &header));
    RBE_TRY(check_settings(session, path, &header));
    const uint32_t n_text = session->state.n_text;
    rbe__state_set_text(&session->state, header.n_text);
    const rbe_status status = check_content(session, path, &header, file);
    if (status != RBE_OK) {
        rbe__state_set_text(&session->state, n_text);
        return status;
    }
    const uint8_t *at = file->data + sizeof header;
    rbe__state_settle(&session->state, 0);
    RBE_TRY(visit_state(session, &header, session->tokens, rbe__state_copy_in, &at));
    rbe__state_settle(&session->state, header.n_tokens);
    (void)read_planes(&header, session->state.planes);
    session->position = header.n_tokens;
    session->has_logits = (int)header.has_logits;
    return RBE_OK;
}

rbe_status rbe_session_restore(rbe_session *session, const char *path)
{
    if (!session || !path) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_restore: a session and a path are needed");
    }
    RBE_TRY(rbe__check_whole(session->model));
    rbe__mapped_file file;
    RBE_TRY(rbe__map_file(path, &file));
    rbe_status status = restore_from(session, path, &file);
    rbe__unmap_file(&file);
    return status;
}

static uint64_t block_bytes(const rbe__block_state *state, uint32_t n_tokens)
{
    uint64_t bytes = 0;
    (void)state->block->kind->visit(state, n_tokens, rbe__state_count(), &bytes); /* counting cannot fail */
    return bytes;
}

/* Block by block through a buffer: the pieces lie differently where the contexts differ in size. Nothing is copied unless the blocks
 * keep as much on both sides: checksums can be made equal on purpose. */
static rbe_status copy_blocks(rbe_session *to, const rbe_session *from, uint32_t n_tokens)
{
    const uint32_t n_states = from->pass.stack->n_states;
    int same = n_states == to->pass.stack->n_states;
    size_t most = 1;
    for (uint32_t i = 0; same && i < n_states; i++) {
        const uint64_t bytes = block_bytes(&from->state.blocks[i], n_tokens);
        same = from->state.blocks[i].block->kind == to->state.blocks[i].block->kind && bytes == block_bytes(&to->state.blocks[i], n_tokens);
        most = bytes > most ? (size_t)bytes : most;
    }
    if (!same) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "a context is copied between sessions of the same layers");
    }
    uint8_t *buffer = malloc(most);
    if (!buffer) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory to copy %u tokens", n_tokens);
    }
    rbe__state_settle(&to->state, 0);
    for (uint32_t i = 0; i < n_states; i++) {
        uint8_t *written = buffer;
        const uint8_t *read = buffer;
        const rbe__block_kind *kind = from->state.blocks[i].block->kind;
        kind->visit(&from->state.blocks[i], n_tokens, rbe__state_copy_out, &written); /* these cannot fail */
        kind->visit(&to->state.blocks[i], n_tokens, rbe__state_copy_in, &read);
    }
    rbe__state_settle(&to->state, n_tokens);
    free(buffer);
    return RBE_OK;
}

rbe_status rbe_session_copy(rbe_session *to, const rbe_session *from, size_t n_tokens)
{
    if (!to || !from || to == from || n_tokens > from->position) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_session_copy: two sessions are needed, and no more tokens than the other one holds");
    }
    RBE_TRY(rbe__check_whole(to->model));
    RBE_TRY(rbe__check_whole(from->model));
    const state_header a = header_of(to), b = header_of(from);
    if (a.tensor_bytes != b.tensor_bytes || a.tensors_checksum != b.tensors_checksum || a.config_checksum != b.config_checksum ||
        a.kv_type != b.kv_type || a.rope_long != b.rope_long || to->pass.stack->n_vocabulary != from->pass.stack->n_vocabulary) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "a context is copied between sessions of one model, cache type and rotary scaling");
    }
    if (n_tokens > to->state.context || from->state.n_text > to->state.context) {
        return rbe_fail(RBE_ERROR_CONTEXT, "%zu tokens are to be copied, of a text of %u, and the context holds %u", n_tokens,
                        from->state.n_text, to->state.context);
    }
    const uint32_t n_text = to->state.n_text;
    rbe__state_set_text(&to->state, from->state.n_text);
    const uint32_t held = rbe__state_reach(&from->state, (uint32_t)n_tokens);
    const rbe_status status = copy_blocks(to, from, held);
    if (status != RBE_OK) {
        rbe__state_set_text(&to->state, n_text);
        return status;
    }
    memcpy(to->tokens, from->tokens, held * sizeof *to->tokens);
    memcpy(to->state.planes, from->state.planes, sizeof to->state.planes);
    to->position = held;
    to->has_logits = 0;
    if (held == 0) {
        rbe__state_clear(&to->state);
    }
    return rbe__session_compute(to, from->tokens + held, n_tokens - held);
}
