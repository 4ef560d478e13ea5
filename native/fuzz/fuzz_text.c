/* Tokenizes texts of any bytes with good tokenizers. The first bytes of an input choose one: its kind, its pre-tokenizer, its flags, the flags
 * of the call. */
#include "blob_fields.h"
#include "encoder_fixture.h"
#include "fuzz.h"
#include "tokenizer_fixture.h"

enum { GPT2 = 5, N_KINDS = 8, N_CHOICES = 4 };

static struct kind {
    uint8_t *blob;
    size_t bytes;
} kinds[N_KINDS];

static void keep(int kind, const void *blob, size_t bytes)
{
    kinds[kind].blob = copy_of(blob, bytes);
    kinds[kind].bytes = bytes;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const golden[] = {"answers/gpt2.rbe", "encoder_decoders/t5.rbe", "v3/encoder.rbe"};
    static fixture tokens;
    static encoder_fixture pieces;
    (void)argc, (void)argv;
    fixture_byte_level(&tokens);
    keep(0, tokens.blob, tokens.bytes);
    tokens.flags |= RBE__ADDED_TOKENS;
    fixture_finish(&tokens);
    keep(1, tokens.blob, tokens.bytes);
    fixture_sentencepiece(&tokens);
    keep(2, tokens.blob, tokens.bytes);
    encoder_words(&pieces);
    keep(3, pieces.blob, pieces.bytes);
    encoder_unigram(&pieces);
    keep(4, pieces.blob, pieces.bytes);
    for (int i = 0; i < 3; i++) {
        kinds[GPT2 + i].blob = golden_blob(golden[i], &kinds[GPT2 + i].bytes);
    }
    return 0;
}

/* The blob of that kind with another pre-tokenizer, space prefix and flags; as it is where they are 255 each. */
static rbe_tokenizer *choose(const uint8_t *choices, uint8_t **blob)
{
    const struct kind *kind = &kinds[choices[0] % N_KINDS];
    rbe_tokenizer *tokenizer = NULL;
    *blob = copy_of(kind->blob, kind->bytes);
    if (choices[1] != 255) {
        (*blob)[4 * FIELD_SPLIT] = choices[1] % RBE__N_ALL_SPLITS;
        (*blob)[4 * FIELD_SPACE_PREFIX] = choices[1] / RBE__N_ALL_SPLITS % RBE__N_PREFIXES;
    }
    if (choices[2] != 255) {
        const uint8_t kept = (*blob)[4 * FIELD_FLAGS] & RBE__ADDED_TOKENS; /* which has sections of its own */
        (*blob)[4 * FIELD_FLAGS] = (uint8_t)((choices[2] & ~RBE__ADDED_TOKENS) | kept);
    }
    (void)explained(rbe_tokenizer_open(*blob, kind->bytes, &tokenizer));
    return tokenizer;
}

/* Bytes of a character of UTF-8 that `text` begins with; 0: none. */
static size_t character_bytes(const uint8_t *text, size_t n)
{
    const uint8_t first = text[0];
    const size_t length = first < 0x80                    ? 1
                          : first >= 0xC2 && first < 0xE0 ? 2
                          : first >= 0xE0 && first < 0xF0 ? 3
                          : first >= 0xF0 && first < 0xF5 ? 4
                                                          : 0;
    if (length == 0 || length > n) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    const int is_wrong = length > 2 && ((first == 0xE0 && text[1] < 0xA0) || (first == 0xED && text[1] >= 0xA0) ||
                                        (first == 0xF0 && text[1] < 0x90) || (first == 0xF4 && text[1] >= 0x90));
    return is_wrong ? 0 : length;
}

static void check_utf8(const char *text, size_t bytes)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        n = character_bytes((const uint8_t *)text + at, bytes - at);
        demand(n > 0, "a stream gives UTF-8");
    }
}

/* The bytes of all tokens are the text again, where nothing is put in front of it or normalized. */
static void check_tokens(const rbe_tokenizer *tokenizer, const uint32_t *tokens, size_t n_tokens, const uint8_t *text, size_t text_bytes,
                         int is_whole)
{
    rbe_text_stream *stream;
    const char *given;
    size_t bytes, at = 0;
    int stopped = 0;
    demand(rbe_text_stream_create(tokenizer, NULL, 0, &stream) == RBE_OK, "a stream");
    for (size_t i = 0; i < n_tokens; i++) {
        demand(tokens[i] < rbe_tokenizer_size(tokenizer), "tokens of the vocabulary");
        demand(rbe_token_bytes(tokenizer, tokens[i], 1, &given, &bytes) == RBE_OK, "bytes of a token");
        demand(!is_whole || (bytes <= text_bytes - at && memcmp(given, text + at, bytes) == 0), "the tokens' bytes are the text");
        at += bytes;
        demand(rbe_text_stream_push(stream, tokens[i], &given, &bytes, &stopped) == RBE_OK, "a token is pushed");
        check_utf8(given, bytes);
    }
    demand(!is_whole || at == text_bytes, "the tokens' bytes are all of the text");
    demand(rbe_text_stream_finish(stream, &given, &bytes) == RBE_OK, "the end of a stream");
    check_utf8(given, bytes);
    rbe_text_stream_free(stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    uint8_t *blob;
    size_t n_tokens, again;
    if (bytes < N_CHOICES) {
        return 0;
    }
    rbe_tokenizer *tokenizer = choose(input, &blob);
    const uint32_t flags = input[3] % 8;
    const size_t text_bytes = bytes - N_CHOICES;
    char *text = (char *)copy_of(input + N_CHOICES, text_bytes);
    if (tokenizer) {
        const rbe_status status = explained(rbe_tokenize(tokenizer, text, text_bytes, flags, NULL, 0, &n_tokens));
        demand(status == RBE_OK || status == RBE_ERROR_CAPACITY || status == RBE_ERROR_ARGUMENT, "a count, or too long a text");
        uint32_t *tokens = malloc((n_tokens + 1) * sizeof *tokens);
        demand(tokens && (status == RBE_OK) == (n_tokens == 0 && status != RBE_ERROR_ARGUMENT), "the count of tokens");
        if (status != RBE_ERROR_ARGUMENT) {
            demand(rbe_tokenize(tokenizer, text, text_bytes, flags, tokens, n_tokens, &again) == RBE_OK && again == n_tokens,
                   "the same count again");
            const int is_whole = input[0] % N_KINDS == GPT2 && flags == 0 && blob[4 * FIELD_SPACE_PREFIX] == RBE__PREFIX_NONE &&
                                 (blob[4 * FIELD_FLAGS] & ~RBE__WHOLE_PIECES) == 0;
            check_tokens(tokenizer, tokens, n_tokens, (const uint8_t *)text, text_bytes, is_whole);
        }
        free(tokens);
    }
    rbe_tokenizer_close(tokenizer);
    free(text);
    free(blob);
    return 0;
}
