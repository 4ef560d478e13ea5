#include "text/tokenizer/encoder.h"

#include <stdlib.h>

int rbe__has_byte_tokens(const rbe_tokenizer *t, const uint8_t *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (rbe__u32(t->byte_tokens, text[i]) == RBE_NO_TOKEN) {
            return 0;
        }
    }
    return 1;
}

void rbe__encoder_put_unknown(rbe__encoder *encoder, const uint8_t *text, size_t bytes)
{
    const rbe_tokenizer *t = encoder->tokenizer;
    if (rbe__has_byte_tokens(t, text, bytes)) {
        for (size_t i = 0; i < bytes; i++) {
            rbe__encoder_put(encoder, rbe__u32(t->byte_tokens, text[i]));
        }
    } else if (t->unknown != RBE_NO_TOKEN) {
        if (!encoder->after_unknown || (t->flags & RBE__FUSE_UNKNOWN) == 0) {
            rbe__encoder_put(encoder, t->unknown);
        }
        encoder->after_unknown = 1;
    }
}

void rbe__encoder_free(rbe__encoder *encoder)
{
    free(encoder->symbols);
    free(encoder->heap);
    free(encoder->nodes);
    encoder->symbols = NULL;
    encoder->heap = NULL;
    encoder->nodes = NULL;
}
