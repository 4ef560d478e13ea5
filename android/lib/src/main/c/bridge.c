#include "bridge.h"

#include <stdlib.h>
#include <string.h>

#define EXPORTED __attribute__((visibility("default")))

/* Global references, from when the library is loaded to when it is unloaded: FindClass on another thread would ask the wrong loader. */
static struct {
    jclass exception; /* rbe.edge.RbeException */
    jmethodID exception_constructor; /* (int status, byte[] message) */
    jclass progress; /* rbe.edge.Progress: keeps the method's identity valid */
    jmethodID on_progress;
} java;

int bridge_take(JNIEnv *env, jbyteArray array, bridge_bytes *out)
{
    *out = (bridge_bytes){0};
    if (!array) {
        return 1;
    }
    const jsize bytes = (*env)->GetArrayLength(env, array);
    char *data = malloc((size_t)bytes + 1);
    if (!data) {
        bridge_throw_no_memory(env);
        return 0;
    }
    (*env)->GetByteArrayRegion(env, array, 0, bytes, (jbyte *)data);
    data[bytes] = 0;
    *out = (bridge_bytes){data, (size_t)bytes};
    return 1;
}

int bridge_take_name(JNIEnv *env, jbyteArray array, const char *what, bridge_bytes *out)
{
    if (!bridge_take(env, array, out)) {
        return 0;
    }
    if (out->data && strlen(out->data) != out->bytes) {
        char message[80] = "a zero byte cannot stand in ";
        strncat(message, what, sizeof message - strlen(message) - 1);
        bridge_throw(env, RBE_ERROR_ARGUMENT, message);
        free(out->data);
        *out = (bridge_bytes){0};
        return 0;
    }
    return 1;
}

static int fits(JNIEnv *env, size_t n)
{
    if (n > INT32_MAX) {
        bridge_throw(env, RBE_ERROR_CAPACITY, "more than 2147483647 elements do not fit into a Java array");
    }
    return n <= INT32_MAX;
}

jbyteArray bridge_give(JNIEnv *env, const char *data, size_t bytes)
{
    jbyteArray array = fits(env, bytes) ? (*env)->NewByteArray(env, (jsize)bytes) : NULL;
    if (array) {
        (*env)->SetByteArrayRegion(env, array, 0, (jsize)bytes, (const jbyte *)data);
    }
    return array;
}

jintArray bridge_give_tokens(JNIEnv *env, const uint32_t *tokens, size_t n_tokens)
{
    jintArray array = fits(env, n_tokens) ? (*env)->NewIntArray(env, (jsize)n_tokens) : NULL;
    if (array) {
        (*env)->SetIntArrayRegion(env, array, 0, (jsize)n_tokens, (const jint *)tokens);
    }
    return array;
}

jlongArray bridge_give_numbers(JNIEnv *env, const uint64_t *numbers, size_t n)
{
    jlongArray array = (*env)->NewLongArray(env, (jsize)n);
    if (array) {
        (*env)->SetLongArrayRegion(env, array, 0, (jsize)n, (const jlong *)numbers);
    }
    return array;
}

void bridge_throw(JNIEnv *env, rbe_status status, const char *message)
{
    if ((*env)->ExceptionCheck(env)) {
        return;
    }
    jbyteArray text = bridge_give(env, message, strlen(message));
    jobject exception = text ? (*env)->NewObject(env, java.exception, java.exception_constructor, (jint)status, text) : NULL;
    if (exception) {
        (*env)->Throw(env, (jthrowable)exception);
        (*env)->DeleteLocalRef(env, exception);
    }
    if (text) {
        (*env)->DeleteLocalRef(env, text);
    }
}

void bridge_throw_last(JNIEnv *env, rbe_status status)
{
    bridge_throw(env, status, rbe_last_error());
}

void bridge_throw_no_memory(JNIEnv *env)
{
    bridge_throw(env, RBE_ERROR_MEMORY, "no memory for what crosses between Java and the library");
}

int bridge_progress(JNIEnv *env, jobject progress, uint64_t done, uint64_t total)
{
    (*env)->CallVoidMethod(env, progress, java.on_progress, (jlong)done, (jlong)total);
    return (*env)->ExceptionCheck(env);
}

/* A global reference; NULL with a pending exception. */
static jclass find_class(JNIEnv *env, const char *name)
{
    jclass local = (*env)->FindClass(env, name), global = NULL;
    if (local) {
        global = (jclass)(*env)->NewGlobalRef(env, local);
        (*env)->DeleteLocalRef(env, local);
    }
    return global;
}

static int register_methods(JNIEnv *env)
{
    jclass native = (*env)->FindClass(env, "rbe/edge/Native");
    const int good = native && (*env)->RegisterNatives(env, native, bridge_model_methods, bridge_n_model_methods) == JNI_OK &&
                     (*env)->RegisterNatives(env, native, bridge_session_methods, bridge_n_session_methods) == JNI_OK &&
                     (*env)->RegisterNatives(env, native, bridge_text_methods, bridge_n_text_methods) == JNI_OK &&
                     (*env)->RegisterNatives(env, native, bridge_power_methods, bridge_n_power_methods) == JNI_OK;
    if (native) {
        (*env)->DeleteLocalRef(env, native);
    }
    return good;
}

static int find_classes(JNIEnv *env)
{
    java.exception = find_class(env, "rbe/edge/RbeException");
    java.progress = java.exception ? find_class(env, "rbe/edge/Progress") : NULL;
    if (!java.progress) {
        return 0;
    }
    java.exception_constructor = (*env)->GetMethodID(env, java.exception, "<init>", "(I[B)V");
    java.on_progress = java.exception_constructor ? (*env)->GetMethodID(env, java.progress, "onProgress", "(JJ)V") : NULL;
    return java.on_progress != NULL;
}

EXPORTED JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM *vm, void *reserved)
{
    JNIEnv *env;
    (void)reserved;
    if ((*vm)->GetEnv(vm, (void **)&env, JNI_VERSION_1_6) != JNI_OK || !find_classes(env) || !register_methods(env)) {
        return JNI_ERR;
    }
    return JNI_VERSION_1_6;
}

EXPORTED JNIEXPORT void JNICALL JNI_OnUnload(JavaVM *vm, void *reserved)
{
    JNIEnv *env;
    (void)reserved;
    if ((*vm)->GetEnv(vm, (void **)&env, JNI_VERSION_1_6) == JNI_OK) {
        (*env)->DeleteGlobalRef(env, java.exception);
        (*env)->DeleteGlobalRef(env, java.progress);
    }
}
