#include "text/tokenizer/token_list.h"

/* The byte of entry `index` at `depth`, or -1 where its text has ended. */
static int byte_at(const rbe_tokenizer *t, const rbe__token_list *list, uint32_t index, size_t depth)
{
    size_t bytes;
    const uint8_t *text = rbe__listed_text(t, list, index, &bytes);
    return depth < bytes ? text[depth] : -1;
}

/* The first index in [low, high) whose byte at `depth` is `least` or more; they share the bytes before. */
static uint32_t lower_bound(const rbe__walk *walk, uint32_t low, uint32_t high, int least)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (byte_at(walk->tokenizer, walk->list, middle, walk->depth) < least) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

int rbe__walk_on(rbe__walk *walk, uint8_t byte, uint32_t *token)
{
    if (walk->depth == 0) {
        walk->low = walk->list->begin[byte];
        walk->high = walk->list->begin[byte + 1];
    } else if (walk->high - walk->low == 1) {
        walk->low += byte_at(walk->tokenizer, walk->list, walk->low, walk->depth) != byte;
    } else {
        walk->low = lower_bound(walk, walk->low, walk->high, byte);
        walk->high = lower_bound(walk, walk->low, walk->high, byte + 1);
    }
    walk->depth++;
    *token = RBE_NO_TOKEN;
    if (walk->low == walk->high) {
        return 0;
    }
    /* The shortest of the range comes first; the list has no text twice. */
    if (byte_at(walk->tokenizer, walk->list, walk->low, walk->depth) < 0) {
        *token = rbe__u32(walk->list->tokens, walk->low);
    }
    return 1;
}

uint32_t rbe__list_find(const rbe_tokenizer *tokenizer, const rbe__token_list *list, const uint8_t *text, size_t bytes)
{
    rbe__walk walk = rbe__walk_begin(tokenizer, list);
    uint32_t token = RBE_NO_TOKEN;
    for (size_t i = 0; i < bytes; i++) {
        if (!rbe__walk_on(&walk, text[i], &token)) {
            return RBE_NO_TOKEN;
        }
    }
    return token;
}

static int compare_bytes(const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes)
{
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order != 0 ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

rbe_status rbe__list_check(const char *name, const rbe_tokenizer *t, rbe__token_list *list, size_t most)
{
    const uint8_t *before = NULL;
    size_t before_bytes = 0;
    memset(list->begin, 0, sizeof list->begin);
    for (uint32_t i = 0; i < list->n; i++) {
        uint32_t token = rbe__u32(list->tokens, i);
        if (token >= t->n_tokens) {
            return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %s is %u, but there are %u tokens", name, token, t->n_tokens);
        }
        size_t bytes;
        const uint8_t *text = rbe__listed_text(t, list, i, &bytes);
        if (bytes == 0 || (i > 0 && compare_bytes(before, before_bytes, text, bytes) >= 0)) {
            return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %s %u is empty or not in order", name, token);
        }
        if (bytes > most) {
            return rbe_fail(RBE_ERROR_FORMAT, "tokenizer: %s %u has %zu bytes, more than %zu", name, token, bytes, most);
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
