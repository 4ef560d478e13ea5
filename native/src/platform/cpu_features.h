/* What of the processor only the operating system can tell. On x86 the processor tells all itself (kernels/select.c). */
#ifndef RBE_PLATFORM_CPU_FEATURES_H
#define RBE_PLATFORM_CPU_FEATURES_H

/* 64-bit ARM: 1 where the sdot and udot instructions (Armv8.2 dot product) may be used, else 0; 0 on others. Any thread. */
int rbe__cpu_has_arm_dotprod(void);

#endif
