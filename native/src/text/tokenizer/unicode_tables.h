/* The tables that tools/unicode_tables.py writes; unicode.c and nfc.c read them. */
#ifndef RBE_TOKENIZER_UNICODE_TABLES_H
#define RBE_TOKENIZER_UNICODE_TABLES_H

#include <stdint.h>

extern const uint8_t rbe__class_index[8704];
extern const uint8_t rbe__class_blocks[];

extern const uint32_t rbe__n_words;
extern const uint32_t rbe__words[][2];
extern const uint32_t rbe__n_singles;
extern const uint32_t rbe__singles[][2];
extern const uint32_t rbe__n_pairs;
extern const uint32_t rbe__pairs[][3];
extern const uint32_t rbe__n_composed;
extern const uint16_t rbe__composed[];
extern const uint32_t rbe__n_combining;
extern const uint32_t rbe__combining[][3];
extern const uint32_t rbe__n_unstable;
extern const uint32_t rbe__unstable[][2];
extern const uint32_t rbe__n_nonspacing;
extern const uint32_t rbe__nonspacing[][2];
extern const uint32_t rbe__n_controls;
extern const uint32_t rbe__controls[][2];
extern const uint32_t rbe__n_lower;
extern const uint32_t rbe__lower[][4];

#endif
