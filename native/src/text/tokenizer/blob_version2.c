/* What version 2 of the blob adds: pieces and scores for Unigram and WordPiece, and steps of normalization. */
#include "text/tokenizer/blob_sections.h"

#include <math.h>

#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/token_list.h"
#include "text/tokenizer/unigram.h"

enum { /* fields of the header by their index as u32 */
       FIELD_PIECES = 32,
       FIELD_CONTINUING = 33,
       FIELD_SCORE_BYTES = 34,
       FIELD_STEPS = 35,
       FIELD_STEP_BYTES = 36,
       FIELD_CHARSMAP_BYTES = 37,
       FIELD_LONGEST_WORD = 38,
       FIELD_ZERO = 39,
       FIELD_UNKNOWN_SCORE = 40, /* f64 */
       FIELD_RESERVED = 42,
       MAX_WORD = 1 << 16
};

/* Sums of scores stay finite, and differ. */
static int is_score(double score)
{
    return isfinite(score) && fabs(score) <= 1e15;
}

rbe_status rbe__take_pieces(rbe__sections *from, const uint8_t *blob, rbe_tokenizer *t)
{
    const int words = t->algorithm == RBE__WORD_PIECES;
    RBE_TRY(rbe__check_range("reserved field", rbe__u32(blob, FIELD_ZERO), 0, 0));
    for (size_t field = FIELD_RESERVED; field < RBE__VERSION2_HEADER_BYTES / 4; field++) {
        RBE_TRY(rbe__check_range("reserved field", rbe__u32(blob, field), 0, 0));
    }
    t->pieces[0].n = rbe__u32(blob, FIELD_PIECES);
    t->pieces[1].n = rbe__u32(blob, FIELD_CONTINUING);
    t->pieces[0].past_space = words;
    t->score_bytes = rbe__u32(blob, FIELD_SCORE_BYTES);
    t->longest_word = rbe__u32(blob, FIELD_LONGEST_WORD);
    memcpy(&t->unknown_score, blob + (size_t)4 * FIELD_UNKNOWN_SCORE, sizeof t->unknown_score);
    RBE_TRY(rbe__check_range("number of pieces", t->pieces[0].n, 0, t->n_tokens));
    RBE_TRY(rbe__check_range("number of continuing pieces", t->pieces[1].n, 0, words ? t->n_tokens : 0));
    RBE_TRY(rbe__check_range("longest word", t->longest_word, 0, words ? MAX_WORD : 0));
    if ((!words && t->score_bytes != 4 && t->score_bytes != 8) || (words && t->score_bytes != 0)) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: scores of %u bytes", t->score_bytes);
    }
    if (words != (t->split == RBE__SPLIT_BERT)) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: algorithm %u does not go with pre-tokenizer %u", t->algorithm, t->split);
    }
    RBE_TRY(rbe__take_section(from, "pieces", t->pieces[0].n, 4, &t->pieces[0].tokens));
    RBE_TRY(rbe__take_section(from, "continuing pieces", t->pieces[1].n, 4, &t->pieces[1].tokens));
    return words ? RBE_OK : rbe__take_section(from, "scores", t->n_tokens, t->score_bytes, &t->scores);
}

/* A row of the section: kind, option, bytes that are replaced, bytes that replace them. */
static rbe_status read_step(const uint8_t *row, rbe__sections *texts, const rbe_tokenizer *t, rbe__step *step)
{
    *step = (rbe__step){.kind = rbe__u32(row, 0), .option = rbe__u32(row, 1), .from_bytes = rbe__u32(row, 2), .to_bytes = rbe__u32(row, 3)};
    const int replaces = step->kind == RBE__STEP_REPLACE, squeezes = step->kind == RBE__STEP_SQUEEZE;
    const uint32_t most = RBE__MAX_REPLACEMENT_BYTES;
    uint32_t options = 0;
    switch (step->kind) {
    case RBE__STEP_CHARSMAP: options = RBE__KEYS_BESIDE_TOKENS; break;
    case RBE__STEP_DROP_MARKS: options = 1; break;
    case RBE__STEP_STRIP: options = 3; break;
    default: break;
    }
    RBE_TRY(rbe__check_range("step", step->kind, 1, RBE__N_STEPS - 1));
    RBE_TRY(rbe__check_range("option of a step", step->option, 0, options));
    RBE_TRY(rbe__check_range("length of what a step replaces", step->from_bytes, (uint32_t)replaces, replaces ? most : 0));
    RBE_TRY(rbe__check_range("length of what a step puts", step->to_bytes, 0, replaces || squeezes ? most : 0));
    if ((size_t)step->from_bytes + step->to_bytes > texts->left) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: truncated in the texts of steps (%zu bytes left)", texts->left);
    }
    step->from = texts->at;
    step->to = texts->at + step->from_bytes;
    texts->at += step->from_bytes + step->to_bytes;
    texts->left -= (size_t)step->from_bytes + step->to_bytes;
    if (step->kind == RBE__STEP_CHARSMAP && t->charsmap.n_units == 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: a step needs a map of characters, and there is none");
    }
    return RBE_OK;
}

rbe_status rbe__take_steps(rbe__sections *from, const uint8_t *blob, rbe_tokenizer *t)
{
    const uint32_t text_bytes = rbe__u32(blob, FIELD_STEP_BYTES), charsmap_bytes = rbe__u32(blob, FIELD_CHARSMAP_BYTES);
    const uint8_t *rows, *charsmap;
    rbe__sections texts = {NULL, text_bytes};
    t->n_steps = rbe__u32(blob, FIELD_STEPS);
    RBE_TRY(rbe__check_range("number of steps", t->n_steps, 0, RBE__MAX_STEPS));
    RBE_TRY(rbe__take_section(from, "steps", t->n_steps, 16, &rows));
    RBE_TRY(rbe__take_section(from, "texts of steps", text_bytes, 1, &texts.at));
    RBE_TRY(rbe__take_section(from, "map of characters", charsmap_bytes, 1, &charsmap));
    if (charsmap_bytes > 0) {
        RBE_TRY(rbe__charsmap_open(charsmap, charsmap_bytes, &t->charsmap));
    }
    for (uint32_t i = 0; i < t->n_steps; i++) {
        RBE_TRY(read_step(rows + (size_t)16 * i, &texts, t, &t->steps[i]));
    }
    if (texts.left != 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %zu bytes too many in the texts of steps", texts.left);
    }
    return RBE_OK;
}

rbe_status rbe__check_version2(rbe_tokenizer *t)
{
    RBE_TRY(rbe__list_check("piece", t, &t->pieces[0], RBE__MAX_PIECE_BYTES));
    RBE_TRY(rbe__list_check("continuing piece", t, &t->pieces[1], RBE__MAX_PIECE_BYTES));
    if (!is_score(t->unknown_score)) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: the score of unknown characters is %g", t->unknown_score);
    }
    for (uint32_t token = 0; t->scores != NULL && token < t->n_tokens; token++) {
        if (!is_score(rbe__score(t, token))) {
            return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: the score of token %u is %g", token, rbe__score(t, token));
        }
    }
    return RBE_OK;
}
