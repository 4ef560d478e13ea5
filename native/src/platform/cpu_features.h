/* What of the processor only the operating system can tell or give. On x86 the processor tells the rest itself (kernels/x86.h). */
#ifndef RBE_PLATFORM_CPU_FEATURES_H
#define RBE_PLATFORM_CPU_FEATURES_H

#include <stdint.h>

/* 64-bit ARM: 1 where crc32x and its like may be used, else 0; 0 on others. Armv8.0 may lack them. Any thread. */
int rbe__cpu_has_arm_crc(void);

/* 64-bit ARM: 1 where the sdot and udot instructions (Armv8.2 dot product) may be used, else 0; 0 on others. Any thread. */
int rbe__cpu_has_arm_dotprod(void);

/* The same for smmla (Armv8.6 int8 matrix product), with the dot product. */
int rbe__cpu_has_arm_i8mm(void);

/* 32-bit ARM: 1 where NEON and VFPv4 (fused multiply-add, half precision) may be used, else 0; 0 on others. */
int rbe__cpu_has_arm_neon(void);

/* 64-bit x86: 1 where the operating system has tile registers of AMX to give, to a process that asks for them; else 0, and on others. This
 * does not ask for them. Any thread. */
int rbe__cpu_offers_tiles(void);

/* Asks for them, and asks back whether they were given, to this process and all its threads: 1, else 0; 0 on others. Without them the first
 * tile instruction ends the process (SIGILL), whatever cpuid and xgetbv say. From then on Linux refuses small signal stacks (sigaltstack) to
 * the whole process. Ask only where they are offered. Any thread. */
int rbe__cpu_permits_tiles(void);

/* Linux: the same of a system call arch_prctl, which takes a code and a number or an address and returns 0 where it did as asked. */
typedef long rbe__arch_prctl(int code, uintptr_t argument);
int rbe__tiles_offered_by(rbe__arch_prctl *arch_prctl);
int rbe__tiles_from(rbe__arch_prctl *arch_prctl);

#endif
