/* Where the header of a tokenizer's blob has its numbers (docs/tokenizers.md): each by its index as u32. */
#ifndef RBE_TESTS_BLOB_FIELDS_H
#define RBE_TESTS_BLOB_FIELDS_H

enum {
    FIELD_VERSION = 1,
    FIELD_BYTES = 2,
    FIELD_ALGORITHM = 3,
    FIELD_SPLIT = 4,
    FIELD_SPACE_PREFIX = 5,
    FIELD_FLAGS = 6,
    FIELD_BOS = 7,
    FIELD_UNKNOWN = 9,
    FIELD_BEFORE = 11,
    FIELD_AFTER = 16,
    FIELD_TOKENS = 21,
    FIELD_TEXT_BYTES = 22,
    FIELD_SLOTS = 23,
    FIELD_SPECIAL = 24,
    FIELD_MERGES = 25,
    FIELD_ADDED = 26,
    FIELD_NORMALIZED = 27,
    FIELD_ADDED_BYTES = 28,
    /* of version 2 alone */
    FIELD_PIECES = 32,
    FIELD_CONTINUING = 33,
    FIELD_SCORE_BYTES = 34,
    FIELD_STEPS = 35,
    FIELD_STEP_BYTES = 36,
    FIELD_CHARSMAP_BYTES = 37,
    FIELD_LONGEST_WORD = 38,
    FIELD_UNKNOWN_SCORE = 40
};

#endif
