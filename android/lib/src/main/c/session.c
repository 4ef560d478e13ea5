/* Sessions, prompts and generation. */
#include <stdlib.h>
#include <string.h>

#include "bridge.h"

static jlong create_session(JNIEnv *env, jclass class, jlong model, jint context_tokens, jint n_threads, jint pass_tokens, jint kv_type,
                            jint sink_tokens)
{
    const bridge_model *m = bridge_pointer(model);
    const rbe_session_options options = {.struct_bytes = sizeof options,
                                         .context_tokens = (uint32_t)context_tokens,
                                         .n_threads = (uint32_t)n_threads,
                                         .pass_tokens = (uint32_t)pass_tokens,
                                         .kv_type = (uint32_t)kv_type,
                                         .sink_tokens = (uint32_t)sink_tokens};
    rbe_session *session = NULL;
    (void)class;
    const rbe_status status = rbe_session_create(m->model, &options, &session);
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
    }
    return bridge_handle(session);
}

static void free_session(JNIEnv *env, jclass class, jlong session)
{
    (void)env;
    (void)class;
    rbe_session_free(bridge_pointer(session));
}

/* In the order of rbe_session_info. */
static jlongArray session_info(JNIEnv *env, jclass class, jlong session)
{
    rbe_session_info info = {.struct_bytes = sizeof info};
    (void)class;
    const rbe_status status = rbe_session_get_info(bridge_pointer(session), &info);
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
        return NULL;
    }
    const uint64_t numbers[] = {info.arena_bytes, info.kv_bytes, info.context_tokens, info.position, info.n_threads};
    return bridge_give_numbers(env, numbers, sizeof numbers / sizeof *numbers);
}

static void cancel_session(JNIEnv *env, jclass class, jlong session)
{
    (void)env;
    (void)class;
    rbe_session_cancel(bridge_pointer(session));
}

static void rewind_session(JNIEnv *env, jclass class, jlong session, jint n_tokens)
{
    (void)class;
    const rbe_status status = rbe_session_rewind(bridge_pointer(session), (size_t)n_tokens);
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
    }
}

typedef struct progress_target {
    JNIEnv *env;
    jobject progress; /* not NULL */
} progress_target;

static int report_progress(uint64_t done, uint64_t total, void *user)
{
    const progress_target *target = user;
    return bridge_progress(target->env, target->progress, done, total);
}

/* Computes the tokens of a prompt that the context does not hold yet, and returns how many these were. */
static jint prompt(JNIEnv *env, jclass class, jlong handle, jintArray array, jobject progress)
{
    rbe_session *session = bridge_pointer(handle);
    const jsize n_tokens = (*env)->GetArrayLength(env, array);
    progress_target target = {env, progress};
    size_t n_held = 0;
    (void)class;
    jint *tokens = malloc(((size_t)n_tokens + 1) * sizeof *tokens);
    if (!tokens) {
        bridge_throw_no_memory(env);
        return 0;
    }
    (*env)->GetIntArrayRegion(env, array, 0, n_tokens, tokens);
    const uint32_t *ids = (const uint32_t *)tokens;
    rbe_status status = rbe_session_resume(session, ids, (size_t)n_tokens, &n_held);
    if (status == RBE_OK) {
        status = rbe_session_append(session, ids + n_held, (size_t)n_tokens - n_held, progress ? report_progress : NULL, &target);
    }
    free(tokens);
    if (status != RBE_OK) {
        bridge_throw_last(env, status); /* of a callback that threw, its exception stays */
        return 0;
    }
    return (jint)((size_t)n_tokens - n_held);
}

/* The stop sequences of a byte[][]: zero-terminated, in `out`, whose first n_taken are the caller's to free. */
static int take_stops(JNIEnv *env, jobjectArray array, bridge_bytes *out, size_t n, size_t *n_taken)
{
    for (*n_taken = 0; *n_taken < n; ++*n_taken) {
        jbyteArray stop = (jbyteArray)(*env)->GetObjectArrayElement(env, array, (jsize)*n_taken);
        const int good = stop && bridge_take_name(env, stop, "a stop sequence", &out[*n_taken]);
        (*env)->DeleteLocalRef(env, stop);
        if (!good) {
            return 0;
        }
    }
    return 1;
}

static jlong generate(JNIEnv *env, jlong session, const rbe_sampling_options *sampling, jint max_tokens, jobjectArray array)
{
    const size_t n_stops = (size_t)(*env)->GetArrayLength(env, array);
    size_t n_taken = 0;
    rbe_generation *generation = NULL;
    bridge_bytes *stops = calloc(n_stops + 1, sizeof *stops);
    const char **texts = calloc(n_stops + 1, sizeof *texts);
    if (!stops || !texts) {
        bridge_throw_no_memory(env);
    } else if (take_stops(env, array, stops, n_stops, &n_taken)) {
        for (size_t i = 0; i < n_stops; i++) {
            texts[i] = stops[i].data;
        }
        const rbe_generation_options options = {
            .struct_bytes = sizeof options, .sampling = sampling, .max_tokens = (uint32_t)max_tokens, .stops = texts, .n_stops = n_stops};
        const rbe_status status = rbe_generation_create(bridge_pointer(session), &options, &generation);
        if (status != RBE_OK) {
            bridge_throw_last(env, status);
        }
    }
    for (size_t i = 0; i < n_taken; i++) {
        free(stops[i].data);
    }
    free(stops);
    free((void *)texts);
    return bridge_handle(generation);
}

static jlong create_generation(JNIEnv *env, jclass class, jlong session, jfloat temperature, jint top_k, jfloat top_p, jfloat min_p,
                               jfloat repeat_penalty, jint repeat_last, jlong seed, jint max_tokens, jobjectArray stops)
{
    const rbe_sampling_options sampling = {.struct_bytes = sizeof sampling,
                                           .temperature = temperature,
                                           .top_k = (uint32_t)top_k,
                                           .top_p = top_p,
                                           .min_p = min_p,
                                           .repeat_penalty = repeat_penalty,
                                           .repeat_last = (uint32_t)repeat_last,
                                           .seed = (uint64_t)seed};
    (void)class;
    return generate(env, session, &sampling, max_tokens, stops);
}

static void free_generation(JNIEnv *env, jclass class, jlong generation)
{
    (void)env;
    (void)class;
    rbe_generation_free(bridge_pointer(generation));
}

/* The text of an event, with what was held back behind it, and its token and finish in state[0] and state[1]. */
static jbyteArray give_event(JNIEnv *env, rbe_status status, const rbe_generation_event *event, jintArray state)
{
    if (status != RBE_OK) {
        bridge_throw_last(env, status);
        return NULL;
    }
    const jint numbers[] = {(jint)event->token, (jint)event->finish};
    (*env)->SetIntArrayRegion(env, state, 0, 2, numbers);
    jbyteArray text = (*env)->NewByteArray(env, (jsize)(event->text_bytes + event->rest_bytes)); /* of a few tokens each */
    if (text && event->text_bytes) {
        (*env)->SetByteArrayRegion(env, text, 0, (jsize)event->text_bytes, (const jbyte *)event->text);
    }
    if (text && event->rest_bytes) {
        (*env)->SetByteArrayRegion(env, text, (jsize)event->text_bytes, (jsize)event->rest_bytes, (const jbyte *)event->rest);
    }
    return text;
}

static jbyteArray step(JNIEnv *env, jclass class, jlong generation, jintArray state)
{
    rbe_generation_event event = {.struct_bytes = sizeof event};
    (void)class;
    const rbe_status status = rbe_generation_step(bridge_pointer(generation), &event);
    return give_event(env, status, &event, state);
}

static jbyteArray end(JNIEnv *env, jclass class, jlong generation, jintArray state)
{
    rbe_generation_event event = {.struct_bytes = sizeof event};
    (void)class;
    const rbe_status status = rbe_generation_end(bridge_pointer(generation), &event);
    return give_event(env, status, &event, state);
}

const JNINativeMethod bridge_session_methods[] = {
    {"createSession", "(JIIIII)J", (void *)create_session},
    {"freeSession", "(J)V", (void *)free_session},
    {"sessionInfo", "(J)[J", (void *)session_info},
    {"cancelSession", "(J)V", (void *)cancel_session},
    {"rewindSession", "(JI)V", (void *)rewind_session},
    {"prompt", "(J[ILrbe/edge/Progress;)I", (void *)prompt},
    {"createGeneration", "(JFIFFFIJI[[B)J", (void *)create_generation},
    {"freeGeneration", "(J)V", (void *)free_generation},
    {"step", "(J[I)[B", (void *)step},
    {"end", "(J[I)[B", (void *)end},
};
const jint bridge_n_session_methods = sizeof bridge_session_methods / sizeof *bridge_session_methods;
