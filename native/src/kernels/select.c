/* The kernel sets of this build, and which of them the processor can run. */
#include <string.h>

#include "kernels/kernels.h"
#include "platform/cpu_features.h"
#include "rbe/rbe.h"

typedef struct kernel_set {
    const char *name;
    int (*available)(void);
    void (*upgrade)(rbe_kernels *table);
} kernel_set;

static int always(void)
{
    return 1;
}

#if defined(__x86_64__)
#include <cpuid.h>

/* Register state that the operating system saves (Intel SDM volume 1, section 13.3: XCR0). */
enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe6 };

typedef struct cpuid_words {
    unsigned eax, ebx, ecx, edx;
} cpuid_words;

static cpuid_words cpuid(unsigned leaf, unsigned part)
{
    cpuid_words words = {0, 0, 0, 0};
    __get_cpuid_count(leaf, part, &words.eax, &words.ebx, &words.ecx, &words.edx);
    return words;
}

static int has(unsigned word, unsigned bits)
{
    return (word & bits) == bits;
}

static int system_saves(unsigned state)
{
    if (!has(cpuid(1, 0).ecx, bit_OSXSAVE)) {
        return 0;
    }
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return has(low, state);
}

static int has_avx2(void)
{
    return system_saves(XCR0_AVX) && has(cpuid(1, 0).ecx, bit_FMA | bit_F16C) && has(cpuid(7, 0).ebx, bit_AVX2);
}

#if RBE_AVX2_VNNI_BUILT
static int has_avx2_vnni(void)
{
    enum { AVX_VNNI = 1 << 4 }; /* no name in older <cpuid.h> */
    return has_avx2() && cpuid(7, 0).eax >= 1 && has(cpuid(7, 1).eax, AVX_VNNI);
}
#endif

static int has_avx512(void)
{
    return has_avx2() && system_saves(XCR0_AVX512) &&
           has(cpuid(7, 0).ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL) && has(cpuid(7, 0).ecx, bit_AVX512VNNI);
}

static int has_avx512_vbmi(void)
{
    return has_avx512() && has(cpuid(7, 0).ecx, bit_AVX512VBMI);
}
#endif

/* Worst first; each is an upgrade of those before it that the processor can run. */
static const kernel_set kernel_sets[] = {
    {"scalar", always, rbe__kernels_scalar},
#if defined(__x86_64__)
    {"avx2", has_avx2, rbe__kernels_avx2},
#if RBE_AVX2_VNNI_BUILT
    {"avx2_vnni", has_avx2_vnni, rbe__kernels_avx2_vnni},
#endif
    {"avx512", has_avx512, rbe__kernels_avx512},
    {"avx512_vbmi", has_avx512_vbmi, rbe__kernels_avx512_vbmi},
#elif defined(__aarch64__)
    {"neon", always, rbe__kernels_neon},
    {"neon_dotprod", rbe__cpu_has_arm_dotprod, rbe__kernels_neon_dotprod},
    {"neon_i8mm", rbe__cpu_has_arm_i8mm, rbe__kernels_neon_i8mm},
#elif defined(__arm__)
    {"neon", rbe__cpu_has_arm_neon, rbe__kernels_neon},
#endif
};

enum { N_KERNEL_SETS = sizeof kernel_sets / sizeof kernel_sets[0] };

/* N_KERNEL_SETS where there is none of that name. */
static uint32_t find_set(const char *name)
{
    uint32_t index = 0;
    while (index < N_KERNEL_SETS && strcmp(kernel_sets[index].name, name) != 0) {
        index++;
    }
    return index;
}

int rbe__kernels_select(const char *name, rbe_kernels *out)
{
    uint32_t best = 0;
    if (name != NULL) {
        best = find_set(name);
        if (best == N_KERNEL_SETS || !kernel_sets[best].available()) {
            return -1;
        }
    } else {
        for (uint32_t index = 1; index < N_KERNEL_SETS; index++) {
            best = kernel_sets[index].available() ? index : best;
        }
    }
    for (uint32_t index = 0; index <= best; index++) {
        if (kernel_sets[index].available()) {
            kernel_sets[index].upgrade(out);
        }
    }
    out->name = kernel_sets[best].name;
    return 0;
}

rbe_dot_kernel *rbe__dot_kernel(const rbe_kernels *kernels, uint32_t bits)
{
    rbe_dot_kernel *const by_bits[] = {kernels->dot_k1, kernels->dot_k2, kernels->dot_k3, kernels->dot_k4};
    return by_bits[bits - 1u];
}

rbe_generate_kernel *rbe__generate_kernel(const rbe_kernels *kernels, uint32_t bits)
{
    rbe_generate_kernel *const by_bits[] = {kernels->generate_k1, kernels->generate_k2, kernels->generate_k3,
                                            kernels->generate_k4};
    return by_bits[bits - 1u];
}

const char *rbe_kernel_set_name(uint32_t index)
{
    return index < N_KERNEL_SETS ? kernel_sets[index].name : NULL;
}

int rbe_kernel_set_available(const char *name)
{
    if (name == NULL) {
        return 0;
    }
    const uint32_t index = find_set(name);
    return index < N_KERNEL_SETS && kernel_sets[index].available();
}
