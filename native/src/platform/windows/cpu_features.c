/* 64-bit x86 alone. Tile registers are not asked for: what Windows 11 gives them by has not been tried. */
#include "platform/cpu_features.h"

int rbe__cpu_has_arm_crc(void)
{
    return 0;
}

int rbe__cpu_has_arm_dotprod(void)
{
    return 0;
}

int rbe__cpu_has_arm_i8mm(void)
{
    return 0;
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
