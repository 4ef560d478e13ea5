/* What an x86 processor and its operating system give, and which kernel sets that is enough for. Questions are asked of values, so that
 * a test can ask them about other machines. */
#ifndef RBE_KERNELS_X86_H
#define RBE_KERNELS_X86_H

#include <stdatomic.h>

#include "kernels/kernels.h"

/* Words of cpuid, 0 where the processor has no such leaf. */
typedef struct rbe__x86 {
    uint32_t leaf1_ecx, leaf7_ebx, leaf7_ecx, leaf7_edx, leaf7_1_eax;
    uint64_t xcr0;                /* the registers that the operating system saves, a bit each; 0 where it tells nothing */
    int (*offers_tiles)(void);    /* whether the operating system has tile registers to give; called only where all else is there */
} rbe__x86;

/* Of this machine. Any thread. */
rbe__x86 rbe__x86_read(void);

/* 1 where the set's instructions may be used, else 0. */
int rbe__x86_has_avx2(const rbe__x86 *x86);
int rbe__x86_has_avx2_vnni(const rbe__x86 *x86);
int rbe__x86_has_avx512(const rbe__x86 *x86);
int rbe__x86_has_avx512_vbmi(const rbe__x86 *x86);
int rbe__x86_has_avx512_amx(const rbe__x86 *x86);

/* Whether tile instructions may be used. Calls `ask`, which asks the operating system for them, where nobody did before; several threads
 * that come first may all ask. *answer is 0 before the first call, and belongs to this function. Any thread. */
int rbe__tiles_ready(atomic_int *answer, int (*ask)(void));

/* multiply_tile in tile instructions, for a process that was given the registers. */
rbe_multiply_tile_kernel rbe__amx_multiply_tile;

#endif
