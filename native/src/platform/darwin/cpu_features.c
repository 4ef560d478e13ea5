#include "platform/cpu_features.h"

#include "platform/darwin/sysctl.h"

int rbe__cpu_has_arm_crc(void)
{
    return rbe__sysctl_number("hw.optional.armv8_crc32") != 0;
}

int rbe__cpu_has_arm_dotprod(void)
{
    return rbe__sysctl_number("hw.optional.arm.FEAT_DotProd") != 0;
}

int rbe__cpu_has_arm_i8mm(void)
{
    return rbe__cpu_has_arm_dotprod() && rbe__sysctl_number("hw.optional.arm.FEAT_I8MM") != 0;
}

int rbe__cpu_has_arm_neon(void)
{
    return 0;
}

int rbe__cpu_offers_tiles(void)
{
    return 0;
}

int rbe__cpu_permits_tiles(void)
{
    return 0;
}
