/* What `rbe inspect` says of a model, as lines and as JSON. */
#ifndef RBE_PROGRAM_INSPECT_H
#define RBE_PROGRAM_INSPECT_H

#include "rbe/rbe.h"

/* The name of a tensor's kind. */
const char *kind_of(const rbe_tensor_info *tensor);

/* Bits per weight, of a tensor and of the whole file (0 where nothing is known of its source). */
double tensor_bits(const rbe_tensor_info *tensor);
double file_bits(const rbe_model_info *info);

/* What a program without Python can do with the chat template; returns out, cut to its capacity. */
const char *native_chat(const rbe_model *model, const rbe_model_info *info, char *out, size_t capacity);

/* Writes one object. 0, or an exit code behind a line. */
int inspect_json(const rbe_model *model, const rbe_model_info *info, const char *path, int with_tensors, int verified);

#endif
