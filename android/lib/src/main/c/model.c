/* Opening a model, and what it tells about itself. */
#include <stdlib.h>
#include <string.h>

#include "bridge.h"

/* A metadata text as it stands in the file; data NULL where there is none. */
static rbe_metadata metadata(const rbe_model *model, uint32_t n_metadata, const char *key)
{
    rbe_metadata entry;
    for (uint32_t i = 0; i < n_metadata; i++) {
        if (rbe_model_metadata(model, i, &entry) == RBE_OK && entry.type == RBE_VALUE_STRING && entry.key_bytes == strlen(key) &&
            memcmp(entry.key, key, entry.key_bytes) == 0) {
            return entry;
        }
    }
    return (rbe_metadata){0};
}

static char *copy_of(rbe_metadata text)
{
    char *copy = malloc((size_t)text.count + 1);
    if (copy) {
        memcpy(copy, text.data ? text.data : "", text.count);
        copy[text.count] = 0;
    }
    return copy;
}

static void close_model(bridge_model *m)
{
    rbe_model_close(m->model);
    free(m->bos);
    free(m->eos);
    free(m);
}

/* NULL with a pending exception. */
static bridge_model *prepare(JNIEnv *env, rbe_model *model)
{
    rbe_model_info info = {.struct_bytes = sizeof info};
    bridge_model *m = calloc(1, sizeof *m);
    if (!m) {
        rbe_model_close(model);
        bridge_throw_no_memory(env);
        return NULL;
    }
    m->model = model;
    const rbe_status status = rbe_model_get_info(model, &info);
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
        close_model(m);
        return NULL;
    }
    m->jinja = metadata(model, info.n_metadata, "chat_template");
    m->form = metadata(model, info.n_metadata, "chat_form");
    m->bos = copy_of(metadata(model, info.n_metadata, "bos_token"));
    m->eos = copy_of(metadata(model, info.n_metadata, "eos_token"));
    if (!m->bos || !m->eos) {
        bridge_throw_no_memory(env);
        close_model(m);
        return NULL;
    }
    return m;
}

static jlong open_model(JNIEnv *env, jclass class, jbyteArray path, jbyteArray kernel_set, jboolean skip_checksums,
                        jlong max_resident_bytes, jlong cache_bytes)
{
    bridge_bytes name, kernels = {0};
    rbe_model *model = NULL;
    bridge_model *m = NULL;
    (void)class;
    if (!bridge_take_name(env, path, "a path", &name) || !bridge_take_name(env, kernel_set, "the name of a kernel set", &kernels)) {
        free(name.data);
        return 0;
    }
    const rbe_model_options options = {.struct_bytes = sizeof options,
                                       .kernel_set = kernels.data,
                                       .skip_checksums = skip_checksums ? 1u : 0u,
                                       .max_resident_bytes = (uint64_t)max_resident_bytes,
                                       .cache_bytes = (uint64_t)cache_bytes};
    const rbe_status status = rbe_model_open(name.data, &options, &model);
    if (status == RBE_OK) {
        m = prepare(env, model);
    } else {
        bridge_throw_last(env, status);
    }
    free(kernels.data);
    free(name.data);
    return bridge_handle(m);
}

static void close_handle(JNIEnv *env, jclass class, jlong model)
{
    (void)env;
    (void)class;
    close_model(bridge_pointer(model));
}

/* file_bytes, n_parameters, format_version, n_layers, width, n_vocabulary, context_tokens, whether there is a tokenizer, and whether the
 * chat template is the plain one. */
static jlongArray model_info(JNIEnv *env, jclass class, jlong model)
{
    const bridge_model *m = bridge_pointer(model);
    rbe_model_info info = {.struct_bytes = sizeof info};
    (void)class;
    const rbe_status status = rbe_model_get_info(m->model, &info);
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
        return NULL;
    }
    const uint64_t numbers[] = {info.file_bytes,    info.n_parameters, info.format_version, info.n_layers,
                                info.width,         info.n_vocabulary, info.context_tokens, rbe_model_tokenizer(m->model) != NULL,
                                m->jinja.count == 0};
    return bridge_give_numbers(env, numbers, sizeof numbers / sizeof *numbers);
}

static jbyteArray kernel_set(JNIEnv *env, jclass class, jlong model)
{
    const bridge_model *m = bridge_pointer(model);
    rbe_model_info info = {.struct_bytes = sizeof info};
    (void)class;
    const rbe_status status = rbe_model_get_info(m->model, &info);
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
        return NULL;
    }
    return bridge_give(env, info.kernel_set, strlen(info.kernel_set));
}

/* In the order of rbe_model_memory. */
static jlongArray model_memory(JNIEnv *env, jclass class, jlong model)
{
    const bridge_model *m = bridge_pointer(model);
    rbe_model_memory memory = {.struct_bytes = sizeof memory};
    (void)class;
    const rbe_status status = rbe_model_get_memory(m->model, &memory);
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
        return NULL;
    }
    const uint64_t numbers[] = {memory.sessions_in_use, memory.sessions_peak,  memory.sessions_held,  memory.sessions_taken,
                                memory.sessions_reused, memory.cache_limit,    memory.cache_used,     memory.cache_hits,
                                memory.cache_misses,    memory.resident_limit, memory.resident_pinned};
    return bridge_give_numbers(env, numbers, sizeof numbers / sizeof *numbers);
}

static void trim_memory(JNIEnv *env, jclass class, jlong model)
{
    const bridge_model *m = bridge_pointer(model);
    (void)env;
    (void)class;
    rbe_model_trim_memory(m->model);
}

static void verify_model(JNIEnv *env, jclass class, jlong model)
{
    const bridge_model *m = bridge_pointer(model);
    (void)class;
    const rbe_status status = rbe_model_verify(m->model, NULL, NULL);
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
    }
}

static jbyteArray version(JNIEnv *env, jclass class)
{
    (void)class;
    return bridge_give(env, rbe_version(), strlen(rbe_version()));
}

const JNINativeMethod bridge_model_methods[] = {
    {"version", "()[B", (void *)version},         {"openModel", "([B[BZJJ)J", (void *)open_model},
    {"closeModel", "(J)V", (void *)close_handle}, {"modelInfo", "(J)[J", (void *)model_info},
    {"kernelSet", "(J)[B", (void *)kernel_set},   {"modelMemory", "(J)[J", (void *)model_memory},
    {"trimMemory", "(J)V", (void *)trim_memory},  {"verifyModel", "(J)V", (void *)verify_model},
};
const jint bridge_n_model_methods = sizeof bridge_model_methods / sizeof *bridge_model_methods;
