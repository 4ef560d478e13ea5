/* UTF-8, character classes, lower case and canonical composition, as the tokenizers need them. Unicode 16.0. */
#ifndef RBE_TOKENIZER_UNICODE_H
#define RBE_TOKENIZER_UNICODE_H

#include <stddef.h>
#include <stdint.h>

#include "text/tokenizer/buffer.h"

/* General categories by their first letter, and the property White_Space (\s), which takes precedence. Of letters the
 * tables know the case too: upper is Lu and Lt, lower is Ll; LETTER is what has none (Lm, Lo). */
typedef enum rbe__class {
    RBE__OTHER = 0,
    RBE__LETTER,
    RBE__NUMBER,
    RBE__PUNCTUATION,
    RBE__SYMBOL,
    RBE__MARK,
    RBE__SPACE,
    RBE__UPPER,
    RBE__LOWER
} rbe__class;

#define RBE__NOT_A_CHARACTER 0xFFFFFFFFu /* stands for a byte that is no part of valid UTF-8; its class is OTHER */

/* Reads one character from bytes[0, n), n >= 1. Returns its length and writes the code point if it is valid and
 * complete; 0 if the bytes are the beginning of one; else minus the number of bytes (1 to 3) that can never become
 * one, cut as the Unicode standard recommends for U+FFFD ("maximal subparts", section 3.9). */
int rbe__utf8_scan(const uint8_t *bytes, size_t n, uint32_t *code_point);

/* The same for text that is all there: anything but a valid character is one byte, RBE__NOT_A_CHARACTER. */
static inline size_t rbe__utf8_next(const uint8_t *bytes, size_t n, uint32_t *code_point)
{
    if (bytes[0] < 0x80) {
        *code_point = bytes[0];
        return 1;
    }
    int length = rbe__utf8_scan(bytes, n, code_point);
    if (length > 0) {
        return (size_t)length;
    }
    *code_point = RBE__NOT_A_CHARACTER;
    return 1;
}

/* Writes 1 to 4 bytes; the code point must be valid. */
size_t rbe__utf8_write(uint32_t code_point, uint8_t *out);

/* Any 32-bit value; those that are no code point are OTHER. */
rbe__class rbe__cased_class_of(uint32_t code_point);

/* The same where the case of a letter does not matter: LETTER for all of them. */
static inline rbe__class rbe__class_of(uint32_t code_point)
{
    rbe__class class = rbe__cased_class_of(code_point);
    return class >= RBE__UPPER ? RBE__LETTER : class;
}

/* Whether a code point is part of a word, as \\w says in the engine of package tokenizers: letters, marks, decimal digits, numbers that are
 * letters, connector punctuation, joiners, and symbols that are letters in a circle or square. */
int rbe__is_word(uint32_t code_point);

/* Nonspacing marks (Mn). Any 32-bit value, here and below. */
int rbe__is_nonspacing(uint32_t code_point);

/* Control, format and private-use characters (Cc, Cf, Co). */
int rbe__is_control(uint32_t code_point);

/* The lower case of one character, or itself. U+0130 gives i: what belongs behind it, U+0307, is left to the caller. */
uint32_t rbe__lower_of(uint32_t code_point);

/* 1 if the text is certainly in Normalization Form C; 0 if only rbe__nfc_append can tell. */
int rbe__nfc_is_certain(const uint8_t *text, size_t bytes);

/* Appends the text in Normalization Form C (Unicode Standard Annex 15). Bytes that are no valid UTF-8 are kept and
 * separate what stands on their two sides. */
rbe_status rbe__nfc_append(rbe__buffer *out, const uint8_t *text, size_t bytes);

/* The same in Normalization Form D. */
rbe_status rbe__nfd_append(rbe__buffer *out, const uint8_t *text, size_t bytes);

#endif
