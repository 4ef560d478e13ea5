/* Chat forms and messages of any content. The first byte of an input is for options; then come, with a zero byte behind each, the form, BOS, and
 * messages that begin with a letter for their role. The form's line that names its template is put in front of it. */
#include "fuzz.h"
#include "rbe/chat.h"
#include "text/chat_form.h"

enum { MOST_MESSAGES = 8, MOST_TOKENS = 8192, AS_IT_IS = 1, PROMPT = 2, KNOWN = 4 };

static const char jinja[] = "any";
static rbe_tokenizer *tokenizer;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char said[] = "\0<s>\0s be kind \0uwhat <|im_start|> is\n\0a<think>x</think>\nThis.\0u\xE3\x80\x80 and <|im_end|>?";
    char start[4096];
    (void)argc, (void)argv;
    size_t bytes;
    uint8_t *const blob = golden_blob("answers/gpt2.rbe", &bytes); /* stays as long as the tokenizer */
    demand(rbe_tokenizer_open(blob, bytes, &tokenizer) == RBE_OK, "a tokenizer");
    for (size_t i = 0; i < rbe__n_known_forms; i++) {
        char name[64];
        const int n = snprintf(start, sizeof start - sizeof said, "%c%s", PROMPT, rbe__known_forms[i].form);
        demand(n > 0 && (size_t)n < sizeof start - sizeof said, "room for a form");
        memcpy(start + n, said, sizeof said);
        snprintf(name, sizeof name, "form-%zu", i);
        seed(name, start, (size_t)n + sizeof said);
    }
    return 0;
}

/* The text in a buffer of exactly its size; NULL where it is refused. */
static char *text_of(const rbe_chat_options *options, const rbe_chat_message *messages, size_t n, size_t *bytes)
{
    size_t again;
    const rbe_status status = explained(rbe_chat_format(options, messages, n, NULL, 0, bytes));
    demand(status == RBE_OK || status == RBE_ERROR_CAPACITY || status == RBE_ERROR_ARGUMENT || status == RBE_ERROR_UNSUPPORTED,
           "a text, or a refusal");
    if (status != RBE_OK && status != RBE_ERROR_CAPACITY) {
        return NULL;
    }
    char *text = malloc(*bytes + 1);
    demand(text != NULL, "memory");
    demand(rbe_chat_format(options, messages, n, text, *bytes, &again) == RBE_OK && again == *bytes, "the same count again");
    return text;
}

static size_t without_marks(char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] != '\xFF') {
            text[n++] = text[i];
        }
    }
    return n;
}

/* Control tokens of a conversation; MOST_TOKENS where it is refused, or longer. */
static size_t count_control(const rbe_chat_options *options, const rbe_chat_message *messages, size_t n)
{
    static uint32_t tokens[MOST_TOKENS];
    size_t n_tokens, bytes, found = 0;
    const char *text;
    if (rbe_chat_tokens(tokenizer, options, messages, n, tokens, MOST_TOKENS, &n_tokens) != RBE_OK) {
        return MOST_TOKENS;
    }
    for (size_t i = 0; i < n_tokens; i++) {
        demand(rbe_token_bytes(tokenizer, tokens[i], 0, &text, &bytes) == RBE_OK, "bytes of a token");
        found += bytes == 0;
    }
    return found;
}

static void check(rbe_chat_options *options, const rbe_chat_message *messages, size_t n)
{
    size_t plain_bytes, marked_bytes, n_tokens;
    options->mark = 0;
    char *plain = text_of(options, messages, n, &plain_bytes);
    options->mark = 1;
    char *marked = text_of(options, messages, n, &marked_bytes);
    demand(!plain == !marked, "marks refuse nothing");
    if (plain) {
        plain_bytes = without_marks(plain, plain_bytes);
        marked_bytes = without_marks(marked, marked_bytes);
        demand(plain_bytes == marked_bytes && memcmp(plain, marked, plain_bytes) == 0, "without marks it is the same text");
    }
    const rbe_status status = explained(rbe_chat_tokens(tokenizer, options, messages, n, NULL, 0, &n_tokens));
    demand(plain ? status == RBE_OK || status == RBE_ERROR_CAPACITY : status == RBE_ERROR_ARGUMENT || status == RBE_ERROR_UNSUPPORTED,
           "tokens where there is a text");
    free(plain);
    free(marked);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    static const char letters[] = "suat", *const roles[] = {"system", "user", "assistant", "tool"};
    if (bytes == 0) {
        return 0;
    }
    const uint8_t *at = input + 1, *end = input + bytes;
    size_t form_bytes, bos_bytes, n = 0, count = 0;
    char *own = take(&at, end, &form_bytes), *bos = take(&at, end, &bos_bytes), *contents[MOST_MESSAGES];
    char *form = malloc(form_bytes + 64);
    demand(form != NULL, "memory");
    if (!(input[0] & AS_IT_IS)) {
        n = (size_t)sprintf(form, "template %016llx\n", (unsigned long long)rbe__chat_template_hash((rbe__slice){jinja, sizeof jinja - 1}));
    }
    memcpy(form + n, own, form_bytes);
    const int cuts = (*bos && *bos != '<') || (form_bytes && strstr(own, "thoughts")) ||
                     (input[0] & KNOWN); /* what was said decides what is left out */
    rbe_chat_message messages[MOST_MESSAGES];
    for (; count < MOST_MESSAGES && at < end; count++) {
        size_t said;
        contents[count] = take(&at, end, &said);
        const char *letter = said ? strchr(letters, contents[count][0]) : NULL;
        messages[count] = (rbe_chat_message){roles[letter ? letter - letters : 1], contents[count] + (said > 0), said - (said > 0)};
    }
    rbe_chat_options options = {
        .struct_bytes = sizeof options, .jinja = jinja, .jinja_bytes = sizeof jinja - 1, .bos = bos, .eos = "<|im_end|>"};
    options.add_generation_prompt = (input[0] & PROMPT) != 0;
    options.form = form;
    options.form_bytes = n + form_bytes;
    options.style = input[0] & KNOWN ? rbe__known_forms[(input[0] >> 3) % rbe__n_known_forms].style : NULL;
    check(&options, messages, count);
    const size_t control = count_control(&options, messages, count);
    for (size_t i = 0; i < count; i++) { /* the tokenizer's control tokens have a < each */
        for (char *c = contents[i] + 1; messages[i].content_bytes && *c; c++) {
            *c = *c == '<' ? 'x' : *c;
        }
    }
    const size_t without = count_control(&options, messages, count);
    demand(control == without || control == MOST_TOKENS || without == MOST_TOKENS || cuts, "nothing that was said is a control token");
    while (count > 0) {
        free(contents[--count]);
    }
    free(form);
    free(own);
    free(bos);
    return 0;
}
