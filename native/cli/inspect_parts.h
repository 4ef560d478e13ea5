/* What `rbe inspect` says of the parts of a file and of its table of power modes. */
#ifndef RBE_PROGRAM_INSPECT_PARTS_H
#define RBE_PROGRAM_INSPECT_PARTS_H

#include "rbe/rbe.h"

/* A line for each part, and a table where there are modes; nothing for a file without parts. */
void write_parts(const rbe_model *model);

/* `, "parts": [...], "modes": ...` of an object. */
void write_parts_json(const rbe_model *model);

#endif
