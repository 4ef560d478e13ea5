/* A program that carries its model: the program's bytes, zeros to a multiple of 65536, the model, a trailer (docs/format.md, "A program that
 * carries its model"). Python writes the same: rbe_edge/packing/carrier.py. */
#ifndef RBE_PROGRAM_CARRIED_H
#define RBE_PROGRAM_CARRIED_H

#include "model_options.h"

#define TRAILER_BYTES 40u

/* "rbe VERSION", as `rbe --version` writes it. It stands in the file behind words by which another program finds that it is one. */
const char *program_version(void);

/* What the file of a program carries: 1 and the place of the model, whose path is `path`; 0 where it carries none. -1, behind a line, where
 * the trailer is damaged or the file cannot be read. */
int find_carried(const char *path, model_source *carried);

/* The trailer of a model of so many bytes at an offset. */
void make_trailer(uint64_t offset, uint64_t bytes, uint8_t trailer[TRAILER_BYTES]);

/* Whether the bytes of a program hold the words of program_version(). */
int is_carrier(const uint8_t *program, uint64_t bytes);

#endif
