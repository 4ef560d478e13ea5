#include "kernels/x86.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include "platform/cpu_features.h"

/* Bits of cpuid without a name in older <cpuid.h>. */
enum { LEAF7_EDX_AMX_TILE = 1 << 24, LEAF7_EDX_AMX_INT8 = 1 << 25, LEAF7_1_EAX_AVX_VNNI = 1 << 4 };

/* Register state that the operating system saves (Intel SDM volume 1, section 13.3: XCR0). */
enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe6, XCR0_TILES = 0x60000 };

static int has(uint64_t word, uint64_t bits)
{
    return (word & bits) == bits;
}

rbe__x86 rbe__x86_read(void)
{
    rbe__x86 x86 = {.offers_tiles = rbe__cpu_offers_tiles};
    unsigned eax, ebx, ecx, edx;
    if (__get_cpuid_count(1, 0, &eax, &ebx, &ecx, &edx)) {
        x86.leaf1_ecx = ecx;
    }
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        x86.leaf7_ebx = ebx, x86.leaf7_ecx = ecx, x86.leaf7_edx = edx;
        if (eax >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) {
            x86.leaf7_1_eax = eax;
        }
    }
    if (has(x86.leaf1_ecx, bit_OSXSAVE)) {
        uint32_t low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        x86.xcr0 = (uint64_t)high << 32 | low;
    }
    return x86;
}

int rbe__x86_has_avx2(const rbe__x86 *x86)
{
    return has(x86->xcr0, XCR0_AVX) && has(x86->leaf1_ecx, bit_FMA | bit_F16C | bit_PCLMUL) && has(x86->leaf7_ebx, bit_AVX2);
}

int rbe__x86_has_avx2_vnni(const rbe__x86 *x86)
{
    return rbe__x86_has_avx2(x86) && has(x86->leaf7_1_eax, LEAF7_1_EAX_AVX_VNNI);
}

int rbe__x86_has_avx512(const rbe__x86 *x86)
{
    return rbe__x86_has_avx2(x86) && has(x86->xcr0, XCR0_AVX512) &&
           has(x86->leaf7_ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL) && has(x86->leaf7_ecx, bit_AVX512VNNI);
}

int rbe__x86_has_avx512_vbmi(const rbe__x86 *x86)
{
    return rbe__x86_has_avx512(x86) && has(x86->leaf7_ecx, bit_AVX512VBMI | bit_VPCLMULQDQ);
}

int rbe__x86_has_avx512_amx(const rbe__x86 *x86)
{
    return rbe__x86_has_avx512_vbmi(x86) && has(x86->leaf7_edx, LEAF7_EDX_AMX_TILE | LEAF7_EDX_AMX_INT8) && has(x86->xcr0, XCR0_TILES) &&
           x86->offers_tiles();
}

int rbe__tiles_ready(atomic_int *answer, int (*ask)(void))
{
    enum { UNASKED, GIVEN, REFUSED };
    int known = atomic_load_explicit(answer, memory_order_relaxed);
    if (known == UNASKED) {
        known = ask() ? GIVEN : REFUSED;
        atomic_store_explicit(answer, known, memory_order_relaxed);
    }
    return known == GIVEN;
}
#endif
