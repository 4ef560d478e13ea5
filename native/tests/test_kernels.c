/* Every kernel of every set that this processor can run, against the contracts of kernels/kernels.h.
 *
 *     test_kernels [SET ...] */
#include "kernel_tests_attention.h"
#include "kernel_tests_float.h"
#include "kernel_tests_grouped.h"
#include "kernel_tests_integer.h"
#include "rbe/rbe.h"

static void test_selection(void)
{
    rbe_kernels table;
    CHECK(strcmp(rbe_kernel_set_name(0), "scalar") == 0, "index 0 is %s", rbe_kernel_set_name(0));
    CHECK(rbe_kernel_set_available("scalar") == 1, "scalar");
    CHECK(rbe_kernel_set_available("abacus") == 0, "unknown");
    CHECK(rbe_kernel_set_available(NULL) == 0, "NULL");
    CHECK(rbe__kernels_select("abacus", &table) == -1, "unknown");
    CHECK(rbe__kernels_select(NULL, &table) == 0, "best");
    const char *best = NULL;
    uint32_t n_sets = 0;
    for (const char *name = rbe_kernel_set_name(0); name != NULL; name = rbe_kernel_set_name(++n_sets)) {
        best = rbe_kernel_set_available(name) ? name : best;
    }
    CHECK(rbe_kernel_set_name(n_sets + 1) == NULL, "past the end");
    CHECK(strcmp(table.name, best) == 0, "best is %s, selected %s", best, table.name);
    for (uint32_t bits = 1; bits <= 4; bits++) {
        rbe_dot_kernel *const dots[] = {table.dot_k1, table.dot_k2, table.dot_k3, table.dot_k4};
        rbe_generate_kernel *const generates[] = {table.generate_k1, table.generate_k2, table.generate_k3, table.generate_k4};
        CHECK(rbe__dot_kernel(&table, bits) == dots[bits - 1], "dot K=%u", bits);
        CHECK(rbe__generate_kernel(&table, bits) == generates[bits - 1], "generate K=%u", bits);
    }
}

/* A set that multiplies tiles in a way of its own does so with narrow ones too; "narrow" is what its name says. */
static void test_narrow(void)
{
    rbe_kernels before, table;
    CHECK(rbe__kernels_select("scalar", &before) == 0, "scalar");
    const char *name;
    for (uint32_t index = 1; (name = rbe_kernel_set_name(index)) != NULL; index++) {
        if (rbe__kernels_select(name, &table) == 0) {
            CHECK(table.multiply_tile == before.multiply_tile || table.multiply_narrow_tile != before.multiply_narrow_tile, "%s", name);
            before = table;
        }
    }
    int8_t t1[16] = {0}, t2[16] = {0};
    CHECK(rbe__tables_narrow(t1, t2) == 1, "zeros");
    for (int sum = -127; sum <= 127; sum++) {
        t1[15] = (int8_t)(sum / 2);
        t2[7] = (int8_t)(sum - sum / 2);
        CHECK(rbe__tables_narrow(t1, t2) == (sum >= -31 && sum <= 31), "%d", sum);
    }
}

static void test_table(const char *name, const rbe_kernels *table, const rbe_kernels *scalar)
{
    uint32_t n_own = 0;
#define TEST_KERNEL(field, type)                                                                    \
    random_state = 1;                                                                               \
    test_##type(&(kernel_case){name, #field, scalar, (void (*)(void))scalar->field}, table->field); \
    n_own += table->field != scalar->field;
    RBE_KERNEL_LIST(TEST_KERNEL)
#undef TEST_KERNEL
    random_state = 1;
    test_dot_is_its_parts(name, table);
    test_grouped_dot_is_its_parts(name, table);
    printf("%s: tested, %u kernels other than scalar\n", name, n_own);
}

static void test_set(const char *name, const rbe_kernels *scalar)
{
    rbe_kernels table;
    if (rbe__kernels_select(name, &table) != 0) {
        CHECK(!rbe_kernel_set_available(name), "%s", name);
        printf("%s: not on this processor\n", name);
        return;
    }
    CHECK(rbe_kernel_set_available(name) && strcmp(table.name, name) == 0, "%s", name);
    test_table(name, &table, scalar);
}

#if defined(__x86_64__)
/* The source of set avx2_vnni with vpdpbusd in the encoding of AVX-512: tests/avx2_vnni_evex.c. */
void rbe__kernels_avx2_vnni_evex(rbe_kernels *table);

static void test_avx2_vnni_evex(const rbe_kernels *scalar)
{
    rbe_kernels table, avx2;
    if (!rbe_kernel_set_available("avx512") || rbe__kernels_select("avx2", &table) != 0) {
        printf("avx2_vnni, EVEX: not on this processor\n");
        return;
    }
    avx2 = table;
    rbe__kernels_avx2_vnni_evex(&table);
    CHECK(table.dot_k4 != avx2.dot_k4 && table.generate_k1 != avx2.generate_k1 && table.multiply_tile != avx2.multiply_tile, "not its own");
    test_table("avx2_vnni, EVEX", &table, scalar);
}
#endif

#if RBE_AVX512_EMULATED
/* The sources of the AVX-512 sets, their intrinsics in plain C: tests/avx512_emulator.h. */
void rbe__avx512_emulated_trellis(rbe_kernels *table);
void rbe__avx512_emulated_float(rbe_kernels *table);
void rbe__avx512_emulated_multiply_tile(rbe_kernels *table);
void rbe__avx512_emulated_grouped(rbe_kernels *table);
void rbe__avx512_emulated_vbmi(rbe_kernels *table);

static void test_avx512_emulated(const rbe_kernels *scalar)
{
    rbe_kernels table;
    if (rbe__kernels_select("avx2", &table) != 0) {
        printf("avx512, emulated: not on this processor, which has no AVX2\n");
        return;
    }
    rbe__avx512_emulated_trellis(&table);
    rbe__avx512_emulated_float(&table);
    rbe__avx512_emulated_multiply_tile(&table);
    rbe__avx512_emulated_grouped(&table);
    test_table("avx512, emulated", &table, scalar);
    rbe__avx512_emulated_vbmi(&table);
    test_table("avx512_vbmi, emulated", &table, scalar);
}
#endif

/* Without arguments every set, emulated ones too; else those that are named. "slack" before them: for an emulator (guard.h). */
int main(int argc, char **argv)
{
    rbe_kernels scalar;
    test_selection();
    test_narrow();
    CHECK(rbe__kernels_select("scalar", &scalar) == 0, "scalar");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "slack") == 0) {
            guard_slack = 64;
        } else {
            test_set(argv[i], &scalar);
        }
    }
    if (argc > 1) {
        return check_finish();
    }
    uint32_t index = 0;
    for (const char *name = rbe_kernel_set_name(0); name != NULL; name = rbe_kernel_set_name(++index)) {
        test_set(name, &scalar);
    }
#if defined(__x86_64__)
    test_avx2_vnni_evex(&scalar);
#endif
#if RBE_AVX512_EMULATED
    test_avx512_emulated(&scalar);
#endif
    return check_finish();
}
