/* The kernel of set avx512_amx: its source with a model of the instructions; the machine code in the library, on the processor where it has AMX
 * and with the same model in its place where it has none; and when the set is offered. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* registers in <ucontext.h> */
#endif
#include <cpuid.h>

#include "amx_model.h"
#include "golden_files.h"
#include "kernel_tests_integer.h"
#include "kernels/x86.h"
#include "platform/cpu_features.h"
#include "rbe/rbe.h"

typedef struct config_bytes {
    uint8_t byte[64];
} config_bytes;

static config_bytes one_tile(uint32_t tile, uint32_t rows, uint32_t row_bytes)
{
    config_bytes config = {{1}};
    config.byte[16 + 2 * tile] = (uint8_t)row_bytes;
    config.byte[17 + 2 * tile] = (uint8_t)(row_bytes >> 8);
    config.byte[48 + tile] = (uint8_t)rows;
    return config;
}

static int refused(config_bytes config)
{
    memset(&amx, 0, sizeof amx);
    amx_loadconfig(&config);
    return amx.fault != NULL && !amx.configured;
}

/* A model that lets everything pass would prove nothing. */
static void test_model_refuses(void)
{
    config_bytes config;
    CHECK(!refused(one_tile(7, 16, 64)) && amx.configured && amx.tile[7].rows == 16, "the largest");
    CHECK(refused(one_tile(0, 17, 64)), "17 rows");
    CHECK(refused(one_tile(0, 16, 65)), "65 bytes");
    CHECK(refused(one_tile(0, 16, 256 + 64)), "320 bytes");
    CHECK(refused(one_tile(0, 0, 64)), "no rows");
    CHECK(refused(one_tile(0, 16, 0)), "no bytes");
    CHECK(refused(one_tile(8, 16, 64)), "tile 8");
    for (uint32_t i = 1; i < 16; i++) {
        config = one_tile(0, 16, 64);
        config.byte[i] = 1;
        CHECK(refused(config), "byte %u", i);
    }
    config = one_tile(0, 16, 64);
    config.byte[0] = 2;
    CHECK(refused(config), "palette 2");
    config.byte[0] = 0;
    CHECK(!refused(config) && !amx.configured, "palette 0 releases");

    uint8_t data[64] = {0};
    CHECK(!refused(one_tile(1, 1, 64)), "one tile");
    amx_loadd(0, data, 64);
    CHECK(amx.fault != NULL, "a load into a tile that is not configured");
    config = one_tile(0, 2, 8); /* 2 x 2 sums of a 2 x 3 and a 3 x 2, in words */
    config.byte[16 + 2] = 12, config.byte[48 + 1] = 2;
    config.byte[16 + 4] = 8, config.byte[48 + 2] = 3;
    CHECK(!refused(config), "shapes that fit");
    amx_dpbssd(0, 1, 2);
    CHECK(amx.fault == NULL, "%s", amx.fault);
    amx_dpbssd(0, 1, 1);
    CHECK(amx.fault != NULL, "one tile twice");
    amx.fault = NULL;
    amx_dpbssd(0, 2, 1);
    CHECK(amx.fault != NULL, "operands exchanged");
    amx.fault = NULL;
    amx_release();
    amx_zero(0);
    CHECK(amx.fault != NULL, "after the release");
}

/* 2 x 1 sums of numbers that can be checked by hand; unused rows and columns stay zero, nothing is written beside the sums. */
static void test_model_multiplies(void)
{
    const int8_t a[2][4] = {{1, -2, 3, 127}, {-128, 0, 5, 1}}, b[4] = {10, 20, -30, -128};
    int32_t sums[2][3] = {{7, 7, 7}, {7, 7, 7}};
    config_bytes config = one_tile(0, 2, 4);
    config.byte[16 + 2] = 4, config.byte[48 + 1] = 2;
    config.byte[16 + 4] = 4, config.byte[48 + 2] = 1;
    CHECK(!refused(config), "config");
    amx_loadd(0, &sums[0][1], sizeof sums[0]);
    amx_loadd(1, a, 4);
    amx_loadd(2, b, 4);
    amx_dpbssd(0, 1, 2);
    amx_stored(0, &sums[0][1], sizeof sums[0]);
    CHECK(sums[0][1] == 7 + 10 - 40 - 90 - 127 * 128 && sums[1][1] == 7 - 1280 - 150 - 128, "%d %d", sums[0][1], sums[1][1]);
    CHECK(sums[0][0] == 7 && sums[0][2] == 7 && sums[1][0] == 7 && sums[1][2] == 7, "beside the sums");
    CHECK(amx.tile[0].data[0][4] == 0 && amx.tile[0].data[2][0] == 0 && amx.fault == NULL, "unused parts");
}

/* Every number of tokens and of groups, heights on both sides of 16 and 32 rows. */
static void test_edges(const kernel_case *about, rbe_multiply_tile_kernel *multiply_tile)
{
    static const uint32_t heights[] = {1, 3, 4, 5, 8, 9, 11, 12, 13, 64};
    static int8_t tile[64 * 64 * 16], x[70 * 300];
    static int32_t sums[70 * 256], expected[70 * 256];
    random_bytes(tile, sizeof tile);
    random_bytes(x, sizeof x);
    for (uint32_t n = 1; n <= 70; n++) {
        const uint32_t row_steps = heights[n % 10], n_groups = (n - 1) % 64 + 1;
        const size_t bytes = (size_t)n * 4 * row_steps * sizeof(int32_t);
        memset(sums, 0x55, sizeof sums);
        about->scalar->multiply_tile(tile, row_steps, n_groups, x, 300, n, expected);
        multiply_tile(tile, row_steps, n_groups, x, 300, n, sums);
        CHECK(memcmp(sums, expected, bytes) == 0, "%s: R %u, %u groups, %u tokens", about->set, row_steps, n_groups, n);
    }
}

static void test_kernel(const kernel_case *about, rbe_multiply_tile_kernel *multiply_tile)
{
    memset(&amx, 0, sizeof amx);
    random_state = 1;
    test_rbe_multiply_tile_kernel(about, multiply_tile);
    test_edges(about, multiply_tile);
    CHECK(amx.fault == NULL, "%s: %s", about->set, amx.fault);
    CHECK(amx.n_loadconfig == amx.n_release && !amx.configured, "%s: %u configured, %u released", about->set, amx.n_loadconfig,
          amx.n_release);
}

/* The figures of docs/kernels.md. */
static void test_instruction_counts(rbe_multiply_tile_kernel *multiply_tile)
{
    static int8_t tile[64 * 64 * 16], x[64 * 256];
    static int32_t sums[64 * 256];
    memset(&amx, 0, sizeof amx);
    multiply_tile(tile, 64, 64, x, 256, 64, sums);
    CHECK(amx.n_dpbssd == 64u * 256 * 256 / 16384, "%u products", amx.n_dpbssd);
    CHECK(amx.n_loadd == amx.n_dpbssd && amx.n_stored == 64 && amx.n_zero == 64, "%u loads, %u stores", amx.n_loadd, amx.n_stored);
    CHECK(amx.n_loadconfig == 1 && amx.n_release == 1, "%u configurations", amx.n_loadconfig);
    memset(&amx, 0, sizeof amx);
    multiply_tile(tile, 4, 64, x, 256, 16, sums);
    CHECK(amx.n_dpbssd == 4 && amx.n_loadd == 8 && amx.n_stored == 1, "one block: %u products", amx.n_dpbssd);
}

static uint32_t n_asked, n_offered;

static int offers(void)
{
    n_offered++;
    return 1;
}

static int has_none(void)
{
    n_offered++;
    return 0;
}

static int grants(void)
{
    n_asked++;
    return 1;
}

static int denies(void)
{
    n_asked++;
    return 0;
}

/* A Sapphire Rapids server under Linux, as far as it is asked. */
static const rbe__x86 with_tiles = {
    .leaf1_ecx = bit_OSXSAVE | bit_FMA | bit_F16C | bit_PCLMUL,
    .leaf7_ebx = bit_AVX2 | bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL,
    .leaf7_ecx = bit_AVX512VNNI | bit_AVX512VBMI | bit_VPCLMULQDQ,
    .leaf7_edx = 3u << 24,
    .xcr0 = 0x602e7,
    .offers_tiles = offers,
};

static void test_offered(void)
{
    CHECK(rbe__x86_has_avx512_amx(&with_tiles) && n_offered == 1, "all is there");
    rbe__x86 machine = with_tiles;
    machine.offers_tiles = has_none;
    CHECK(!rbe__x86_has_avx512_amx(&machine) && n_offered == 2, "the system has none");
    CHECK(rbe__x86_has_avx512_vbmi(&machine), "the set before it");
    n_offered = 0;
    for (uint32_t bit = 24; bit <= 25; bit++) { /* AMX-TILE, AMX-INT8 */
        machine = with_tiles;
        machine.leaf7_edx &= ~(1u << bit);
        CHECK(!rbe__x86_has_avx512_amx(&machine), "without bit %u of edx", bit);
    }
    for (uint32_t bit = 17; bit <= 18; bit++) { /* the configuration, the data */
        machine = with_tiles;
        machine.xcr0 &= ~(1ull << bit);
        CHECK(!rbe__x86_has_avx512_amx(&machine) && rbe__x86_has_avx512_vbmi(&machine), "without bit %u of XCR0", bit);
    }
    machine = with_tiles;
    machine.leaf7_ecx = bit_AVX512VNNI;
    CHECK(!rbe__x86_has_avx512_amx(&machine) && rbe__x86_has_avx512(&machine), "without VBMI");
    machine.leaf7_ecx = bit_AVX512VNNI | bit_AVX512VBMI;
    CHECK(!rbe__x86_has_avx512_vbmi(&machine) && rbe__x86_has_avx512(&machine), "without VPCLMULQDQ");
    machine.leaf1_ecx &= ~(uint32_t)bit_PCLMUL;
    CHECK(!rbe__x86_has_avx2(&machine), "without PCLMULQDQ");
    machine = with_tiles;
    machine.xcr0 = 0x7;
    CHECK(!rbe__x86_has_avx512(&machine) && rbe__x86_has_avx2(&machine), "without the registers of AVX-512");
    CHECK(!rbe__x86_has_avx2_vnni(&machine), "without AVX-VNNI");
    machine.leaf7_1_eax = 1u << 4;
    CHECK(rbe__x86_has_avx2_vnni(&machine), "with AVX-VNNI");
    machine.xcr0 = 0;
    CHECK(!rbe__x86_has_avx2(&machine), "a system that saves nothing");
    CHECK(n_offered == 0, "asked where tiles could not be used anyway");
}

/* The registers are asked for when they are first needed, once, and never again after a refusal. */
static void test_ready(void)
{
    atomic_int answer = 0;
    n_asked = 0;
    for (int i = 0; i < 3; i++) {
        CHECK(rbe__tiles_ready(&answer, grants) == 1 && n_asked == 1, "asked %u times", n_asked);
    }
    answer = 0;
    for (int i = 0; i < 3; i++) {
        CHECK(rbe__tiles_ready(&answer, denies) == 0 && n_asked == 2, "asked %u times", n_asked);
    }
    CHECK(rbe__tiles_ready(&answer, grants) == 0 && n_asked == 2, "what was refused stays so");
}

#if defined(__linux__)
#include "amx_emulator.h"

/* What a system call was told to answer, and what it was asked. */
static long ask_answer, get_answer;
static uint64_t get_mask;
static int asked_codes[3];
static uint32_t n_codes;

static long pretended_arch_prctl(int code, uintptr_t argument)
{
    asked_codes[n_codes < 2 ? n_codes++ : 2] = code;
    if (code == 0x1023 && argument == 18) { /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
        return ask_answer;
    }
    if (code == 0x1022 || code == 0x1021) { /* ARCH_GET_XCOMP_PERM, ARCH_GET_XCOMP_SUPP */
        *(uint64_t *)argument = get_mask;
        return get_answer;
    }
    return -1;
}

static int permission(long ask, long get, uint64_t mask)
{
    ask_answer = ask, get_answer = get, get_mask = mask, n_codes = 0;
    return rbe__tiles_from(pretended_arch_prctl);
}

static void test_permission(void)
{
    CHECK(permission(0, 0, 0x602e7) == 1 && n_codes == 2 && asked_codes[0] == 0x1023 && asked_codes[1] == 0x1022, "given");
    CHECK(permission(-1, 0, 0x602e7) == 0, "an old kernel, or one that refuses");
    CHECK(permission(0, 0, 0x2e7) == 0, "granted and not given");
    CHECK(permission(0, -1, 0x602e7) == 0, "no answer");
}

static int offered(long answer, uint64_t mask)
{
    get_answer = answer, get_mask = mask, n_codes = 0;
    return rbe__tiles_offered_by(pretended_arch_prctl);
}

static void test_system_offers(void)
{
    CHECK(offered(0, 0x602e7) == 1 && n_codes == 1 && asked_codes[0] == 0x1021, "offered, and not asked for");
    CHECK(offered(0, 0x2e7) == 0, "a processor without");
    CHECK(offered(-1, 0x602e7) == 0, "an old kernel");
}

/* What does the tile instructions of the machine code. */
typedef enum amx_executor { BY_MODEL, BY_PROCESSOR, BY_NOBODY } amx_executor;

/* A processor without AMX takes every tile instruction for an illegal one, and the model does it. A processor with AMX does them once
 * Linux gave permission. Where that was refused, ldtilecfg runs and the instructions after it end in SIGILL: the model would not know
 * the configuration. */
static amx_executor choose_executor(const rbe__x86 *machine, int (*ask)(void))
{
    const uint32_t both = 3u << 24; /* AMX-TILE, AMX-INT8 */
    const uint64_t tiles = 3ull << 17; /* in XCR0: the configuration, the data */
    if ((machine->leaf7_edx & both) == 0 && (machine->xcr0 & tiles) == 0) {
        return BY_MODEL;
    }
    const int usable = (machine->leaf7_edx & both) == both && (machine->xcr0 & tiles) == tiles;
    return usable && ask() ? BY_PROCESSOR : BY_NOBODY;
}

static void test_executor(void)
{
    n_asked = 0;
    CHECK(choose_executor(&with_tiles, grants) == BY_PROCESSOR && n_asked == 1, "AMX, permitted");
    rbe__x86 machine = with_tiles;
    CHECK(choose_executor(&machine, denies) == BY_NOBODY && n_asked == 2, "AMX, refused");
    machine = with_tiles;
    machine.xcr0 = 0xe7;
    CHECK(choose_executor(&machine, grants) == BY_NOBODY && n_asked == 2, "a system that saves no tiles");
    machine.leaf7_edx = 0;
    CHECK(choose_executor(&machine, grants) == BY_MODEL && n_asked == 2, "no AMX");
    machine.xcr0 = with_tiles.xcr0;
    CHECK(choose_executor(&machine, grants) == BY_NOBODY && n_asked == 2, "cpuid hides what the system saves");
    machine = with_tiles;
    machine.leaf7_edx = 1u << 24;
    CHECK(choose_executor(&machine, grants) == BY_NOBODY && n_asked == 2, "tiles without products");
}

#if RBE_AMX_BUILT
/* The machine code of the library. */
static void test_machine_code(const rbe_kernels *scalar)
{
    const rbe__x86 machine = rbe__x86_read();
    const amx_executor executor = choose_executor(&machine, rbe__cpu_permits_tiles);
    rbe_kernels table = *scalar;
    rbe__kernels_avx512_amx(&table);
    CHECK(table.multiply_tile != scalar->multiply_tile && table.generate_k4 == scalar->generate_k4, "not its own");
    if (rbe_kernel_set_available("avx512_vbmi")) { /* with the tile registers, or with what stands in for them */
        test_kernel(&(kernel_case){"avx512_amx", "multiply_tile", scalar, NULL}, table.multiply_tile);
    }
    table.multiply_tile = rbe__amx_multiply_tile; /* without asking */
    if (executor == BY_NOBODY) {
        printf("machine code: not run; the processor has AMX and the system does not permit it\n");
        return;
    }
    if (executor == BY_MODEL) {
        amx_emulate();
    }
    test_kernel(&(kernel_case){"avx512_amx, machine code", "multiply_tile", scalar, NULL}, table.multiply_tile);
    printf("machine code: %u instructions by the model%s\n", amx_n_emulated, executor == BY_PROCESSOR ? ", all by the processor" : "");
    CHECK((amx_n_emulated > 0) == (executor == BY_MODEL), "%u instructions by the model", amx_n_emulated);
    if (executor == BY_MODEL) {
        signal(SIGILL, SIG_DFL);
    }
}

/* A set that this processor lacks is refused as any other is. */
static void test_forced(void)
{
    rbe_kernels table;
    const int available = rbe_kernel_set_available("avx512_amx");
    CHECK((rbe__kernels_select("avx512_amx", &table) == 0) == available, "%d", available);
    rbe_model *model = NULL;
    golden_files files = {0};
    add_golden_files("v1", &files);
    const rbe_model_options options = {.struct_bytes = sizeof options, .kernel_set = "avx512_amx"};
    const rbe_status status = rbe_model_open(files.path[0], &options, &model);
    CHECK(status == (available ? RBE_OK : RBE_ERROR_UNSUPPORTED), "status %d: %s", (int)status, rbe_last_error());
    CHECK(available || strstr(rbe_last_error(), "avx512_amx") != NULL, "%s", rbe_last_error());
    rbe_model_close(model);

    rbe_model_options without = {.struct_bytes = sizeof without, .without_amx = 1};
    rbe_model_info info = {.struct_bytes = sizeof info};
    CHECK(rbe_model_open(files.path[0], &without, &model) == RBE_OK && rbe_model_get_info(model, &info) == RBE_OK, "%s", rbe_last_error());
    CHECK(info.kernel_set && strcmp(info.kernel_set, "avx512_amx") != 0 && strcmp(info.kernel_set, rbe__kernels_best(1)) == 0, "%s",
          info.kernel_set);
    rbe_model_close(model);
    without.kernel_set = "avx512_amx";
    CHECK(rbe_model_open(files.path[0], &without, &model) == RBE_ERROR_ARGUMENT && strstr(rbe_last_error(), "without_amx"), "%s",
          rbe_last_error());
}
#endif
#endif

int main(void)
{
    rbe_kernels scalar;
    CHECK(rbe__kernels_select("scalar", &scalar) == 0, "scalar");
    test_model_refuses();
    test_model_multiplies();
    test_kernel(&(kernel_case){"avx512_amx, model", "multiply_tile", &scalar, NULL}, amx_model_multiply_tile);
    test_instruction_counts(amx_model_multiply_tile);
    test_offered();
    test_ready();
#if defined(__linux__)
    test_permission();
    test_system_offers();
    test_executor();
#if RBE_AMX_BUILT
    test_machine_code(&scalar);
    test_forced();
#endif
#endif
    return check_finish();
}
