/* Numbers that macOS and iOS keep under names. */
#ifndef RBE_PLATFORM_DARWIN_SYSCTL_H
#define RBE_PLATFORM_DARWIN_SYSCTL_H

#include <stddef.h>
#include <stdint.h>

/* <sys/sysctl.h> does not compile under _POSIX_C_SOURCE; this is its documented prototype. */
int sysctlbyname(const char *name, void *old, size_t *old_bytes, void *new_value, size_t new_bytes);

/* The number under a name; 0 where there is none, or one below 0. */
static inline uint32_t rbe__sysctl_number(const char *name)
{
    int number = 0;
    size_t bytes = sizeof number;
    return sysctlbyname(name, &number, &bytes, NULL, 0) == 0 && number > 0 ? (uint32_t)number : 0;
}

#endif
