/* chat.h: conversations into text, as a model's template writes them, without Python (docs/runtime.md, "Templates without Python"). Conventions are
 * those of rbe.h. All functions: any thread. */
#ifndef RBE_CHAT_H
#define RBE_CHAT_H

#include "rbe/rbe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rbe_chat_message {
    const char *role; /* "system", "user" or "assistant" */
    const char *content; /* UTF-8, not zero-terminated */
    size_t content_bytes;
} rbe_chat_message;

typedef struct rbe_chat_options {
    size_t struct_bytes;
    const char *style; /* "chatml", "llama2", "llama3", "zephyr", "gemma", "plain"; NULL: told by `jinja` */
    const char *jinja; /* the model's template, metadata `chat_template`, not zero-terminated; read without a style only */
    size_t jinja_bytes; /* 0: the plain style */
    const char *bos; /* metadata `bos_token` and `eos_token`, zero-terminated; NULL: "" */
    const char *eos;
    uint32_t add_generation_prompt; /* 1: ends where the assistant's next words begin */
    uint32_t mark; /* 1: for RBE_TOKENIZE_MARKED, so that nothing in a message becomes a control token */
} rbe_chat_options;

/* The style of a Jinja template by its control tokens; a string constant. RBE_ERROR_UNSUPPORTED, and NULL, for one that is none of
 * the styles or does more than they do (docs/runtime.md, "Templates without Python"). */
RBE_API rbe_status rbe_chat_detect(const char *jinja, size_t jinja_bytes, const char **style);

/* The text of a conversation as the model's template writes it: at most `capacity` bytes, not zero-terminated; *n_bytes is the full
 * count. RBE_ERROR_CAPACITY if it did not fit, RBE_ERROR_ARGUMENT for messages that the template refuses. */
RBE_API rbe_status rbe_chat_format(const rbe_chat_options *options, const rbe_chat_message *messages, size_t n_messages, char *out,
                                   size_t capacity, size_t *n_bytes);

#ifdef __cplusplus
}
#endif
#endif
