/* A tiny tokenizer blob (docs/tokenizers.md), built here by hand so that the tests need neither Python nor files. */
#ifndef RBE_TESTS_TOKENIZER_FIXTURE_H
#define RBE_TESTS_TOKENIZER_FIXTURE_H

#include <stdint.h>
#include <string.h>

#include "blob_fields.h"
#include "text/tokenizer/tokenizer.h"

enum { FIXTURE_MAX_TOKENS = 300, FIXTURE_SLOTS = 1024, FIXTURE_BYTES = 1 << 15 };

typedef struct fixture {
    uint32_t algorithm, split, space_prefix, flags, bos, unknown;
    uint32_t n_tokens, n_text, n_merges;
    uint32_t begin[FIXTURE_MAX_TOKENS + 1];
    uint8_t attributes[FIXTURE_MAX_TOKENS];
    uint32_t priorities[FIXTURE_MAX_TOKENS];
    uint32_t merges[64][4]; /* left, right, rank, result; to be added in the order of left and right */
    uint8_t text[4096];
    uint8_t blob[FIXTURE_BYTES];
    size_t bytes;
} fixture;

static uint32_t fixture_token(fixture *f, const char *text, size_t bytes, uint32_t attributes)
{
    memcpy(f->text + f->n_text, text, bytes);
    f->n_text += (uint32_t)bytes;
    f->attributes[f->n_tokens] = (uint8_t)attributes;
    f->begin[++f->n_tokens] = f->n_text;
    return f->n_tokens - 1;
}

static void fixture_merge(fixture *f, uint32_t left, uint32_t right, uint32_t rank, uint32_t result)
{
    uint32_t merge[4] = {left, right, rank, result};
    memcpy(f->merges[f->n_merges++], merge, sizeof merge);
}

static void fixture_u32(fixture *f, uint32_t value)
{
    memcpy(f->blob + f->bytes, &value, 4);
    f->bytes += 4;
}

static void fixture_padded(fixture *f, const uint8_t *data, size_t bytes)
{
    memset(f->blob + f->bytes, 0, (bytes + 3) / 4 * 4);
    memcpy(f->blob + f->bytes, data, bytes);
    f->bytes += (bytes + 3) / 4 * 4;
}

static int fixture_before(const fixture *f, uint32_t a, uint32_t b)
{
    size_t a_bytes = f->begin[a + 1] - f->begin[a], b_bytes = f->begin[b + 1] - f->begin[b];
    int order = memcmp(f->text + f->begin[a], f->text + f->begin[b], a_bytes < b_bytes ? a_bytes : b_bytes);
    return order != 0 ? order < 0 : a_bytes < b_bytes;
}

static void fixture_sections(fixture *f, uint32_t *n_special)
{
    for (uint32_t i = 0; i <= f->n_tokens; i++) {
        fixture_u32(f, f->begin[i]);
    }
    uint32_t byte_tokens[256], slots[FIXTURE_SLOTS], special[FIXTURE_MAX_TOKENS];
    memset(byte_tokens, 0xFF, sizeof byte_tokens);
    memset(slots, 0xFF, sizeof slots);
    *n_special = 0;
    for (uint32_t i = 0; i < f->n_tokens; i++) {
        size_t bytes = f->begin[i + 1] - f->begin[i];
        uint32_t type = f->attributes[i] & RBE__TYPE_MASK;
        if (bytes == 1 && type == (f->algorithm == RBE__BYTE_PAIRS ? RBE__NORMAL : RBE__BYTE)) {
            byte_tokens[f->text[f->begin[i]]] = i;
        }
        if (type == RBE__CONTROL || type == RBE__USER_DEFINED) {
            uint32_t at = (*n_special)++;
            for (; at > 0 && fixture_before(f, i, special[at - 1]); at--) {
                special[at] = special[at - 1];
            }
            special[at] = i;
        }
        if (type == RBE__NORMAL || type == RBE__UNUSED) {
            uint32_t slot = rbe__hash(f->text + f->begin[i], bytes) % FIXTURE_SLOTS;
            while (slots[slot] != RBE_NO_TOKEN) {
                slot = (slot + 1) % FIXTURE_SLOTS;
            }
            slots[slot] = i;
        }
    }
    fixture_padded(f, (const uint8_t *)byte_tokens, sizeof byte_tokens);
    fixture_padded(f, (const uint8_t *)slots, sizeof slots);
    fixture_padded(f, (const uint8_t *)special, 4 * (size_t)*n_special);
}

enum { /* ids of both fixtures after the 256 bytes */
       TOKEN_AB = 256,
       TOKEN_ABC,
       TOKEN_SPACE_A,
       TOKEN_BOS,
       TOKEN_END,
       TOKEN_TOOL,
       TOKEN_TOOLS,
       N_FIXTURE_TOKENS
};

enum { N_ADDED = 4, N_NORMALIZED = 2, ADDED_TEXT_BYTES = 27 };

/* The sections of RBE__ADDED_TOKENS: "\n" is a token of its own in the text as it was given, TOKEN_TOOLS is written with U+2581 there;
 * " <tool>" is looked for in the prepared text. */
static void fixture_added(fixture *f)
{
    static const uint32_t tokens[N_ADDED + N_NORMALIZED] = {TOKEN_AB, TOKEN_END, TOKEN_BOS, TOKEN_TOOLS, TOKEN_TOOL, TOKEN_ABC};
    static const uint32_t offsets[N_ADDED + N_NORMALIZED + 1] = {0, 1, 6, 9, 19, 26, 27};
    static const char text[ADDED_TEXT_BYTES + 1] = "\n<end><s>\xE2\x96\x81<tool>s <tool>\x7F";
    fixture_padded(f, (const uint8_t *)tokens, sizeof tokens);
    fixture_padded(f, (const uint8_t *)offsets, sizeof offsets);
    fixture_padded(f, (const uint8_t *)text, ADDED_TEXT_BYTES);
}

/* Writes the blob. */
static void fixture_finish(fixture *f)
{
    uint32_t n_special;
    const int added = (f->flags & RBE__ADDED_TOKENS) != 0;
    memset(f->blob, 0, 128);
    f->bytes = 128;
    fixture_sections(f, &n_special);
    if (f->algorithm == RBE__PRIORITIES) {
        fixture_padded(f, (const uint8_t *)f->priorities, 4 * (size_t)f->n_tokens);
    } else {
        uint32_t at = 0;
        for (uint32_t left = 0; left <= f->n_tokens; left++) {
            fixture_u32(f, at);
            while (at < f->n_merges && f->merges[at][0] == left) {
                at++;
            }
        }
        for (uint32_t i = 0; i < f->n_merges; i++) {
            fixture_padded(f, (const uint8_t *)(f->merges[i] + 1), 12);
        }
    }
    fixture_padded(f, f->attributes, f->n_tokens);
    fixture_padded(f, f->text, f->n_text);
    if (added) {
        fixture_added(f);
    }
    uint32_t header[29] = {[FIELD_VERSION] = 1,
                           [FIELD_BYTES] = (uint32_t)f->bytes,
                           [FIELD_ALGORITHM] = f->algorithm,
                           [FIELD_SPLIT] = f->split,
                           [FIELD_SPACE_PREFIX] = f->space_prefix,
                           [FIELD_FLAGS] = f->flags,
                           [FIELD_BOS] = f->bos,
                           [8] = RBE_NO_TOKEN,
                           [FIELD_UNKNOWN] = f->unknown,
                           [10] = RBE_NO_TOKEN,
                           [FIELD_BEFORE] = f->bos != RBE_NO_TOKEN,
                           [FIELD_BEFORE + 1] = f->bos != RBE_NO_TOKEN ? f->bos : 0,
                           [FIELD_TOKENS] = f->n_tokens,
                           [FIELD_TEXT_BYTES] = f->n_text,
                           [FIELD_SLOTS] = FIXTURE_SLOTS,
                           [FIELD_SPECIAL] = n_special,
                           [FIELD_MERGES] = f->n_merges,
                           [FIELD_ADDED] = added ? N_ADDED : 0,
                           [FIELD_NORMALIZED] = added ? N_NORMALIZED : 0,
                           [FIELD_ADDED_BYTES] = added ? ADDED_TEXT_BYTES : 0};
    memcpy(header, "RBTK", 4);
    memcpy(f->blob, header, sizeof header);
}

/* Byte-level BPE: a b -> ab, ab c -> abc, space a -> " a" first of all; control tokens <s> and <end>, user-defined
 * <tool> and <tool>s. */
static void fixture_byte_level(fixture *f)
{
    memset(f, 0, sizeof *f);
    f->algorithm = RBE__BYTE_PAIRS;
    f->split = RBE__SPLIT_GPT2;
    f->bos = TOKEN_BOS;
    f->unknown = RBE_NO_TOKEN;
    for (int byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        fixture_token(f, &text, 1, RBE__NORMAL);
    }
    fixture_token(f, "ab", 2, RBE__NORMAL);
    fixture_token(f, "abc", 3, RBE__NORMAL);
    fixture_token(f, " a", 2, RBE__NORMAL);
    fixture_token(f, "<s>", 3, RBE__CONTROL);
    fixture_token(f, "<end>", 5, RBE__CONTROL | RBE__ENDS_TEXT | RBE__STRIP_LEFT);
    fixture_token(f, "<tool>", 6, RBE__USER_DEFINED | RBE__STRIP_RIGHT);
    fixture_token(f, "<tool>s", 7, RBE__USER_DEFINED);
    fixture_merge(f, ' ', 'a', 0, TOKEN_SPACE_A);
    fixture_merge(f, 'a', 'b', 1, TOKEN_AB);
    fixture_merge(f, TOKEN_AB, 'c', 2, TOKEN_ABC);
    fixture_finish(f);
}

/* SentencePiece: the same ids; bytes are fallback tokens, the letters a, b, c and the space come last. "ab" is unused:
 * it may stand between others, but splits again at the end. */
static void fixture_sentencepiece(fixture *f)
{
    memset(f, 0, sizeof *f);
    f->algorithm = RBE__PRIORITIES;
    f->split = RBE__SPLIT_SPACES;
    f->space_prefix = RBE__PREFIX_TEXT;
    f->flags = RBE__ESCAPED_SPACES;
    f->bos = TOKEN_BOS;
    f->unknown = RBE_NO_TOKEN;
    for (int byte = 0; byte < 256; byte++) {
        char text = (char)byte;
        fixture_token(f, &text, 1, RBE__BYTE);
    }
    fixture_token(f, "ab", 2, RBE__UNUSED);
    fixture_token(f, "abc", 3, RBE__NORMAL);
    fixture_token(f, " a", 2, RBE__NORMAL);
    fixture_token(f, "<s>", 3, RBE__CONTROL);
    fixture_token(f, "<end>", 5, RBE__CONTROL | RBE__ENDS_TEXT | RBE__STRIP_LEFT);
    fixture_token(f, "<tool>", 6, RBE__USER_DEFINED | RBE__STRIP_RIGHT);
    fixture_token(f, "<tool>s", 7, RBE__USER_DEFINED);
    fixture_token(f, "a", 1, RBE__NORMAL);
    fixture_token(f, "b", 1, RBE__NORMAL);
    fixture_token(f, "c", 1, RBE__NORMAL);
    fixture_token(f, " ", 1, RBE__NORMAL);
    f->priorities[TOKEN_SPACE_A] = 2;
    f->priorities[TOKEN_ABC] = 1;
    fixture_finish(f);
}

#endif
