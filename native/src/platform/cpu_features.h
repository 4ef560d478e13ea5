/* What of the processor only the operating system can tell or give. On x86 the processor tells the rest itself (kernels/x86.h). */
#ifndef RBE_PLATFORM_CPU_FEATURES_H
#define RBE_PLATFORM_CPU_FEATURES_H

#include <stdint.h>

/* 64-bit ARM: 1 where the sdot and udot instructions (Armv8.2 dot product) may be used, else 0; 0 on others. Any thread. */
int rbe__cpu_has_arm_dotprod(void);

/* The same for smmla (Armv8.6 int8 matrix product), with the dot product. */
int rbe__cpu_has_arm_i8mm(void);

/* 32-bit ARM: 1 where NEON and VFPv4 (fused multiply-add, half precision) may be used, else 0; 0 on others. */
int rbe__cpu_has_arm_neon(void);

/* 64-bit x86: asks for the tile registers of AMX and asks back whether they were given, to this process and all its threads: 1, else 0; 0 on
 * others. Without them the first tile instruction ends the process (SIGILL), whatever cpuid and xgetbv say. Ask only where the processor has
 * AMX. Any thread. */
int rbe__cpu_permits_tiles(void);

/* Linux: the same of a system call arch_prctl, which takes a code and a number or an address and returns 0 where it did as asked. */
int rbe__tiles_from(long (*arch_prctl)(int code, uintptr_t argument));

#endif
