/* A byte string that grows, for scratch text. Zero-initialise; release with rbe__buffer_free. */
#ifndef RBE_TOKENIZER_BUFFER_H
#define RBE_TOKENIZER_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct rbe__buffer {
    uint8_t *data;
    size_t bytes, capacity;
} rbe__buffer;

/* Makes room for `more` bytes after data[bytes]. The buffer is as before on failure. */
rbe_status rbe__buffer_reserve(rbe__buffer *buffer, size_t more);

/* `data` may be NULL where n is 0. */
rbe_status rbe__buffer_append(rbe__buffer *buffer, const void *data, size_t n);

void rbe__buffer_free(rbe__buffer *buffer);

#endif
