/* A golden pack with all its matrices in fp32, in memory of the test, which may change them. */
#ifndef RBE_TESTS_DENSE_MODEL_H
#define RBE_TESTS_DENSE_MODEL_H

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "model/model.h"

typedef struct dense_model {
    rbe_model *model;
    float **weights; /* of tensor i: [rows][cols] */
} dense_model;

/* weights NULL on failure. Vectors are bound to the file already: copies of them are not what the model reads, so they stay as they are, and their
 * weights are NULL. */
static inline dense_model open_dense(const char *path, const char *kernel_set)
{
    const rbe_model_options options = {.struct_bytes = sizeof options, .kernel_set = kernel_set, .skip_checksums = 1, .without_amx = 1};
    dense_model found = {0};
    if (rbe_model_open(path, &options, &found.model) != RBE_OK) {
        return found;
    }
    const uint32_t n = found.model->pack.n_tensors;
    found.weights = calloc(n, sizeof *found.weights);
    for (uint32_t i = 0; found.weights && i < n; i++) {
        rbe__tensor *tensor = &found.model->pack.tensors[i];
        float *rows = tensor->rows > 1 ? malloc((size_t)tensor->rows * tensor->cols * sizeof *rows) : NULL;
        for (uint32_t row = 0; rows && row < tensor->rows; row++) {
            rbe__tensor_row(&found.model->kernels, tensor, 0, row, rows + (size_t)row * tensor->cols);
        }
        if (rows) {
            tensor->kind = RBE_KIND_F32;
            tensor->data = (const uint8_t *)rows;
            tensor->n_planes = 0;
        }
        found.weights[i] = rows;
    }
    return found;
}

static inline void close_dense(dense_model *dense)
{
    for (uint32_t i = 0; dense->weights && i < dense->model->pack.n_tensors; i++) {
        free(dense->weights[i]);
    }
    free(dense->weights);
    rbe_model_close(dense->model);
}

/* The number of the tensor of that name. */
static inline uint32_t tensor_of(const rbe_model *model, const char *name)
{
    for (uint32_t i = 0; i < model->pack.n_tensors; i++) {
        const rbe__tensor *tensor = &model->pack.tensors[i];
        if (tensor->name_bytes == strlen(name) && memcmp(tensor->name, name, tensor->name_bytes) == 0) {
            return i;
        }
    }
    CHECK(0, "no tensor %s", name);
    return 0;
}

/* 64-bit FNV-1a, continued. */
static inline uint64_t digest_of(uint64_t hash, const void *values, size_t bytes)
{
    const unsigned char *at = values;
    for (size_t b = 0; b < bytes; b++) {
        hash = (hash ^ at[b]) * 1099511628211u;
    }
    return hash;
}

#endif
