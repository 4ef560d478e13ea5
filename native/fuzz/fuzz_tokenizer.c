/* Opens tokenizer blobs of any content; what opens must tokenize, and give all of its tokens. The magic number and the size are made right. */
#include "blob_fields.h"
#include "encoder_fixture.h"
#include "fuzz.h"
#include "tokenizer_fixture.h"

static const char text[] =
    "ab abc <s>abcabc \xFF<end\xFF>x<tool>s 12 <tool>\xE2\x96\x81<tool>s\n\n\xC3\xA9\xFF\xE2\x96\x81 e\xCC\x81 'll\n\n  a\xE6\x88\x91. A\xC3\x9F";

static void tokenize(const rbe_tokenizer *tokenizer, uint32_t flags)
{
    uint32_t tokens[512];
    size_t n_tokens;
    const rbe_status status = explained(rbe_tokenize(tokenizer, text, sizeof text - 1, flags, tokens, 512, &n_tokens));
    demand(status == RBE_OK || status == RBE_ERROR_ARGUMENT || status == RBE_ERROR_CAPACITY, "tokens, or too many");
    for (size_t i = 0; status == RBE_OK && i < n_tokens; i++) {
        demand(tokens[i] < rbe_tokenizer_size(tokenizer), "tokens of the vocabulary");
    }
}

static void give_all(const rbe_tokenizer *tokenizer)
{
    static const char *const stops[] = {"abc", "x<"};
    rbe_text_stream *stream;
    const char *given;
    size_t bytes;
    int stopped = 0;
    demand(rbe_text_stream_create(tokenizer, stops, 2, &stream) == RBE_OK, "a stream");
    for (uint32_t i = 0; i < rbe_tokenizer_size(tokenizer); i++) {
        demand(rbe_text_stream_push(stream, i, &given, &bytes, &stopped) == RBE_OK, "a token is pushed");
        demand(rbe_token_bytes(tokenizer, i, 1, &given, &bytes) == RBE_OK, "bytes of a token");
        const uint32_t found = rbe_token_find(tokenizer, given, bytes);
        demand(found == RBE_NO_TOKEN || found < rbe_tokenizer_size(tokenizer), "a token of the vocabulary is found");
        (void)rbe_token_ends_text(tokenizer, i);
    }
    demand(rbe_text_stream_finish(stream, &given, &bytes) == RBE_OK, "the end of a stream");
    rbe_text_stream_free(stream);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static fixture tokens;
    static encoder_fixture pieces;
    (void)argc, (void)argv;
    fixture_byte_level(&tokens);
    seed("byte-pairs", tokens.blob, tokens.bytes);
    tokens.flags |= RBE__ADDED_TOKENS;
    fixture_finish(&tokens);
    seed("added", tokens.blob, tokens.bytes);
    fixture_sentencepiece(&tokens);
    seed("sentencepiece", tokens.blob, tokens.bytes);
    encoder_words(&pieces);
    seed("words", pieces.blob, pieces.bytes);
    encoder_unigram(&pieces);
    seed("unigram", pieces.blob, pieces.bytes);
    static const char *const golden[][2] = {{"gpt2", "answers/gpt2.rbe"}, {"t5", "encoder_decoders/t5.rbe"}, {"bert", "v3/encoder.rbe"}};
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        size_t bytes;
        uint8_t *blob = golden_blob(golden[i][1], &bytes);
        seed(golden[i][0], blob, bytes);
        free(blob);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    const uint32_t size = (uint32_t)bytes;
    uint8_t *blob = copy_of(input, bytes);
    rbe_tokenizer *tokenizer;
    if (bytes >= 4 * (FIELD_BYTES + 1)) {
        memcpy(blob, "RBTK", 4);
        memcpy(blob + 4 * (size_t)FIELD_BYTES, &size, 4);
    }
    if (explained(rbe_tokenizer_open(blob, bytes, &tokenizer)) == RBE_OK) {
        tokenize(tokenizer, 0);
        tokenize(tokenizer, RBE_TOKENIZE_SPECIAL_PREFIX | RBE_TOKENIZE_PARSE_SPECIAL);
        tokenize(tokenizer, RBE_TOKENIZE_SPECIAL_PREFIX | RBE_TOKENIZE_MARKED);
        give_all(tokenizer);
        rbe_tokenizer_close(tokenizer);
    }
    free(blob);
    return 0;
}
