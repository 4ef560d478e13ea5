/* Opening a tokenizer blob: every count, offset and id is checked here, once, so that the rest may trust them. */
#include "text/tokenizer/tokenizer.h"

#include <stdlib.h>

#include "text/tokenizer/blob_sections.h"
#include "text/tokenizer/token_list.h"

enum { HEADER_BYTES = 128, VERSION = 2, MAX_TOKENS = 1 << 24 };

/* RBE_NO_TOKEN or an id. */
static rbe_status check_id(const char *field, uint32_t token, uint32_t n_tokens)
{
    if (token != RBE_NO_TOKEN && token >= n_tokens) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %s is %u, but there are %u tokens", field, token, n_tokens);
    }
    return RBE_OK;
}

static rbe_status check_affix(const char *field, const uint8_t *header, uint32_t n_tokens, uint32_t *count, uint32_t *ids)
{
    *count = rbe__u32(header, 0);
    RBE_TRY(rbe__check_range(field, *count, 0, RBE__MAX_AFFIX));
    for (uint32_t i = 0; i < *count; i++) {
        ids[i] = rbe__u32(header, 1 + i);
        RBE_TRY(rbe__check_range(field, ids[i], 0, n_tokens - 1));
    }
    return RBE_OK;
}

static uint32_t longest_token(const rbe_tokenizer *t)
{
    uint32_t longest = 0;
    for (uint32_t token = 0; token < t->n_tokens; token++) {
        size_t bytes;
        (void)rbe__token_text(t, token, &bytes);
        longest = bytes > longest ? (uint32_t)bytes : longest;
    }
    return longest;
}

static rbe_status check_attributes(const rbe_tokenizer *t)
{
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        uint32_t attributes = t->attributes[i];
        uint32_t type = attributes & RBE__TYPE_MASK;
        int unknown = (attributes & RBE__SINGLE_WORD) != 0 && (t->flags & RBE__ADDED_TOKENS) == 0;
        if (type < RBE__NORMAL || type > RBE__BYTE || unknown) {
            return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: attributes of token %u are %u", i, attributes);
        }
    }
    return RBE_OK;
}

static rbe_status check_slots(const rbe_tokenizer *t)
{
    uint32_t n_empty = 0;
    for (uint32_t i = 0; i < t->n_slots; i++) {
        uint32_t token = rbe__u32(t->slots, i);
        RBE_TRY(check_id("slot", token, t->n_tokens));
        n_empty += token == RBE_NO_TOKEN;
    }
    if ((t->n_slots & (t->n_slots - 1)) != 0 || n_empty == 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %u slots are no power of two or all full", t->n_slots);
    }
    return RBE_OK;
}

static rbe_status check_merges(const rbe_tokenizer *t, uint32_t n_merges)
{
    RBE_TRY(rbe__check_rising("first merges", t->first_merge, t->n_tokens + (size_t)1, n_merges, n_merges));
    for (uint32_t left = 0; left < t->n_tokens; left++) {
        uint32_t begin = rbe__u32(t->first_merge, left), end = rbe__u32(t->first_merge, left + (size_t)1);
        for (uint32_t i = begin; i < end; i++) {
            uint32_t right = rbe__u32(t->merges, (size_t)3 * i), result = rbe__u32(t->merges, (size_t)3 * i + 2);
            if (right >= t->n_tokens || result >= t->n_tokens || (i > begin && right <= rbe__u32(t->merges, (size_t)3 * (i - 1)))) {
                return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: merge %u of token %u holds a bad id or is not in order", i, left);
            }
        }
    }
    return RBE_OK;
}

/* The version of the blob says which algorithms it may have, and how long its header is. */
static int is_version2(const uint8_t *blob)
{
    return rbe__u32(blob, 1) == 2;
}

static size_t header_bytes(const uint8_t *blob)
{
    return is_version2(blob) ? RBE__VERSION2_HEADER_BYTES : HEADER_BYTES;
}

static rbe_status check_head(const uint8_t *blob, size_t blob_bytes)
{
    if (blob_bytes < HEADER_BYTES) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %zu bytes are too few for a header", blob_bytes);
    }
    if (memcmp(blob, "RBTK", 4) != 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: no magic number; this is not a tokenizer");
    }
    if (rbe__u32(blob, 1) < 1 || rbe__u32(blob, 1) > VERSION) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "tokenizer: version %u, this build reads %d; pack the model again", rbe__u32(blob, 1),
                        VERSION);
    }
    if (rbe__u32(blob, 2) != blob_bytes) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %zu bytes long, its header says %u", blob_bytes, rbe__u32(blob, 2));
    }
    if (blob_bytes < header_bytes(blob)) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %zu bytes are too few for a header of version 2", blob_bytes);
    }
    return RBE_OK;
}

/* The sections of RBE__ADDED_TOKENS. */
static rbe_status take_added(rbe__sections *from, const uint8_t *blob, rbe_tokenizer *t)
{
    if ((t->flags & RBE__ADDED_TOKENS) == 0) {
        return (t->flags & RBE__LATE_SPACES) == 0
                   ? RBE_OK
                   : rbe_fail(RBE_ERROR_FORMAT, "tokenizer: flags are %u, of which 128 is never without 64", t->flags);
    }
    rbe__token_list *given = &t->added[0], *prepared = &t->added[1];
    given->n = rbe__u32(blob, 26);
    prepared->n = rbe__u32(blob, 27);
    uint32_t n_text_bytes = rbe__u32(blob, 28);
    RBE_TRY(rbe__check_range("number of added tokens", given->n, 0, MAX_TOKENS));
    RBE_TRY(rbe__check_range("number of normalized tokens", prepared->n, 0, MAX_TOKENS));
    const size_t n = given->n + (size_t)prepared->n;
    RBE_TRY(rbe__take_section(from, "added tokens", n, 4, &given->tokens));
    RBE_TRY(rbe__take_section(from, "offsets of added tokens", n + 1, 4, &given->offsets));
    RBE_TRY(rbe__take_section(from, "texts of added tokens", n_text_bytes, 1, &given->text));
    RBE_TRY(rbe__check_rising("offsets of added tokens", given->offsets, n + 1, n_text_bytes, RBE__MAX_TOKEN_BYTES));
    prepared->tokens = given->tokens + (size_t)4 * given->n;
    prepared->offsets = given->offsets + (size_t)4 * given->n;
    prepared->text = given->text;
    return RBE_OK;
}

static rbe_status check_lists(rbe_tokenizer *t)
{
    const size_t most = t->slots != NULL ? RBE__MAX_TOKEN_BYTES : RBE__MAX_PIECE_BYTES;
    RBE_TRY(rbe__list_check("special token", t, &t->special, most));
    if ((t->flags & RBE__ADDED_TOKENS) == 0) {
        t->added[0] = t->added[1] = t->special;
        return RBE_OK;
    }
    RBE_TRY(rbe__list_check("added token", t, &t->added[0], most));
    return rbe__list_check("normalized token", t, &t->added[1], most);
}

static rbe_status check_sections(rbe_tokenizer *t, uint32_t n_text_bytes, uint32_t n_merges)
{
    RBE_TRY(rbe__check_rising("offsets", t->offsets, t->n_tokens + (size_t)1, n_text_bytes, RBE__MAX_TOKEN_BYTES));
    t->longest = longest_token(t);
    RBE_TRY(check_attributes(t));
    for (uint32_t i = 0; i < 256; i++) {
        RBE_TRY(check_id("byte token", rbe__u32(t->byte_tokens, i), t->n_tokens));
    }
    RBE_TRY(check_lists(t));
    if (t->slots == NULL) {
        return rbe__check_version2(t);
    }
    RBE_TRY(check_slots(t));
    return t->merges != NULL ? check_merges(t, n_merges) : RBE_OK;
}

static rbe_status read_header(const uint8_t *blob, rbe_tokenizer *t)
{
    const int newer = is_version2(blob);
    t->algorithm = rbe__u32(blob, 3);
    t->split = rbe__u32(blob, 4);
    t->space_prefix = rbe__u32(blob, 5);
    t->flags = rbe__u32(blob, 6);
    t->n_tokens = rbe__u32(blob, 21);
    t->n_slots = rbe__u32(blob, 23);
    t->special.n = rbe__u32(blob, 24);
    RBE_TRY(
        rbe__check_range("algorithm", t->algorithm, newer ? RBE__WORD_PIECES : RBE__BYTE_PAIRS, newer ? RBE__UNIGRAM : RBE__PRIORITIES));
    const int any_split = newer || t->split == RBE__SPLIT_DEEPSEEK;
    RBE_TRY(rbe__check_range("pre-tokenizer", t->split, 0, (any_split ? RBE__N_ALL_SPLITS : RBE__N_SPLITS) - 1));
    RBE_TRY(rbe__check_range("space prefix", t->space_prefix, 0, RBE__N_PREFIXES - 1));
    RBE_TRY(rbe__check_range("flags", t->flags, 0, RBE__ALL_FLAGS));
    RBE_TRY(rbe__check_range("number of tokens", t->n_tokens, 1, MAX_TOKENS));
    RBE_TRY(rbe__check_range("number of slots", t->n_slots, newer ? 0 : 1, newer ? 0 : 2 * MAX_TOKENS));
    t->bos = rbe__u32(blob, 7);
    t->unknown = rbe__u32(blob, 9);
    RBE_TRY(check_id("BOS", t->bos, t->n_tokens));
    RBE_TRY(check_id("EOS", rbe__u32(blob, 8), t->n_tokens));
    RBE_TRY(check_id("UNK", t->unknown, t->n_tokens));
    RBE_TRY(check_id("PAD", rbe__u32(blob, 10), t->n_tokens));
    RBE_TRY(check_affix("tokens before", blob + (size_t)4 * 11, t->n_tokens, &t->n_before, t->before));
    return check_affix("tokens after", blob + (size_t)4 * 16, t->n_tokens, &t->n_after, t->after);
}

static rbe_status open_blob(const uint8_t *blob, size_t blob_bytes, rbe_tokenizer *t)
{
    RBE_TRY(check_head(blob, blob_bytes));
    RBE_TRY(read_header(blob, t));
    const int newer = is_version2(blob);
    const uint32_t n_text_bytes = rbe__u32(blob, 22), n_merges = rbe__u32(blob, 25);
    rbe__sections from = {blob + header_bytes(blob), blob_bytes - header_bytes(blob)};
    RBE_TRY(rbe__take_section(&from, "offsets", t->n_tokens + (size_t)1, 4, &t->offsets));
    RBE_TRY(rbe__take_section(&from, "byte tokens", 256, 4, &t->byte_tokens));
    if (!newer) {
        RBE_TRY(rbe__take_section(&from, "slots", t->n_slots, 4, &t->slots));
    }
    RBE_TRY(rbe__take_section(&from, "special tokens", t->special.n, 4, &t->special.tokens));
    if (newer || t->algorithm == RBE__PRIORITIES) {
        RBE_TRY(rbe__check_range("number of merges", n_merges, 0, 0));
    }
    if (newer) {
        RBE_TRY(rbe__take_pieces(&from, blob, t));
    } else if (t->algorithm == RBE__PRIORITIES) {
        RBE_TRY(rbe__take_section(&from, "priorities", t->n_tokens, 4, &t->priorities));
    } else {
        RBE_TRY(rbe__take_section(&from, "first merges", t->n_tokens + (size_t)1, 4, &t->first_merge));
        RBE_TRY(rbe__take_section(&from, "merges", n_merges, 12, &t->merges));
    }
    RBE_TRY(rbe__take_section(&from, "attributes", t->n_tokens, 1, &t->attributes));
    RBE_TRY(rbe__take_section(&from, "text", n_text_bytes, 1, &t->text));
    RBE_TRY(take_added(&from, blob, t));
    if (newer) {
        RBE_TRY(rbe__take_steps(&from, blob, t));
    }
    if (from.left != 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %zu bytes too many", from.left);
    }
    return check_sections(t, n_text_bytes, n_merges);
}

rbe_status rbe_tokenizer_open(const void *blob, size_t blob_bytes, rbe_tokenizer **out)
{
    if (out == NULL) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_tokenizer_open: out is NULL");
    }
    *out = NULL;
    if (blob == NULL) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_tokenizer_open: blob is NULL");
    }
    rbe_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (tokenizer == NULL) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a tokenizer");
    }
    rbe_status status = open_blob(blob, blob_bytes, tokenizer);
    if (status != RBE_OK) {
        free(tokenizer);
        return status;
    }
    *out = tokenizer;
    return RBE_OK;
}

void rbe_tokenizer_close(rbe_tokenizer *tokenizer)
{
    free(tokenizer);
}

uint32_t rbe_tokenizer_size(const rbe_tokenizer *tokenizer)
{
    return tokenizer != NULL ? tokenizer->n_tokens : 0;
}

rbe_status rbe_token_bytes(const rbe_tokenizer *tokenizer, uint32_t token, int special, const char **bytes, size_t *n_bytes)
{
    if (bytes != NULL) {
        *bytes = NULL;
    }
    if (n_bytes != NULL) {
        *n_bytes = 0;
    }
    if (tokenizer == NULL || bytes == NULL || n_bytes == NULL) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_token_bytes: an argument is NULL");
    }
    if (token >= tokenizer->n_tokens) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "token %u is not below %u", token, tokenizer->n_tokens);
    }
    *bytes = (const char *)rbe__token_text(tokenizer, token, n_bytes);
    uint32_t type = rbe__token_type(tokenizer, token);
    if (!special && (type == RBE__CONTROL || type == RBE__UNKNOWN)) {
        *n_bytes = 0;
    }
    return RBE_OK;
}

uint32_t rbe__find_mergeable(const rbe_tokenizer *tokenizer, const uint8_t *bytes, size_t n)
{
    uint32_t mask = tokenizer->n_slots - 1;
    for (uint32_t slot = rbe__hash(bytes, n) & mask;; slot = (slot + 1) & mask) {
        uint32_t token = rbe__u32(tokenizer->slots, slot);
        if (token == RBE_NO_TOKEN) {
            return token; /* open_blob saw an empty slot, so the search ends */
        }
        size_t token_bytes;
        const uint8_t *text = rbe__token_text(tokenizer, token, &token_bytes);
        if (token_bytes == n && memcmp(text, bytes, n) == 0) {
            return token;
        }
    }
}

/* The piece that is written so. Of WordPiece's, those that begin words have a space in front, unless decoding drops it. */
static uint32_t find_piece(const rbe_tokenizer *t, const uint8_t *text, size_t bytes)
{
    const size_t skipped = t->algorithm == RBE__WORD_PIECES && text[0] == ' ';
    const uint32_t token = rbe__list_find(t, &t->pieces[0], text + skipped, bytes - skipped);
    if (token != RBE_NO_TOKEN) {
        size_t token_bytes;
        (void)rbe__token_text(t, token, &token_bytes);
        if (token_bytes == bytes) {
            return token;
        }
    }
    return rbe__list_find(t, &t->pieces[1], text, bytes);
}

uint32_t rbe_token_find(const rbe_tokenizer *tokenizer, const char *bytes, size_t n_bytes)
{
    if (tokenizer == NULL || bytes == NULL || n_bytes == 0) {
        return RBE_NO_TOKEN;
    }
    const uint8_t *text = (const uint8_t *)bytes;
    uint32_t token = rbe__list_find(tokenizer, &tokenizer->special, text, n_bytes);
    if (token != RBE_NO_TOKEN) {
        return token;
    }
    token = tokenizer->slots != NULL ? rbe__find_mergeable(tokenizer, text, n_bytes) : find_piece(tokenizer, text, n_bytes);
    return token == RBE_NO_TOKEN && n_bytes == 1 ? rbe__u32(tokenizer->byte_tokens, text[0]) : token;
}

int rbe_token_ends_text(const rbe_tokenizer *tokenizer, uint32_t token)
{
    return tokenizer != NULL && token < tokenizer->n_tokens && (tokenizer->attributes[token] & RBE__ENDS_TEXT) != 0;
}
