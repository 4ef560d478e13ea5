#include "platform/system_files.h"

int rbe__firmware_ask(const char *device, const char *question, char *out, size_t capacity)
{
    (void)device, (void)question, (void)capacity;
    out[0] = 0;
    return 0;
}
