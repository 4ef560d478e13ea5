/* What the library's own callers need of text streams, besides rbe.h. */
#ifndef RBE_TEXT_STREAM_H
#define RBE_TEXT_STREAM_H

#include "rbe/rbe.h"

/* Takes all memory that the next push of any token may need, and the finish behind it: these cannot fail then. *most_bytes: no text of
 * theirs is longer. On failure the stream is as before, and so is the text that it gave last. */
rbe_status rbe__text_stream_reserve(rbe_text_stream *stream, size_t *most_bytes);

#endif
