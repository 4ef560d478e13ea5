/* What the policy's function and its file share. */
#ifndef RBE_POWER_POLICY_H
#define RBE_POWER_POLICY_H

#include "base/status.h"
#include "rbe/power.h"

extern const rbe_policy rbe__policy_defaults;

/* RBE_ERROR_ARGUMENT, with a line, where a number is out of its range or the thresholds are out of order. */
rbe_status rbe__policy_check(const rbe_policy *policy);

#endif
