/* Tiny tokenizer blobs of version 2 (docs/tokenizers.md), built by hand: WordPiece and Unigram, with a map of characters. */
#ifndef RBE_TESTS_ENCODER_FIXTURE_H
#define RBE_TESTS_ENCODER_FIXTURE_H

#include <stdint.h>
#include <string.h>

#include "blob_fields.h"
#include "text/tokenizer/tokenizer.h"

enum { ENCODER_MAX_TOKENS = 64, ENCODER_BLOB_BYTES = 1 << 14, ENCODER_HEADER_BYTES = 192, ENCODER_UNITS = 1024 };

typedef struct encoder_step {
    uint32_t kind, option;
    const char *from, *to;
} encoder_step;

typedef struct encoder_fixture {
    uint32_t algorithm, split, space_prefix, flags, unknown, before, after, longest_word, score_bytes;
    double unknown_score;
    uint32_t n_tokens, n_text, n_steps;
    uint32_t begin[ENCODER_MAX_TOKENS + 1];
    uint8_t attributes[ENCODER_MAX_TOKENS], continues[ENCODER_MAX_TOKENS], text[1024];
    double scores[ENCODER_MAX_TOKENS];
    encoder_step steps[RBE__MAX_STEPS];
    uint32_t units[ENCODER_UNITS]; /* of the map of characters, where a step needs it */
    char map_text[64];
    uint32_t map_text_bytes;
    uint8_t blob[ENCODER_BLOB_BYTES];
    size_t bytes;
    size_t pieces, score_section, step_section, charsmap; /* where these sections begin */
} encoder_fixture;

static uint32_t encoder_token(encoder_fixture *f, const char *text, uint32_t attributes, double score, int continues)
{
    const uint32_t token = f->n_tokens++;
    memcpy(f->text + f->n_text, text, strlen(text));
    f->n_text += (uint32_t)strlen(text);
    f->attributes[token] = (uint8_t)attributes;
    f->scores[token] = score;
    f->continues[token] = (uint8_t)continues;
    f->begin[token + 1] = f->n_text;
    return token;
}

static void encoder_step_add(encoder_fixture *f, uint32_t kind, uint32_t option, const char *from, const char *to)
{
    f->steps[f->n_steps++] = (encoder_step){kind, option, from, to};
}

/* A unit of darts-clone that is reached by `label` and leads from its own place to the block `to`. */
static uint32_t encoder_unit(uint32_t at, uint32_t label, int ends, uint32_t to)
{
    return label | (uint32_t)ends << 8 | (at ^ to) << 10;
}

/* The keys A -> "aa", AB -> "b" and the byte DF of C3 9F (sharp s) -> "ss". Blocks of 256 units: 256 behind the root, 512 behind A, 768
 * behind AB and C3. */
static void encoder_charsmap(encoder_fixture *f)
{
    static const char text[] = "aa\0b\0ss";
    memcpy(f->map_text, text, sizeof text);
    f->map_text_bytes = sizeof text;
    f->units[0] = encoder_unit(0, 0, 0, 256);
    f->units[256 ^ 'A'] = encoder_unit(256 ^ 'A', 'A', 1, 512);
    f->units[512] = 0x80000000u | 0;
    f->units[512 ^ 'B'] = encoder_unit(512 ^ 'B', 'B', 1, 768);
    f->units[768] = 0x80000000u | 3;
    f->units[256 ^ 0xC3] = encoder_unit(256 ^ 0xC3, 0xC3, 0, 512);
    f->units[512 ^ 0x9F] = encoder_unit(512 ^ 0x9F, 0x9F, 1, 769);
    f->units[769] = 0x80000000u | 5;
}

static void encoder_put(encoder_fixture *f, const void *data, size_t bytes)
{
    memset(f->blob + f->bytes, 0, (bytes + 3) / 4 * 4);
    memcpy(f->blob + f->bytes, data, bytes);
    f->bytes += (bytes + 3) / 4 * 4;
}

/* The text by which a token is looked for. */
static const uint8_t *encoder_view(const encoder_fixture *f, uint32_t token, size_t *bytes)
{
    const uint8_t *text = f->text + f->begin[token];
    *bytes = f->begin[token + 1] - f->begin[token];
    const int skips = f->algorithm == RBE__WORD_PIECES && !f->continues[token] && *bytes > 0 && text[0] == ' ';
    *bytes -= (size_t)skips;
    return text + skips;
}

/* Puts the ids of tokens in the order of their texts. kind: 0 special, 1 pieces, 2 continuing pieces. */
static uint32_t encoder_list(encoder_fixture *f, int kind)
{
    uint32_t list[ENCODER_MAX_TOKENS], n = 0;
    for (uint32_t token = 0; token < f->n_tokens; token++) {
        const uint32_t type = f->attributes[token] & RBE__TYPE_MASK;
        const int special = type == RBE__CONTROL || type == RBE__USER_DEFINED;
        const int wanted = kind == 0 ? special : type == RBE__NORMAL && f->continues[token] == kind - 1;
        size_t bytes, other;
        const uint8_t *text = encoder_view(f, token, &bytes);
        uint32_t at = n;
        for (; wanted && at > 0; at--) {
            const uint8_t *before = encoder_view(f, list[at - 1], &other);
            const int order = memcmp(before, text, other < bytes ? other : bytes);
            if (order < 0 || (order == 0 && other < bytes)) {
                break;
            }
            list[at] = list[at - 1];
        }
        list[at] = wanted ? token : list[at];
        n += (uint32_t)wanted;
    }
    encoder_put(f, list, 4 * (size_t)n);
    return n;
}

static void encoder_scores(encoder_fixture *f)
{
    f->score_section = f->bytes;
    if (f->score_bytes == 8) {
        encoder_put(f, f->scores, 8 * (size_t)f->n_tokens);
    }
    for (uint32_t i = 0; f->score_bytes == 4 && i < f->n_tokens; i++) {
        const float score = (float)f->scores[i];
        encoder_put(f, &score, 4);
    }
}

/* Returns the bytes of their texts; *charsmap_bytes: of the map. */
static uint32_t encoder_steps(encoder_fixture *f, uint32_t *charsmap_bytes)
{
    char texts[256];
    uint32_t n_texts = 0;
    *charsmap_bytes = 0;
    f->step_section = f->bytes;
    for (uint32_t i = 0; i < f->n_steps; i++) {
        const encoder_step *step = &f->steps[i];
        const uint32_t row[4] = {step->kind, step->option, (uint32_t)strlen(step->from), (uint32_t)strlen(step->to)};
        encoder_put(f, row, sizeof row);
        memcpy(texts + n_texts, step->from, row[2]);
        memcpy(texts + n_texts + row[2], step->to, row[3]);
        n_texts += row[2] + row[3];
        *charsmap_bytes = step->kind == RBE__STEP_CHARSMAP ? 4 + 4 * ENCODER_UNITS + f->map_text_bytes : *charsmap_bytes;
    }
    encoder_put(f, texts, n_texts);
    f->charsmap = f->bytes;
    if (*charsmap_bytes > 0) {
        const uint32_t array_bytes = 4 * ENCODER_UNITS;
        encoder_put(f, &array_bytes, 4);
        encoder_put(f, f->units, array_bytes);
        encoder_put(f, f->map_text, f->map_text_bytes);
    }
    return n_texts;
}

/* Writes the blob. */
static void encoder_finish(encoder_fixture *f)
{
    uint32_t byte_tokens[256], header[48] = {0};
    memset(byte_tokens, 0xFF, sizeof byte_tokens);
    for (uint32_t i = 0; i < f->n_tokens; i++) {
        if ((f->attributes[i] & RBE__TYPE_MASK) == RBE__BYTE) {
            byte_tokens[f->text[f->begin[i]]] = i;
        }
    }
    f->bytes = ENCODER_HEADER_BYTES;
    encoder_put(f, f->begin, 4 * (size_t)(f->n_tokens + 1));
    encoder_put(f, byte_tokens, sizeof byte_tokens);
    header[FIELD_SPECIAL] = encoder_list(f, 0);
    f->pieces = f->bytes;
    header[FIELD_PIECES] = encoder_list(f, 1);
    header[FIELD_CONTINUING] = encoder_list(f, 2);
    encoder_scores(f);
    encoder_put(f, f->attributes, f->n_tokens);
    encoder_put(f, f->text, f->n_text);
    header[FIELD_STEPS] = f->n_steps;
    header[FIELD_STEP_BYTES] = encoder_steps(f, &header[FIELD_CHARSMAP_BYTES]);
    header[FIELD_SCORE_BYTES] = f->score_bytes;
    header[FIELD_LONGEST_WORD] = f->longest_word;
    memcpy(header + FIELD_UNKNOWN_SCORE, &f->unknown_score, 8);
    memcpy(header, "RBTK", 4);
    header[FIELD_VERSION] = 2;
    header[FIELD_BYTES] = (uint32_t)f->bytes;
    header[FIELD_ALGORITHM] = f->algorithm;
    header[FIELD_SPLIT] = f->split;
    header[FIELD_SPACE_PREFIX] = f->space_prefix;
    header[FIELD_FLAGS] = f->flags;
    header[FIELD_BOS] = header[8] = header[10] = RBE_NO_TOKEN;
    header[FIELD_UNKNOWN] = f->unknown;
    header[FIELD_BEFORE] = f->before != RBE_NO_TOKEN;
    header[FIELD_BEFORE + 1] = f->before != RBE_NO_TOKEN ? f->before : 0;
    header[FIELD_AFTER] = f->after != RBE_NO_TOKEN;
    header[FIELD_AFTER + 1] = f->after != RBE_NO_TOKEN ? f->after : 0;
    header[FIELD_TOKENS] = f->n_tokens;
    header[FIELD_TEXT_BYTES] = f->n_text;
    memcpy(f->blob, header, sizeof header);
}

enum { /* ids of the WordPiece fixture */
       WORD_UNK,
       WORD_CLS,
       WORD_SEP,
       WORD_A,
       WORD_AB,
       WORD_PERIOD,
       WORD_HAN,
       WORD_E,
       WORD_GO_ON_A,
       WORD_GO_ON_BC,
       WORD_GO_ON_PERIOD,
       N_WORD_TOKENS
};

/* As BERT: lower case, no accents; words of 5 characters at most. */
static void encoder_words(encoder_fixture *f)
{
    memset(f, 0, sizeof *f);
    f->algorithm = RBE__WORD_PIECES;
    f->split = RBE__SPLIT_BERT;
    f->unknown = WORD_UNK;
    f->before = WORD_CLS;
    f->after = WORD_SEP;
    f->longest_word = 5;
    encoder_token(f, "[UNK]", RBE__UNKNOWN, 0, 0);
    encoder_token(f, "[CLS]", RBE__CONTROL, 0, 0);
    encoder_token(f, "[SEP]", RBE__CONTROL, 0, 0);
    encoder_token(f, " a", RBE__NORMAL, 0, 0);
    encoder_token(f, " ab", RBE__NORMAL, 0, 0);
    encoder_token(f, ".", RBE__NORMAL, 0, 0);
    encoder_token(f, " \xE6\x88\x91", RBE__NORMAL, 0, 0);
    encoder_token(f, " e", RBE__NORMAL, 0, 0);
    encoder_token(f, "a", RBE__NORMAL, 0, 1);
    encoder_token(f, "bc", RBE__NORMAL, 0, 1);
    encoder_token(f, ".", RBE__NORMAL, 0, 1);
    encoder_step_add(f, RBE__STEP_CLEAN, 0, "", "");
    encoder_step_add(f, RBE__STEP_SPACE_HAN, 0, "", "");
    encoder_step_add(f, RBE__STEP_NFD, 0, "", "");
    encoder_step_add(f, RBE__STEP_DROP_MARKS, 0, "", "");
    encoder_step_add(f, RBE__STEP_LOWER, 0, "", "");
    encoder_finish(f);
}

enum { /* ids of the Unigram fixture */
       GRAM_PAD,
       GRAM_END,
       GRAM_UNK,
       GRAM_SPACE,
       GRAM_SPACE_A,
       GRAM_A,
       GRAM_B,
       GRAM_AB,
       GRAM_ABA,
       GRAM_SS,
       N_GRAM_TOKENS
};

/* As T5: words between white space, U+2581 in front; the map of characters above. */
static void encoder_unigram(encoder_fixture *f)
{
    memset(f, 0, sizeof *f);
    f->algorithm = RBE__UNIGRAM;
    f->split = RBE__SPLIT_WHITE_SPACE;
    f->space_prefix = RBE__PREFIX_FRAGMENT;
    f->flags = RBE__PREFIX_UNLESS_SPACE;
    f->unknown = GRAM_UNK;
    f->before = RBE_NO_TOKEN;
    f->after = GRAM_END;
    f->score_bytes = 4;
    f->unknown_score = -15;
    encoder_token(f, "<pad>", RBE__CONTROL, 0, 0);
    encoder_token(f, "</s>", RBE__CONTROL | RBE__ENDS_TEXT, 0, 0);
    encoder_token(f, "<unk>", RBE__UNKNOWN, 0, 0);
    encoder_token(f, " ", RBE__NORMAL, -2, 0);
    encoder_token(f, " a", RBE__NORMAL, -3, 0);
    encoder_token(f, "a", RBE__NORMAL, -3, 0);
    encoder_token(f, "b", RBE__NORMAL, -4, 0);
    encoder_token(f, "ab", RBE__NORMAL, -5, 0);
    encoder_token(f, "aba", RBE__NORMAL, -8.5, 0);
    encoder_token(f, "ss", RBE__NORMAL, -4.5, 0);
    encoder_charsmap(f);
    encoder_step_add(f, RBE__STEP_CHARSMAP, RBE__KEYS_OF_CLUSTERS, "", "");
    encoder_finish(f);
}

#endif
