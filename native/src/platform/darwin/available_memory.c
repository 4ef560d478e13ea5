#define _DARWIN_C_SOURCE

#include "platform/available_memory.h"

#include <mach/mach.h>
#include <unistd.h>

#include "platform/darwin/sysctl.h"

/* Pages that can be had without writing anything to the disk: free ones, those of files that were not used lately, and those that their
 * programs allow to go. */
void rbe__available_memory_find(rbe__available_memory *out)
{
    *out = (rbe__available_memory){.available = RBE_NO_LIMIT, .address_space = RBE_NO_LIMIT};
    size_t bytes = sizeof out->total;
    if (sysctlbyname("hw.memsize", &out->total, &bytes, NULL, 0) != 0) {
        out->total = 0;
    }
    vm_statistics64_data_t pages;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&pages, &count) == KERN_SUCCESS) {
        out->available = ((uint64_t)pages.free_count + pages.inactive_count + pages.purgeable_count) * (uint64_t)sysconf(_SC_PAGESIZE);
    }
}
