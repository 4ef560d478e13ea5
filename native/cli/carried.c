#include "carried.h"

#include <stdio.h>
#include <string.h>

#include "kernels/checksum.h"
#include "output.h"
#include "platform/platform.h"

#define OFFSET_AT 16u
#define BYTES_AT 24u
#define CHECKSUM_AT 36u /* of what is before it; before it are four zero bytes */
#define GRAIN 65536u

static const char mark[] = "@(#)rbe program: rbe " RBE_VERSION;
#define MARK_BYTES (sizeof "@(#)rbe program: " - 1)

static const uint8_t magic[OFFSET_AT] = {0x89, 'R', 'B', 'E', ' ', 'p', 'r', 'o', 'g', 'r', 'a', 'm', '\r', '\n', 0x1A, '\n'};

const char *program_version(void)
{
    return mark + MARK_BYTES;
}

int is_carrier(const uint8_t *program, uint64_t bytes)
{
    const uint8_t *at = program, *const end = program + bytes;
    while ((uint64_t)(end - at) >= MARK_BYTES && (at = memchr(at, mark[0], (size_t)(end - at) - MARK_BYTES + 1)) != NULL) {
        if (memcmp(at, mark, MARK_BYTES) == 0) {
            return 1;
        }
        at++;
    }
    return 0;
}

static uint32_t checksum(const uint8_t *trailer)
{
    rbe_kernels kernels;
    rbe__crc crc;
    rbe__kernels_select("scalar", &kernels);
    rbe__crc_init(&kernels, &crc);
    return rbe__crc_update(&crc, 0, trailer, CHECKSUM_AT);
}

void make_trailer(uint64_t offset, uint64_t bytes, uint8_t trailer[TRAILER_BYTES])
{
    memset(trailer, 0, TRAILER_BYTES);
    memcpy(trailer, magic, OFFSET_AT);
    memcpy(trailer + OFFSET_AT, &offset, sizeof offset);
    memcpy(trailer + BYTES_AT, &bytes, sizeof bytes);
    const uint32_t sum = checksum(trailer);
    memcpy(trailer + CHECKSUM_AT, &sum, sizeof sum);
}

/* The last bytes of a file, and its size. 0 where it cannot be read. */
static int read_end(const char *path, uint8_t trailer[TRAILER_BYTES], uint64_t *bytes)
{
    rbe__mapped_file file;
    if (rbe__map_file(path, &file) != RBE_OK) {
        return 0;
    }
    *bytes = file.bytes;
    memset(trailer, 0, TRAILER_BYTES);
    if (file.bytes >= TRAILER_BYTES) {
        memcpy(trailer, file.data + file.bytes - TRAILER_BYTES, TRAILER_BYTES);
    }
    rbe__unmap_file(&file);
    return 1;
}

int find_carried(const char *path, model_source *carried)
{
    uint8_t trailer[TRAILER_BYTES], expected[TRAILER_BYTES];
    uint64_t file_bytes, offset, bytes;
    *carried = (model_source){0};
    if (!read_end(path, trailer, &file_bytes)) {
        return fail(-1, "%s", rbe_last_error());
    }
    if (memcmp(trailer, magic, OFFSET_AT) != 0) {
        return 0;
    }
    memcpy(&offset, trailer + OFFSET_AT, sizeof offset);
    memcpy(&bytes, trailer + BYTES_AT, sizeof bytes);
    make_trailer(offset, bytes, expected);
    if (memcmp(trailer, expected, TRAILER_BYTES) != 0 || offset == 0 || offset % GRAIN || bytes == 0 ||
        offset > file_bytes - TRAILER_BYTES || bytes != file_bytes - TRAILER_BYTES - offset) {
        return fail(-1, "%s: the place of the model that it carries is damaged; copy it again, or make it again with `rbe self`", path);
    }
    *carried = (model_source){.path = path, .offset = offset, .bytes = bytes};
    return 1;
}
