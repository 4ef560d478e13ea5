/* rbe.h: the public interface of librbe, the runtime of rbe_edge. A complete program, which continues a text:
 *
 *     #include <stdio.h>
 *     #include <string.h>
 *     #include <rbe/rbe.h>
 *
 *     int main(int argc, char **argv)
 *     {
 *         rbe_model *model = NULL;
 *         rbe_session *session = NULL;
 *         rbe_generation *generation = NULL;
 *         rbe_generation_event event = {.struct_bytes = sizeof event};
 *         const rbe_generation_options options = {.struct_bytes = sizeof options, .max_tokens = 40};
 *         uint32_t tokens[256];
 *         size_t n = 0;
 *         int good = argc == 3 && rbe_model_open(argv[1], NULL, &model) == RBE_OK &&
 *                    rbe_tokenize(rbe_model_tokenizer(model), argv[2], strlen(argv[2]), RBE_TOKENIZE_SPECIAL_PREFIX, tokens, 256, &n) == RBE_OK &&
 *                    rbe_session_create(model, NULL, &session) == RBE_OK && rbe_session_append(session, tokens, n, NULL, NULL) == RBE_OK &&
 *                    rbe_generation_create(session, &options, &generation) == RBE_OK;
 *         while (good && event.finish == RBE_FINISH_NONE) {
 *             good = rbe_generation_step(generation, &event) == RBE_OK;
 *             printf("%.*s%.*s", (int)event.text_bytes, event.text, (int)event.rest_bytes, event.rest);
 *         }
 *         puts(good ? "" : argc == 3 ? rbe_last_error() : "usage: complete FILE.rbe TEXT");
 *         rbe_generation_free(generation);
 *         rbe_session_free(session);
 *         rbe_model_close(model);
 *         return !good;
 *     }
 *
 * Conventions. Functions that can fail return rbe_status and write their output through the last argument, which is set to NULL or zero on
 * failure. rbe_last_error() then holds one line for a person. Functions that free or close take NULL too. Structures that may grow begin
 * with struct_bytes, set by the caller to sizeof the structure it was compiled with. Options: a zeroed field means the default; a shorter
 * structure is accepted, a longer one is not. Information (rbe_model_info, rbe_model_memory, rbe_tensor_info, rbe_session_info,
 * rbe_generation_event): a shorter structure gets the fields that it has; in a longer one the fields that this build does not know become
 * zero; on failure it is not changed.
 *
 * Threads. An rbe_model and an rbe_tokenizer are immutable and may be shared by any number of threads. An rbe_session,
 * rbe_batch, rbe_generation, rbe_sampler or rbe_text_stream is used by one thread at a time; any thread may call their cancel functions.
 * The library never prints, exits, aborts or reads the environment, and installs no signal handler unless rbe/faults.h is asked to.
 */
#ifndef RBE_RBE_H
#define RBE_RBE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(RBE_EXPORT) /* the DLL itself is built */
#define RBE_API __declspec(dllexport)
#elif defined(__GNUC__)
#define RBE_API __attribute__((visibility("default")))
#else
#define RBE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define RBE_VERSION "0.1.0"
#define RBE_FORMAT_VERSION 3u /* the newest that is read */

/* ---- status ---------------------------------------------------------------------------------------------------- */

typedef enum rbe_status {
    RBE_OK = 0,
    RBE_ERROR_ARGUMENT = 1,     /* an argument is NULL or out of its range */
    RBE_ERROR_MEMORY = 2,       /* an allocation failed */
    RBE_ERROR_IO = 3,           /* the operating system refused a file operation */
    RBE_ERROR_FORMAT = 4,       /* a file or blob is truncated, damaged or of another kind */
    RBE_ERROR_UNSUPPORTED = 5,  /* well formed, but not something this build can do */
    RBE_ERROR_CONTEXT = 6,      /* the tokens do not fit into the session's context */
    RBE_ERROR_CANCELLED = 7,    /* stopped by rbe_session_cancel or by a callback */
    RBE_ERROR_CAPACITY = 8      /* an output buffer is too small; the needed size was written */
} rbe_status;

/* A short English name of a status; never NULL. */
RBE_API const char *rbe_status_text(rbe_status status);

/* The message of the last call that failed on this thread, a line of plain text; "" before the first. Valid until the next failure. */
RBE_API const char *rbe_last_error(void);
RBE_API const char *rbe_version(void);

/* Levels: 0 debug, 1 information, 2 warning. The message is valid during the call only. */
typedef void (*rbe_log_callback)(int level, const char *message, void *user);

/* Called between pieces of long work with 0 <= done <= total; a non-zero return stops it with RBE_ERROR_CANCELLED. */
typedef int (*rbe_progress_callback)(uint64_t done, uint64_t total, void *user);

/* ---- processor -------------------------------------------------------------------------------------------------- */

/* Kernel sets compiled into this build, worst first: index 0 is "scalar". NULL past the end. */
RBE_API const char *rbe_kernel_set_name(uint32_t index);

/* 1 if this processor and operating system can run the named kernel set, else 0 (also for an unknown name). */
RBE_API int rbe_kernel_set_available(const char *name);

/* ---- tokenizer -------------------------------------------------------------------------------------------------- */

typedef struct rbe_tokenizer rbe_tokenizer;

enum {
    RBE_TOKENIZE_SPECIAL_PREFIX = 1u, /* add the tokens the model wants at the start (and end) of a text, such as BOS */
    RBE_TOKENIZE_PARSE_SPECIAL = 2u,  /* read control tokens such as <|im_start|> written out in the text */
    RBE_TOKENIZE_MARKED = 4u          /* read them only where a byte 0xFF, which is no part of UTF-8, stands before the token and before
                                       * each of its punctuation bytes; bytes 0xFF are left out */
};

#define RBE_NO_TOKEN 0xFFFFFFFFu

/* Opens a tokenizer blob (docs/tokenizers.md). The memory is referenced and must outlive the handle. */
RBE_API rbe_status rbe_tokenizer_open(const void *blob, size_t blob_bytes, rbe_tokenizer **out);
RBE_API void rbe_tokenizer_close(rbe_tokenizer *tokenizer);
RBE_API uint32_t rbe_tokenizer_size(const rbe_tokenizer *tokenizer);

/* Token ids of a text of any bytes; invalid UTF-8 decodes to the same bytes where the vocabulary has byte tokens and text is not normalized.
 * Writes at most `capacity` ids; *n_tokens is the full count. RBE_ERROR_CAPACITY if it did not fit, RBE_ERROR_ARGUMENT if the text is too long. */
RBE_API rbe_status rbe_tokenize(const rbe_tokenizer *tokenizer, const char *text, size_t text_bytes, uint32_t flags, uint32_t *tokens,
                                size_t capacity, size_t *n_tokens);

/* The bytes of one token as they stand in decoded text: control tokens give 0 bytes unless `special` is set. Points
 * into the tokenizer. */
RBE_API rbe_status rbe_token_bytes(const rbe_tokenizer *tokenizer, uint32_t token, int special, const char **bytes, size_t *n_bytes);

/* The id of the token that is written exactly so (also control tokens), or RBE_NO_TOKEN. */
RBE_API uint32_t rbe_token_find(const rbe_tokenizer *tokenizer, const char *bytes, size_t n_bytes);

/* 1 if generation should end at this token (end of text, end of turn), else 0. */
RBE_API int rbe_token_ends_text(const rbe_tokenizer *tokenizer, uint32_t token);

/* Turns tokens into text as they come. Output is always valid UTF-8: bytes of a character that is not complete yet are
 * held back, as is anything that may become a stop sequence; bytes that can never become valid are replaced by U+FFFD. */
typedef struct rbe_text_stream rbe_text_stream;
RBE_API rbe_status rbe_text_stream_create(const rbe_tokenizer *tokenizer, const char *const *stops, size_t n_stops, rbe_text_stream **out);
RBE_API void rbe_text_stream_free(rbe_text_stream *stream);

/* *text (not zero-terminated) is valid until the next call on the stream. *stopped becomes 1 once a stop sequence is
 * complete: the text ends before it, and later pushes give nothing. */
RBE_API rbe_status rbe_text_stream_push(rbe_text_stream *stream, uint32_t token, const char **text, size_t *text_bytes, int *stopped);

/* Gives what is still held back. The stream is then empty, as a new one. */
RBE_API rbe_status rbe_text_stream_finish(rbe_text_stream *stream, const char **text, size_t *text_bytes);

/* ---- model ------------------------------------------------------------------------------------------------------ */

typedef struct rbe_model rbe_model;

/* Tensors whose rows are kept once they were generated, of the kinds that are slow to generate (seed64 and basis). */
enum {
    RBE_CACHE_EMBEDDINGS = 1u,   /* embedding, positions and lm_head */
    RBE_CACHE_ATTENTION = 2u,
    RBE_CACHE_FEED_FORWARD = 4u,
    RBE_CACHE_NOTHING = 8u
};

typedef struct rbe_model_options {
    size_t struct_bytes;
    const char *kernel_set;   /* NULL: the best this processor has */
    uint32_t skip_checksums;  /* 1: do not read the whole file to verify the checksums of tensors */
    rbe_log_callback log;     /* may be NULL */
    void *log_user;
    uint64_t max_resident_bytes; /* of the file in memory at a time, for each session that runs; the rest is given back and read again
                                  * (docs/engine.md, "Memory"). 0: all of it. RBE_ERROR_ARGUMENT names the least that is possible */
    uint64_t cache_bytes;     /* for generated rows that are kept; 0: 16 MB. Taken at opening, touched as it fills */
    uint32_t cache_roles;     /* RBE_CACHE_*, of which they are kept; 0: all */
    uint32_t first_layer;     /* a part of the layers, for rbe_session_run_layers alone: n_layers from first_layer on */
    uint32_t n_layers;        /* 0: all from first_layer on */
    uint32_t without_amx;     /* 1: none. Else avx512_amx asks Linux for AMX at its first prefill: small signal stacks are refused then */
    uint64_t file_offset;     /* where the model begins in the file, a multiple of 65536; behind it and before it may be anything */
    uint64_t file_bytes;      /* of the model; 0: to the end of the file */
} rbe_model_options;

/* Maps a .rbe file (docs/format.md) and checks it, but for the checksums of tensors: these are verified on a thread of its own, beside what
 * follows (rbe_model_verify), and with max_resident_bytes before this returns. The file must not change until the model is closed
 * (rbe/faults.h). options may be NULL. Of a model with a part of the layers, sessions that are to take tokens into their context, be saved,
 * restored or copied, and batches, give RBE_ERROR_UNSUPPORTED. */
RBE_API rbe_status rbe_model_open(const char *path, const rbe_model_options *options, rbe_model **out);

/* Waits until they are verified. RBE_ERROR_FORMAT, with a line that names the tensor, where one is wrong: from when that is known, calls that
 * would give tokens or logits fail so. What is no next token waits by itself: the last event of a generation, scores, hidden states,
 * vectors, gradients, rows of tensors, saving. RBE_OK with skip_checksums. progress counts bytes and may be NULL. Any thread. */
RBE_API rbe_status rbe_model_verify(const rbe_model *model, rbe_progress_callback progress, void *user);

/* All sessions and batches of the model must have been freed. Stops verifying. */
RBE_API void rbe_model_close(rbe_model *model);

typedef struct rbe_model_info {
    size_t struct_bytes;
    uint64_t file_bytes;
    uint64_t n_parameters;    /* weights of the source model, a tied lm_head counted once */
    uint32_t format_version;
    uint32_t n_metadata;
    uint32_t n_tensors;
    uint32_t n_layers;
    uint32_t width;
    uint32_t n_vocabulary;
    uint32_t context_tokens;  /* the longest context the model was made for */
    const char *kernel_set;   /* in use */
} rbe_model_info;
RBE_API rbe_status rbe_model_get_info(const rbe_model *model, rbe_model_info *info);

/* What a model and its sessions take, in bytes unless said otherwise. */
typedef struct rbe_model_memory {
    size_t struct_bytes;
    uint64_t sessions_in_use;   /* arenas of sessions and batches, rounded up to powers of two or one and a half times these */
    uint64_t sessions_peak;     /* the most there ever were at a time */
    uint64_t sessions_held;     /* of freed sessions, kept for the next; with those in use at most the peak */
    uint64_t sessions_taken, sessions_reused; /* arenas ever taken, and how many of them had been held */
    uint64_t cache_limit, cache_used; /* generated rows that are kept */
    uint64_t cache_hits, cache_misses; /* rows */
    uint64_t resident_limit;    /* max_resident_bytes; 0: none, or the file is smaller */
    uint64_t resident_pinned;   /* what of the file stays in memory under that limit: its beginning */
} rbe_model_memory;
RBE_API rbe_status rbe_model_get_memory(const rbe_model *model, rbe_model_memory *out);

/* Gives memory of freed sessions back to the system. Any thread. */
RBE_API void rbe_model_trim_memory(const rbe_model *model);

/* The model's tokenizer, owned by the model; NULL if the file holds none. */
RBE_API const rbe_tokenizer *rbe_model_tokenizer(const rbe_model *model);

typedef enum rbe_value_type { RBE_VALUE_U64 = 1, RBE_VALUE_F64 = 2, RBE_VALUE_STRING = 3, RBE_VALUE_U64_ARRAY = 4 } rbe_value_type;

typedef struct rbe_metadata {
    const char *key;          /* not zero-terminated, UTF-8 */
    size_t key_bytes;
    uint32_t type;            /* rbe_value_type */
    uint32_t count;           /* bytes of a string, elements of an array, else 1 */
    const void *data;         /* little-endian, possibly unaligned */
} rbe_metadata;

RBE_API rbe_status rbe_model_metadata(const rbe_model *model, uint32_t index, rbe_metadata *out);

typedef struct rbe_tensor_info {
    size_t struct_bytes;
    const char *name;         /* not zero-terminated, UTF-8 */
    size_t name_bytes;
    uint32_t kind;            /* 1 fp32, 2 fp16, 3 bf16, 4 trellis, 5 seed64, 6 basis, 7 trellis in bands of rows, 8 ternary, 9 binary */
    uint32_t rows, cols;
    uint32_t rotation_block;  /* 0: not rotated */
    uint64_t seed;
    uint32_t n_planes;        /* 0 for dense tensors */
    uint32_t plane_bits[4];
    float error;              /* relative squared error against the source, measured by the packer */
    uint64_t data_bytes;
} rbe_tensor_info;
RBE_API rbe_status rbe_model_tensor(const rbe_model *model, uint32_t index, rbe_tensor_info *out);

/* Decodes n_rows rows of a tensor into fp32 [n_rows][cols], in the source's basis (rotation undone). For tests,
 * inspection and conversion; the engine never calls it for whole matrices. */
RBE_API rbe_status rbe_model_tensor_rows(const rbe_model *model, uint32_t index, uint32_t first_row, uint32_t n_rows, float *out);

/* ---- session ---------------------------------------------------------------------------------------------------- */

typedef struct rbe_session rbe_session;

/* Q8: int8 keys and values; Q8Q4: int8 keys, 4-bit values. Both with one scale per head and position, after a rotation of each head. They need
 * heads of at most 256 dimensions (else RBE_ERROR_UNSUPPORTED). AUTO: Q8 where all heads are so small, else F16, as of an encoder-decoder. */
typedef enum rbe_kv_type { RBE_KV_F16 = 0, RBE_KV_F32 = 1, RBE_KV_Q8 = 2, RBE_KV_Q8Q4 = 3, RBE_KV_AUTO = 4 } rbe_kv_type;

/* Kinds of matrices that a pass may read with different numbers of planes. */
enum { RBE_PLANES_ATTENTION = 0, RBE_PLANES_FEED_FORWARD = 1, RBE_PLANES_EMBEDDING = 2, RBE_PLANES_LM_HEAD = 3, RBE_PLANES_KINDS = 4 };

typedef struct rbe_session_options {
    size_t struct_bytes;
    uint32_t context_tokens;  /* 0: the model's, at most 4096 */
    uint32_t n_threads;       /* at most; 0: one per fast physical core, within the control group's quota; 1 to 64 */
    uint32_t pass_tokens;     /* tokens per prefill pass, 1 to 512; 0: 64, or 128 where the cache has room for it */
    uint32_t kv_type;         /* rbe_kv_type */
    uint32_t n_planes;        /* planes read of each trellis tensor, 1 to 4, the first ones; 0: all it has */
    uint32_t sink_tokens;     /* 0: a full context is an error. Else it slides: the first sink_tokens and the latest tokens stay,
                               * half of those between go (docs/engine.md). At most half the context; not with learned positions */
    uint32_t profile;         /* 1: measure where the time goes, for rbe_session_get_profile */
    uint32_t planes[4];       /* by RBE_PLANES_*: the same as n_planes for one kind of matrix; 0: n_planes */
} rbe_session_options;

/* Takes all that the session needs from one allocation, its arena (rbe_session_append names the exception). options may be NULL. */
RBE_API rbe_status rbe_session_create(const rbe_model *model, const rbe_session_options *options, rbe_session **out);
RBE_API void rbe_session_free(rbe_session *session);

typedef struct rbe_session_info {
    size_t struct_bytes;
    uint64_t arena_bytes;     /* all memory of the session */
    uint64_t kv_bytes;        /* the part of it that is the KV cache */
    uint32_t context_tokens, position; /* position: tokens in the context now */
    uint32_t n_threads, kv_type;       /* kv_type: rbe_kv_type of the cache, F32 of an encoder */
} rbe_session_info;

/* What may change from one pass to the next. */
typedef struct rbe_pass_options {
    size_t struct_bytes;
    uint32_t n_threads;       /* 1 to 64; 0: as they are */
    uint32_t n_planes;        /* as of rbe_session_options: 0 is all planes */
    uint32_t planes[4];
} rbe_pass_options;

/* Takes effect from the next call on; options NULL: all planes. What the context holds stays as it was. On failure nothing has changed. */
RBE_API rbe_status rbe_session_configure(rbe_session *session, const rbe_pass_options *options);
RBE_API rbe_status rbe_session_get_info(const rbe_session *session, rbe_session_info *info);

/* One kind of step of a pass over some tokens. */
typedef struct rbe_profile_entry {
    const char *operation;    /* a short English name; static */
    uint64_t calls;           /* per layer and pass, but for what stands before and behind the layers */
    uint64_t nanoseconds;
} rbe_profile_entry;

/* What the session has spent since it was made: at most `capacity` entries; *n_entries is the full count, and RBE_ERROR_CAPACITY says
 * that they did not fit. RBE_ERROR_ARGUMENT unless it was made with `profile`. */
RBE_API rbe_status rbe_session_get_profile(const rbe_session *session, rbe_profile_entry *entries, size_t capacity, size_t *n_entries);

/* Appends tokens, a prompt (prefill) or one (decode), and computes the logits after the last one. progress may be NULL. On any failure,
 * cancelling included, the session is as before the call. Where the context slides with passes of the call still to come, a copy of it is
 * kept, of at most kv_bytes; RBE_ERROR_MEMORY where there is no room. The last pass, once it slid, is not cancelled: the next call is. */
RBE_API rbe_status rbe_session_append(rbe_session *session, const uint32_t *tokens, size_t n_tokens, rbe_progress_callback progress,
                                      void *user);

/* The tokens of the context, *n_tokens of them (its position); owned by the session, valid until its next call. */
RBE_API const uint32_t *rbe_session_tokens(const rbe_session *session, size_t *n_tokens);

/* The length of the longest prefix of the tokens that the context begins with. */
RBE_API size_t rbe_session_common(const rbe_session *session, const uint32_t *tokens, size_t n_tokens);

/* Shortens the context to that prefix, but to n_tokens - 1 at most: *n_held. The caller appends the rest, at least one token, with
 * rbe_session_append. A conversation that grows is then computed once. */
RBE_API rbe_status rbe_session_resume(rbe_session *session, const uint32_t *tokens, size_t n_tokens, size_t *n_held);

/* The logits after the last token, float[n_vocabulary], owned by the session, valid until its next call. NULL where there are none:
 * before the first token, and behind a context that was shortened or copied. */
RBE_API const float *rbe_session_logits(const rbe_session *session);

/* Appends tokens and gives, for each, what followed from it: logits float[n_tokens][n_vocabulary] (may be NULL) and
 * log_probabilities float[n_tokens - 1] (may be NULL), the natural log-probability of tokens[i + 1] after tokens[i].
 * For perplexity and parity. */
RBE_API rbe_status rbe_session_score(rbe_session *session, const uint32_t *tokens, size_t n_tokens, float *log_probabilities, float *logits,
                                     rbe_progress_callback progress, void *user);

/* Forgets all but the first n_tokens of the context. The logits become invalid unless nothing was forgotten. Where a block cannot go
 * back, tokens are computed again: RBE_ERROR_CANCELLED then leaves fewer. */
RBE_API rbe_status rbe_session_rewind(rbe_session *session, size_t n_tokens);

/* Steps several sessions of one model at once: each weight is generated once for all of their tokens. Owns the scratch memory of a
 * step; one thread at a time. */
typedef struct rbe_batch rbe_batch;

typedef struct rbe_batch_options {
    size_t struct_bytes;
    uint32_t max_sessions;    /* 1 to 512; 0: 8 */
    uint32_t n_threads;       /* as of a session; the sessions' own threads are not used */
    uint32_t n_planes;        /* as of a session, whatever the sessions' own are */
    uint32_t planes[4];
} rbe_batch_options;

/* options may be NULL. Free it before the model is closed. */
RBE_API rbe_status rbe_batch_create(const rbe_model *model, const rbe_batch_options *options, rbe_batch **out);
RBE_API void rbe_batch_free(rbe_batch *batch);

/* Appends tokens[i] to the context of sessions[i], n of them, 1 to max_sessions, all different; the logits of each are then, bit for
 * bit, what rbe_session_append would have given with the batch's planes. All sessions belong to the calling thread meanwhile. A failure
 * of one session alone is its statuses[i], and the others go on: RBE_ERROR_CONTEXT where its context is full, RBE_ERROR_CANCELLED after
 * rbe_session_cancel; the message names the session. It is then as before the call, as all are on any other failure and after
 * rbe_batch_cancel. A session that slid for the step is not cancelled, and neither is its batch: the next call is. */
RBE_API rbe_status rbe_batch_decode(rbe_batch *batch, rbe_session *const *sessions, const uint32_t *tokens, size_t n, rbe_status *statuses);

/* Makes the call that runs on the batch, or else the next one, return RBE_ERROR_CANCELLED. Any thread. */
RBE_API void rbe_batch_cancel(rbe_batch *batch);

/* Which activation a callback of rbe_session_run_layers is shown: the input of the matrices named. */
typedef enum rbe_capture_point {
    RBE_CAPTURE_QKV = 0,      /* of a short convolution: `in`; of a recurrence: gate, decay and beta too */
    RBE_CAPTURE_O = 1,        /* of a short convolution: `out` */
    RBE_CAPTURE_UP = 2,       /* of gate and up */
    RBE_CAPTURE_DOWN = 3,
    RBE_CAPTURE_LM_HEAD = 4   /* after the last layer, layer = n_layers */
} rbe_capture_point;

/* x: float[n_tokens][cols], valid during the call. Called on the calling thread. A non-zero return cancels. */
typedef int (*rbe_capture_callback)(uint32_t layer, uint32_t point, const float *x, uint32_t n_tokens, uint32_t cols, void *user);

/* The hidden states of a text before the first layer, at positions 0, 1, ...: float[n_tokens][rbe_model_stream_width]. The session's context is empty, and
 * stays so; RBE_ERROR_CONTEXT where the tokens would not fit. */
RBE_API rbe_status rbe_session_embed(rbe_session *session, const uint32_t *tokens, size_t n_tokens, float *hidden);

/* Runs n_layers layers from first_layer on over hidden states, rows of rbe_model_stream_width floats, at positions first_position ..., in place. The
 * layers read what they keep of the positions before these, which an earlier call must have run (RBE_ERROR_ARGUMENT where a recurrence has not);
 * first_position lies at or behind the session's own position, which stays. For calibration, and for layers on several machines. capture may be NULL. */
RBE_API rbe_status rbe_session_run_layers(rbe_session *session, uint32_t first_layer, uint32_t n_layers, uint32_t first_position,
                                          float *hidden, size_t n_tokens, rbe_capture_callback capture, void *user);

/* Writes the session's state to a file (docs/runtime.md, "Saved state"): the tokens of its context, what the blocks keep of them, the
 * logits, where there are any. The file is for its owner alone, is written beside its place and then renamed: on failure a file that
 * was there before is not changed. RBE_ERROR_IO where there is a directory, a device or a pipe; of a link, its file is replaced. */
RBE_API rbe_status rbe_session_save(const rbe_session *session, const char *path);

/* Replaces the session's context by a saved one, so that it goes on bit for bit as the saved one would. The context may be of another size,
 * as long as the tokens fit, and so may threads, pass, planes and sinks. RBE_ERROR_FORMAT: damaged; RBE_ERROR_CONTEXT: the tokens do not
 * fit; RBE_ERROR_UNSUPPORTED: of another model, version, kv_type or rotary scaling. On any failure the session is as before. */
RBE_API rbe_status rbe_session_restore(rbe_session *session, const char *path);

/* Replaces the context of `to` by the first n_tokens of that of `from`, copied: what follows in `to` is bit for bit what would follow there in
 * `from`. It has no logits then. Both sessions belong to the calling thread meanwhile. RBE_ERROR_UNSUPPORTED where they differ in model, kv_type or
 * rotary scaling, RBE_ERROR_CONTEXT where the tokens do not fit: `to` is then as before. Where `from` cannot go back, tokens are computed again. */
RBE_API rbe_status rbe_session_copy(rbe_session *to, const rbe_session *from, size_t n_tokens);

/* Makes the call that runs on the session, or else the next one, return RBE_ERROR_CANCELLED; the other takes that back where no call has
 * obeyed yet. Any thread. */
RBE_API void rbe_session_cancel(rbe_session *session);
RBE_API void rbe_session_uncancel(rbe_session *session);

/* ---- sampling --------------------------------------------------------------------------------------------------- */

typedef struct rbe_sampler rbe_sampler;

typedef struct rbe_sampling_options {
    size_t struct_bytes;
    float temperature;        /* 0: the most likely token always */
    uint32_t top_k;           /* 0: off */
    float top_p;              /* 0 or 1: off */
    float min_p;              /* 0: off */
    float repeat_penalty;     /* 0 or 1: off */
    uint32_t repeat_last;     /* tokens the penalty looks back on; 0: 64 */
    uint64_t seed;            /* same seed, same logits: same tokens */
} rbe_sampling_options;

RBE_API rbe_status rbe_sampler_create(uint32_t n_vocabulary, const rbe_sampling_options *options, rbe_sampler **out);
RBE_API void rbe_sampler_free(rbe_sampler *sampler);

/* Draws a token from logits float[n_vocabulary]: penalty, temperature, top-k, top-p, min-p, then one draw (more: sampling.h). Fails on
 * logits that hold no finite value. Does not remember the token: see accept. */
RBE_API rbe_status rbe_sampler_draw(rbe_sampler *sampler, const float *logits, uint32_t *token);

/* Tells the sampler of a token that is now part of the text, for the repetition penalty. */
RBE_API rbe_status rbe_sampler_accept(rbe_sampler *sampler, uint32_t token);

/* ---- generation ------------------------------------------------------------------------------------------------- */

/* Draws the tokens that follow a session's context, one after the other, and turns them into text. It refers to the session, whose
 * context holds the prompt, and belongs to its thread. */
typedef struct rbe_generation rbe_generation;

/* Sees the logits before a token is drawn, float[n_vocabulary], and may change them: -infinity excludes a token, as a grammar does. It
 * may choose the token itself, with the sampler or without: it then sets *token, which is RBE_NO_TOKEN before. Non-zero ends the text.
 * Calls on the generation itself fail meanwhile. */
typedef int (*rbe_draw_callback)(float *logits, uint32_t n_vocabulary, rbe_sampler *sampler, uint32_t *token, void *user);

typedef struct rbe_generation_options {
    size_t struct_bytes;
    const rbe_sampling_options *sampling; /* of a sampler of its own; NULL: the defaults */
    rbe_sampler *sampler;     /* NULL: one of its own, that has accepted the latest tokens of the context. Else the caller's, of as many
                               * tokens as the model, which goes on from what it has accepted and is freed later */
    uint32_t max_tokens;      /* 0: as many as fit into the context */
    uint32_t ignore_end;      /* 1: goes on where the model would end */
    const char *const *stops; /* the text ends before the first of these; copied */
    size_t n_stops;
    rbe_draw_callback draw;   /* may be NULL */
    void *draw_user;
} rbe_generation_options;

typedef enum rbe_finish {
    RBE_FINISH_NONE = 0,      /* it goes on */
    RBE_FINISH_END = 1,       /* the model ended the text */
    RBE_FINISH_STOP = 2,      /* a stop sequence */
    RBE_FINISH_LENGTH = 3,    /* max_tokens */
    RBE_FINISH_CONTEXT = 4,   /* the context is full */
    RBE_FINISH_CALLER = 5     /* the callback, or rbe_generation_end */
} rbe_finish;

/* What one step gave. Texts are valid until the generation's next call. */
typedef struct rbe_generation_event {
    size_t struct_bytes;
    uint32_t token;           /* drawn; RBE_NO_TOKEN at FINISH_CONTEXT and FINISH_CALLER. That of FINISH_END is no part of the text */
    uint32_t finish;          /* rbe_finish */
    const char *text;         /* that has become certain; not zero-terminated, UTF-8 */
    size_t text_bytes;
    const char *rest;         /* at the end: what was held back until then, and follows `text` */
    size_t rest_bytes;
} rbe_generation_event;

RBE_API rbe_status rbe_generation_create(rbe_session *session, const rbe_generation_options *options, rbe_generation **out);
RBE_API void rbe_generation_free(rbe_generation *generation);

/* Appends the token of the step before to the context and draws the next one. RBE_ERROR_CANCELLED after rbe_session_cancel: the context
 * is as after a failure of rbe_session_append, and the next step goes on. RBE_ERROR_ARGUMENT behind the end. */
RBE_API rbe_status rbe_generation_step(rbe_generation *generation, rbe_generation_event *event);

/* Draws from logits float[n_vocabulary] and appends nothing. The caller appends, as in speculative decoding. logits NULL: the session's. */
RBE_API rbe_status rbe_generation_next(rbe_generation *generation, const float *logits, rbe_generation_event *event);

/* Ends the text here: event->rest is what was held back. */
RBE_API rbe_status rbe_generation_end(rbe_generation *generation, rbe_generation_event *event);

/* A step of n generations, 1 to max_sessions, of different sessions: their tokens are appended in one pass. statuses[i] as those of
 * rbe_generation_step; events[i] counts where it is RBE_OK. On any failure of the call nothing was drawn. */
RBE_API rbe_status rbe_batch_step(rbe_batch *batch, rbe_generation *const *generations, size_t n, rbe_generation_event *events,
                                  rbe_status *statuses);

#ifdef __cplusplus
}
#endif
#endif
