#include "platform/program.h"

#include <mach-o/dyld.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "platform/darwin/sysctl.h"

int rbe__program_path(const char *name, char *out, size_t capacity)
{
    uint32_t bytes = capacity > UINT32_MAX ? UINT32_MAX : (uint32_t)capacity;
    (void)name;
    return _NSGetExecutablePath(out, &bytes) == 0;
}

void rbe__machine_describe(rbe__machine *out)
{
    struct utsname name;
    size_t bytes = sizeof out->processor;
    memset(out, 0, sizeof *out);
    if (sysctlbyname("machdep.cpu.brand_string", out->processor, &bytes, NULL, 0) != 0) {
        out->processor[0] = 0;
    }
    if (uname(&name) == 0) {
        snprintf(out->system, sizeof out->system, "%.60s %.60s", name.sysname, name.machine);
    }
}

double rbe__load(void)
{
    return 0;
}
