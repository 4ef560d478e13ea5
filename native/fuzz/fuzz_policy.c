/* Reads files of power policies of any content. What is read must be a policy that decides. */
#include <math.h>

#include "fuzz.h"
#include "rbe/power.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    rbe_policy policy = {.struct_bytes = sizeof policy, .hot = 1};
    const rbe_status status = explained(rbe_policy_read(file_of(input, bytes), &policy));
    if (status != RBE_OK) {
        demand(policy.hot == 1, "nothing changes where a file is refused");
        demand(status == RBE_ERROR_FORMAT || (status == RBE_ERROR_IO && bytes == 0), "a file is refused for what it holds");
        return 0;
    }
    static const double levels[] = {1, .5, .19, .04, .06, .3, NAN, 0};
    rbe_policy_state state = {0};
    for (uint32_t i = 0; i < 64; i++) {
        const rbe_power_sample sample = {.struct_bytes = sizeof sample,
                                         .time_ns = (1 + i) * 7000000000ull,
                                         .battery_level = levels[i % 8],
                                         .battery = i % 3,
                                         .charging = i / 3 % 3,
                                         .throttled = i / 9 % 3,
                                         .temperature_c = i % 5 ? 20. * (i % 7) : NAN};
        rbe_policy_decision decision = {.struct_bytes = sizeof decision};
        demand(rbe_policy_decide(&policy, &sample, &state, &decision) == RBE_OK, "a policy that was read decides");
        demand(decision.mode < RBE_MODES && memchr(decision.reason, 0, sizeof decision.reason), "a mode and a reason");
        demand(policy.override_mode == 0 || decision.mode == policy.override_mode - 1, "an override wins");
    }
    return 0;
}
