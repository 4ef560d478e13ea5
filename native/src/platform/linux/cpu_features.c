#include "platform/cpu_features.h"

#if defined(__aarch64__) || defined(__arm__)
#include <sys/auxv.h>
#endif

/* Linux, arch/arm64/include/uapi/asm/hwcap.h and arch/arm/include/uapi/asm/hwcap.h */
#define ARM64_HWCAP_ASIMDDP (1ul << 20)
#define ARM64_HWCAP2_I8MM (1ul << 13)
#define ARM_HWCAP_NEON (1ul << 12)
#define ARM_HWCAP_VFPV4 (1ul << 16)

int rbe__cpu_has_arm_dotprod(void)
{
#if defined(__aarch64__)
    return (getauxval(AT_HWCAP) & ARM64_HWCAP_ASIMDDP) != 0;
#else
    return 0;
#endif
}

int rbe__cpu_has_arm_i8mm(void)
{
#if defined(__aarch64__)
    return rbe__cpu_has_arm_dotprod() && (getauxval(AT_HWCAP2) & ARM64_HWCAP2_I8MM) != 0;
#else
    return 0;
#endif
}

int rbe__cpu_has_arm_neon(void)
{
#if defined(__arm__)
    const unsigned long both = ARM_HWCAP_NEON | ARM_HWCAP_VFPV4;
    return (getauxval(AT_HWCAP) & both) == both;
#else
    return 0;
#endif
}
