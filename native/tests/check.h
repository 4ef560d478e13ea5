/* The whole test framework: CHECK counts, check_finish() reports and gives main's exit code. */
#ifndef RBE_TESTS_CHECK_H
#define RBE_TESTS_CHECK_H

#include <stdio.h>

static int check_count, check_failures;

#define CHECK(condition, ...)                                                           \
    do {                                                                                \
        check_count++;                                                                  \
        if (!(condition)) {                                                             \
            check_failures++;                                                           \
            if (check_failures <= 20) {                                                 \
                fprintf(stderr, "%s:%d: failed: %s: ", __FILE__, __LINE__, #condition); \
                fprintf(stderr, __VA_ARGS__);                                           \
                fputc('\n', stderr);                                                    \
            }                                                                           \
        }                                                                               \
    } while (0)

static inline int check_finish(void)
{
    printf("%d checks, %d failed\n", check_count, check_failures);
    return check_failures != 0 || check_count == 0;
}

#endif
