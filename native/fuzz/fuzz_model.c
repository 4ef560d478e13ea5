/* libFuzzer: opens and runs files of any content. Build with clang: see CONTRIBUTING.md. The checksums of the index and of the table
 * of power modes are made right, so that the fuzzer gets past them; start from the golden packs: fuzz_model tests/golden/v1 v2 v3. */
#include <string.h>
#include <unistd.h>

#include "exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    static char path[] = "/tmp/rbe-fuzz-XXXXXX";
    static int descriptor = -1;
    if (descriptor < 0) {
        descriptor = mkstemp(path);
    }
    uint8_t *data = malloc(bytes ? bytes : 1);
    if (descriptor < 0 || !data) {
        free(data);
        return 0;
    }
    memcpy(data, input, bytes);
    repair_checksum(data, bytes);
    if (ftruncate(descriptor, 0) == 0 && pwrite(descriptor, data, bytes, 0) == (ssize_t)bytes) {
        (void)exercise_file(path, 1);
    }
    free(data);
    return 0;
}
