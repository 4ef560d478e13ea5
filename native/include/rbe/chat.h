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
    const char *style; /* "chatml", "llama2", "llama3", "zephyr", "gemma", "plain", whatever the file says; NULL: the model's own */
    const char *jinja; /* the model's template, metadata `chat_template`, not zero-terminated; read without a style only */
    size_t jinja_bytes; /* 0: the plain style */
    const char *bos; /* metadata `bos_token` and `eos_token`, zero-terminated; NULL: "" */
    const char *eos;
    uint32_t add_generation_prompt; /* 1: ends where the assistant's next words begin */
    uint32_t mark; /* 1: for RBE_TOKENIZE_MARKED, so that nothing in a message becomes a control token */
    const char *form; /* metadata `chat_form`, not zero-terminated; NULL: the library must know the template by its text */
    size_t form_bytes;
} rbe_chat_options;

/* The style of a published Jinja template that the library knows by its text; a string constant. RBE_ERROR_UNSUPPORTED, and NULL, for any
 * other (docs/runtime.md, "Templates without Python"): a file with such a template holds a chat form, or is refused. */
RBE_API rbe_status rbe_chat_detect(const char *jinja, size_t jinja_bytes, const char **style);

/* The text of a conversation, of one message at least, as the model's template writes it: at most `capacity` bytes, not zero-terminated;
 * *n_bytes is the full count. RBE_ERROR_CAPACITY if it did not fit. RBE_ERROR_ARGUMENT for messages that the template refuses,
 * RBE_ERROR_UNSUPPORTED for those of which, and for templates of which, it is not proven what Jinja writes. */
RBE_API rbe_status rbe_chat_format(const rbe_chat_options *options, const rbe_chat_message *messages, size_t n_messages, char *out,
                                   size_t capacity, size_t *n_bytes);

/* The tokens of a conversation: of the text that rbe_chat_format writes, marked whatever options->mark says, behind the tokenizer's first tokens
 * unless the text begins with options->bos itself. At most `capacity` ids; *n_tokens is the full count. Errors are those of rbe_chat_format and
 * rbe_tokenize, RBE_ERROR_CAPACITY if they did not fit, RBE_ERROR_UNSUPPORTED where tokenizer is NULL, as of a model without one. */
RBE_API rbe_status rbe_chat_tokens(const rbe_tokenizer *tokenizer, const rbe_chat_options *options, const rbe_chat_message *messages,
                                   size_t n_messages, uint32_t *tokens, size_t capacity, size_t *n_tokens);

#ifdef __cplusplus
}
#endif
#endif
