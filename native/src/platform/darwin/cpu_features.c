#include "platform/cpu_features.h"

#include <stddef.h>

/* <sys/sysctl.h> hides sysctlbyname under _POSIX_C_SOURCE; this is its documented prototype. */
int sysctlbyname(const char *name, void *old, size_t *old_bytes, void *new_value, size_t new_bytes);

static int has(const char *name)
{
    int present = 0;
    size_t bytes = sizeof present;
    return sysctlbyname(name, &present, &bytes, NULL, 0) == 0 && present != 0;
}

int rbe__cpu_has_arm_dotprod(void)
{
    return has("hw.optional.arm.FEAT_DotProd");
}

int rbe__cpu_has_arm_i8mm(void)
{
    return rbe__cpu_has_arm_dotprod() && has("hw.optional.arm.FEAT_I8MM");
}

int rbe__cpu_has_arm_neon(void)
{
    return 0;
}

int rbe__cpu_permits_tiles(void)
{
    return 0;
}
