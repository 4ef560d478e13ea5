/* Texts and conversations into tokens, and tokens into text. */
#include <stdlib.h>
#include <string.h>

#include "bridge.h"

/* The tokens of a text; NULL with a pending exception. */
static jintArray tokens_of(JNIEnv *env, const bridge_model *m, const char *text, size_t bytes, uint32_t flags)
{
    const rbe_tokenizer *tokenizer = rbe_model_tokenizer(m->model);
    const size_t capacity = bytes + 8; /* a token is at least a byte; a few more at the ends */
    size_t n_tokens = 0;
    jintArray array = NULL;
    if (!tokenizer) {
        bridge_throw(env, RBE_ERROR_UNSUPPORTED, "the model's file holds no tokenizer; pack it again with one");
        return NULL;
    }
    uint32_t *tokens = malloc(capacity * sizeof *tokens);
    if (!tokens) {
        bridge_throw_no_memory(env);
        return NULL;
    }
    const rbe_status status = rbe_tokenize(tokenizer, text, bytes, flags, tokens, capacity, &n_tokens);
    if (status == RBE_OK) {
        array = bridge_give_tokens(env, tokens, n_tokens);
    } else {
        bridge_throw_last(env, status);
    }
    free(tokens);
    return array;
}

static jintArray tokenize(JNIEnv *env, jclass class, jlong model, jbyteArray text, jint flags)
{
    bridge_bytes bytes;
    jintArray tokens = NULL;
    (void)class;
    if (bridge_take(env, text, &bytes)) {
        tokens = tokens_of(env, bridge_pointer(model), bytes.data, bytes.bytes, (uint32_t)flags);
        free(bytes.data);
    }
    return tokens;
}

typedef struct growing_text {
    char *data;
    size_t bytes, capacity;
} growing_text;

static int add_text(growing_text *text, const char *data, size_t bytes)
{
    if (bytes > text->capacity - text->bytes) {
        const size_t capacity = 2 * text->capacity + bytes + 64;
        char *grown = realloc(text->data, capacity);
        if (!grown) {
            return 0;
        }
        text->data = grown;
        text->capacity = capacity;
    }
    if (bytes) {
        memcpy(text->data + text->bytes, data, bytes);
    }
    text->bytes += bytes;
    return 1;
}

/* What the tokens say, into `text`; the status of the call that failed. */
static rbe_status write_tokens(rbe_text_stream *stream, const jint *tokens, jsize n_tokens, growing_text *text)
{
    const char *piece = NULL;
    size_t bytes = 0;
    int stopped = 0;
    rbe_status status = RBE_OK;
    for (jsize i = 0; i < n_tokens && status == RBE_OK; i++) {
        status = rbe_text_stream_push(stream, (uint32_t)tokens[i], &piece, &bytes, &stopped);
        if (status == RBE_OK && !add_text(text, piece, bytes)) {
            return RBE_ERROR_MEMORY;
        }
    }
    if (status == RBE_OK) {
        status = rbe_text_stream_finish(stream, &piece, &bytes);
    }
    return status != RBE_OK ? status : add_text(text, piece, bytes) ? RBE_OK : RBE_ERROR_MEMORY;
}

static jbyteArray detokenize(JNIEnv *env, jclass class, jlong model, jintArray array)
{
    const bridge_model *m = bridge_pointer(model);
    const jsize n_tokens = (*env)->GetArrayLength(env, array);
    rbe_text_stream *stream = NULL;
    growing_text text = {0};
    jbyteArray result = NULL;
    (void)class;
    jint *tokens = malloc(((size_t)n_tokens + 1) * sizeof *tokens);
    if (!tokens) {
        bridge_throw_no_memory(env);
        return NULL;
    }
    (*env)->GetIntArrayRegion(env, array, 0, n_tokens, tokens);
    rbe_status status = rbe_text_stream_create(rbe_model_tokenizer(m->model), NULL, 0, &stream);
    if (status == RBE_OK) {
        status = write_tokens(stream, tokens, n_tokens, &text);
    }
    if (status == RBE_OK) {
        result = bridge_give(env, text.data ? text.data : "", text.bytes);
    } else {
        bridge_throw_last(env, status);
    }
    rbe_text_stream_free(stream);
    free(text.data);
    free(tokens);
    return result;
}

typedef struct conversation {
    rbe_chat_message *messages;
    bridge_bytes *roles, *contents;
    size_t n;
} conversation;

static void free_conversation(conversation *c)
{
    for (size_t i = 0; c->roles && c->contents && i < c->n; i++) {
        free(c->roles[i].data);
        free(c->contents[i].data);
    }
    free(c->messages);
    free(c->roles);
    free(c->contents);
}

/* One message of two byte[][]. */
static int take_message(JNIEnv *env, conversation *c, size_t i, jobjectArray roles, jobjectArray contents)
{
    jbyteArray role = (jbyteArray)(*env)->GetObjectArrayElement(env, roles, (jsize)i);
    jbyteArray content = role ? (jbyteArray)(*env)->GetObjectArrayElement(env, contents, (jsize)i) : NULL;
    const int good = content && bridge_take_name(env, role, "a role", &c->roles[i]) && bridge_take(env, content, &c->contents[i]);
    if (good) {
        c->messages[i] = (rbe_chat_message){c->roles[i].data, c->contents[i].data, c->contents[i].bytes};
    }
    (*env)->DeleteLocalRef(env, content);
    (*env)->DeleteLocalRef(env, role);
    return good;
}

static int take_conversation(JNIEnv *env, conversation *c, jobjectArray roles, jobjectArray contents)
{
    *c = (conversation){.n = (size_t)(*env)->GetArrayLength(env, roles)};
    c->messages = calloc(c->n + 1, sizeof *c->messages);
    c->roles = calloc(c->n + 1, sizeof *c->roles);
    c->contents = calloc(c->n + 1, sizeof *c->contents);
    if (!c->messages || !c->roles || !c->contents) {
        bridge_throw_no_memory(env);
        return 0;
    }
    for (size_t i = 0; i < c->n; i++) {
        if (!take_message(env, c, i, roles, contents)) {
            return 0;
        }
    }
    return 1;
}

/* The conversation as the model's template writes it, into tokens; NULL with a pending exception. */
static jintArray write_conversation(JNIEnv *env, const bridge_model *m, const char *style, const conversation *c)
{
    const rbe_chat_options options = {.struct_bytes = sizeof options,
                                      .style = style,
                                      .jinja = m->jinja.data,
                                      .jinja_bytes = m->jinja.count,
                                      .bos = m->bos,
                                      .eos = m->eos,
                                      .add_generation_prompt = 1,
                                      .form = m->form.data,
                                      .form_bytes = m->form.count};
    const rbe_tokenizer *tokenizer = rbe_model_tokenizer(m->model);
    size_t n_tokens = 0;
    jintArray array = NULL;
    rbe_status status = rbe_chat_tokens(tokenizer, &options, c->messages, c->n, NULL, 0, &n_tokens);
    if (status != RBE_OK && status != RBE_ERROR_CAPACITY) {
        bridge_throw_last(env, status);
        return NULL;
    }
    uint32_t *tokens = malloc((n_tokens + 1) * sizeof *tokens);
    if (!tokens) {
        bridge_throw_no_memory(env);
        return NULL;
    }
    status = rbe_chat_tokens(tokenizer, &options, c->messages, c->n, tokens, n_tokens, &n_tokens);
    if (status == RBE_OK) {
        array = bridge_give_tokens(env, tokens, n_tokens);
    } else {
        bridge_throw_last(env, status);
    }
    free(tokens);
    return array;
}

static jintArray chat_tokens(JNIEnv *env, jclass class, jlong model, jbyteArray style, jobjectArray roles, jobjectArray contents)
{
    bridge_bytes name;
    conversation c = {0};
    jintArray tokens = NULL;
    (void)class;
    if (bridge_take_name(env, style, "the name of a style", &name) && take_conversation(env, &c, roles, contents)) {
        tokens = write_conversation(env, bridge_pointer(model), name.data, &c);
    }
    free_conversation(&c);
    free(name.data);
    return tokens;
}

const JNINativeMethod bridge_text_methods[] = {
    {"tokenize", "(J[BI)[I", (void *)tokenize},
    {"detokenize", "(J[I)[B", (void *)detokenize},
    {"chatTokens", "(J[B[[B[[B)[I", (void *)chat_tokens},
};
const jint bridge_n_text_methods = sizeof bridge_text_methods / sizeof *bridge_text_methods;
