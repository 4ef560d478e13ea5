/* Opens and runs files of any content. The checksums of the index and of the table of power modes are made right, so that the fuzzer gets
 * past them. It begins with the golden packs. */
#include "exercise.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    uint8_t *data = copy_of(input, bytes);
    repair_checksum(data, bytes);
    (void)exercise_file(file_of(data, bytes), 1);
    free(data);
    return 0;
}
