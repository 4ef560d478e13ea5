/* What of the processor only the operating system can tell. On x86 the processor tells all itself (kernels/select.c). */
#ifndef RBE_PLATFORM_CPU_FEATURES_H
#define RBE_PLATFORM_CPU_FEATURES_H

/* 64-bit ARM: 1 where the sdot and udot instructions (Armv8.2 dot product) may be used, else 0; 0 on others. Any thread. */
int rbe__cpu_has_arm_dotprod(void);

/* The same for smmla (Armv8.6 int8 matrix product), with the dot product. */
int rbe__cpu_has_arm_i8mm(void);

/* 32-bit ARM: 1 where NEON and VFPv4 (fused multiply-add, half precision) may be used, else 0; 0 on others. */
int rbe__cpu_has_arm_neon(void);

#endif
