#include "text/tokenizer/unicode.h"

#include "text/tokenizer/unicode_tables.h"

int rbe__utf8_scan(const uint8_t *bytes, size_t n, uint32_t *code_point)
{
    uint8_t lead = bytes[0];
    if (lead < 0x80) {
        *code_point = lead;
        return 1;
    }
    /* The range of the second byte excludes overlong forms, surrogates and code points over 10FFFF (Unicode, table
     * 3-7); a lead byte outside C2 to F4 is never valid. */
    int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (lead < 0xC2 || lead > 0xF4) {
        return -1;
    }
    uint32_t value = lead & (0xFFu >> (length + 1));
    for (int i = 1; i < length; i++) {
        if ((size_t)i == n) {
            return 0;
        }
        if (bytes[i] < low || bytes[i] > high) {
            return -i;
        }
        value = value << 6 | (bytes[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *code_point = value;
    return length;
}

size_t rbe__utf8_write(uint32_t code_point, uint8_t *out)
{
    if (code_point < 0x80) {
        out[0] = (uint8_t)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (uint8_t)(0xC0 | code_point >> 6);
        out[1] = (uint8_t)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code_point >> 12);
        out[1] = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (code_point & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | code_point >> 18);
    out[1] = (uint8_t)(0x80 | (code_point >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (code_point & 0x3F));
    return 4;
}

rbe__class rbe__cased_class_of(uint32_t code_point)
{
    if (code_point >= 0x110000) {
        return RBE__OTHER;
    }
    uint32_t at = (uint32_t)rbe__class_index[code_point >> 7] << 7 | (code_point & 127);
    return (rbe__class)(rbe__class_blocks[at >> 1] >> (4 * (at & 1)) & 15);
}

/* The row of a table of ranges {first, last, ...} that holds a code point, or NULL. */
static const uint32_t *row_of(const uint32_t *table, size_t columns, size_t rows, uint32_t code_point)
{
    size_t low = 0, high = rows;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (table[columns * middle + 1] < code_point) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < rows && table[columns * low] <= code_point ? table + columns * low : NULL;
}

int rbe__is_word(uint32_t code_point)
{
    const rbe__class class = rbe__class_of(code_point);
    return class == RBE__LETTER || class == RBE__MARK || row_of(rbe__words[0], 2, rbe__n_words, code_point) != NULL;
}

int rbe__is_nonspacing(uint32_t code_point)
{
    return code_point >= 0x300 && row_of(rbe__nonspacing[0], 2, rbe__n_nonspacing, code_point) != NULL;
}

int rbe__is_control(uint32_t code_point)
{
    return row_of(rbe__controls[0], 2, rbe__n_controls, code_point) != NULL;
}

uint32_t rbe__lower_of(uint32_t code_point)
{
    if (code_point < 0x80) {
        return code_point - 'A' < 26 ? code_point + 32 : code_point;
    }
    if (code_point == 0x130) {
        return 'i';
    }
    const uint32_t *row = row_of(rbe__lower[0], 4, rbe__n_lower, code_point);
    return row != NULL && (code_point - row[0]) % row[3] == 0 ? code_point + row[2] : code_point;
}
