/* Hostile blobs: every truncation, chosen and random damage. None may crash; what opens must also work. */
#include "check.h"
#include "tokenizer_fixture.h"

#include <stdlib.h>

static uint64_t random_state = 20240229;

/* splitmix64 (S. Vigna, 2015) */
static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* Opens a copy that ends exactly where the heap block does, so that reading past it is seen; uses it if it opens. */
static rbe_status try_blob(const uint8_t *blob, size_t bytes)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);
    memcpy(copy, blob, bytes);
    rbe_tokenizer *t = NULL;
    rbe_status status = rbe_tokenizer_open(copy, bytes, &t);
    CHECK((status == RBE_OK) == (t != NULL), "status %d", status);
    if (status == RBE_OK) {
        static const char text[] =
            "ab abc <s>abcabc \xFF<end\xFF>x<tool>s 12 <tool>\xE2\x96\x81<tool>s\n\n\xC3\xA9\xFF\xE2\x96\x81 e\xCC\x81 'll\n\n  a";
        static const char *const stops[] = {"abc", "x<"};
        uint32_t tokens[256];
        size_t n_tokens, n_bytes;
        const char *given;
        rbe_text_stream *stream;
        CHECK(rbe_tokenize(t, text, sizeof text, RBE_TOKENIZE_SPECIAL_PREFIX | RBE_TOKENIZE_MARKED, tokens, 256, &n_tokens) == RBE_OK, "%s",
              rbe_last_error());
        CHECK(rbe_tokenize(t, text, sizeof text, RBE_TOKENIZE_SPECIAL_PREFIX | RBE_TOKENIZE_PARSE_SPECIAL, tokens, 256, &n_tokens) ==
                  RBE_OK,
              "%s", rbe_last_error());
        CHECK(rbe_text_stream_create(t, stops, 2, &stream) == RBE_OK, "%s", rbe_last_error());
        for (uint32_t i = 0; i < rbe_tokenizer_size(t); i++) {
            int stopped;
            CHECK(rbe_text_stream_push(stream, i, &given, &n_bytes, &stopped) == RBE_OK, "%s", rbe_last_error());
            CHECK(rbe_token_bytes(t, i, 1, &given, &n_bytes) == RBE_OK, "%s", rbe_last_error());
            uint32_t found = rbe_token_find(t, given, n_bytes);
            CHECK(found == RBE_NO_TOKEN || found < rbe_tokenizer_size(t), "%u", found);
            rbe_token_ends_text(t, i);
        }
        for (size_t i = 0; i < n_tokens; i++) {
            CHECK(tokens[i] < rbe_tokenizer_size(t), "token %u", tokens[i]);
        }
        CHECK(rbe_text_stream_finish(stream, &given, &n_bytes) == RBE_OK, "%s", rbe_last_error());
        rbe_text_stream_free(stream);
        rbe_tokenizer_close(t);
    }
    free(copy);
    return status;
}

static void test_truncated(const fixture *f)
{
    CHECK(try_blob(f->blob, f->bytes) == RBE_OK, "%s", rbe_last_error());
    for (size_t bytes = 0; bytes < f->bytes; bytes++) {
        CHECK(try_blob(f->blob, bytes) != RBE_OK, "%zu bytes of %zu", bytes, f->bytes);
    }
    uint8_t longer[FIXTURE_BYTES];
    uint32_t size = (uint32_t)f->bytes + 4;
    memset(longer, 0, sizeof longer);
    memcpy(longer, f->blob, f->bytes);
    memcpy(longer + 4 * FIELD_BYTES, &size, 4);
    CHECK(try_blob(longer, size) == RBE_ERROR_FORMAT, "too long");
    /* Also where the header agrees with the length. */
    for (size_t bytes = 128; bytes < f->bytes; bytes += 4) {
        size = (uint32_t)bytes;
        memcpy(longer + 4 * FIELD_BYTES, &size, 4);
        CHECK(try_blob(longer, bytes) == RBE_ERROR_FORMAT, "%zu bytes", bytes);
    }
}

static void test_header(const fixture *f)
{
    static const struct {
        uint32_t field, value;
        rbe_status expected;
    } cases[] = {
        {0, 0, RBE_ERROR_FORMAT},
        {FIELD_VERSION, 0, RBE_ERROR_UNSUPPORTED},
        {FIELD_VERSION, 2, RBE_ERROR_FORMAT}, /* which has other algorithms */
        {FIELD_VERSION, 3, RBE_ERROR_UNSUPPORTED},
        {FIELD_ALGORITHM, 0, RBE_ERROR_FORMAT},
        {FIELD_ALGORITHM, 4, RBE_ERROR_FORMAT},
        {FIELD_SPLIT, RBE__N_SPLITS, RBE_ERROR_FORMAT},
        {FIELD_SPACE_PREFIX, RBE__N_PREFIXES, RBE_ERROR_FORMAT},
        {FIELD_FLAGS, RBE__ALL_FLAGS + 1, RBE_ERROR_FORMAT},
        {FIELD_FLAGS, RBE__LATE_SPACES, RBE_ERROR_FORMAT},
        {FIELD_BOS, 0xFFFFFFFE, RBE_ERROR_FORMAT},
        {FIELD_UNKNOWN, N_FIXTURE_TOKENS + 4, RBE_ERROR_FORMAT},
        {FIELD_BEFORE, 5, RBE_ERROR_FORMAT},
        {FIELD_BEFORE + 1, RBE_NO_TOKEN, RBE_ERROR_FORMAT},
        {FIELD_AFTER, 0xFFFFFFFF, RBE_ERROR_FORMAT},
        {FIELD_TOKENS, 0, RBE_ERROR_FORMAT},
        {FIELD_TOKENS, 0xFFFFFFFF, RBE_ERROR_FORMAT},
        {FIELD_TOKENS, 1 << 24, RBE_ERROR_FORMAT},
        {FIELD_TEXT_BYTES, 0xFFFFFFFF, RBE_ERROR_FORMAT},
        {FIELD_SLOTS, 0, RBE_ERROR_FORMAT},
        {FIELD_SLOTS, 0xFFFFFFFF, RBE_ERROR_FORMAT},
        {FIELD_SPECIAL, 0xFFFFFFFF, RBE_ERROR_FORMAT},
        {FIELD_MERGES, 0x15555556, RBE_ERROR_FORMAT},
        {FIELD_MERGES, 0xFFFFFFFF, RBE_ERROR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t blob[FIXTURE_BYTES];
        memcpy(blob, f->blob, f->bytes);
        memcpy(blob + 4 * cases[i].field, &cases[i].value, 4);
        rbe_status status = try_blob(blob, f->bytes);
        CHECK(status == cases[i].expected, "field %u = %#x: status %d", cases[i].field, cases[i].value, status);
    }
}

/* Sections whose content is wrong, one at a time: the message names it. */
static void test_sections(void)
{
    enum { OFFSETS = 128, BYTE_TOKENS = OFFSETS + 4 * (N_FIXTURE_TOKENS + 1), SLOTS = BYTE_TOKENS + 1024 };
    enum { SPECIAL = SLOTS + 4 * FIXTURE_SLOTS, FIRST = SPECIAL + 16, MERGES = FIRST + 4 * (N_FIXTURE_TOKENS + 1) };
    enum { ATTRIBUTES = MERGES + 36 };
    static const struct {
        size_t at;
        uint32_t value;
        const char *message;
    } cases[] = {
        {OFFSETS, 1, "offsets"},
        {OFFSETS + 40, 0x80000000, "offsets"},
        {OFFSETS + 4 * N_FIXTURE_TOKENS, 1, "offsets"},
        {BYTE_TOKENS + 8, N_FIXTURE_TOKENS, "byte token"},
        {SLOTS, N_FIXTURE_TOKENS, "slot"},
        {SPECIAL, TOKEN_TOOLS, "special token"},
        {SPECIAL + 4, 0x7FFFFFFF, "special token"},
        {FIRST, 2, "first merges"},
        {FIRST + 4 * N_FIXTURE_TOKENS, 2, "first merges"},
        {MERGES, N_FIXTURE_TOKENS, "merge"},
        {MERGES + 8, N_FIXTURE_TOKENS, "merge"},
        {ATTRIBUTES, 0x01010100, "attributes"},
        {ATTRIBUTES, 0x01010181, "attributes"},
    };
    fixture f;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_byte_level(&f);
        memcpy(f.blob + cases[i].at, &cases[i].value, 4);
        CHECK(try_blob(f.blob, f.bytes) == RBE_ERROR_FORMAT, "case %zu opens", i);
        CHECK(strstr(rbe_last_error(), cases[i].message) != NULL, "case %zu: %s", i, rbe_last_error());
    }
    fixture_byte_level(&f);
    memset(f.blob + SLOTS, 0, 4 * FIXTURE_SLOTS);
    CHECK(try_blob(f.blob, f.bytes) == RBE_ERROR_FORMAT, "a full table opens, in which a search would not end");
}

/* The same for the sections of added tokens. */
static void test_added_sections(void)
{
    fixture f;
    fixture_byte_level(&f);
    f.flags = RBE__ADDED_TOKENS;
    fixture_finish(&f);
    CHECK(try_blob(f.blob, f.bytes) == RBE_OK, "%s", rbe_last_error());
    const size_t text = f.bytes - 28, offsets = text - (size_t)4 * (N_ADDED + N_NORMALIZED + 1);
    const size_t tokens = offsets - (size_t)4 * (N_ADDED + N_NORMALIZED);
    const struct {
        size_t at;
        uint32_t value;
        const char *message;
    } cases[] = {
        {(size_t)4 * FIELD_ADDED, 0xFFFFFFFF, "number of added tokens"},
        {(size_t)4 * FIELD_ADDED, 1 << 24, "added tokens"},
        {(size_t)4 * FIELD_ADDED, N_ADDED - 1, "offsets of added tokens"},
        {(size_t)4 * FIELD_NORMALIZED, 0xFFFFFFFF, "number of normalized tokens"},
        {(size_t)4 * FIELD_ADDED_BYTES, 0xFFFFFFFF, "texts of added tokens"},
        {(size_t)4 * FIELD_ADDED_BYTES, ADDED_TEXT_BYTES - 1, "offsets of added tokens"},
        {tokens, N_FIXTURE_TOKENS, "added token"},
        {tokens + (size_t)4 * N_ADDED, 0x80000000, "normalized token"},
        {offsets, 1, "offsets of added tokens"},
        {offsets + 4, 0, "added token"}, /* the first is empty */
        {text, 0x5A5A5A5A, "added token"}, /* "Z" before "ZZZd>" before "<s>" */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t blob[FIXTURE_BYTES];
        memcpy(blob, f.blob, f.bytes);
        memcpy(blob + cases[i].at, &cases[i].value, 4);
        CHECK(try_blob(blob, f.bytes) == RBE_ERROR_FORMAT, "case %zu opens", i);
        CHECK(strstr(rbe_last_error(), cases[i].message) != NULL, "case %zu: %s", i, rbe_last_error());
    }
}

static void test_mutations(const fixture *f)
{
    size_t n_opened = 0;
    for (int round = 0; round < 5000; round++) {
        uint8_t blob[FIXTURE_BYTES];
        memcpy(blob, f->blob, f->bytes);
        for (uint64_t n = 1 + next_random() % 4; n > 0; n--) {
            uint64_t r = next_random();
            size_t at = (r & 1) != 0 ? (r >> 8) % 128 : (r >> 8) % f->bytes;
            if ((r & 2) != 0) {
                blob[at] ^= (uint8_t)(1u << (r >> 60 & 7));
            } else {
                blob[at] = (uint8_t)(r >> 52);
            }
        }
        n_opened += try_blob(blob, f->bytes) == RBE_OK;
    }
    /* Both outcomes must have been seen for this to test anything. */
    CHECK(n_opened > 50 && n_opened < 4950, "%zu of 5000 opened", n_opened);
}

int main(void)
{
    fixture f;
    fixture_byte_level(&f);
    test_truncated(&f);
    test_header(&f);
    test_mutations(&f);
    f.algorithm = RBE__CHARACTER_PAIRS;
    f.space_prefix = RBE__PREFIX_FRAGMENT;
    f.split = RBE__SPLIT_FALCON;
    f.flags = RBE__ALL_FLAGS & ~(uint32_t)(RBE__ADDED_TOKENS | RBE__LATE_SPACES);
    fixture_finish(&f);
    test_mutations(&f);
    f.flags = RBE__ALL_FLAGS;
    f.attributes[TOKEN_AB] |= RBE__STRIP_LEFT | RBE__STRIP_RIGHT;
    f.attributes[TOKEN_TOOL] |= RBE__SINGLE_WORD;
    fixture_finish(&f);
    test_truncated(&f);
    test_mutations(&f);
    fixture_sentencepiece(&f);
    test_truncated(&f);
    test_header(&f);
    test_mutations(&f);
    test_sections();
    test_added_sections();
    return check_finish();
}
