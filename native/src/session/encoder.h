/* An encoder: a pass, room for the keys and values of one layer, and lists of the texts that run at once. One thread uses it at a time. */
#ifndef RBE_SESSION_ENCODER_H
#define RBE_SESSION_ENCODER_H

#include "rbe/encoder.h"
#include "session/session.h"

/* Memory for texts that run at once: a state for each, all in one arena. */
typedef struct rbe__text_room {
    rbe__arena arena; /* used: what the texts have taken */
    size_t bytes;
} rbe__text_room;

struct rbe_encoder {
    const rbe_model *model;
    rbe__pass pass;
    rbe__arena arena;
    size_t arena_bytes;
    uint32_t pooling; /* rbe_pooling */
    uint32_t *tokens;  /* [most_tokens] of the pass that runs, and so the rest */
    uint8_t *segments; /* [most_tokens] */
    rbe__run *runs;
    rbe__state *states;
    float *pooled[2]; /* [most_tokens][rbe__pooled_widest] */
    double *sums;     /* [width] */
    rbe__text_room room;
};

/* Texts first ... first + n - 1 of a call, whose hidden states stand in `rows`, text by text. */
typedef struct rbe__encoded {
    const rbe_encoder_text *texts;
    size_t first, n;
    const float *rows;
} rbe__encoded;

/* Bytes that an encoder of so many rows takes while it runs a text of n_tokens. */
uint64_t rbe__encoder_measure(const rbe_model *model, uint32_t most_tokens, uint32_t n_threads, uint32_t n_tokens);

typedef rbe_status rbe__encoded_visit(rbe_encoder *encoder, const rbe__encoded *encoded, void *context);

/* Bytes that texts of a pass of most_tokens rows take at most, or one text of n_tokens. */
size_t rbe__text_room_bytes(const rbe__stack *stack, uint32_t most_tokens);
size_t rbe__text_bytes(const rbe__stack *stack, uint32_t n_tokens);

/* Runs texts in their order, as many at once as fit, and calls visit for those that are through. The rows are the pass's own (normed), or those of a
 * text that is longer than a pass. progress counts tokens. */
rbe_status rbe__encode_texts(rbe_encoder *encoder, const rbe_encoder_text *texts, size_t n, rbe__encoded_visit *visit, void *context,
                             rbe_progress_callback progress, void *user);

#endif
