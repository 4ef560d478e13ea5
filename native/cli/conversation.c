#include "conversation.h"

#include <stdlib.h>
#include <string.h>

#include "output.h"

#define ANSWER_ROOM 256u /* tokens kept for an answer when the history is fitted into the context, a quarter of it at most */

static int no_memory(void)
{
    return fail(EXIT_FAILED, "out of memory; use a smaller model or context");
}

static char *copy_of(span text)
{
    char *copy = malloc(text.bytes + 1);
    if (copy) {
        memcpy(copy, text.bytes ? text.text : "", text.bytes);
        copy[text.bytes] = 0;
    }
    return copy;
}

static int add_message(conversation *c, const char *role, span content)
{
    if (c->n_messages == c->capacity) {
        const size_t capacity = 2 * c->capacity + 8;
        rbe_chat_message *grown = realloc(c->messages, capacity * sizeof *grown);
        if (!grown) {
            return no_memory();
        }
        c->messages = grown;
        c->capacity = capacity;
    }
    char *copy = copy_of(content);
    if (!copy) {
        return no_memory();
    }
    c->messages[c->n_messages++] = (rbe_chat_message){role, copy, content.bytes};
    return 0;
}

static void forget_messages(conversation *c, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++) {
        free((char *)(uintptr_t)c->messages[i].content);
    }
    if (n) {
        memmove(c->messages + first, c->messages + first + n, (c->n_messages - first - n) * sizeof *c->messages);
    }
    c->n_messages -= n;
}

/* Messages before the first question: the system's, or none. */
static size_t n_initial(const conversation *c)
{
    return c->n_messages > 0 && strcmp(c->messages[0].role, "system") == 0;
}

/* Where the oldest turn that is kept begins; n_messages where none is. */
static size_t first_kept(const conversation *c, uint32_t n_dropped)
{
    size_t at = n_initial(c) + 2 * (size_t)n_dropped; /* a question and an answer each */
    return at < c->n_messages ? at : c->n_messages;
}

uint32_t *prompt_of(conversation *c, span question, uint32_t context, uint32_t n_answer, size_t *n_tokens, uint32_t *n_dropped)
{
    const uint32_t wanted = n_answer && n_answer < ANSWER_ROOM ? n_answer : ANSWER_ROOM;
    const uint32_t kept = wanted < context / 4 ? wanted : context / 4, room = context - kept;
    rbe_chat_message *messages = malloc((c->n_messages + 1) * sizeof *messages);
    uint32_t *tokens = malloc((room + 1) * sizeof *tokens);
    rbe_status status = RBE_ERROR_CAPACITY;
    size_t n_behind = 1;
    if (!messages || !tokens) {
        free(messages);
        free(tokens);
        no_memory();
        return NULL;
    }
    for (*n_dropped = 0; status == RBE_ERROR_CAPACITY && n_behind > 0; (*n_dropped)++) {
        const size_t n_first = n_initial(c), from = first_kept(c, *n_dropped);
        n_behind = c->n_messages - from;
        memcpy(messages, c->messages, n_first * sizeof *messages);
        memcpy(messages + n_first, c->messages + from, n_behind * sizeof *messages);
        messages[n_first + n_behind] = (rbe_chat_message){"user", question.text, question.bytes};
        status = rbe_chat_tokens(rbe_model_tokenizer(c->model), &c->format, messages, n_first + n_behind + 1, tokens, room, n_tokens);
    }
    (*n_dropped)--;
    free(messages);
    if (status == RBE_OK) {
        return tokens;
    }
    free(tokens);
    if (status == RBE_ERROR_CAPACITY) {
        fail(EXIT_FAILED,
             "the message takes %zu tokens and the context holds %u, %u of them kept for the answer; shorten it or make the context larger",
             *n_tokens, context, kept);
    } else {
        fail_with(status);
    }
    return NULL;
}

int remember_turn(conversation *c, span question, span answer, uint32_t n_dropped)
{
    const size_t first = n_initial(c);
    forget_messages(c, first, first_kept(c, n_dropped) - first);
    const int code = add_message(c, "user", question);
    return code ? code : add_message(c, "assistant", answer);
}

void forget_conversation(conversation *c)
{
    forget_messages(c, n_initial(c), c->n_messages - n_initial(c));
}

/* A metadata text as it stands in the file; NULL and 0 where there is none. */
static span metadata(const rbe_model *model, const char *key)
{
    rbe_model_info info = {.struct_bytes = sizeof info};
    rbe_metadata entry;
    (void)rbe_model_get_info(model, &info);
    for (uint32_t i = 0; i < info.n_metadata; i++) {
        if (rbe_model_metadata(model, i, &entry) == RBE_OK && entry.type == RBE_VALUE_STRING && entry.key_bytes == strlen(key) &&
            memcmp(entry.key, key, entry.key_bytes) == 0) {
            return (span){entry.data, entry.count};
        }
    }
    return (span){NULL, 0};
}

/* Whether the template can be written of a first question, with the system message where there is one; else says what to do. */
static int check_template(const conversation *c)
{
    const rbe_chat_message question = {"user", "", 0};
    rbe_chat_message both[2];
    memcpy(both, c->messages, c->n_messages * sizeof *both); /* the system's */
    both[c->n_messages] = question;
    size_t bytes;
    const rbe_status status = rbe_chat_format(&c->format, both, c->n_messages + 1, NULL, 0, &bytes);
    if (status == RBE_OK || status == RBE_ERROR_CAPACITY) {
        return 0;
    }
    return fail(EXIT_FAILED, "%s; or use the Python command, or give --template chatml, llama2, llama3, zephyr, gemma or plain",
                rbe_last_error());
}

int begin_conversation(conversation *c, const rbe_model *model, const char *style, span jinja, span system)
{
    *c = (conversation){.model = model};
    const span form = jinja.bytes ? (span){NULL, 0} : metadata(model, "chat_form");
    jinja = jinja.bytes ? jinja : metadata(model, "chat_template");
    c->bos = copy_of(metadata(model, "bos_token"));
    c->eos = copy_of(metadata(model, "eos_token"));
    c->has_no_template = !style && jinja.bytes == 0;
    c->format = (rbe_chat_options){.struct_bytes = sizeof c->format,
                                   .style = style,
                                   .jinja = jinja.text,
                                   .jinja_bytes = jinja.bytes,
                                   .bos = c->bos,
                                   .eos = c->eos,
                                   .add_generation_prompt = 1,
                                   .form = form.text,
                                   .form_bytes = form.bytes};
    if (!c->bos || !c->eos) {
        return no_memory();
    }
    const int code = system.bytes ? add_message(c, "system", system) : 0;
    return code ? code : check_template(c);
}

void end_conversation(conversation *c)
{
    forget_messages(c, 0, c->n_messages);
    free(c->messages);
    free(c->bos);
    free(c->eos);
}
