/* What tests of tokenizers check: that a blob opens, which tokens a text gives, and what text tokens give. */
#ifndef RBE_TESTS_TOKEN_CHECKS_H
#define RBE_TESTS_TOKEN_CHECKS_H

#include <string.h>

#include "check.h"
#include "rbe/rbe.h"

static inline rbe_tokenizer *open_blob(const uint8_t *blob, size_t bytes)
{
    rbe_tokenizer *tokenizer = NULL;
    CHECK(rbe_tokenizer_open(blob, bytes, &tokenizer) == RBE_OK, "%s", rbe_last_error());
    return tokenizer;
}

static inline void check_tokens(const rbe_tokenizer *t, const char *text, uint32_t flags, const uint32_t *expected, size_t n_expected)
{
    uint32_t tokens[64];
    size_t n_tokens;
    rbe_status status = rbe_tokenize(t, text, strlen(text), flags, tokens, 64, &n_tokens);
    CHECK(status == RBE_OK && n_tokens == n_expected, "\"%s\": %zu tokens, expected %zu", text, n_tokens, n_expected);
    for (size_t i = 0; i < n_expected && i < n_tokens; i++) {
        CHECK(tokens[i] == expected[i], "\"%s\": token %zu is %u, expected %u", text, i, tokens[i], expected[i]);
    }
}

#define TOKENS(tokenizer, text, flags, ...)                                                 \
    do {                                                                                    \
        uint32_t expected[] = {__VA_ARGS__};                                                \
        check_tokens(tokenizer, text, flags, expected, sizeof expected / sizeof *expected); \
    } while (0)

static inline void check_decoded(const rbe_tokenizer *t, const uint32_t *tokens, size_t n, const char *expected)
{
    char got[256] = "";
    const char *text;
    size_t bytes;
    int stopped;
    rbe_text_stream *stream = NULL;
    CHECK(rbe_text_stream_create(t, NULL, 0, &stream) == RBE_OK, "%s", rbe_last_error());
    for (size_t i = 0; i < n; i++) {
        CHECK(rbe_text_stream_push(stream, tokens[i], &text, &bytes, &stopped) == RBE_OK, "%s", rbe_last_error());
        strncat(got, text, bytes);
    }
    CHECK(rbe_text_stream_finish(stream, &text, &bytes) == RBE_OK, "%s", rbe_last_error());
    strncat(got, text, bytes);
    CHECK(strcmp(got, expected) == 0, "got \"%s\", expected \"%s\"", got, expected);
    rbe_text_stream_free(stream);
}

#endif
