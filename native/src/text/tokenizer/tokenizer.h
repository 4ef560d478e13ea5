/* The opened tokenizer: the blob of docs/tokenizers.md, read in place, and what its parts are called inside. */
#ifndef RBE_TOKENIZER_TOKENIZER_H
#define RBE_TOKENIZER_TOKENIZER_H

#include <string.h>

#include "base/status.h"

/* The numbers of this file are those of the blob (docs/tokenizers.md). */

enum { /* algorithm */
       RBE__BYTE_PAIRS = 1,      /* BPE over bytes, merges listed as pairs */
       RBE__CHARACTER_PAIRS = 2, /* BPE over characters, merges listed as pairs */
       RBE__PRIORITIES = 3,      /* SentencePiece BPE: whatever concatenates to a token may merge, by the token's priority */
       RBE__WORD_PIECES = 4,     /* WordPiece: of each word the longest token, then the longest of those that continue words */
       RBE__UNIGRAM = 5          /* the tokens whose scores add up to most */
};

enum { /* pre-tokenizer */
       RBE__SPLIT_NONE = 0,
       RBE__SPLIT_SPACES = 1,
       RBE__SPLIT_GPT2 = 2,
       RBE__SPLIT_LLAMA3 = 3,
       RBE__SPLIT_QWEN2 = 4,
       RBE__SPLIT_STARCODER = 5,
       RBE__SPLIT_FALCON = 6,
       RBE__SPLIT_O200K = 7,
       RBE__SPLIT_TEKKEN = 8,
       RBE__N_SPLITS = 9, /* of blobs of version 1 */
       RBE__SPLIT_BERT = 9,
       RBE__SPLIT_WHITE_SPACE = 10,
       RBE__SPLIT_EACH_SPACE = 11,
       RBE__SPLIT_DEEPSEEK3 = 12, /* of blobs of version 1 too, from here on */
       RBE__SPLIT_SPARK = 13,
       RBE__SPLIT_QWEN35 = 14,
       RBE__N_ALL_SPLITS = 15
};

enum { /* space prefix */
       RBE__PREFIX_NONE = 0,
       RBE__PREFIX_TEXT = 1,     /* before every stretch: the text between the tokens that are found first */
       RBE__PREFIX_FIRST = 2,    /* only where the whole text begins with no special token */
       RBE__PREFIX_FRAGMENT = 3, /* before every text between special tokens, whatever their kind */
       RBE__N_PREFIXES = 4
};

enum { /* flags */
       RBE__PREFIX_UNLESS_SPACE = 1u << 0,
       RBE__WHOLE_PIECES = 1u << 1,
       RBE__FUSE_UNKNOWN = 1u << 2,
       RBE__ESCAPED_SPACES = 1u << 3,
       RBE__COLLAPSE_SPACES = 1u << 4,
       RBE__NFC = 1u << 5,
       RBE__ADDED_TOKENS = 1u << 6, /* special tokens are looked for as package tokenizers does */
       RBE__LATE_SPACES = 1u << 7,  /* with ESCAPED_SPACES: U+2581 becomes a space behind all special tokens */
       RBE__ALL_FLAGS = (1u << 8) - 1
};

enum { /* attributes of a token: its type in the low bits, as in GGUF */
       RBE__NORMAL = 1,
       RBE__UNKNOWN = 2,
       RBE__CONTROL = 3,
       RBE__USER_DEFINED = 4,
       RBE__UNUSED = 5,
       RBE__BYTE = 6,
       RBE__TYPE_MASK = 15,
       RBE__STRIP_LEFT = 16,
       RBE__STRIP_RIGHT = 32,
       RBE__ENDS_TEXT = 64,
       RBE__SINGLE_WORD = 128
};

enum { /* steps of normalization */
       RBE__STEP_CHARSMAP = 1,    /* by a map of characters; option: see below */
       RBE__STEP_CLEAN = 2,       /* control characters go, white space becomes spaces, as in BERT */
       RBE__STEP_SPACE_HAN = 3,   /* spaces around Chinese characters */
       RBE__STEP_NFC = 4,
       RBE__STEP_NFD = 5,
       RBE__STEP_DROP_MARKS = 6,  /* option 0: nonspacing marks, 1: all */
       RBE__STEP_LOWER = 7,
       RBE__STEP_STRIP = 8,       /* white space; option bit 1: on the left, 2: on the right */
       RBE__STEP_REPLACE = 9,     /* a text by another */
       RBE__STEP_SQUEEZE = 10,    /* two or more spaces by a text */
       RBE__N_STEPS = 11,
       RBE__MAX_STEPS = 16
};

enum { /* how keys of the map of characters are looked for */
       RBE__LONGEST_KEYS = 0,
       RBE__KEYS_OF_CLUSTERS = 1, /* as package tokenizers does */
       RBE__KEYS_BESIDE_TOKENS = 2 /* the longest, where no user-defined token begins: SentencePiece */
};

enum {
    RBE__MAX_AFFIX = 4,
    RBE__MAX_TOKEN_BYTES = 1 << 16,
    RBE__MAX_PIECE_BYTES = 512,      /* of what version 2 looks for in a text, so that this takes linear time */
    RBE__MAX_REPLACEMENT_BYTES = 256 /* of what a step puts for something */
};

/* Tokens by texts, sorted by the bytes of these, no text twice, none empty. */
typedef struct rbe__token_list {
    uint32_t n;
    uint32_t begin[257];    /* the texts that begin with byte b are [begin[b], begin[b + 1]) */
    const uint8_t *tokens;  /* u32[n] */
    const uint8_t *offsets; /* u32[n + 1] into text; NULL: the texts are the bytes of the tokens */
    const uint8_t *text;
    int past_space; /* without offsets: the one space with which a token may begin is no part of its text */
} rbe__token_list;

/* A map of characters as SentencePiece writes it: a double array of u32 units, and texts that end with a zero byte. */
typedef struct rbe__charsmap {
    const uint8_t *units;
    size_t n_units;
    const uint8_t *text;
    size_t text_bytes;
} rbe__charsmap;

/* A step of normalization; `from` and `to` for those that replace. */
typedef struct rbe__step {
    uint32_t kind, option;
    const uint8_t *from, *to;
    uint32_t from_bytes, to_bytes;
} rbe__step;

struct rbe_tokenizer {
    uint32_t algorithm, split, space_prefix, flags;
    uint32_t bos, unknown;
    uint32_t n_before, before[RBE__MAX_AFFIX], n_after, after[RBE__MAX_AFFIX];
    uint32_t n_tokens, n_slots;
    uint32_t longest;         /* bytes of a token, at most */
    rbe__token_list special;  /* control and user-defined tokens by their bytes */
    rbe__token_list added[2]; /* what is looked for in a text: first as it was given, then as it was prepared */
    /* Sections of u32, read with rbe__u32: the blob may stand at any address. */
    const uint8_t *offsets;      /* [n_tokens + 1] into text */
    const uint8_t *byte_tokens;  /* [256] */
    const uint8_t *slots;        /* [n_slots], hash table of token ids; NULL in version 2, as are those of merges */
    const uint8_t *first_merge;  /* [n_tokens + 1] into merges; NULL with RBE__PRIORITIES */
    const uint8_t *merges;       /* [][3]: right, rank, result; sorted by right for each left */
    const uint8_t *priorities;   /* [n_tokens]; NULL unless RBE__PRIORITIES */
    const uint8_t *attributes;   /* uint8[n_tokens] */
    const uint8_t *text;
    /* Version 2. */
    rbe__token_list pieces[2];    /* what Unigram and WordPiece look for; with WordPiece the second continues words */
    const uint8_t *scores;        /* f32 or f64 [n_tokens]; NULL unless RBE__UNIGRAM */
    uint32_t score_bytes;         /* of one: 4 or 8 */
    double unknown_score;         /* of a character that is no token */
    uint32_t longest_word;        /* characters that WordPiece takes apart; a longer word is unknown */
    uint32_t n_steps;
    rbe__step steps[RBE__MAX_STEPS];
    rbe__charsmap charsmap;
};

static inline uint32_t rbe__u32(const uint8_t *section, size_t index)
{
    uint32_t value;
    memcpy(&value, section + 4 * index, sizeof value);
    return value;
}

static inline uint32_t rbe__token_type(const rbe_tokenizer *tokenizer, uint32_t token)
{
    return tokenizer->attributes[token] & RBE__TYPE_MASK;
}

/* The bytes of a token below n_tokens. */
static inline const uint8_t *rbe__token_text(const rbe_tokenizer *tokenizer, uint32_t token, size_t *bytes)
{
    uint32_t begin = rbe__u32(tokenizer->offsets, token);
    *bytes = rbe__u32(tokenizer->offsets, token + (size_t)1) - begin;
    return tokenizer->text + begin;
}

/* FNV-1a, 32 bits (http://www.isthe.com/chongo/tech/comp/fnv/), the hash of the slots. */
static inline uint32_t rbe__hash(const uint8_t *bytes, size_t n)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ bytes[i]) * 16777619u;
    }
    return hash;
}

/* The token of the hash table (what text can merge to) that is written so, or RBE_NO_TOKEN. */
uint32_t rbe__find_mergeable(const rbe_tokenizer *tokenizer, const uint8_t *bytes, size_t n);

/* The text of entry `index` of a list. */
static inline const uint8_t *rbe__listed_text(const rbe_tokenizer *tokenizer, const rbe__token_list *list, uint32_t index, size_t *bytes)
{
    if (list->offsets == NULL) {
        const uint8_t *text = rbe__token_text(tokenizer, rbe__u32(list->tokens, index), bytes);
        const int skipped = list->past_space && *bytes > 0 && text[0] == ' ';
        *bytes -= (size_t)skipped;
        return text + skipped;
    }
    uint32_t begin = rbe__u32(list->offsets, index);
    *bytes = rbe__u32(list->offsets, index + (size_t)1) - begin;
    return list->text + begin;
}

#endif
