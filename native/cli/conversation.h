/* The history of a conversation as a model's template writes it, fitted into a context. As rbe_edge/runtime/conversation.py. */
#ifndef RBE_PROGRAM_CONVERSATION_H
#define RBE_PROGRAM_CONVERSATION_H

#include "rbe/chat.h"
#include "text.h"

typedef struct conversation {
    const rbe_model *model;
    rbe_chat_options format;
    int has_no_template; /* neither the file's nor one that was asked for: the text so far is continued */
    char *bos, *eos;
    rbe_chat_message *messages; /* contents are ours */
    size_t n_messages, capacity;
} conversation;

/* style: NULL, or one that the library knows, whatever the file says. jinja: a template instead of the file's, of 0 bytes for none; it must
 * outlive the conversation. system: what the model is told first; "" for nothing. 0, or an exit code behind a line. */
int begin_conversation(conversation *c, const rbe_model *model, const char *style, span jinja, span system);

/* The tokens of the history with a question behind it, from malloc; NULL behind a line. Where they do not fit into context tokens, with room
 * for an answer of at most n_answer (0: of any length), the oldest turns are left out: *n_dropped. */
uint32_t *prompt_of(conversation *c, span question, uint32_t context, uint32_t n_answer, size_t *n_tokens, uint32_t *n_dropped);

/* A question and its answer are part of the history from now on, and the oldest n_dropped turns no longer. 0, or an exit code. */
int remember_turn(conversation *c, span question, span answer, uint32_t n_dropped);

/* Back to the beginning. */
void forget_conversation(conversation *c);

void end_conversation(conversation *c);

#endif
