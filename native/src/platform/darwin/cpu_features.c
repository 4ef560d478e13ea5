#include "platform/cpu_features.h"

#include <stddef.h>

/* <sys/sysctl.h> hides sysctlbyname under _POSIX_C_SOURCE; this is its documented prototype. */
int sysctlbyname(const char *name, void *old, size_t *old_bytes, void *new_value, size_t new_bytes);

int rbe__cpu_has_arm_dotprod(void)
{
    int present = 0;
    size_t bytes = sizeof present;
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &present, &bytes, NULL, 0) == 0 && present != 0;
}
