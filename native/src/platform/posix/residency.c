/* madvise: glibc's posix_madvise(DONTNEED) does nothing */
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE

#include <sys/mman.h>
#include <unistd.h>

#include "platform/platform.h"

/* Whole pages that hold the bytes, as far as the mapping goes. */
static void advise(const rbe__mapped_file *file, uint64_t offset, uint64_t bytes, int advice)
{
    if (offset >= file->bytes) {
        return;
    }
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), first = offset / page * page;
    const uint64_t end = bytes > file->bytes - offset ? file->bytes : offset + bytes;
    (void)madvise((void *)(uintptr_t)(file->data + first), (size_t)(end - first), advice); /* advice: nothing fails without it */
}

void rbe__mapped_file_prefer_large_pages(const rbe__mapped_file *file)
{
#if defined(MADV_HUGEPAGE) /* Linux */
    advise(file, 0, file->bytes, MADV_HUGEPAGE);
#else
    (void)file;
#endif
}

/* macOS takes this as a hint which pages to take first when memory is short: they may stay until then, so a limit is not kept to the byte. */
void rbe__mapped_file_release(const rbe__mapped_file *file, uint64_t offset, uint64_t bytes)
{
    advise(file, offset, bytes, MADV_DONTNEED);
}

void rbe__mapped_file_expect(const rbe__mapped_file *file, uint64_t offset, uint64_t bytes)
{
    advise(file, offset, bytes, MADV_WILLNEED);
}
