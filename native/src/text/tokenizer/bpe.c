/* Byte pair encoding (R. Sennrich, B. Haddow, A. Birch, 2016) with a heap of candidate merges over a linked list of
 * symbols, as SentencePiece does it (T. Kudo, J. Richardson, 2018): the best pair first, the leftmost of equals. */
#include "text/tokenizer/bpe.h"

#include <stdlib.h>

#include "text/tokenizer/unicode.h"

#define NO_SYMBOL 0xFFFFFFFFu

typedef struct rbe__symbol {
    uint32_t start, length; /* bytes of the piece; length 0: merged into the symbol before */
    uint32_t token;         /* RBE_NO_TOKEN: a character that is no token */
    uint32_t before, after; /* neighbours, or NO_SYMBOL */
    uint32_t last_part;     /* the symbol merged into this one last, or NO_SYMBOL */
    uint32_t earlier_part;  /* of a merged symbol: the one merged before it into the same symbol */
} symbol;

typedef struct rbe__candidate {
    uint64_t order;  /* rank, then the left symbol: the least is merged first */
    uint32_t length; /* of both symbols together; another length later means that one of them has changed */
    uint32_t result;
} candidate;

static rbe_status heap_push(rbe__encoder *e, candidate added)
{
    if (e->heap_count == e->heap_capacity) {
        size_t capacity = e->heap_capacity > 0 ? 2 * e->heap_capacity : 64;
        candidate *heap = capacity < SIZE_MAX / sizeof *heap ? realloc(e->heap, capacity * sizeof *heap) : NULL;
        if (heap == NULL) {
            return rbe_fail(RBE_ERROR_MEMORY, "no memory for %zu candidate merges", capacity);
        }
        e->heap = heap;
        e->heap_capacity = capacity;
    }
    size_t at = e->heap_count++;
    while (at > 0 && added.order < e->heap[(at - 1) / 2].order) {
        e->heap[at] = e->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    e->heap[at] = added;
    return RBE_OK;
}

static candidate heap_pop(rbe__encoder *e)
{
    candidate top = e->heap[0], moved = e->heap[--e->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= e->heap_count) {
            break;
        }
        child += child + 1 < e->heap_count && e->heap[child + 1].order < e->heap[child].order;
        if (moved.order <= e->heap[child].order) {
            break;
        }
        e->heap[at] = e->heap[child];
        at = child;
    }
    e->heap[at] = moved;
    return top;
}

/* What two tokens merge to, by the list of merges. */
static int find_merge(const rbe_tokenizer *t, uint32_t left, uint32_t right, uint32_t *rank, uint32_t *result)
{
    if (left == RBE_NO_TOKEN || right == RBE_NO_TOKEN) {
        return 0;
    }
    uint32_t low = rbe__u32(t->first_merge, left), high = rbe__u32(t->first_merge, left + (size_t)1);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        uint32_t found = rbe__u32(t->merges, (size_t)3 * middle);
        if (found == right) {
            *rank = rbe__u32(t->merges, (size_t)3 * middle + 1);
            *result = rbe__u32(t->merges, (size_t)3 * middle + 2);
            return 1;
        }
        if (found < right) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return 0;
}

/* Adds the pair that begins with symbol `left` to the heap if it can merge. */
static rbe_status consider(rbe__encoder *e, const uint8_t *text, uint32_t left)
{
    const symbol *a = &e->symbols[left];
    if (a->after == NO_SYMBOL) {
        return RBE_OK;
    }
    const symbol *b = &e->symbols[a->after];
    candidate pair = {.length = a->length + b->length};
    uint32_t rank;
    if (e->tokenizer->priorities != NULL) {
        pair.result = rbe__find_mergeable(e->tokenizer, text + a->start, pair.length);
        if (pair.result == RBE_NO_TOKEN) {
            return RBE_OK;
        }
        rank = rbe__u32(e->tokenizer->priorities, pair.result);
    } else if (!find_merge(e->tokenizer, a->token, b->token, &rank, &pair.result)) {
        return RBE_OK;
    }
    pair.order = (uint64_t)rank << 32 | left;
    return heap_push(e, pair);
}

static rbe_status merge_all(rbe__encoder *e, const uint8_t *text, uint32_t n_symbols)
{
    e->heap_count = 0;
    for (uint32_t i = 0; i + 1 < n_symbols; i++) {
        RBE_TRY(consider(e, text, i));
    }
    while (e->heap_count > 0) {
        candidate best = heap_pop(e);
        uint32_t left = (uint32_t)best.order;
        symbol *a = &e->symbols[left];
        if (a->length == 0 || a->after == NO_SYMBOL || a->length + e->symbols[a->after].length != best.length) {
            continue;
        }
        symbol *b = &e->symbols[a->after];
        b->earlier_part = a->last_part;
        a->last_part = a->after;
        a->token = best.result;
        a->length = best.length;
        a->after = b->after;
        b->length = 0;
        if (a->after != NO_SYMBOL) {
            e->symbols[a->after].before = left;
        }
        RBE_TRY(consider(e, text, left));
        if (a->before != NO_SYMBOL) {
            RBE_TRY(consider(e, text, a->before));
        }
    }
    return RBE_OK;
}

static uint32_t add_symbol(rbe__encoder *e, uint32_t n_symbols, size_t start, size_t length, uint32_t token)
{
    e->symbols[n_symbols] = (symbol){
        .start = (uint32_t)start,
        .length = (uint32_t)length,
        .token = token,
        .before = n_symbols > 0 ? n_symbols - 1 : NO_SYMBOL,
        .after = NO_SYMBOL,
        .last_part = NO_SYMBOL,
        .earlier_part = NO_SYMBOL,
    };
    if (n_symbols > 0) {
        e->symbols[n_symbols - 1].after = n_symbols;
    }
    return n_symbols + 1;
}

/* The symbols before any merge. A character or byte that is no token stays a symbol without a token if an unknown token can replace it, and
 * always with priorities. Otherwise it is left out, as tokenizers does. Returns their number. */
static uint32_t split_symbols(rbe__encoder *e, const uint8_t *text, size_t bytes)
{
    const rbe_tokenizer *t = e->tokenizer;
    uint32_t n = 0;
    size_t length;
    for (size_t at = 0; at < bytes; at += length) {
        uint32_t character, token;
        length = 1;
        if (t->algorithm == RBE__BYTE_PAIRS) {
            token = rbe__u32(t->byte_tokens, text[at]);
        } else {
            length = rbe__utf8_next(text + at, bytes - at, &character);
            token = rbe__find_mergeable(t, text + at, length);
        }
        if (t->algorithm == RBE__CHARACTER_PAIRS && token == RBE_NO_TOKEN && rbe__has_byte_tokens(t, text + at, length)) {
            for (size_t i = 0; i < length; i++) {
                n = add_symbol(e, n, at + i, 1, rbe__u32(t->byte_tokens, text[at + i]));
            }
        } else if (token != RBE_NO_TOKEN || t->unknown != RBE_NO_TOKEN || t->algorithm == RBE__PRIORITIES) {
            n = add_symbol(e, n, at, length, token);
        }
    }
    return n;
}

/* Takes back the last merge into the symbol. */
static void unmerge(rbe__encoder *e, const uint8_t *text, symbol *a)
{
    uint32_t part = a->last_part;
    symbol *b = &e->symbols[part];
    b->length = a->start + a->length - b->start;
    a->length -= b->length;
    a->last_part = b->earlier_part;
    b->after = a->after;
    a->after = part;
    a->token = rbe__find_mergeable(e->tokenizer, text + a->start, a->length);
    b->token = rbe__find_mergeable(e->tokenizer, text + b->start, b->length);
}

static void put_symbol(rbe__encoder *e, const uint8_t *text, const symbol *s)
{
    if (s->token != RBE_NO_TOKEN) {
        rbe__encoder_put(e, s->token);
    } else {
        rbe__encoder_put_unknown(e, text + s->start, s->length);
    }
}

rbe_status rbe__encode_piece(rbe__encoder *e, const uint8_t *text, size_t bytes)
{
    const rbe_tokenizer *t = e->tokenizer;
    if ((t->flags & RBE__WHOLE_PIECES) != 0) {
        uint32_t token = rbe__find_mergeable(t, text, bytes);
        if (token != RBE_NO_TOKEN) {
            rbe__encoder_put(e, token);
            return RBE_OK;
        }
    }
    if (bytes > e->symbols_capacity) {
        size_t capacity = bytes < 64 ? 64 : bytes;
        free(e->symbols);
        e->symbols = capacity < SIZE_MAX / sizeof *e->symbols ? malloc(capacity * sizeof *e->symbols) : NULL;
        e->symbols_capacity = e->symbols != NULL ? capacity : 0;
        if (e->symbols == NULL) {
            return rbe_fail(RBE_ERROR_MEMORY, "no memory for %zu symbols", capacity);
        }
    }
    uint32_t n_symbols = split_symbols(e, text, bytes);
    RBE_TRY(merge_all(e, text, n_symbols));
    for (uint32_t i = n_symbols > 0 ? 0 : NO_SYMBOL; i != NO_SYMBOL;) {
        symbol *s = &e->symbols[i];
        if (s->token != RBE_NO_TOKEN && rbe__token_type(t, s->token) == RBE__UNUSED && s->last_part != NO_SYMBOL) {
            unmerge(e, text, s); /* an unused token may stand between others while merging, but not in the result */
        } else {
            put_symbol(e, text, s);
            i = s->after;
        }
    }
    return RBE_OK;
}
