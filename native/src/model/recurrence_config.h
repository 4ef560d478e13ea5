/* What a file says of recurrences (docs/format.md, "Layers of several kinds"): metadata, and numbers that have to be in a range. */
#ifndef RBE_RECURRENCE_CONFIG_H
#define RBE_RECURRENCE_CONFIG_H

#include "model/config_values.h"
#include "model/model.h"

/* rule: that of the layers which are recurrences; RBE_MIXER_ATTENTION: no layer is one, and no key of recurrences is there.
 * *epsilon: of the norm of what heads give; 0: that of the other norms. */
rbe_status rbe__recurrence_read(rbe__config_source from, rbe__mixer rule, rbe__recurrence_shape *out, float *epsilon);

/* Of a bound model: rates are finite and positive. Of one whose data is not mapped nothing is looked at. */
rbe_status rbe__recurrence_check(const rbe_model *model, const char *path);

#endif
