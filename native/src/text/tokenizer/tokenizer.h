/* The opened tokenizer: the blob of docs/tokenizers.md, read in place, and what its parts are called inside. */
#ifndef RBE_TOKENIZER_TOKENIZER_H
#define RBE_TOKENIZER_TOKENIZER_H

#include <string.h>

#include "base/status.h"

/* The numbers of this file are those of the blob (docs/tokenizers.md). */

enum { /* algorithm */
       RBE__BYTE_PAIRS = 1,      /* BPE over bytes, merges listed as pairs */
       RBE__CHARACTER_PAIRS = 2, /* BPE over characters, merges listed as pairs */
       RBE__PRIORITIES = 3       /* SentencePiece BPE: whatever concatenates to a token may merge, by the token's priority */
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
       RBE__N_SPLITS = 9
};

enum { /* space prefix */
       RBE__PREFIX_NONE = 0,
       RBE__PREFIX_TEXT = 1,     /* before every text between control tokens */
       RBE__PREFIX_FIRST = 2,    /* only where the whole text begins with no special token */
       RBE__PREFIX_FRAGMENT = 3, /* before every text between special tokens */
       RBE__N_PREFIXES = 4
};

enum { /* flags */
       RBE__PREFIX_UNLESS_SPACE = 1u << 0,
       RBE__WHOLE_PIECES = 1u << 1,
       RBE__FUSE_UNKNOWN = 1u << 2,
       RBE__ESCAPED_SPACES = 1u << 3,
       RBE__COLLAPSE_SPACES = 1u << 4,
       RBE__NFC = 1u << 5,
       RBE__ALL_FLAGS = (1u << 6) - 1
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
       RBE__ALL_ATTRIBUTES = 127
};

enum { RBE__MAX_AFFIX = 4 }; /* tokens put before or after a text */

struct rbe_tokenizer {
    uint32_t algorithm, split, space_prefix, flags;
    uint32_t bos, unknown;
    uint32_t n_before, before[RBE__MAX_AFFIX], n_after, after[RBE__MAX_AFFIX];
    uint32_t n_tokens, n_slots, n_special;
    uint32_t longest; /* bytes of a token, at most */
    uint32_t special_begin[257]; /* the special tokens that begin with byte b are [special_begin[b], special_begin[b + 1]) */
    /* Sections of u32, read with rbe__u32: the blob may stand at any address. */
    const uint8_t *offsets;      /* [n_tokens + 1] into text */
    const uint8_t *byte_tokens;  /* [256] */
    const uint8_t *slots;        /* [n_slots], hash table of token ids */
    const uint8_t *special;      /* [n_special], sorted by their bytes */
    const uint8_t *first_merge;  /* [n_tokens + 1] into merges; NULL with RBE__PRIORITIES */
    const uint8_t *merges;       /* [][3]: right, rank, result; sorted by right for each left */
    const uint8_t *priorities;   /* [n_tokens]; NULL unless RBE__PRIORITIES */
    const uint8_t *attributes;   /* uint8[n_tokens] */
    const uint8_t *text;
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

/* ---- special tokens ---------------------------------------------------------------------------------------------- */

typedef struct rbe__match {
    size_t begin, end; /* of what the token takes from the text, white space that it strips included */
    uint32_t token;
} rbe__match;

/* The longest token of this type with which text[at, bytes) begins, 0 if there is none. What was taken before `from` is not taken
 * again as white space. */
int rbe__special_at(const rbe_tokenizer *tokenizer, uint32_t type, const uint8_t *text, size_t bytes, size_t from, size_t at,
                    rbe__match *match);

/* The leftmost and there the longest token of this type in text[from, bytes); 0 if there is none. */
int rbe__next_special(const rbe_tokenizer *tokenizer, uint32_t type, const uint8_t *text, size_t bytes, size_t from, rbe__match *match);

#endif
