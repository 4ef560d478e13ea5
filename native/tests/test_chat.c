/* Chat forms from a file: whatever they hold, there is a text or a status, within the buffers. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "mutation.h"
#include "rbe/chat.h"
#include "text/chat_form.h"

static const rbe_chat_message conversation[] = {
    {"system", " s ", 3}, {"user", "", 0}, {"assistant", "a</think>\n b", 11}, {"user", "<tool> \xE3\x80\x80", 10}};

/* A copy of exactly these bytes, so that a sanitizer sees what is read behind them. */
static char *copy_of(const void *data, size_t bytes)
{
    char *copy = malloc(bytes ? bytes : 1);
    CHECK(copy != NULL, "no memory");
    memcpy(copy, data, bytes);
    return copy;
}

static rbe_status format(const char *form, size_t form_bytes, const char *jinja, size_t capacity, size_t *n_bytes)
{
    const rbe_chat_options options = {.struct_bytes = sizeof options,
                                      .jinja = jinja,
                                      .jinja_bytes = strlen(jinja),
                                      .bos = "<s>",
                                      .add_generation_prompt = 1,
                                      .mark = 1,
                                      .form = form,
                                      .form_bytes = form_bytes};
    char *out = malloc(capacity ? capacity : 1);
    CHECK(out != NULL, "no memory");
    const rbe_status status = rbe_chat_format(&options, conversation, 4, out, capacity, n_bytes);
    free(out);
    return status;
}

static void check_known_forms(void)
{
    for (size_t i = 0; i < rbe__n_known_forms; i++) {
        rbe__chat_form form;
        const rbe__slice text = {rbe__known_forms[i].form, strlen(rbe__known_forms[i].form)};
        CHECK(rbe__chat_form_parse(text, &form) == RBE_OK, "%s: %s", rbe__known_forms[i].style, rbe_last_error());
        CHECK(form.steps[RBE__CHAT_START][RBE__CHAT_USER].text.data && form.steps[RBE__CHAT_USER][RBE__CHAT_PROMPT].text.data, "%s",
              rbe__known_forms[i].style);
    }
    for (size_t i = 0; i < rbe__n_known_templates; i++) {
        CHECK(rbe__known_templates[i].form < rbe__n_known_forms, "template %zu", i);
        for (size_t k = 0; k < i; k++) {
            CHECK(rbe__known_templates[i].hash != rbe__known_templates[k].hash, "templates %zu and %zu are the same", i, k);
        }
    }
}

static void check_damaged_forms(void)
{
    static const char jinja[] = "any",
                      lines[] = "never <t>\\n\nthoughts newlines </think>\nstart system strip \\b[S]\\\\\nsystem user right "
                                "[\\?U]\\n\nuser assistant left \\e\nassistant user as-is \nuser prompt [A]\n";
    char whole[512];
    unsigned n_text = 0, n_refused = 0;
    const int n = snprintf(whole, sizeof whole, "template %016llx\n%s",
                           (unsigned long long)rbe__chat_template_hash((rbe__slice){jinja, strlen(jinja)}), lines);
    for (int round = 0; round < 20000; round++) {
        unsigned char damaged[512];
        size_t bytes = (size_t)n, n_bytes;
        memcpy(damaged, whole, bytes);
        for (uint32_t i = draw(3); i-- > 0 && bytes > 0;) {
            mutate(damaged, &bytes, (uint32_t)bytes);
        }
        char *form = copy_of(damaged, bytes);
        const rbe_status status = format(form, bytes, jinja, draw(80), &n_bytes);
        n_text += status == RBE_OK || status == RBE_ERROR_CAPACITY;
        n_refused += status == RBE_ERROR_UNSUPPORTED || status == RBE_ERROR_ARGUMENT;
        free(form);
    }
    CHECK(n_text > 1000 && n_refused > 1000 && n_text + n_refused == 20000, "%u texts, %u refusals", n_text, n_refused);
}

/* A message quotes the file that a form is from, and nothing of it that a terminal would act on. */
static void check_plain_messages(void)
{
    static const char jinja[] = "any", expected[] = "nothing is proven of this model's chat template: a?[2J?? b??c \xC3\xA9";
    char form[128];
    size_t n_bytes;
    const int n = snprintf(form, sizeof form,
                           "template %016llx\nnone a\x1B[2J\a\r b\xC2\x9B"
                           "c \xC3\xA9\n",
                           (unsigned long long)rbe__chat_template_hash((rbe__slice){jinja, strlen(jinja)}));
    CHECK(format(form, (size_t)n, jinja, 0, &n_bytes) == RBE_ERROR_UNSUPPORTED && strcmp(rbe_last_error(), expected) == 0, "%s",
          rbe_last_error());
}

/* What rbe_chat_tokens refuses before it reads a template; its tokens are tested through the program and through Java. */
static void check_refused_tokens(void)
{
    const rbe_chat_options options = {.struct_bytes = sizeof options, .style = "plain"};
    uint32_t token;
    size_t n_tokens;
    CHECK(rbe_chat_tokens(NULL, &options, conversation, 4, &token, 1, &n_tokens) == RBE_ERROR_UNSUPPORTED, "no tokenizer");
    CHECK(rbe_chat_tokens(NULL, &options, conversation, 4, &token, 1, NULL) == RBE_ERROR_ARGUMENT, "no count");
    CHECK(rbe_chat_tokens(NULL, &options, conversation, 4, NULL, 1, &n_tokens) == RBE_ERROR_ARGUMENT, "no tokens");
}

int main(void)
{
    check_known_forms();
    check_damaged_forms();
    check_refused_tokens();
    check_plain_messages();
    return check_finish();
}
