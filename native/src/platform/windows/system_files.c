/* Windows has no such files, and this build asks nothing else: all sensors are unknown. */
#include "platform/system_files.h"

rbe__file_state rbe__system_file_read(const char *path, char *out, size_t capacity)
{
    (void)path, (void)capacity;
    out[0] = 0;
    return RBE_FILE_ABSENT;
}

uint32_t rbe__directory_names(const char *path, rbe__file_name *names, uint32_t most)
{
    (void)path, (void)names, (void)most;
    return 0;
}

int rbe__firmware_ask(const char *device, const char *question, char *out, size_t capacity)
{
    (void)device, (void)question, (void)capacity;
    out[0] = 0;
    return 0;
}

int rbe__program_ask(const char *path, const char *argument, uint32_t milliseconds, char *out, size_t capacity)
{
    (void)path, (void)argument, (void)milliseconds, (void)capacity;
    out[0] = 0;
    return 0;
}
