/* Steps of normalization, and maps of characters that are damaged. */
#include "check.h"
#include "encoder_fixture.h"
#include "text/tokenizer/steps.h"

static encoder_fixture words, unigram;

static void check_steps(const encoder_fixture *f, const char *text, const char *expected)
{
    rbe_tokenizer *t = NULL;
    CHECK(rbe_tokenizer_open(f->blob, f->bytes, &t) == RBE_OK, "%s", rbe_last_error());
    rbe__buffer out = {NULL, 0, 0}, other = {NULL, 0, 0};
    rbe_status status = rbe__run_steps(t, &out, &other, (const uint8_t *)text, strlen(text));
    CHECK(status == RBE_OK && out.bytes == strlen(expected) && (out.bytes == 0 || memcmp(out.data, expected, out.bytes) == 0),
          "\"%s\" became \"%.*s\"", text, (int)out.bytes, (const char *)out.data);
    rbe__buffer_free(&out);
    rbe__buffer_free(&other);
    rbe_tokenizer_close(t);
}

static void test_steps(void)
{
    static const struct {
        encoder_step step;
        const char *text, *expected;
    } cases[] = {
        {{RBE__STEP_CLEAN, 0, "", ""},
         "a\x0B\x0C\x7F\xC2\x85\xC2\xA0\t\xEF\xBF\xBD\xF3\xB0\x80\x80"
         "b\xFF",
         "a  b"},
        {{RBE__STEP_SPACE_HAN, 0, "", ""}, "a\xE6\x88\x91\xE3\x81\x82", "a \xE6\x88\x91 \xE3\x81\x82"},
        {{RBE__STEP_NFC, 0, "", ""}, "e\xCC\x81", "\xC3\xA9"},
        {{RBE__STEP_NFD, 0, "", ""}, "\xC3\xA9\xEA\xB0\x81\xFF", "e\xCC\x81\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8\xFF"},
        {{RBE__STEP_DROP_MARKS, 0, "", ""}, "e\xCC\x81\xE0\xA4\xBE", "e\xE0\xA4\xBE"}, /* U+093E has a width */
        {{RBE__STEP_DROP_MARKS, 1, "", ""}, "e\xCC\x81\xE0\xA4\xBE", "e"},
        {{RBE__STEP_LOWER, 0, "", ""}, "A\xC3\x89\xC4\xB0\xCE\xA3\xC8\xBA\xFF", "a\xC3\xA9i\xCC\x87\xCF\x83\xE2\xB1\xA5\xFF"},
        {{RBE__STEP_STRIP, 1, "", ""},
         " \xE3\x80\x80"
         "a ",
         "a "},
        {{RBE__STEP_STRIP, 2, "", ""}, " a b \n\xE3\x80\x80", " a b"},
        {{RBE__STEP_STRIP, 3, "", ""}, " \n", ""},
        {{RBE__STEP_REPLACE, 0, "``", "\""}, "``a```", "\"a\"`"},
        {{RBE__STEP_REPLACE, 0, "aa", ""}, "aaab", "ab"},
        {{RBE__STEP_SQUEEZE, 0, "", "_"}, "a  b c   ", "a_b c_"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        encoder_fixture f = words;
        f.n_steps = 1;
        f.steps[0] = cases[i].step;
        encoder_finish(&f);
        check_steps(&f, cases[i].text, cases[i].expected);
    }
}

/* A mark belongs to the character before it: of a short cluster nothing is left but what stands for its key. */
static void test_clusters(void)
{
    encoder_fixture f = unigram;
    check_steps(&f,
                "A\xCC\x81"
                "A\xCC\x81\xCC\x81\xCC\x81\rA\xCC\x81\r\n",
                "aaaa\xCC\x81\xCC\x81\xCC\x81\raa\r\n");
    f.steps[0].option = RBE__LONGEST_KEYS;
    encoder_finish(&f);
    check_steps(&f,
                "A\xCC\x81"
                "AB\xC3(",
                "aa\xCC\x81"
                "b\xEF\xBF\xBD(");
    f.attributes[GRAM_A] = RBE__USER_DEFINED;
    f.n_text = 0;
    f.n_tokens = 0;
    f.steps[0].option = RBE__KEYS_BESIDE_TOKENS;
    f.flags = RBE__ESCAPED_SPACES;
    f.unknown = f.after = RBE_NO_TOKEN;
    encoder_token(&f, " AB", RBE__USER_DEFINED, 0, 0);
    encoder_finish(&f);
    check_steps(&f,
                "AB\xE2\x96\x81"
                "AB AB",
                "b\xE2\x96\x81"
                "AB b");
}

/* Arrays that lead in circles, out of the array, or to texts that are not there: other answers, but no crash and no hang. */
static void test_hostile_maps(void)
{
    encoder_fixture f = unigram;
    f.units[256 ^ 'A'] = encoder_unit(256 ^ 'A', 'A', 1, 256); /* A leads to itself, with a value that no text has */
    f.units[256] = 0xFFFFFFFF;
    for (uint32_t option = 0; option <= RBE__KEYS_BESIDE_TOKENS; option++) {
        f.steps[0].option = option;
        encoder_finish(&f);
        check_steps(&f, "AAAA", "AAAA");
    }
    f.units[256 ^ 'A'] = 'A' | 1u << 8 | 1u << 9 | 0x1FFFFFu << 10; /* out of the array */
    encoder_finish(&f);
    check_steps(&f, "AAAA", "AAAA");
    f.units[0] = 0xFFFFFFFF;
    encoder_finish(&f);
    check_steps(&f, "AAAA", "AAAA");
}

int main(void)
{
    encoder_words(&words);
    encoder_unigram(&unigram);
    test_steps();
    test_clusters();
    test_hostile_maps();
    return check_finish();
}
