#include "platform/cpu_features.h"

#if defined(__aarch64__)
#include <sys/auxv.h>

#define ARM64_HWCAP_ASIMDDP (1ul << 20) /* Linux, arch/arm64/include/uapi/asm/hwcap.h */

int rbe__cpu_has_arm_dotprod(void)
{
    return (getauxval(AT_HWCAP) & ARM64_HWCAP_ASIMDDP) != 0;
}
#else
int rbe__cpu_has_arm_dotprod(void)
{
    return 0;
}
#endif
