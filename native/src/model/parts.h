/* The parts of a file that this build knows (docs/format.md, "Parts"). */
#ifndef RBE_MODEL_PARTS_H
#define RBE_MODEL_PARTS_H

#include "model/pack_reader.h"
#include "rbe/parts.h"

#define RBE_MOST_PART_NAME 32u
#define RBE_PART_NEEDED_FLAGS 0xFFFF0000u /* of these a reader must know the meaning; it knows none yet. The others it may ignore */

#define RBE_PART_MODES "modes"
#define RBE_PART_ENCODER "encoder" /* without data: the file says something of encoders */
#define RBE_PART_ENCODER_DECODER "encoder_decoder" /* without data: an encoder reads a text, and the layers answer to it */
#define RBE_PART_ATTENTION_GATE "attention_gate" /* without data: attention has gates */
#define RBE_PART_LAYER_OPTIONS "layer_options" /* without data: the file says something of layers that older readers do not know */
#define RBE_PART_EXPERTS "experts" /* without data: layers have experts in place of a feed-forward part */
#define RBE_PART_SHARED_EXPERT "shared_expert" /* without data: a feed-forward part stands beside experts */
#define RBE_PART_LAYER_KINDS "layer_kinds" /* without data: not every layer begins with attention */
#define RBE_PART_LAYER_SHAPES "layer_shapes" /* without data: layers differ in more than their windows */
#define RBE_PART_LAYER_EMBEDDINGS "layer_embeddings" /* without data: there is an embedding for each layer */
#define RBE_PART_TERNARY "ternary" /* without data: there are binary or ternary matrices */
#define RBE_PART_INNER_NORMS "inner_norms" /* without data: there are norms before the last matrices of blocks */
#define RBE_PART_BANDS "bands" /* without data: names with `#` are of bands */

/* 1 where this build reads this version of the part of that name. */
int rbe__part_is_known(const char *name, uint32_t name_bytes, uint32_t version);

/* 1 where the file has the part of that name as a required one that this build knows. */
int rbe__pack_requires(const rbe__pack *pack, const char *name);

/* Says that the data of a part is not what its checksum says. */
rbe_status rbe__part_damaged(const char *path, const rbe__part *part);

#endif
