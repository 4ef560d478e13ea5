/* The part `modes` (docs/format.md, "Modes"). */
#ifndef RBE_MODEL_MODES_H
#define RBE_MODEL_MODES_H

#include "model/model.h"
#include "rbe/modes.h"

/* Checks the table, where the file has one that this build knows; needs the model's hyper-parameters. RBE_ERROR_FORMAT names the field. */
rbe_status rbe__modes_check(const rbe_model *model, const char *path);

#endif
