/* A golden pack whose layers begin with recurrences of a shape that the test chooses, with weights in its memory. */
#ifndef RBE_TESTS_RECURRENT_MODEL_H
#define RBE_TESTS_RECURRENT_MODEL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blocks/bind.h"
#include "check.h"
#include "session/session.h"

#define RECURRENT_CONTEXT 1024u
#define RECURRENT_TENSORS 24u

typedef struct recurrent_model {
    rbe_model *model;
    rbe__recurrence_shape shape;
    rbe__tensor tensors[RECURRENT_TENSORS];
    char names[RECURRENT_TENSORS][64];
    float *values[RECURRENT_TENSORS];
    uint32_t n, random;
} recurrent_model;

/* -1 to 1. */
static inline float next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

/* Numbers of about `middle`, within `size` of it. */
static inline void add_tensor(recurrent_model *to, const char *part, uint32_t rows, uint32_t cols, float middle, float size)
{
    const uint32_t i = to->n++;
    snprintf(to->names[i], sizeof to->names[i], "layers.0.recurrence.%s", part);
    to->values[i] = malloc((size_t)rows * cols * sizeof(float));
    for (size_t at = 0; at < (size_t)rows * cols; at++) {
        to->values[i][at] = middle + size * next_random(&to->random);
    }
    to->tensors[i] = (rbe__tensor){.name = to->names[i],
                                   .name_bytes = (uint32_t)strlen(to->names[i]),
                                   .kind = RBE_KIND_F32,
                                   .rows = rows,
                                   .cols = cols,
                                   .data = (const uint8_t *)to->values[i],
                                   .data_bytes = (uint64_t)rows * cols * sizeof(float)};
}

static inline const rbe__tensor *find_recurrent(const void *context, const char *name)
{
    const recurrent_model *from = context;
    for (uint32_t i = 0; i < from->n; i++) {
        if (strcmp(from->names[i], name) == 0) {
            return &from->tensors[i];
        }
    }
    return NULL;
}

/* Those of a part that the model has, else NULL. */
static inline const float *recurrent_values(const recurrent_model *from, const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "layers.0.recurrence.%s", part);
    const rbe__tensor *found = find_recurrent(from, name);
    return found ? (const float *)(const void *)found->data : NULL;
}

static inline void add_tensors(recurrent_model *to, uint32_t width, int with_biases)
{
    const rbe__recurrence_shape *shape = &to->shape;
    const uint32_t keys = shape->n_keys * shape->key_dim, values = shape->n_values * shape->value_dim;
    const int is_delta = shape->rule == RBE_MIXER_DELTA_NET;
    const float size = 0.4f;
    add_tensor(to, "norm", 1, width, 1, .5f);
    add_tensor(to, "q", keys, width, 0, size);
    add_tensor(to, "k", keys, width, 0, size);
    add_tensor(to, "v", values, width, 0, size);
    add_tensor(to, "gate", values, width, 0, size);
    add_tensor(to, "o", width, values, 0, size);
    add_tensor(to, "q_taps", keys, shape->taps, .3f, 1);
    add_tensor(to, "k_taps", keys, shape->taps, .3f, 1);
    add_tensor(to, "v_taps", values, shape->taps, .3f, 1);
    add_tensor(to, "decay", shape->n_values, width, 0, size);
    add_tensor(to, "decay.bias", 1, shape->n_values, -2, 2);
    add_tensor(to, "rate", 1, shape->n_values, .6f, .5f);
    add_tensor(to, "gated_norm", 1, is_delta ? shape->value_dim : values, 1, .5f);
    add_tensor(to, is_delta ? "beta" : "skip", is_delta ? shape->n_values : 1, is_delta ? width : shape->n_values, 0, 1);
    if (with_biases) {
        add_tensor(to, "q.bias", 1, keys, 0, .5f);
        add_tensor(to, "gate.bias", 1, values, 0, .5f);
        add_tensor(to, "k_taps.bias", 1, keys, 0, .5f);
        add_tensor(to, "v_taps.bias", 1, values, 0, .5f);
        add_tensor(to, "o.bias", 1, width, 0, .5f);
    }
}

/* Every layer of the golden pack begins with the same recurrence. model NULL where the set does not run here. */
static inline void open_recurrent(const char *kernel_set, const rbe__recurrence_shape *shape, int with_biases, recurrent_model *out)
{
    const rbe_model_options options = {.struct_bytes = sizeof options, .kernel_set = kernel_set};
    *out = (recurrent_model){.shape = *shape, .random = 17};
    if (rbe_model_open(RBE_GOLDEN_DIR "/v1/half.rbe", &options, &out->model) != RBE_OK) {
        return;
    }
    rbe_model *model = out->model;
    model->config.context = RECURRENT_CONTEXT;
    add_tensors(out, model->stack.width, with_biases);
    const rbe__layer_shape layer = {.width = model->stack.width, .mixer = shape->rule, .recurrence = *shape};
    rbe__binder binder = {.find = find_recurrent, .context = out, .path = "test", .prefix = ""};
    for (uint32_t i = 0; i < model->stack.n_layers; i++) {
        rbe__block *block = &model->stack.layers[i].blocks[0];
        *block = (rbe__block){.kind = &rbe__recurrence_kind,
                              .width = model->stack.width,
                              .norm_epsilon = 1e-5f,
                              .state = block->state,
                              .first_operation = block->first_operation};
        block->kind->bind(&binder, 0, &layer, block);
        CHECK(binder.status == RBE_OK, "%s", rbe_last_error());
    }
}

static inline void close_recurrent(recurrent_model *from)
{
    for (uint32_t i = 0; i < from->n; i++) {
        free(from->values[i]);
    }
    rbe_model_close(from->model);
}

static inline rbe_session *open_session(const rbe_model *model, uint32_t context, uint32_t n_threads, uint32_t pass_tokens, uint32_t sinks)
{
    const rbe_session_options options = {.struct_bytes = sizeof options,
                                         .context_tokens = context,
                                         .n_threads = n_threads,
                                         .pass_tokens = pass_tokens,
                                         .sink_tokens = sinks};
    rbe_session *session = NULL;
    CHECK(rbe_session_create(model, &options, &session) == RBE_OK, "%s", rbe_last_error());
    return session;
}

static inline void fill_tokens(const rbe_model *model, uint32_t *tokens, uint32_t n)
{
    uint32_t random = 5;
    for (uint32_t i = 0; i < n; i++) {
        tokens[i] = (uint32_t)((next_random(&random) + 1) * 1e6f) % model->stack.n_vocabulary;
    }
}

static inline void append(rbe_session *session, const uint32_t *tokens, uint32_t n)
{
    if (n) {
        CHECK(rbe_session_append(session, tokens, n, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    }
}

static inline int same_logits(const rbe_session *session, const rbe_session *other)
{
    const size_t n = session->pass.stack->n_vocabulary;
    return memcmp(rbe_session_logits(session), rbe_session_logits(other), n * sizeof(float)) == 0;
}

#endif
