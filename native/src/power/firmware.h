/* What the firmware of a Raspberry Pi says, by its device or by vcgencmd. */
#ifndef RBE_POWER_FIRMWARE_H
#define RBE_POWER_FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

typedef struct rbe__firmware {
    char devices[2][128]; /* "": none */
    char program[192];    /* "": none */
    uint64_t ran_ns;      /* when the program was last run for the throttling; 0: never */
    uint32_t kept;        /* what it said then */
    int kept_known;
    int answered;         /* 1: the device answered once; then no program is run */
    int silent;           /* 1: there is neither, so that neither is asked again */
} rbe__firmware;

/* root, device, program: as in rbe_power_options. */
void rbe__firmware_find(const char *root, const char *device, const char *program, rbe__firmware *out);

/* 1 where something answered. by_program: set to 1 where a process had to be started for it; asked only where `may_run`. */
int rbe__firmware_answer(rbe__firmware *firmware, const char *question, int may_run, int *by_program, char *out, size_t capacity);

/* The bits of get_throttled: 0 under-voltage, 1 clock capped, 2 throttled, 3 soft limit of the temperature; what was since the start stands
 * 16 bits higher (raspberrypi.com, "vcgencmd"). A program is run every 10 seconds at most; in between its last answer counts. 1 where known. */
int rbe__firmware_throttled(rbe__firmware *firmware, uint64_t now, uint32_t *bits);

/* Watts of all rails of a Raspberry Pi 5 that have both a current and a voltage, of the text of pmic_read_adc, and their number; NAN: none. */
double rbe__firmware_rails(const char *text, uint32_t *n_rails);

#endif
