/* Opening a tokenizer blob: every count, offset and id is checked here, once, so that the rest may trust them. */
#include "text/tokenizer/tokenizer.h"

#include <stdlib.h>

#include "text/tokenizer/unicode.h"

enum { HEADER_BYTES = 128, VERSION = 1, MAX_TOKENS = 1 << 24, MAX_TOKEN_BYTES = 1 << 16 };

/* Takes consecutive sections from the blob. */
typedef struct sections {
    const uint8_t *at;
    size_t left;
} sections;

static rbe_status take(sections *from, const char *name, size_t count, size_t item_bytes, const uint8_t **out)
{
    if (count > from->left / item_bytes || (count * item_bytes + 3) / 4 * 4 > from->left) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: truncated in section %s (%zu bytes left)", name, from->left);
    }
    size_t bytes = (count * item_bytes + 3) / 4 * 4;
    *out = from->at;
    from->at += bytes;
    from->left -= bytes;
    return RBE_OK;
}

static rbe_status check_range(const char *field, uint32_t value, uint32_t least, uint32_t most)
{
    if (value < least || value > most) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %s is %u, not within %u to %u", field, value, least, most);
    }
    return RBE_OK;
}

/* RBE_NO_TOKEN or an id. */
static rbe_status check_id(const char *field, uint32_t token, uint32_t n_tokens)
{
    if (token != RBE_NO_TOKEN && token >= n_tokens) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %s is %u, but there are %u tokens", field, token, n_tokens);
    }
    return RBE_OK;
}

/* `values` rise from 0 to `last`, by at most `step`. */
static rbe_status check_rising(const char *field, const uint8_t *values, size_t count, uint32_t last, uint32_t step)
{
    uint32_t before = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t value = rbe__u32(values, i);
        if (value < before || value - before > step || (i == 0 && value != 0)) {
            return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %s %zu is %u after %u", field, i, value, before);
        }
        before = value;
    }
    if (before != last) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %s end at %u, not at %u", field, before, last);
    }
    return RBE_OK;
}

static rbe_status check_affix(const char *field, const uint8_t *header, uint32_t n_tokens, uint32_t *count, uint32_t *ids)
{
    *count = rbe__u32(header, 0);
    RBE_TRY(check_range(field, *count, 0, RBE__MAX_AFFIX));
    for (uint32_t i = 0; i < *count; i++) {
        ids[i] = rbe__u32(header, 1 + i);
        RBE_TRY(check_range(field, ids[i], 0, n_tokens - 1));
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

static int compare_bytes(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes)
{
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order != 0 ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

static rbe_status check_list(const char *name, const rbe_tokenizer *t, rbe__token_list *list)
{
    const uint8_t *before = NULL;
    size_t before_bytes = 0;
    memset(list->begin, 0, sizeof list->begin);
    for (uint32_t i = 0; i < list->n; i++) {
        uint32_t token = rbe__u32(list->tokens, i);
        RBE_TRY(check_range(name, token, 0, t->n_tokens - 1));
        size_t bytes;
        const uint8_t *text = rbe__listed_text(t, list, i, &bytes);
        if (bytes == 0 || (i > 0 && compare_bytes(before, before_bytes, text, bytes) >= 0)) {
            return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %s %u is empty or not in order", name, token);
        }
        before = text;
        before_bytes = bytes;
        list->begin[text[0] + 1] = i + 1;
    }
    for (int byte = 0; byte < 256; byte++) {
        if (list->begin[byte + 1] == 0) {
            list->begin[byte + 1] = list->begin[byte];
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
    RBE_TRY(check_rising("first merges", t->first_merge, t->n_tokens + (size_t)1, n_merges, n_merges));
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

static rbe_status check_head(const uint8_t *blob, size_t blob_bytes)
{
    if (blob_bytes < HEADER_BYTES) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %zu bytes are too few for a header", blob_bytes);
    }
    if (memcmp(blob, "RBTK", 4) != 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: no magic number; this is not a tokenizer");
    }
    if (rbe__u32(blob, 1) != VERSION) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "tokenizer: version %u, this build reads %d; pack the model again", rbe__u32(blob, 1),
                        VERSION);
    }
    if (rbe__u32(blob, 2) != blob_bytes) {
        return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %zu bytes long, its header says %u", blob_bytes, rbe__u32(blob, 2));
    }
    return RBE_OK;
}

/* The sections of RBE__ADDED_TOKENS. */
static rbe_status take_added(sections *from, const uint8_t *blob, rbe_tokenizer *t)
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
    RBE_TRY(check_range("number of added tokens", given->n, 0, MAX_TOKENS));
    RBE_TRY(check_range("number of normalized tokens", prepared->n, 0, MAX_TOKENS));
    const size_t n = given->n + (size_t)prepared->n;
    RBE_TRY(take(from, "added tokens", n, 4, &given->tokens));
    RBE_TRY(take(from, "offsets of added tokens", n + 1, 4, &given->offsets));
    RBE_TRY(take(from, "texts of added tokens", n_text_bytes, 1, &given->text));
    RBE_TRY(check_rising("offsets of added tokens", given->offsets, n + 1, n_text_bytes, MAX_TOKEN_BYTES));
    prepared->tokens = given->tokens + (size_t)4 * given->n;
    prepared->offsets = given->offsets + (size_t)4 * given->n;
    prepared->text = given->text;
    return RBE_OK;
}

static rbe_status check_lists(rbe_tokenizer *t)
{
    RBE_TRY(check_list("special token", t, &t->special));
    if ((t->flags & RBE__ADDED_TOKENS) == 0) {
        t->added[0] = t->added[1] = t->special;
        return RBE_OK;
    }
    RBE_TRY(check_list("added token", t, &t->added[0]));
    return check_list("normalized token", t, &t->added[1]);
}

static rbe_status check_sections(rbe_tokenizer *t, uint32_t n_text_bytes, uint32_t n_merges)
{
    RBE_TRY(check_rising("offsets", t->offsets, t->n_tokens + (size_t)1, n_text_bytes, MAX_TOKEN_BYTES));
    t->longest = longest_token(t);
    RBE_TRY(check_attributes(t));
    for (uint32_t i = 0; i < 256; i++) {
        RBE_TRY(check_id("byte token", rbe__u32(t->byte_tokens, i), t->n_tokens));
    }
    RBE_TRY(check_slots(t));
    RBE_TRY(check_lists(t));
    return t->merges != NULL ? check_merges(t, n_merges) : RBE_OK;
}

static rbe_status open_blob(const uint8_t *blob, size_t blob_bytes, rbe_tokenizer *t)
{
    RBE_TRY(check_head(blob, blob_bytes));
    t->algorithm = rbe__u32(blob, 3);
    t->split = rbe__u32(blob, 4);
    t->space_prefix = rbe__u32(blob, 5);
    t->flags = rbe__u32(blob, 6);
    uint32_t n_text_bytes = rbe__u32(blob, 22), n_merges = rbe__u32(blob, 25);
    t->n_tokens = rbe__u32(blob, 21);
    t->n_slots = rbe__u32(blob, 23);
    t->special.n = rbe__u32(blob, 24);
    RBE_TRY(check_range("algorithm", t->algorithm, RBE__BYTE_PAIRS, RBE__PRIORITIES));
    RBE_TRY(check_range("pre-tokenizer", t->split, 0, RBE__N_SPLITS - 1));
    RBE_TRY(check_range("space prefix", t->space_prefix, 0, RBE__N_PREFIXES - 1));
    RBE_TRY(check_range("flags", t->flags, 0, RBE__ALL_FLAGS));
    RBE_TRY(check_range("number of tokens", t->n_tokens, 1, MAX_TOKENS));
    RBE_TRY(check_range("number of slots", t->n_slots, 1, 2 * MAX_TOKENS));
    t->bos = rbe__u32(blob, 7);
    t->unknown = rbe__u32(blob, 9);
    RBE_TRY(check_id("BOS", t->bos, t->n_tokens));
    RBE_TRY(check_id("EOS", rbe__u32(blob, 8), t->n_tokens));
    RBE_TRY(check_id("UNK", t->unknown, t->n_tokens));
    RBE_TRY(check_id("PAD", rbe__u32(blob, 10), t->n_tokens));
    RBE_TRY(check_affix("tokens before", blob + (size_t)4 * 11, t->n_tokens, &t->n_before, t->before));
    RBE_TRY(check_affix("tokens after", blob + (size_t)4 * 16, t->n_tokens, &t->n_after, t->after));

    sections from = {blob + HEADER_BYTES, blob_bytes - HEADER_BYTES};
    RBE_TRY(take(&from, "offsets", t->n_tokens + (size_t)1, 4, &t->offsets));
    RBE_TRY(take(&from, "byte tokens", 256, 4, &t->byte_tokens));
    RBE_TRY(take(&from, "slots", t->n_slots, 4, &t->slots));
    RBE_TRY(take(&from, "special tokens", t->special.n, 4, &t->special.tokens));
    if (t->algorithm == RBE__PRIORITIES) {
        RBE_TRY(check_range("number of merges", n_merges, 0, 0));
        RBE_TRY(take(&from, "priorities", t->n_tokens, 4, &t->priorities));
    } else {
        RBE_TRY(take(&from, "first merges", t->n_tokens + (size_t)1, 4, &t->first_merge));
        RBE_TRY(take(&from, "merges", n_merges, 12, &t->merges));
    }
    RBE_TRY(take(&from, "attributes", t->n_tokens, 1, &t->attributes));
    RBE_TRY(take(&from, "text", n_text_bytes, 1, &t->text));
    RBE_TRY(take_added(&from, blob, t));
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

uint32_t rbe_token_find(const rbe_tokenizer *tokenizer, const char *bytes, size_t n_bytes)
{
    if (tokenizer == NULL || bytes == NULL || n_bytes == 0) {
        return RBE_NO_TOKEN;
    }
    const uint8_t *text = (const uint8_t *)bytes;
    uint32_t low = 0, high = tokenizer->special.n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint32_t token = rbe__u32(tokenizer->special.tokens, middle);
        size_t token_bytes;
        const uint8_t *token_text = rbe__token_text(tokenizer, token, &token_bytes);
        int order = compare_bytes(token_text, token_bytes, text, n_bytes);
        if (order == 0) {
            return token;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    uint32_t token = rbe__find_mergeable(tokenizer, text, n_bytes);
    return token == RBE_NO_TOKEN && n_bytes == 1 ? rbe__u32(tokenizer->byte_tokens, text[0]) : token;
}

int rbe_token_ends_text(const rbe_tokenizer *tokenizer, uint32_t token)
{
    return tokenizer != NULL && token < tokenizer->n_tokens && (tokenizer->attributes[token] & RBE__ENDS_TEXT) != 0;
}
