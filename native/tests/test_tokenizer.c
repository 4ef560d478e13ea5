/* Tokenizing, special tokens and text streams on tiny vocabularies; texts that would take other algorithms for ever. */
#include "text/tokenizer/unicode.h"
#include "token_checks.h"
#include "tokenizer_fixture.h"

#include <stdlib.h>

static fixture byte_level, sentencepiece;

static void test_byte_level(void)
{
    rbe_tokenizer *t = open_blob(byte_level.blob, byte_level.bytes);
    const uint32_t parse = RBE_TOKENIZE_PARSE_SPECIAL, prefix = RBE_TOKENIZE_SPECIAL_PREFIX;
    check_tokens(t, "", 0, NULL, 0);
    TOKENS(t, "", prefix, TOKEN_BOS);
    TOKENS(t, "abc", 0, TOKEN_ABC);
    TOKENS(t, "xabcab", 0, 'x', TOKEN_ABC, TOKEN_AB);
    TOKENS(t, "ab abc", prefix, TOKEN_BOS, TOKEN_AB, TOKEN_SPACE_A, 'b', 'c');
    TOKENS(t, "<s>ab", 0, '<', 's', '>', TOKEN_AB);
    TOKENS(t, "<s>ab", parse, TOKEN_BOS, TOKEN_AB);
    TOKENS(t, "ab \t\n<end> ab", parse, TOKEN_AB, TOKEN_END, TOKEN_SPACE_A, 'b');
    TOKENS(t,
           "ab<tool>  \xE3\x80\x80"
           "ab",
           0, TOKEN_AB, TOKEN_TOOL, TOKEN_AB);
    TOKENS(t, "<tool>s<tool>", 0, TOKEN_TOOLS, TOKEN_TOOL);
    TOKENS(t, "<too<tool", 0, '<', 't', 'o', 'o', '<', 't', 'o', 'o', 'l');
    TOKENS(t, "\xC3\xFF\xE2\x82", 0, 0xC3, 0xFF, 0xE2, 0x82);

    CHECK(rbe_tokenizer_size(t) == N_FIXTURE_TOKENS, "%u", rbe_tokenizer_size(t));
    CHECK(rbe_token_find(t, "abc", 3) == TOKEN_ABC, "abc");
    CHECK(rbe_token_find(t, "<end>", 5) == TOKEN_END, "<end>");
    CHECK(rbe_token_find(t, "<tool>", 6) == TOKEN_TOOL, "<tool>");
    CHECK(rbe_token_find(t, "abcd", 4) == RBE_NO_TOKEN, "abcd");
    CHECK(rbe_token_find(t, "", 0) == RBE_NO_TOKEN, "empty");
    CHECK(rbe_token_ends_text(t, TOKEN_END) && !rbe_token_ends_text(t, TOKEN_BOS), "ends");
    CHECK(!rbe_token_ends_text(t, N_FIXTURE_TOKENS) && !rbe_token_ends_text(t, RBE_NO_TOKEN), "ends, no token");
    rbe_tokenizer_close(t);
}

static void test_sentencepiece(void)
{
    rbe_tokenizer *t = open_blob(sentencepiece.blob, sentencepiece.bytes);
    const uint32_t a = N_FIXTURE_TOKENS, b = a + 1, space = a + 3;
    TOKENS(t, "abc", 0, space, TOKEN_ABC);
    TOKENS(t, "a", 0, TOKEN_SPACE_A);
    TOKENS(t, "ab", 0, space, a, b); /* "ab" merges first and splits again */
    TOKENS(t, "cab", 0, space, a + 2, a, b);
    TOKENS(t, "x\xC3\xA9", 0, space, 'x', 0xC3, 0xA9);
    TOKENS(t, "x\xFF", 0, space, 'x', 0xFF);
    TOKENS(t,
           "b\xE2\x96\x81"
           "b",
           0, space, b, space, b); /* U+2581 is a space */
    TOKENS(t, "<s>a", RBE_TOKENIZE_PARSE_SPECIAL, TOKEN_BOS, TOKEN_SPACE_A);
    const uint32_t marked = RBE_TOKENIZE_MARKED;
    TOKENS(t, "\xFF<s\xFF>a", marked, TOKEN_BOS, TOKEN_SPACE_A);
    TOKENS(t, "\xFF<s>", marked, space, '<', 's', '>'); /* half of it was said */
    TOKENS(t,
           "\xFF<\xFFs\xFF>\xFF"
           "a",
           marked, TOKEN_BOS, TOKEN_SPACE_A); /* marks may stand anywhere */
    TOKENS(t,
           "\xFF"
           "a",
           marked, TOKEN_SPACE_A);
    check_tokens(t, "\xFF\xFF", marked | RBE_TOKENIZE_PARSE_SPECIAL, NULL, 0);
    TOKENS(t, "a<s>\xFF<s\xFF>", marked, TOKEN_SPACE_A, '<', 's', '>', TOKEN_BOS);
    TOKENS(t, "<tool>s", 0, space, TOKEN_TOOLS);
    check_tokens(t, "", 0, NULL, 0);
    CHECK(rbe_token_find(t, "a", 1) == a, "the letter before the byte");
    CHECK(rbe_token_find(t, "x", 1) == 'x', "the byte");
    rbe_tokenizer_close(t);
}

/* Tokens with texts of their own, in the text as it was given and in the prepared one. */
static void test_added_tokens(void)
{
    fixture f;
    fixture_byte_level(&f);
    f.flags = RBE__ADDED_TOKENS | RBE__ESCAPED_SPACES;
    f.space_prefix = RBE__PREFIX_TEXT;
    f.attributes[TOKEN_TOOLS] |= RBE__SINGLE_WORD | RBE__STRIP_RIGHT;
    f.attributes[TOKEN_AB] = RBE__USER_DEFINED;
    fixture_finish(&f);
    rbe_tokenizer *t = open_blob(f.blob, f.bytes);
    const uint32_t parse = RBE_TOKENIZE_PARSE_SPECIAL, marked = RBE_TOKENIZE_MARKED;
    TOKENS(t, "<tool>", 0, TOKEN_TOOL); /* the prefix belongs to it */
    TOKENS(t, "b<tool>", 0, ' ', 'b', '<', 't', 'o', 'o', 'l', '>');
    TOKENS(t, "b <tool>b", 0, ' ', 'b', TOKEN_TOOL, 'b'); /* no second prefix */
    TOKENS(t, "b\xE2\x96\x81<tool>", 0, ' ', 'b', TOKEN_TOOL);
    TOKENS(t, "b\nb", 0, ' ', 'b', TOKEN_AB, ' ', 'b');
    TOKENS(t, "b<s>b", 0, ' ', 'b', '<', 's', '>', 'b');
    TOKENS(t, "b<s>b", parse, ' ', 'b', TOKEN_BOS, ' ', 'b');
    TOKENS(t, ".\xE2\x96\x81<tool>s.", 0, ' ', '.', TOKEN_TOOLS, ' ', '.');
    TOKENS(t, ".\xE2\x96\x81<tool>s\n\n b", 0, ' ', '.', TOKEN_TOOLS, TOKEN_AB, TOKEN_AB, ' ', ' ', 'b'); /* found in what was stripped */
    TOKENS(t, "b\xE2\x96\x81<tool>s", 0, ' ', 'b', TOKEN_TOOL, 's'); /* part of a word */
    TOKENS(t, "b <s>\xFF<s\xFF> b", marked, ' ', 'b', ' ', '<', 's', '>', TOKEN_BOS, ' ', ' ', 'b');
    rbe_tokenizer_close(t);

    f.flags = RBE__ADDED_TOKENS | RBE__ESCAPED_SPACES | RBE__LATE_SPACES | RBE__PREFIX_UNLESS_SPACE;
    f.space_prefix = RBE__PREFIX_FRAGMENT;
    fixture_finish(&f);
    t = open_blob(f.blob, f.bytes);
    TOKENS(t, "b <tool>b", 0, ' ', 'b', TOKEN_TOOL, ' ', 'b');
    TOKENS(t, "b\xE2\x96\x81<tool>", 0, ' ', 'b', ' ', '<', 't', 'o', 'o', 'l', '>');
    TOKENS(t,
           "\xE2\x96\x81"
           "b<tool>",
           0, ' ', 'b', '<', 't', 'o', 'o', 'l', '>');
    rbe_tokenizer_close(t);
}

/* A control token of the prepared text counts where it was marked before the text was prepared. */
static void test_marks_in_prepared_text(void)
{
    fixture f;
    fixture_byte_level(&f);
    f.flags = RBE__ADDED_TOKENS | RBE__NFC;
    f.attributes[TOKEN_TOOL] = RBE__CONTROL;
    fixture_finish(&f);
    rbe_tokenizer *t = open_blob(f.blob, f.bytes);
    const uint32_t marked = RBE_TOKENIZE_MARKED;
    TOKENS(t, " <tool>", RBE_TOKENIZE_PARSE_SPECIAL, TOKEN_TOOL);
    TOKENS(t, " <tool>", marked, ' ', '<', 't', 'o', 'o', 'l', '>');
    TOKENS(t, " \xFF<tool\xFF>", marked, TOKEN_TOOL);
    TOKENS(t, "e\xCC\x81 \xFF<tool\xFF>", marked, 0xC3, 0xA9, TOKEN_TOOL); /* after the letters have joined */
    TOKENS(t, "e\xCC\x81 \xFF<tool>", marked, 0xC3, 0xA9, ' ', '<', 't', 'o', 'o', 'l', '>');
    TOKENS(t, " \xFF<tool\xFF>\xCC\xB8", marked, ' ', '<', 't', 'o', 'o', 'l', 0xE2, 0x89, 0xAF); /* ">" and U+0338 become U+226F */
    rbe_tokenizer_close(t);
}

/* A run of white space that is full of tokens which strip it takes time that grows as the text does. */
static void test_stripped_white_space(void)
{
    fixture f;
    fixture_byte_level(&f);
    f.flags = RBE__ADDED_TOKENS;
    f.attributes[TOKEN_AB] = RBE__USER_DEFINED | RBE__STRIP_LEFT | RBE__STRIP_RIGHT;
    fixture_finish(&f);
    rbe_tokenizer *t = open_blob(f.blob, f.bytes);
    TOKENS(t, "b \n\n\nb", 0, 'b', TOKEN_AB, 'b'); /* the first has taken all that the others are */
    rbe_tokenizer_close(t);
    f.attributes[TOKEN_AB] = RBE__USER_DEFINED | RBE__STRIP_RIGHT;
    fixture_finish(&f);
    t = open_blob(f.blob, f.bytes);
    enum { N = 4000000 };
    char *text = malloc(N);
    uint32_t *tokens = malloc(N * sizeof *tokens);
    memset(text, '\n', N);
    size_t n;
    CHECK(rbe_tokenize(t, text, N, 0, tokens, N, &n) == RBE_OK && n == N && tokens[N - 1] == TOKEN_AB, "%zu tokens", n);
    free(tokens);
    free(text);
    rbe_tokenizer_close(t);
}

static void test_arguments(void)
{
    rbe_tokenizer *t = open_blob(byte_level.blob, byte_level.bytes), *none = t;
    uint32_t tokens[2] = {7, 7};
    size_t n = 99;
    CHECK(rbe_tokenize(t, "a b c", 5, 0, tokens, 2, &n) == RBE_ERROR_CAPACITY, "capacity");
    CHECK(n == 5 && tokens[0] == 'a' && tokens[1] == ' ', "%zu", n);
    CHECK(rbe_tokenize(t, "a b c", 5, 0, NULL, 0, &n) == RBE_ERROR_CAPACITY && n == 5, "%zu", n);
    CHECK(rbe_tokenize(t, NULL, 0, 0, NULL, 0, &n) == RBE_OK && n == 0, "no text");
    CHECK(rbe_tokenize(t, NULL, 1, 0, tokens, 2, &n) == RBE_ERROR_ARGUMENT && n == 0, "text NULL");
    CHECK(rbe_tokenize(t, "a", 1, 8, tokens, 2, &n) == RBE_ERROR_ARGUMENT, "flags");
    CHECK(rbe_tokenize(NULL, "a", 1, 0, tokens, 2, &n) == RBE_ERROR_ARGUMENT, "tokenizer NULL");
    CHECK(rbe_tokenizer_open(NULL, 1, &none) == RBE_ERROR_ARGUMENT && none == NULL, "blob NULL");
    const char *bytes = "x";
    CHECK(rbe_token_bytes(t, N_FIXTURE_TOKENS, 0, &bytes, &n) == RBE_ERROR_ARGUMENT && bytes == NULL && n == 0, "token");
    CHECK(rbe_token_bytes(t, TOKEN_END, 0, &bytes, &n) == RBE_OK && n == 0, "hidden");
    CHECK(rbe_token_bytes(t, TOKEN_END, 1, &bytes, &n) == RBE_OK && n == 5 && memcmp(bytes, "<end>", 5) == 0, "shown");
    CHECK(rbe_tokenizer_size(NULL) == 0, "size of NULL");
    rbe_tokenizer_close(t);
    rbe_tokenizer_close(NULL);
}

/* Pushes tokens, compares all the text that comes, and how the stream ends. */
static void check_stream(const rbe_tokenizer *t, const char *const *stops, size_t n_stops, const uint32_t *tokens, size_t n_tokens,
                         const char *expected, int expect_stop)
{
    rbe_text_stream *stream;
    rbe_status status = rbe_text_stream_create(t, stops, n_stops, &stream);
    CHECK(status == RBE_OK, "%s", rbe_last_error());
    for (int round = 0; round < 2 && status == RBE_OK; round++) { /* after finish it is as new */
        char got[256] = "";
        const char *text;
        size_t bytes;
        int stopped = 0;
        for (size_t i = 0; i < n_tokens; i++) {
            CHECK(rbe_text_stream_push(stream, tokens[i], &text, &bytes, &stopped) == RBE_OK, "%s", rbe_last_error());
            strncat(got, text, bytes);
        }
        CHECK(stopped == expect_stop, "stopped is %d", stopped);
        CHECK(rbe_text_stream_finish(stream, &text, &bytes) == RBE_OK, "%s", rbe_last_error());
        strncat(got, text, bytes);
        CHECK(strcmp(got, expected) == 0, "got \"%s\", expected \"%s\"", got, expected);
    }
    rbe_text_stream_free(stream);
}

#define STREAM(tokenizer, stops, n_stops, expected, stopped, ...)                                           \
    do {                                                                                                    \
        uint32_t pushed[] = {__VA_ARGS__};                                                                  \
        check_stream(tokenizer, stops, n_stops, pushed, sizeof pushed / sizeof *pushed, expected, stopped); \
    } while (0)

static void test_streams(void)
{
    rbe_tokenizer *t = open_blob(byte_level.blob, byte_level.bytes), *spaced = open_blob(sentencepiece.blob, sentencepiece.bytes);
    const char *const stops[] = {"abcabc", "zz", "\xE2\x82\xAC!", "b!"};
    STREAM(t, NULL, 0, "ab\xE2\x82\xAC", 0, TOKEN_AB, 0xE2, 0x82, 0xAC);
    STREAM(t, NULL, 0, "\xEF\xBF\xBDx", 0, 0xE2, 0x82, 'x');
    STREAM(t, NULL, 0, "\xEF\xBF\xBD", 0, 0xF0, 0x9F, 0xA6);
    STREAM(t, NULL, 0, "\xEF\xBF\xBD\xEF\xBF\xBD", 0, 0xFF, 0xC3);
    STREAM(t, NULL, 0, "abab", 0, TOKEN_BOS, TOKEN_AB, TOKEN_END, TOKEN_AB);
    STREAM(t, stops, 4, "x", 1, 'x', TOKEN_AB, 'c', TOKEN_ABC, 'y');
    STREAM(t, stops, 4, "xabcabx", 0, 'x', TOKEN_ABC, TOKEN_AB, 'x');
    STREAM(t, stops, 4, "xabcab", 0, 'x', TOKEN_ABC, TOKEN_AB);
    STREAM(t, stops, 4, "ab", 1, TOKEN_AB, 0xE2, 0x82, 0xAC, '!', 'y');
    STREAM(t, stops, 4, "abca", 1, TOKEN_ABC, TOKEN_AB, '!', 'y');
    STREAM(t, stops, 4, "z.", 0, 'z', '.');
    STREAM(spaced, NULL, 0, " ab", 0, TOKEN_SPACE_A, 'b');
    STREAM(spaced, NULL, 0, "ab a", 0, TOKEN_BOS, TOKEN_SPACE_A, 'b', TOKEN_SPACE_A);
    STREAM(spaced, NULL, 0, "ab a", 0, TOKEN_BOS, TOKEN_END, TOKEN_SPACE_A, 'b', TOKEN_SPACE_A);

    rbe_text_stream *stream;
    const char *const empty[] = {"a", ""}, *const broken[] = {"\x80"};
    CHECK(rbe_text_stream_create(t, empty, 2, &stream) == RBE_ERROR_ARGUMENT && stream == NULL, "empty stop");
    CHECK(rbe_text_stream_create(t, broken, 1, &stream) == RBE_ERROR_ARGUMENT && stream == NULL, "broken stop");
    const char *text;
    size_t bytes;
    int stopped;
    CHECK(rbe_text_stream_create(t, NULL, 0, &stream) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_text_stream_push(stream, N_FIXTURE_TOKENS, &text, &bytes, &stopped) == RBE_ERROR_ARGUMENT, "token");
    CHECK(bytes == 0, "%zu", bytes);
    rbe_text_stream_free(stream);
    rbe_text_stream_free(NULL);
    rbe_tokenizer_close(t);
    rbe_tokenizer_close(spaced);
}

/* One piece of 256 KiB: to look through it for every merge would be 10^10 steps. */
static void test_long_pieces(void)
{
    enum { BYTES = 1 << 18 };
    char *text = malloc(BYTES);
    uint32_t *tokens = malloc(BYTES * sizeof *tokens);
    const char *const patterns[] = {"a", "abc", "ab", "<", "<tool", "\xCC\x81\xCC\xA3", " ", "\xFF"};
    const fixture *const fixtures[] = {&byte_level, &sentencepiece};
    for (size_t i = 0; i < 2 * sizeof patterns / sizeof *patterns; i++) {
        const char *pattern = patterns[i / 2];
        fixture f = *fixtures[i % 2];
        f.flags |= f.algorithm == RBE__BYTE_PAIRS ? RBE__NFC : 0;
        fixture_finish(&f);
        rbe_tokenizer *t = open_blob(f.blob, f.bytes);
        size_t n_tokens, n_bytes = 0;
        for (size_t at = 0; at < BYTES; at++) {
            text[at] = pattern[at % strlen(pattern)];
        }
        rbe_status status = rbe_tokenize(t, text, BYTES - 1, 0, tokens, BYTES, &n_tokens);
        CHECK(status == RBE_OK, "\"%s\": %s", pattern, rbe_last_error());
        for (size_t at = 0; at < n_tokens && status == RBE_OK; at++) {
            const char *bytes;
            size_t token_bytes;
            CHECK(rbe_token_bytes(t, tokens[at], 0, &bytes, &token_bytes) == RBE_OK, "%s", rbe_last_error());
            n_bytes += token_bytes;
        }
        CHECK(n_bytes == BYTES - 1 + (size_t)(f.space_prefix != 0), "\"%s\": %zu bytes", pattern, n_bytes);
        rbe_tokenizer_close(t);
    }
    free(text);
    free(tokens);
}

static void test_unicode(void)
{
    static const struct {
        uint32_t code;
        rbe__class class;
    } classes[] = {{'a', RBE__LETTER},    {0x10FFFF, RBE__OTHER}, {0x2028, RBE__SPACE},    {0x0661, RBE__NUMBER},
                   {0x300, RBE__MARK},    {'+', RBE__SYMBOL},     {'!', RBE__PUNCTUATION}, {0x85, RBE__SPACE},
                   {0x4E00, RBE__LETTER}, {0xB2, RBE__NUMBER},    {0x10D4A, RBE__LETTER},  {RBE__NOT_A_CHARACTER, RBE__OTHER}};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        CHECK(rbe__class_of(classes[i].code) == classes[i].class, "U+%04X", classes[i].code);
    }
    static const char *const forms[][2] = {
        {"e\xCC\x81", "\xC3\xA9"},                             /* U+0301 after e */
        {"a\xCC\x81\xCC\xA3", "\xE1\xBA\xA1\xCC\x81"},         /* marks in order: U+1EA1 U+0301 */
        {"\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", "\xEA\xB0\x81"}, /* Hangul */
        {"\xE2\x84\xAB", "\xC3\x85"},                          /* the Angstrom sign */
        {"e\xFF\xCC\x81", "e\xFF\xCC\x81"},                    /* a broken byte keeps them apart */
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        rbe__buffer out = {NULL, 0, 0};
        rbe_status status = rbe__nfc_append(&out, (const uint8_t *)forms[i][0], strlen(forms[i][0]));
        CHECK(status == RBE_OK && out.bytes == strlen(forms[i][1]) && memcmp(out.data, forms[i][1], out.bytes) == 0, "form %zu", i);
        rbe__buffer_free(&out);
    }
    for (uint32_t code = 0; code < 0x110000; code++) {
        uint8_t bytes[4];
        uint32_t back = 0;
        size_t length = rbe__utf8_write(code, bytes);
        int surrogate = code >= 0xD800 && code < 0xE000;
        int read = rbe__utf8_scan(bytes, length, &back);
        CHECK(surrogate ? read == -1 : read == (int)length && back == code, "U+%04X reads as U+%04X", code, back);
        CHECK(surrogate || length == 1 || rbe__utf8_scan(bytes, length - 1, &back) == 0, "U+%04X cut", code);
    }
}

int main(void)
{
    fixture_byte_level(&byte_level);
    fixture_sentencepiece(&sentencepiece);
    test_byte_level();
    test_sentencepiece();
    test_added_tokens();
    test_marks_in_prepared_text();
    test_stripped_white_space();
    test_arguments();
    test_streams();
    test_long_pieces();
    test_unicode();
    return check_finish();
}
