#include "platform/windows/windows.h"

#include "platform/platform.h"

/* Whole pages that hold the bytes, as far as the mapping goes: where they begin; *bytes becomes theirs, 0: there are none. */
static void *pages(const rbe__mapped_file *file, uint64_t offset, uint64_t *bytes)
{
    SYSTEM_INFO system;
    GetSystemInfo(&system);
    if (offset >= file->bytes) {
        *bytes = 0;
        return NULL;
    }
    const uint64_t first = offset / system.dwPageSize * system.dwPageSize;
    const uint64_t end = *bytes > file->bytes - offset ? file->bytes : offset + *bytes;
    *bytes = end - first;
    return (void *)(uintptr_t)(file->data + first);
}

/* Windows has no large pages for files. */
void rbe__mapped_file_prefer_large_pages(const rbe__mapped_file *file)
{
    (void)file;
}

/* Unlocking what is not locked fails, and takes the pages out of the process's working set: that is documented of VirtualUnlock. They stay
 * in the system's cache as long as nothing else needs the memory. */
void rbe__mapped_file_release(const rbe__mapped_file *file, uint64_t offset, uint64_t bytes)
{
    void *first = pages(file, offset, &bytes);
    if (bytes) {
        (void)VirtualUnlock(first, (size_t)bytes);
    }
}

void rbe__mapped_file_expect(const rbe__mapped_file *file, uint64_t offset, uint64_t bytes)
{
    WIN32_MEMORY_RANGE_ENTRY range = {.VirtualAddress = pages(file, offset, &bytes)};
    range.NumberOfBytes = (SIZE_T)bytes;
    if (bytes) {
        (void)PrefetchVirtualMemory(GetCurrentProcess(), 1, &range, 0); /* advice: nothing fails without it */
    }
}
