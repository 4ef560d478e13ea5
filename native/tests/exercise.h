/* Opens a file of any content and, where that succeeds, does everything with it that a program would. Shared by the mutation
 * test and the fuzzer: nothing in here may crash, whatever the file holds. */
#ifndef RBE_TESTS_EXERCISE_H
#define RBE_TESTS_EXERCISE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mutation.h"
#include "part_entry.h"
#include "rbe/effort.h"
#include "rbe/encoder.h"
#include "rbe/encoder_decoder.h"
#include "rbe/modes.h"
#include "rbe/parts.h"
#include "rbe/rbe.h"

/* Of a model, where there is still an index; and that of its table of power modes. */
static inline void repair_checksum(unsigned char *data, size_t bytes)
{
    uint64_t index_bytes;
    if (bytes < 64) {
        return;
    }
    repair_part(data, bytes, "modes");
    memcpy(&index_bytes, data + 24, 8);
    if (index_bytes >= 64 && index_bytes <= bytes) {
        repair_head(data, bytes, (size_t)index_bytes);
    }
}

static inline void exercise_session(const rbe_model *model, const rbe_model_info *info)
{
    uint32_t context = info->context_tokens < 16 ? info->context_tokens : 16;
    rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = context, .n_threads = 1, .pass_tokens = 4};
    rbe_session *session;
    if (rbe_session_create(model, &options, &session) != RBE_OK) {
        return;
    }
    const uint32_t tokens[] = {1, 2, 0, 1, 3};
    uint32_t next = 0;
    rbe_sampling_options sampling = {.struct_bytes = sizeof sampling, .temperature = 1, .top_p = 0.9f, .repeat_penalty = 1.1f};
    rbe_sampler *sampler = NULL;
    rbe_status status = rbe_session_encode(session, tokens, 5, NULL, NULL); /* of most models refused */
    status = rbe_session_append(session, tokens, 5, NULL, NULL);
    if (status == RBE_OK && rbe_sampler_create(info->n_vocabulary, &sampling, &sampler) == RBE_OK &&
        rbe_sampler_draw(sampler, rbe_session_logits(session), &next) == RBE_OK) {
        status = rbe_session_append(session, &next, 1, NULL, NULL);
    }
    (void)status;
    rbe_sampler_free(sampler);
    rbe_session_free(session);
}

/* Texts that fit into a pass and one that does not, with what may be asked of them. */
static inline void exercise_encoder(const rbe_model *model, const rbe_model_info *info)
{
    const rbe_encoder_options options = {.struct_bytes = sizeof options, .n_threads = 1, .pass_tokens = 4};
    const uint32_t tokens[] = {1, 2, 0, 1, 3}, places[] = {0, 2};
    const uint8_t segments[] = {0, 0, 1, 1, 0};
    const rbe_encoder_text texts[] = {{tokens, NULL, 2}, {tokens + 1, segments, 1}, {tokens, segments, 5}};
    rbe_encoder_info about = {.struct_bytes = sizeof about};
    rbe_encoder *encoder;
    if (rbe_model_get_encoder_info(model, &about) != RBE_OK || rbe_encoder_create(model, &options, &encoder) != RBE_OK) {
        return;
    }
    const size_t most = (size_t)info->width > info->n_vocabulary ? info->width : info->n_vocabulary;
    float *out = malloc(8 * (most > about.n_pooled ? most : about.n_pooled) * sizeof *out);
    if (out) {
        (void)rbe_encoder_hidden(encoder, texts, 3, out, NULL, NULL);
        (void)rbe_encoder_pool(encoder, texts, 3, out, NULL, NULL);
        (void)rbe_encoder_word_logits(encoder, &texts[2], places, 2, out);
    }
    free(out);
    rbe_encoder_free(encoder);
}

static inline void exercise_tokenizer(const rbe_tokenizer *tokenizer)
{
    static const char text[] = "Hello  w\xc3\xb6rld 123,\n<|im_start|> \xff\xe4\xb8\xad";
    uint32_t tokens[64];
    size_t n;
    if (rbe_tokenize(tokenizer, text, sizeof text - 1, RBE_TOKENIZE_SPECIAL_PREFIX | RBE_TOKENIZE_PARSE_SPECIAL, tokens, 64, &n) !=
        RBE_OK) {
        return;
    }
    const char *const stops[] = {"123"};
    rbe_text_stream *stream;
    if (rbe_text_stream_create(tokenizer, stops, 1, &stream) != RBE_OK) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const char *piece;
        size_t bytes;
        int stopped;
        if (rbe_text_stream_push(stream, tokens[i], &piece, &bytes, &stopped) != RBE_OK) {
            break;
        }
    }
    rbe_text_stream_free(stream);
}

/* Reads all parts and modes, and runs the modes. */
static inline void exercise_parts(const rbe_model *model)
{
    static volatile uint32_t sum; /* so that the data is read */
    rbe_part_info part = {.struct_bytes = sizeof part};
    for (uint32_t i = 0; rbe_model_part_info(model, i, &part) == RBE_OK; i++) {
        char name[64];
        const void *data;
        uint64_t bytes;
        snprintf(name, sizeof name, "%.*s", (int)part.name_bytes, part.name);
        if (rbe_model_part(model, name, &data, &bytes, NULL) == RBE_OK) {
            for (uint64_t at = 0; at < bytes; at++) {
                sum += ((const uint8_t *)data)[at];
            }
            (void)sum;
        }
    }
    rbe_mode mode = {.struct_bytes = sizeof mode};
    const rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = 4, .n_threads = 1, .pass_tokens = 1};
    rbe_session *session = NULL;
    for (uint32_t i = 0; rbe_model_mode(model, i, &mode) == RBE_OK; i++) {
        const rbe_effort effort = {.struct_bytes = sizeof effort,
                                   .embedding = mode.embedding,
                                   .lm_head = mode.lm_head,
                                   .n_layers = mode.n_layers,
                                   .attention = mode.attention,
                                   .feed_forward = mode.feed_forward};
        sum += (uint32_t)(strlen(mode.reason) + strlen(mode.text));
        if ((session || rbe_session_create(model, &options, &session) == RBE_OK) && rbe_session_set_effort(session, &effort) == RBE_OK) {
            (void)rbe_session_append(session, &(uint32_t){0}, 1, NULL, NULL);
        }
    }
    rbe_session_free(session);
}

/* 1 where the file could be opened, and its checksums are right unless they were skipped. */
static inline int exercise_file(const char *path, uint32_t skip_checksums)
{
    rbe_model_options options = {.struct_bytes = sizeof options, .skip_checksums = skip_checksums};
    rbe_model *model;
    rbe_model_info info = {.struct_bytes = sizeof info};
    if (rbe_model_open(path, &options, &model) != RBE_OK) {
        return 0;
    }
    const int is_right = rbe_model_verify(model, NULL, NULL) == RBE_OK;
    if (rbe_model_get_info(model, &info) == RBE_OK) {
        for (uint32_t i = 0; i < info.n_tensors; i++) {
            rbe_tensor_info tensor = {.struct_bytes = sizeof tensor};
            float *row = NULL;
            if (rbe_model_tensor(model, i, &tensor) == RBE_OK && (row = malloc(tensor.cols * sizeof *row)) != NULL) {
                (void)rbe_model_tensor_rows(model, i, tensor.rows - 1, 1, row);
            }
            free(row);
        }
        exercise_session(model, &info);
        exercise_encoder(model, &info);
        exercise_parts(model);
    }
    if (rbe_model_tokenizer(model)) {
        exercise_tokenizer(rbe_model_tokenizer(model));
    }
    rbe_model_close(model);
    return is_right;
}

#endif
