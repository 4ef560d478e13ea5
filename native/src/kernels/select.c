/* The kernel sets of this build, and which of them the processor can run. */
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/x86.h"
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
/* has_NAME(): whether this machine has what rbe__x86_has_NAME asks for. */
#define X86_SET(name)                         \
    static int has_##name(void)               \
    {                                         \
        const rbe__x86 x86 = rbe__x86_read(); \
        return rbe__x86_has_##name(&x86);     \
    }
X86_SET(avx2)
#if RBE_AVX2_VNNI_BUILT
X86_SET(avx2_vnni)
#endif
X86_SET(avx512)
X86_SET(avx512_vbmi)
#if RBE_AMX_BUILT
X86_SET(avx512_amx)
#endif
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
#if RBE_AMX_BUILT
    {"avx512_amx", has_avx512_amx, rbe__kernels_avx512_amx},
#endif
#elif defined(__aarch64__)
    {"neon", always, rbe__kernels_neon},
    {"neon_crc", rbe__cpu_has_arm_crc, rbe__kernels_neon_crc},
    {"neon_dotprod", rbe__cpu_has_arm_dotprod, rbe__kernels_neon_dotprod},
    {"neon_i8mm", rbe__cpu_has_arm_i8mm, rbe__kernels_neon_i8mm},
#elif RBE_ARM_NEON_BUILT
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

int rbe__kernels_use_amx(const char *name)
{
    return strcmp(name, "avx512_amx") == 0;
}

const char *rbe__kernels_best(int without_amx)
{
    uint32_t best = 0;
    for (uint32_t index = 1; index < N_KERNEL_SETS; index++) {
        const int wanted = !without_amx || !rbe__kernels_use_amx(kernel_sets[index].name);
        best = wanted && kernel_sets[index].available() ? index : best;
    }
    return kernel_sets[best].name;
}

int rbe__kernels_select(const char *name, rbe_kernels *out)
{
    const uint32_t best = find_set(name ? name : rbe__kernels_best(0));
    if (best == N_KERNEL_SETS || !kernel_sets[best].available()) {
        return -1;
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
    rbe_generate_kernel *const by_bits[] = {kernels->generate_k1, kernels->generate_k2, kernels->generate_k3, kernels->generate_k4};
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
