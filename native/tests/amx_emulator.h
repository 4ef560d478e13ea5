/* Runs machine code that uses AMX-TILE and AMX-INT8 on processors without: each such instruction is an illegal one there, is taken apart
 * in the handler of SIGILL and done by amx_model.h. Not for a processor with AMX: it does ldtilecfg itself, permitted or not, and the model would never see
 * the configuration. The handler runs on the thread's own stack: once tiles are permitted, Linux refuses an alternate one (sigaltstack) that has no
 * room for their 8 KB. Linux on 64-bit x86. */
#ifndef RBE_TESTS_AMX_EMULATOR_H
#define RBE_TESTS_AMX_EMULATOR_H

#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "amx_model.h"

static uint32_t amx_n_emulated;

static inline uint64_t amx_register(const ucontext_t *context, uint32_t number)
{
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)context->uc_mcontext.gregs[order[number]];
}

/* A memory operand (SDM volume 2, section 2.1): base + index << scale + displacement. */
typedef struct amx_operand {
    uint64_t base, index;
    int has_index;
    uint32_t length; /* bytes of the instruction from ModRM on */
} amx_operand;

static inline amx_operand amx_read_operand(const ucontext_t *context, const uint8_t *modrm, uint32_t rex_x, uint32_t rex_b)
{
    amx_operand found = {.length = 1};
    const uint32_t mod = modrm[0] >> 6, rm = modrm[0] & 7;
    uint32_t base = rm;
    if (rm == 4) {
        const uint32_t sib = modrm[found.length++], index = rex_x << 3 | (sib >> 3 & 7);
        base = sib & 7;
        found.has_index = index != 4;
        found.index = found.has_index ? amx_register(context, index) << (sib >> 6) : 0;
    }
    const int without_base = mod == 0 && base == 5;
    if (!without_base) {
        found.base = amx_register(context, rex_b << 3 | base);
    }
    if (mod == 1) {
        found.base += (uint64_t)(int8_t)modrm[found.length++];
    } else if (mod == 2 || without_base) {
        int32_t displacement;
        memcpy(&displacement, modrm + found.length, sizeof displacement);
        found.length += sizeof displacement;
        found.base += (uint64_t)displacement;
    }
    if (without_base && rm == 5) { /* relative to the next instruction: 4 bytes of VEX and opcode stand before ModRM */
        found.base += (uint64_t)context->uc_mcontext.gregs[REG_RIP] + 4 + found.length;
    }
    return found;
}

/* Does the instruction at the instruction pointer and moves on; 0 where it is none of AMX. All are VEX.128.0F38.W0. */
static inline int amx_step(ucontext_t *context)
{
    const uint8_t *code = (const uint8_t *)(uintptr_t)context->uc_mcontext.gregs[REG_RIP];
    if (code[0] != 0xc4 || (code[1] & 0x1f) != 2 || (code[2] & 0x84) != 0) {
        return 0;
    }
    const uint32_t vvvv = ~(uint32_t)code[2] >> 3 & 15, prefix = code[2] & 3, opcode = code[3], modrm = code[4];
    const uint32_t reg = modrm >> 3 & 7, in_memory = modrm < 0xc0;
    enum { NO_PREFIX = 0, F3 = 2, F2 = 3 };
    amx_operand at = {.length = 1};
    if (in_memory) {
        at = amx_read_operand(context, code + 4, ~(uint32_t)code[1] >> 6 & 1, ~(uint32_t)code[1] >> 5 & 1);
    }
    void *memory = (void *)(uintptr_t)at.base;
    if (opcode == 0x49 && prefix == NO_PREFIX && in_memory && reg == 0) {
        amx_loadconfig(memory);
    } else if (opcode == 0x49 && prefix == NO_PREFIX && modrm == 0xc0) {
        amx_release();
    } else if (opcode == 0x49 && prefix == F2 && !in_memory && (modrm & 7) == 0) {
        amx_zero(reg);
    } else if (opcode == 0x4b && prefix == F2 && at.has_index) {
        amx_loadd(reg, memory, (int64_t)at.index);
    } else if (opcode == 0x4b && prefix == F3 && at.has_index) {
        amx_stored(reg, memory, (int64_t)at.index);
    } else if (opcode == 0x5e && prefix == F2 && !in_memory) {
        amx_dpbssd(reg, modrm & 7, vvvv);
    } else {
        return 0;
    }
    amx_n_emulated++;
    context->uc_mcontext.gregs[REG_RIP] += 4 + (int64_t)at.length;
    return 1;
}

static inline void amx_on_illegal(int number, siginfo_t *info, void *context)
{
    (void)info;
    if (!amx_step(context)) {
        signal(number, SIG_DFL); /* the instruction comes again, and ends the program */
    }
}

static inline void amx_emulate(void)
{
    struct sigaction action = {.sa_sigaction = amx_on_illegal, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGILL, &action, NULL);
}

#endif
