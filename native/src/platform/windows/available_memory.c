#include "platform/available_memory.h"

#include "platform/windows/windows.h"

/* Standby pages, which hold files, count as available. What Windows promises to processes (commit) ends at memory and page file together,
 * whether it is used or not: `swap` is what that leaves beyond the memory. Limits of a job object are not read. */
void rbe__available_memory_find(rbe__available_memory *out)
{
    *out = (rbe__available_memory){.available = RBE_NO_LIMIT, .address_space = RBE_NO_LIMIT};
    MEMORYSTATUSEX status = {.dwLength = sizeof status};
    if (GlobalMemoryStatusEx(&status)) {
        const uint64_t commit = status.ullAvailPageFile;
        out->total = status.ullTotalPhys;
        out->available = status.ullAvailPhys < commit ? status.ullAvailPhys : commit;
        out->swap = commit - out->available;
        out->address_space = status.ullAvailVirtual;
    }
}
