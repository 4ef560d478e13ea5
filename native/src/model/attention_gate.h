/* Gates of attention (docs/format.md, section 4): tensors that a reader which does not know them would leave out. */
#ifndef RBE_ATTENTION_GATE_H
#define RBE_ATTENTION_GATE_H

#include "model/pack_reader.h"

/* The part `attention_gate` is there exactly where a tensor is a gate. RBE_ERROR_FORMAT, with `path` for the message. */
rbe_status rbe__attention_gate_check(const rbe__pack *pack, const char *path);

#endif
