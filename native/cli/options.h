/* Reads command lines: a table of options for each command, named as those of the Python command. */
#ifndef RBE_PROGRAM_OPTIONS_H
#define RBE_PROGRAM_OPTIONS_H

#include <stdint.h>

typedef enum option_kind {
    OPTION_FLAG,    /* int, becomes 1 */
    OPTION_TEXT,    /* const char * */
    OPTION_TEXTS,   /* texts: each time one more */
    OPTION_WHOLE,   /* int64_t */
    OPTION_SEED,    /* seed */
    OPTION_NUMBER,  /* double */
    OPTION_SIZE,    /* uint64_t: 200M, 1.5G */
    OPTION_CHOICE,  /* uint32_t: the place in `choices` */
    OPTION_REFUSED, /* `target` is the reason, a text; takes a value unless `choices` is set */
} option_kind;

typedef struct option {
    const char *brief, *name; /* "-n", "--predict"; brief may be NULL */
    option_kind kind;
    void *target;
    const char *const *choices; /* ends with NULL */
} option;

#define MAX_TEXTS 64u

typedef struct texts {
    const char *text[MAX_TEXTS];
    uint32_t n;
} texts;

typedef struct seed {
    uint64_t value;
    int is_given; /* 0: none, or a number below 0 */
} seed;

/* What a command takes. */
typedef struct command_line {
    const char *command;
    const char *usage[4];        /* what --help prints, in parts; NULL: no further one */
    const option *options;       /* ends with a name of NULL */
    const char **file;           /* receives the first argument without a name */
    texts *rest;                 /* receives those behind it; NULL: there must be none */
} command_line;

/* 0: go on; else *code is the exit code: 0 behind --help, EXIT_USAGE behind a line that says what is wrong. */
int read_command_line(const command_line *line, int argc, char **argv, int *code);

/* Whether a text is a number as Python's float() takes it, without blanks; or a whole one. */
int read_number(const char *text, double *out);
int read_whole(const char *text, int64_t *out);

#endif
