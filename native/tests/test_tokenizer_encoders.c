/* WordPiece and Unigram on tiny vocabularies: what they find, damaged blobs, and texts that would take other algorithms for ever. */
#include "encoder_fixture.h"
#include "mutation.h"
#include "token_checks.h"

#include <stdlib.h>

static encoder_fixture words, unigram;

static void test_words(void)
{
    rbe_tokenizer *t = open_blob(words.blob, words.bytes);
    const uint32_t special = RBE_TOKENIZE_SPECIAL_PREFIX;
    check_tokens(t, "", 0, NULL, 0);
    TOKENS(t, "", special, WORD_CLS, WORD_SEP);
    TOKENS(t, "abc", 0, WORD_UNK);          /* ab is the longest, and nothing continues with c */
    TOKENS(t, "abbc", 0, WORD_AB, WORD_GO_ON_BC);
    TOKENS(t, "aa.a", 0, WORD_A, WORD_GO_ON_A, WORD_PERIOD, WORD_A);
    TOKENS(t, "aaaaa aaaaaa", 0, WORD_A, WORD_GO_ON_A, WORD_GO_ON_A, WORD_GO_ON_A, WORD_GO_ON_A, WORD_UNK);
    TOKENS(t, "\xC3\x89 E\xCC\x81\xC2\xAD", 0, WORD_E, WORD_E); /* two ways to write it, and a soft hyphen */
    TOKENS(t,
           "A\xE6\x88\x91"
           "A\t\xE2\x80\x83",
           special, WORD_CLS, WORD_A, WORD_HAN, WORD_A, WORD_SEP);
    TOKENS(t, "a[SEP]a", 0, WORD_A, WORD_UNK, WORD_UNK, WORD_UNK, WORD_A);
    TOKENS(t, "a[SEP]a", RBE_TOKENIZE_PARSE_SPECIAL, WORD_A, WORD_SEP, WORD_A);
    TOKENS(t, "a\xFF[SEP\xFF]a[SEP]", RBE_TOKENIZE_MARKED, WORD_A, WORD_SEP, WORD_A, WORD_UNK, WORD_UNK, WORD_UNK);
    TOKENS(t,
           "a\xC3(\xED\xA0\x80"
           "a",
           0, WORD_A, WORD_UNK, WORD_A); /* bytes that are no UTF-8 go, the parenthesis is unknown */

    check_decoded(t, (const uint32_t[]){WORD_CLS, WORD_AB, WORD_GO_ON_BC, WORD_PERIOD, WORD_A, WORD_SEP}, 6, "abbc. a");
    check_decoded(t, (const uint32_t[]){WORD_AB, WORD_GO_ON_BC}, 2, " abbc");
    CHECK(rbe_token_find(t, " ab", 3) == WORD_AB && rbe_token_find(t, "ab", 2) == RBE_NO_TOKEN, "the beginning of a word");
    CHECK(rbe_token_find(t, "bc", 2) == WORD_GO_ON_BC && rbe_token_find(t, " bc", 3) == RBE_NO_TOKEN, "the rest of a word");
    CHECK(rbe_token_find(t, ".", 1) == WORD_PERIOD && rbe_token_find(t, " .", 2) == RBE_NO_TOKEN, "without a space");
    CHECK(rbe_token_find(t, "[SEP]", 5) == WORD_SEP && rbe_token_find(t, " ", 1) == RBE_NO_TOKEN, "special");
    rbe_tokenizer_close(t);
}

static void test_unigram(void)
{
    rbe_tokenizer *t = open_blob(unigram.blob, unigram.bytes);
    check_tokens(t, " \n\t", 0, NULL, 0);
    TOKENS(t, "a", RBE_TOKENIZE_SPECIAL_PREFIX, GRAM_SPACE_A, GRAM_END);
    TOKENS(t, "ab", 0, GRAM_SPACE, GRAM_AB); /* -2 - 5, and not -3 - 4, whose last token begins later */
    TOKENS(t, "b ba", 0, GRAM_SPACE, GRAM_B, GRAM_SPACE, GRAM_B, GRAM_A);
    TOKENS(t, "baba", 0, GRAM_SPACE, GRAM_B, GRAM_AB, GRAM_A); /* -5 - 3 is better than -8.5 */
    TOKENS(t, "axyza", 0, GRAM_SPACE_A, GRAM_UNK, GRAM_A);
    /* Each character is a cluster, so that the key AB is never found. */
    TOKENS(t, "A AB \xC3\x9F", 0, GRAM_SPACE_A, GRAM_A, GRAM_SPACE_A, GRAM_A, GRAM_UNK, GRAM_SPACE, GRAM_SS);
    TOKENS(t,
           "b\xE2\x96\x81"
           "b\xE2\x96\x81",
           0, GRAM_SPACE, GRAM_B, GRAM_SPACE, GRAM_B, GRAM_SPACE);
    TOKENS(t, "a</s>a", 0, GRAM_SPACE_A, GRAM_UNK, GRAM_A);
    TOKENS(t, "a</s>a", RBE_TOKENIZE_PARSE_SPECIAL, GRAM_SPACE_A, GRAM_END, GRAM_SPACE_A);
    TOKENS(t, "a\xFF\xC3", 0, GRAM_SPACE_A, GRAM_UNK);
    check_decoded(t, (const uint32_t[]){GRAM_PAD, GRAM_SPACE_A, GRAM_B, GRAM_SPACE_A, GRAM_END}, 5, "ab a");
    CHECK(rbe_token_find(t, " a", 2) == GRAM_SPACE_A && rbe_token_find(t, "x", 1) == RBE_NO_TOKEN, "find");
    CHECK(rbe_token_ends_text(t, GRAM_END), "ends");
    rbe_tokenizer_close(t);

    encoder_fixture f = unigram;
    f.steps[0].option = RBE__LONGEST_KEYS;
    f.split = RBE__SPLIT_EACH_SPACE;
    f.flags |= RBE__ESCAPED_SPACES;
    f.score_bytes = 8;
    f.attributes[GRAM_SS] = RBE__BYTE; /* of s: that of another byte is missing */
    encoder_finish(&f);
    t = open_blob(f.blob, f.bytes);
    TOKENS(t, "AB AAB", 0, GRAM_SPACE, GRAM_B, GRAM_SPACE_A, GRAM_AB);
    TOKENS(t, "b  b ", 0, GRAM_SPACE, GRAM_B, GRAM_SPACE, GRAM_SPACE, GRAM_B, GRAM_SPACE);
    TOKENS(t, "bsst", 0, GRAM_SPACE, GRAM_B, GRAM_UNK);
    TOKENS(t, "bss\xFF", 0, GRAM_SPACE, GRAM_B, GRAM_UNK); /* the byte becomes U+FFFD */
    TOKENS(t, "bss", 0, GRAM_SPACE, GRAM_B, GRAM_SS, GRAM_SS);
    rbe_tokenizer_close(t);
}

/* Opens a copy that ends exactly where the heap block does, so that reading past it is seen; uses it if it opens. */
static rbe_status try_blob(const uint8_t *blob, size_t bytes)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
    memcpy(copy, blob, bytes);
    rbe_tokenizer *t = NULL;
    const rbe_status status = rbe_tokenizer_open(copy, bytes, &t);
    CHECK((status == RBE_OK) == (t != NULL), "status %d", status);
    if (status == RBE_OK) {
        static const char text[] = "ab A\xCC\x81"
                                   "aba ABAB\xE6\x88\x91 xyz</s>b\xFF[SEP\xFF] \xC3\x9F  .\xE2\x96\x81"
                                   "aB\r\n\xC3\xED\xA0 \xC4\xB0";
        static const uint32_t flags[] = {RBE_TOKENIZE_SPECIAL_PREFIX | RBE_TOKENIZE_MARKED, RBE_TOKENIZE_PARSE_SPECIAL, 0};
        uint32_t tokens[1024];
        size_t n_tokens, n_bytes;
        const char *given;
        for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
            const rbe_status done = rbe_tokenize(t, text, sizeof text, flags[i], tokens, 1024, &n_tokens);
            CHECK(done == RBE_OK || done == RBE_ERROR_CAPACITY || done == RBE_ERROR_ARGUMENT, "%s", rbe_last_error());
            for (size_t at = 0; done == RBE_OK && at < n_tokens; at++) {
                CHECK(tokens[at] < rbe_tokenizer_size(t), "token %u", tokens[at]);
            }
        }
        rbe_text_stream *stream;
        CHECK(rbe_text_stream_create(t, NULL, 0, &stream) == RBE_OK, "%s", rbe_last_error());
        for (uint32_t i = 0; i < rbe_tokenizer_size(t); i++) {
            int stopped;
            CHECK(rbe_text_stream_push(stream, i, &given, &n_bytes, &stopped) == RBE_OK, "%s", rbe_last_error());
            CHECK(rbe_token_bytes(t, i, 1, &given, &n_bytes) == RBE_OK, "%s", rbe_last_error());
            const uint32_t found = rbe_token_find(t, given, n_bytes);
            CHECK(found == RBE_NO_TOKEN || found < rbe_tokenizer_size(t), "%u", found);
        }
        rbe_text_stream_free(stream);
        rbe_tokenizer_close(t);
    }
    free(copy);
    return status;
}

static void test_truncated(const encoder_fixture *f)
{
    CHECK(try_blob(f->blob, f->bytes) == RBE_OK, "%s", rbe_last_error());
    uint8_t copy[ENCODER_BLOB_BYTES];
    memset(copy, 0, sizeof copy);
    memcpy(copy, f->blob, f->bytes);
    for (size_t bytes = 0; bytes <= f->bytes + 4; bytes++) {
        const uint32_t said = (uint32_t)bytes;
        CHECK(bytes == f->bytes || try_blob(f->blob, bytes < f->bytes ? bytes : f->bytes - 1) != RBE_OK, "%zu bytes", bytes);
        memcpy(copy + 8, &said, 4); /* also where the header agrees with the length */
        CHECK(bytes == f->bytes || try_blob(copy, bytes) != RBE_OK, "%zu bytes, as the header says", bytes);
    }
}

static void check_refused(const encoder_fixture *f, size_t at, const void *value, size_t bytes, const char *message)
{
    uint8_t blob[ENCODER_BLOB_BYTES];
    memcpy(blob, f->blob, f->bytes);
    memcpy(blob + at, value, bytes);
    CHECK(try_blob(blob, f->bytes) == RBE_ERROR_FORMAT, "%s: opens", message);
    CHECK(strstr(rbe_last_error(), message) != NULL, "expected \"%s\": %s", message, rbe_last_error());
}

static void test_damage(void)
{
    const struct {
        const encoder_fixture *of;
        size_t at;
        uint32_t value;
        const char *message;
    } cases[] = {
        {&words, 12, 3, "algorithm is 3"},
        {&words, 12, 6, "algorithm is 6"},
        {&words, 12, RBE__UNIGRAM, "number of continuing pieces"},
        {&words, 16, RBE__N_ALL_SPLITS, "pre-tokenizer is 15"},
        {&words, 16, RBE__SPLIT_NONE, "does not go with pre-tokenizer 0"},
        {&unigram, 16, RBE__SPLIT_BERT, "does not go with pre-tokenizer 9"},
        {&words, 92, 2, "number of slots"},
        {&words, 100, 1, "number of merges"},
        {&words, (size_t)4 * FIELD_PIECES, N_WORD_TOKENS + 1, "number of pieces"},
        {&words, (size_t)4 * FIELD_CONTINUING, 0xFFFFFFFF, "number of continuing pieces"},
        {&words, (size_t)4 * FIELD_SCORE_BYTES, 4, "scores of 4 bytes"},
        {&unigram, (size_t)4 * FIELD_SCORE_BYTES, 2, "scores of 2 bytes"},
        {&unigram, (size_t)4 * FIELD_STEPS, RBE__MAX_STEPS + 1, "number of steps"},
        {&unigram, (size_t)4 * FIELD_STEP_BYTES, 0xFFFFFFFF, "texts of steps"},
        {&unigram, (size_t)4 * FIELD_CHARSMAP_BYTES, 0xFFFFFFF0, "map of characters"},
        {&unigram, (size_t)4 * FIELD_CHARSMAP_BYTES, 0, "needs a map of characters"},
        {&words, (size_t)4 * FIELD_LONGEST_WORD, 1 << 17, "longest word"},
        {&unigram, (size_t)4 * 39, 1, "reserved field"},
        {&unigram, (size_t)4 * 47, 1, "reserved field"},
        {&unigram, unigram.pieces, N_GRAM_TOKENS, "piece is 10"},
        {&unigram, unigram.pieces, GRAM_SS, "piece 4 is empty or not in order"},
        {&unigram, unigram.score_section, 0x7FC00000, "score of token 0"}, /* no number */
        {&unigram, unigram.score_section + 4, 0xFF800000, "score of token 1"}, /* minus infinity */
        {&unigram, (size_t)4 * (FIELD_UNKNOWN_SCORE + 1), 0x7FF80000, "score of unknown characters"},
        {&unigram, unigram.step_section, 0, "step is 0"},
        {&unigram, unigram.step_section, RBE__N_STEPS, "step is 11"},
        {&unigram, unigram.step_section + 4, 3, "option of a step"},
        {&unigram, unigram.step_section + 8, 1, "length of what a step replaces"},
        {&unigram, unigram.step_section + 12, 1, "length of what a step puts"},
        {&unigram, unigram.charsmap, 0, "with an array of 0"},
        {&unigram, unigram.charsmap, 3, "with an array of 3"},
        {&unigram, unigram.charsmap, 0xFFFFFFFC, "with an array of 4294967292"},
        {&unigram, unigram.charsmap + 4 + (size_t)4 * ENCODER_UNITS + 4, 0x61737361, "the last text of the map"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_refused(cases[i].of, cases[i].at, &cases[i].value, 4, cases[i].message);
    }
}

static void test_damaged_steps(void)
{
    encoder_fixture f = words;
    f.n_steps = 0;
    encoder_step_add(&f, RBE__STEP_REPLACE, 0, "aa", "b");
    encoder_finish(&f);
    check_refused(&f, f.step_section + 8, &(uint32_t){0}, 4, "length of what a step replaces");
    check_refused(&f, f.step_section + 8, &(uint32_t){RBE__MAX_REPLACEMENT_BYTES}, 4, "truncated in the texts of steps");
    check_refused(&f, f.step_section + 12, &(uint32_t){0}, 4, "too many in the texts of steps");
    check_refused(&f, f.step_section + 12, &(uint32_t){RBE__MAX_REPLACEMENT_BYTES + 1}, 4, "length of what a step puts");
    f = unigram; /* of the map, what stands for a key is too long */
    const uint32_t shorter = 4 * (ENCODER_UNITS - 80);
    memset(f.units + ENCODER_UNITS - 80, 'x', sizeof *f.units * 80);
    encoder_finish(&f);
    check_refused(&f, f.charsmap, &shorter, 4, "the map of characters puts 322 bytes");
}

static void test_mutations(const encoder_fixture *f)
{
    size_t n_opened = 0;
    for (int round = 0; round < 4000; round++) {
        uint8_t blob[ENCODER_BLOB_BYTES];
        size_t bytes = f->bytes;
        memcpy(blob, f->blob, f->bytes);
        for (uint32_t n = 1 + draw(3); n > 0 && bytes > 0; n--) {
            mutate(blob, &bytes, (uint32_t)(draw(2) && bytes > ENCODER_HEADER_BYTES ? ENCODER_HEADER_BYTES : bytes));
        }
        const uint32_t said = (uint32_t)bytes;
        if (draw(4) > 0) {
            memcpy(blob + 8, &said, 4);
        }
        n_opened += try_blob(blob, bytes) == RBE_OK;
    }
    CHECK(n_opened > 50 && n_opened < 3950, "%zu of 4000 opened", n_opened); /* both must have been seen */
}

/* A megabyte without a space in it, of every kind that might cost more than its length. */
static void test_long_texts(void)
{
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES);
    uint32_t *tokens = malloc(BYTES * sizeof *tokens);
    const char *const patterns[] = {"a", "ab",           "A",   "x",       "\xCC\x81", "A\xCC\x81", "\xFF", "\xE6\x88\x91", ".",
                                    " ", "\xE2\x96\x81", "</s", "\xD8\x80"};
    const encoder_fixture *const fixtures[] = {&words, &unigram};
    for (size_t i = 0; i < 2 * sizeof patterns / sizeof *patterns; i++) {
        const char *pattern = patterns[i / 2];
        rbe_tokenizer *t = open_blob(fixtures[i % 2]->blob, fixtures[i % 2]->bytes);
        for (size_t at = 0; at < BYTES; at++) {
            text[at] = pattern[at % strlen(pattern)];
        }
        size_t n_tokens;
        const rbe_status status = rbe_tokenize(t, text, BYTES, RBE_TOKENIZE_PARSE_SPECIAL, tokens, BYTES, &n_tokens);
        CHECK(status == RBE_OK || status == RBE_ERROR_CAPACITY, "\"%s\": %s", pattern, rbe_last_error());
        if (i / 2 == 0) {
            CHECK(n_tokens == (i == 0 ? 1 : BYTES), "%zu tokens", n_tokens); /* a word that is too long; " a" and many "a" */
        }
        rbe_tokenizer_close(t);
    }
    encoder_fixture f = words; /* each step makes it longer; together too long */
    f.n_steps = 0;
    for (int i = 0; i < 8; i++) {
        encoder_step_add(&f, RBE__STEP_REPLACE, 0, "a", "aaaaaaaa");
    }
    encoder_finish(&f);
    rbe_tokenizer *t = open_blob(f.blob, f.bytes);
    size_t n_tokens;
    memset(text, 'a', BYTES);
    CHECK(rbe_tokenize(t, text, BYTES, 0, tokens, BYTES, &n_tokens) == RBE_ERROR_ARGUMENT, "grows without end");
    CHECK(strstr(rbe_last_error(), "normalizing") != NULL, "%s", rbe_last_error());
    rbe_tokenizer_close(t);
    free(text);
    free(tokens);
}

/* What would be looked for at every place of a text must be short. */
static void test_long_tokens(void)
{
    static char text[RBE__MAX_PIECE_BYTES + 2];
    memset(text, 'x', RBE__MAX_PIECE_BYTES + 1);
    const uint32_t types[] = {RBE__NORMAL, RBE__CONTROL, RBE__USER_DEFINED};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        for (size_t bytes = RBE__MAX_PIECE_BYTES; bytes <= RBE__MAX_PIECE_BYTES + 1; bytes++) {
            encoder_fixture f = unigram;
            text[bytes] = 0;
            encoder_token(&f, text, types[i], -1, 0);
            encoder_finish(&f);
            CHECK((try_blob(f.blob, f.bytes) == RBE_OK) == (bytes == RBE__MAX_PIECE_BYTES), "type %u, %zu bytes", types[i], bytes);
            text[bytes] = 'x';
        }
    }
}

int main(void)
{
    encoder_words(&words);
    encoder_unigram(&unigram);
    test_words();
    test_unigram();
    test_truncated(&words);
    test_truncated(&unigram);
    test_damage();
    test_damaged_steps();
    test_mutations(&words);
    test_mutations(&unigram);
    test_long_tokens();
    test_long_texts();
    return check_finish();
}
