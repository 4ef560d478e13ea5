#define _DEFAULT_SOURCE /* syscall */

#include "platform/cpu_features.h"

#if defined(__aarch64__) || defined(__arm__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Linux, arch/arm64/include/uapi/asm/hwcap.h and arch/arm/include/uapi/asm/hwcap.h */
#define ARM64_HWCAP_CRC32 (1ul << 7)
#define ARM64_HWCAP_ASIMDDP (1ul << 20)
#define ARM64_HWCAP2_I8MM (1ul << 13)
#define ARM_HWCAP_NEON (1ul << 12)
#define ARM_HWCAP_VFPV4 (1ul << 16)

/* Linux 5.16, arch/x86/include/uapi/asm/prctl.h; the number of a register state is that of its bit in XCR0 (Documentation/arch/x86/xstate.rst) */
enum { X86_GET_SUPPORTED = 0x1021, X86_GET_PERMISSION = 0x1022, X86_ASK_PERMISSION = 0x1023, X86_TILE_DATA = 18 };

/* Of AT_HWCAP of a 64-bit ARM process. */
static int arm64_has(unsigned long capability)
{
#if defined(__aarch64__)
    return (getauxval(AT_HWCAP) & capability) != 0;
#else
    (void)capability;
    return 0;
#endif
}

int rbe__cpu_has_arm_crc(void)
{
    return arm64_has(ARM64_HWCAP_CRC32);
}

int rbe__cpu_has_arm_dotprod(void)
{
    return arm64_has(ARM64_HWCAP_ASIMDDP);
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

int rbe__tiles_offered_by(rbe__arch_prctl *arch_prctl)
{
    uint64_t supported = 0;
    return arch_prctl(X86_GET_SUPPORTED, (uintptr_t)&supported) == 0 && (supported >> X86_TILE_DATA & 1) != 0;
}

int rbe__tiles_from(rbe__arch_prctl *arch_prctl)
{
    uint64_t permitted = 0;
    return arch_prctl(X86_ASK_PERMISSION, X86_TILE_DATA) == 0 && arch_prctl(X86_GET_PERMISSION, (uintptr_t)&permitted) == 0 &&
           (permitted >> X86_TILE_DATA & 1) != 0;
}

#if defined(__x86_64__)
static long system_arch_prctl(int code, uintptr_t argument)
{
    return syscall(SYS_arch_prctl, code, argument);
}
#endif

int rbe__cpu_offers_tiles(void)
{
#if defined(__x86_64__)
    return rbe__tiles_offered_by(system_arch_prctl);
#else
    return 0;
#endif
}

int rbe__cpu_permits_tiles(void)
{
#if defined(__x86_64__)
    return rbe__tiles_from(system_arch_prctl);
#else
    return 0;
#endif
}
