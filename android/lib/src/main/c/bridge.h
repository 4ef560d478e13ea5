/* bridge.h: what the files of the JNI bridge share. Java sees the library through rbe.edge.Native alone; handles are pointers in a jlong,
 * and Java looks after their order and threads. Text crosses as UTF-8 bytes: JNI's own strings are modified UTF-8, in which an emoji is six
 * bytes that no tokenizer knows.
 *
 * A function that fails leaves a Java exception pending and returns 0 or NULL; its caller frees what it holds and returns too. Local
 * references are deleted where they are made in a loop, all others go when the call returns to Java. */
#ifndef RBE_ANDROID_BRIDGE_H
#define RBE_ANDROID_BRIDGE_H

#include <jni.h>
#include <stddef.h>

#include "rbe/chat.h"
#include "rbe/rbe.h"

typedef struct bridge_model {
    rbe_model *model;
    rbe_metadata jinja, form; /* data NULL where the file has none */
    char *bos, *eos; /* ours */
} bridge_model;

/* A copy of a Java byte[], with a zero behind it. */
typedef struct bridge_bytes {
    char *data;
    size_t bytes;
} bridge_bytes;

/* 0 with a pending exception; NULL gives data NULL. The caller frees data. */
int bridge_take(JNIEnv *env, jbyteArray array, bridge_bytes *out);

/* The same for what C reads up to its zero: RBE_ERROR_ARGUMENT, naming `what`, where there is a zero inside. */
int bridge_take_name(JNIEnv *env, jbyteArray array, const char *what, bridge_bytes *out);

/* A Java byte[], int[] or long[]; NULL with a pending exception. */
jbyteArray bridge_give(JNIEnv *env, const char *data, size_t bytes);
jintArray bridge_give_tokens(JNIEnv *env, const uint32_t *tokens, size_t n_tokens);
jlongArray bridge_give_numbers(JNIEnv *env, const uint64_t *numbers, size_t n);

/* Throws an RbeException with a message, or with that of the call that failed on this thread. Nothing where an exception is pending. */
void bridge_throw(JNIEnv *env, rbe_status status, const char *message);
void bridge_throw_last(JNIEnv *env, rbe_status status);
void bridge_throw_no_memory(JNIEnv *env);

/* Calls Progress.onProgress; non-zero where it threw. */
int bridge_progress(JNIEnv *env, jobject progress, uint64_t done, uint64_t total);

static inline jlong bridge_handle(void *pointer)
{
    return (jlong)(intptr_t)pointer;
}

static inline void *bridge_pointer(jlong handle)
{
    return (void *)(intptr_t)handle;
}

/* The native methods of rbe.edge.Native, by file. */
extern const JNINativeMethod bridge_model_methods[], bridge_session_methods[], bridge_text_methods[], bridge_power_methods[];
extern const jint bridge_n_model_methods, bridge_n_session_methods, bridge_n_text_methods, bridge_n_power_methods;

#endif
