#include "text/tokenizer/buffer.h"

#include <stdlib.h>
#include <string.h>

rbe_status rbe__buffer_reserve(rbe__buffer *buffer, size_t more)
{
    if (more <= buffer->capacity - buffer->bytes) {
        return RBE_OK;
    }
    if (more > SIZE_MAX / 2 - buffer->bytes) {
        return rbe_fail(RBE_ERROR_MEMORY, "a text of over %zu bytes does not fit into memory", SIZE_MAX / 2);
    }
    size_t capacity = buffer->bytes + more;
    if (capacity < 2 * buffer->capacity) {
        capacity = 2 * buffer->capacity;
    }
    uint8_t *data = realloc(buffer->data, capacity);
    if (data == NULL) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for %zu bytes of text", capacity);
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return RBE_OK;
}

rbe_status rbe__buffer_append(rbe__buffer *buffer, const void *data, size_t n)
{
    if (n > 0) {
        RBE_TRY(rbe__buffer_reserve(buffer, n));
        memcpy(buffer->data + buffer->bytes, data, n);
        buffer->bytes += n;
    }
    return RBE_OK;
}

void rbe__buffer_free(rbe__buffer *buffer)
{
    free(buffer->data);
    memset(buffer, 0, sizeof *buffer);
}
