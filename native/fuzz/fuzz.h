/* What the fuzz targets share. Each is a libFuzzer program: it takes input of any content, and nothing may crash, hang, leak, or break what
 * it demands. CONTRIBUTING.md says how they are run. Linux, clang. */
#ifndef RBE_FUZZ_H
#define RBE_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "golden_files.h"
#include "rbe/rbe.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Ends the program, so that the fuzzer keeps the input. */
static inline void demand(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "demanded: %s; the last message: %s\n", what, rbe_last_error());
        abort();
    }
}

/* What failed has said why, on one line that is safe to show in a terminal. */
static inline rbe_status explained(rbe_status status)
{
    if (status != RBE_OK) {
        const char *line = rbe_last_error();
        demand(*line != 0, "a message");
        for (; *line; line++) {
            const int is_c1 = line[0] == '\xC2' && (unsigned char)line[1] >= 0x80 && (unsigned char)line[1] < 0xA0;
            demand((unsigned char)*line >= 0x20 && *line != 0x7F && !is_c1, "a message of one line without control characters");
        }
    }
    return status;
}

/* A copy that ends exactly where its block of memory does, so that a sanitizer sees what is read behind it; to be freed. */
static inline uint8_t *copy_of(const void *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);
    demand(copy != NULL, "memory");
    if (bytes) {
        memcpy(copy, data, bytes);
    }
    return copy;
}

/* For mkstemp; char name[64]. In memory where Linux has such a folder: what is saved is flushed to the disk elsewhere. */
static inline void temporary_name(char *name)
{
    snprintf(name, 64, "%s/rbe-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

/* The path of a file that holds this, until the next call. It has no name in any folder, so it is gone when the program ends. */
static inline const char *file_of(const uint8_t *data, size_t bytes)
{
    static char path[64];
    static int descriptor = -1;
    if (descriptor < 0) {
        char name[64];
        temporary_name(name);
        descriptor = mkstemp(name);
        demand(descriptor >= 0 && unlink(name) == 0, "a temporary file");
        snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    }
    demand(ftruncate(descriptor, 0) == 0 && pwrite(descriptor, data, bytes, 0) == (ssize_t)bytes, "room for a temporary file");
    return path;
}

/* The beginning of a corpus that a target makes itself: where RBE_FUZZ_SEEDS names a folder, the input is written there. */
static inline void seed(const char *name, const void *data, size_t bytes)
{
    const char *folder = getenv("RBE_FUZZ_SEEDS");
    if (folder) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, name);
        FILE *file = fopen(path, "wb");
        demand(file && fwrite(data, 1, bytes, file) == bytes && fclose(file) == 0, "a seed is written");
    }
}

/* What is in front of the next zero byte, which is taken with it; as a copy, zero-terminated, to be freed. */
static inline char *take(const uint8_t **at, const uint8_t *end, size_t *bytes)
{
    const uint8_t *zero = *at < end ? memchr(*at, 0, (size_t)(end - *at)) : NULL;
    const uint8_t *stop = zero ? zero : end;
    char *taken = malloc((size_t)(stop - *at) + 1);
    demand(taken != NULL, "memory");
    *bytes = (size_t)(stop - *at);
    memcpy(taken, *at, *bytes);
    taken[*bytes] = 0;
    *at = zero ? zero + 1 : end;
    return taken;
}

/* The tokenizer's blob in a golden pack, to be freed. */
static inline uint8_t *golden_blob(const char *name, size_t *bytes)
{
    char path[512];
    size_t file_bytes;
    uint32_t size = 0;
    snprintf(path, sizeof path, "%s/%s", RBE_GOLDEN_DIR, name);
    unsigned char *file = read_file(path, &file_bytes);
    demand(file != NULL, "the golden packs");
    size_t at = 0;
    while (at + 12 < file_bytes && memcmp(file + at, "RBTK", 4) != 0) {
        at++;
    }
    memcpy(&size, file + at + 8, 4);
    demand(at + 12 < file_bytes && size <= file_bytes - at, "a tokenizer in a golden pack");
    uint8_t *blob = copy_of(file + at, size);
    free(file);
    *bytes = size;
    return blob;
}

#endif
