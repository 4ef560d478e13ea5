/* 10,000 random mutations of the golden packs and of an encoder-decoder: truncations, flipped bits, overwritten numbers, moved pieces. In most of them
 * the index checksum is made right again and the tensors' is skipped, so that the damage gets past the first line. None may crash. */
#include <unistd.h>

#include "check.h"
#include "exercise.h"
#include "golden_files.h"
#include "mutation.h"

#define N_MUTATIONS 10000

/* Mostly in the index: that is where the numbers are. */
static uint32_t choose_reach(const unsigned char *data, size_t bytes)
{
    uint64_t index_bytes;
    memcpy(&index_bytes, data + 24, 8);
    return draw(4) && index_bytes >= 64 && index_bytes < bytes ? (uint32_t)index_bytes : (uint32_t)bytes;
}

int main(void)
{
    golden_files files = list_golden_files();
    add_golden_files("encoder_decoders", &files);
    add_files("v3", 1, &files);
    char path[64] = "/dev/shm/rbe-mutation-XXXXXX"; /* in memory where there is such a place: the disk would take most of the time */
    int descriptor = mkstemp(path);
    if (descriptor < 0) {
        strcpy(path, "/tmp/rbe-mutation-XXXXXX");
        descriptor = mkstemp(path);
    }
    CHECK(files.n > 0, "no golden packs under %s", RBE_GOLDEN_DIR);
    CHECK(descriptor >= 0 && close(descriptor) == 0, "no temporary file");
    int opened = 0;
    for (int i = 0; i < N_MUTATIONS && check_failures == 0; i++) {
        size_t bytes;
        unsigned char *data = read_file(files.path[i % files.n], &bytes);
        CHECK(data != NULL, "%s cannot be read", files.path[i % files.n]);
        if (!data) {
            break;
        }
        for (uint32_t n = draw(3) + 1; n > 0 && bytes >= 64; n--) {
            mutate(data, &bytes, choose_reach(data, bytes));
        }
        uint32_t repaired = draw(5) != 0;
        if (repaired) {
            repair_checksum(data, bytes);
        }
        FILE *file = fopen(path, "wb"); /* and closed before it is opened: Windows maps no file that is being written */
        CHECK(file && fwrite(data, 1, bytes, file) == bytes && fclose(file) == 0, "the temporary file cannot be written");
        opened += exercise_file(path, repaired);
        free(data);
    }
    for (int f = 0; f < files.n; f++) {
        CHECK(exercise_file(files.path[f], 0), "%s: %s", files.path[f], rbe_last_error());
    }
    unlink(path);
    printf("%d of %d mutated files could still be opened\n", opened, N_MUTATIONS);
    return check_finish();
}
