/* Normalization Forms C and D (Unicode Standard Annex 15): decompose, order the marks, compose. */
#include "text/tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

#include "text/tokenizer/unicode_tables.h"

/* Hangul syllables are computed (Unicode Standard, section 3.12). */
enum { HANGUL_S = 0xAC00, HANGUL_L = 0x1100, HANGUL_V = 0x1161, HANGUL_T = 0x11A7, N_L = 19, N_V = 21, N_T = 28, N_S = N_L * N_V * N_T };

/* A code point, or a byte that is no character with this bit set. */
#define RAW_BYTE 0x80000000u

typedef struct characters {
    uint32_t *codes;
    size_t count, capacity;
} characters;

/* The row of a table sorted by its first column that begins at or before `code`, or NULL. */
static const uint32_t *row_for(const uint32_t *table, size_t columns, size_t rows, uint32_t code)
{
    size_t low = 0, high = rows;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (table[columns * middle] <= code) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low > 0 ? table + columns * (low - 1) : NULL;
}

static uint32_t combining_class(uint32_t code)
{
    const uint32_t *row = code >= 0x300 ? row_for(rbe__combining[0], 3, rbe__n_combining, code) : NULL;
    return row != NULL && code <= row[1] ? row[2] : 0;
}

int rbe__nfc_is_certain(const uint8_t *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        at += rbe__utf8_next(text + at, bytes - at, &code);
        /* The first unstable character is U+0300. */
        const uint32_t *row = code >= 0x300 ? row_for(rbe__unstable[0], 2, rbe__n_unstable, code) : NULL;
        if (row != NULL && code <= row[1]) {
            return 0;
        }
    }
    return 1;
}

static rbe_status add(characters *to, uint32_t code)
{
    if (to->count == to->capacity) {
        size_t capacity = 2 * to->capacity + 64;
        uint32_t *codes = capacity < SIZE_MAX / 8 ? realloc(to->codes, capacity * sizeof *codes) : NULL;
        if (codes == NULL) {
            return rbe_fail(RBE_ERROR_MEMORY, "no memory to normalize %zu characters", capacity);
        }
        to->codes = codes;
        to->capacity = capacity;
    }
    to->codes[to->count++] = code;
    return RBE_OK;
}

/* The tables hold one step; they nest three deep at most, and second parts are final (Unicode 16.0). */
static rbe_status add_decomposed(characters *to, uint32_t code)
{
    if (code - HANGUL_S < N_S) {
        uint32_t s = code - HANGUL_S;
        RBE_TRY(add(to, HANGUL_L + s / (N_V * N_T)));
        RBE_TRY(add(to, HANGUL_V + s % (N_V * N_T) / N_T));
        return s % N_T != 0 ? add(to, HANGUL_T + s % N_T) : RBE_OK;
    }
    uint32_t tail[4];
    size_t n_tail = 0;
    for (int found = 1; found && n_tail < 4;) {
        const uint32_t *single = row_for(rbe__singles[0], 2, rbe__n_singles, code);
        const uint32_t *pair = row_for(rbe__pairs[0], 3, rbe__n_pairs, code);
        found = 0;
        if (single != NULL && single[0] == code) {
            code = single[1];
            found = 1;
        } else if (pair != NULL && pair[0] == code) {
            code = pair[1];
            tail[n_tail++] = pair[2];
            found = 1;
        }
    }
    RBE_TRY(add(to, code));
    while (n_tail > 0) {
        RBE_TRY(add(to, tail[--n_tail]));
    }
    return RBE_OK;
}

/* Sorts marks[0, n) by combining class, equals staying as they are. Merging, because the run may be as long as the
 * text; scratch: uint32_t[n]. The class goes into the high byte first. */
static void order_marks(uint32_t *marks, size_t n, uint32_t *scratch)
{
    uint32_t *from = marks, *to = scratch;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t begin = 0; begin < n; begin += 2 * width) {
            size_t middle = begin + width < n ? begin + width : n;
            size_t end = middle + width < n ? middle + width : n;
            size_t a = begin, b = middle;
            for (size_t i = begin; i < end; i++) {
                to[i] = a < middle && (b == end || from[a] >> 24 <= from[b] >> 24) ? from[a++] : from[b++];
            }
        }
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != marks) {
        memcpy(marks, from, n * sizeof *marks);
    }
}

static rbe_status order_all(characters *text)
{
    uint32_t *scratch = NULL;
    for (size_t begin = 0; begin < text->count; begin++) {
        size_t end = begin;
        uint32_t class, before = 0;
        int ordered = 1;
        while (end < text->count && (class = combining_class(text->codes[end])) != 0) {
            text->codes[end++] |= class << 24;
            ordered &= class >= before;
            before = class;
        }
        if (!ordered) {
            if (!scratch) {
                scratch = malloc(text->count * sizeof *scratch);
            }
            if (!scratch) {
                return rbe_fail(RBE_ERROR_MEMORY, "no memory to normalize %zu characters", text->count);
            }
            order_marks(text->codes + begin, end - begin, scratch);
        }
        for (size_t i = begin; i < end; i++) {
            text->codes[i] &= 0xFFFFFF;
        }
        begin = end > begin ? end - 1 : begin;
    }
    free(scratch);
    return RBE_OK;
}

/* The character that two compose to, or 0. */
static uint32_t compose(uint32_t first, uint32_t second)
{
    if (first - HANGUL_L < N_L && second - HANGUL_V < N_V) {
        return HANGUL_S + ((first - HANGUL_L) * N_V + (second - HANGUL_V)) * N_T;
    }
    if (first - HANGUL_S < N_S && (first - HANGUL_S) % N_T == 0 && second - HANGUL_T - 1 < N_T - 1) {
        return first + (second - HANGUL_T);
    }
    size_t low = 0, high = rbe__n_composed;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const uint32_t *pair = rbe__pairs[rbe__composed[middle]];
        if (pair[1] == first && pair[2] == second) {
            return pair[0];
        }
        if (pair[1] < first || (pair[1] == first && pair[2] < second)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return 0;
}

static void compose_all(characters *text)
{
    size_t kept = 0, starter = SIZE_MAX;
    uint32_t before = 0; /* the class of the last character kept after the starter */
    for (size_t i = 0; i < text->count; i++) {
        uint32_t code = text->codes[i], class = combining_class(code);
        int adjacent = starter != SIZE_MAX && kept == starter + 1;
        if (starter != SIZE_MAX && (adjacent || (before < class && before != 0))) {
            uint32_t composed = compose(text->codes[starter], code);
            if (composed != 0) {
                text->codes[starter] = composed;
                continue;
            }
        }
        if (class == 0) {
            starter = kept;
        }
        before = class;
        text->codes[kept++] = code;
    }
    text->count = kept;
}

static rbe_status normalize(characters *decomposed, int composes, rbe__buffer *out, const uint8_t *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        uint32_t code;
        size_t length = rbe__utf8_next(text + at, bytes - at, &code);
        RBE_TRY(code == RBE__NOT_A_CHARACTER ? add(decomposed, RAW_BYTE | text[at]) : add_decomposed(decomposed, code));
        at += length;
    }
    RBE_TRY(order_all(decomposed));
    if (composes) {
        compose_all(decomposed);
    }
    for (size_t i = 0; i < decomposed->count; i++) {
        uint32_t code = decomposed->codes[i];
        RBE_TRY(rbe__buffer_reserve(out, 4));
        if (code >= RAW_BYTE) {
            out->data[out->bytes++] = (uint8_t)code;
        } else {
            out->bytes += rbe__utf8_write(code, out->data + out->bytes);
        }
    }
    return RBE_OK;
}

static rbe_status append(int composes, rbe__buffer *out, const uint8_t *text, size_t bytes)
{
    characters decomposed = {NULL, 0, 0};
    rbe_status status = normalize(&decomposed, composes, out, text, bytes);
    free(decomposed.codes);
    return status;
}

rbe_status rbe__nfc_append(rbe__buffer *out, const uint8_t *text, size_t bytes)
{
    return append(1, out, text, bytes);
}

rbe_status rbe__nfd_append(rbe__buffer *out, const uint8_t *text, size_t bytes)
{
    return append(0, out, text, bytes);
}
