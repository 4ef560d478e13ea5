/* Processor time to open a tokenizer blob and to tokenize a text:
 *     bench_tokenizer FILE.tokenizer TEXT
 * where the first holds the blob of docs/tokenizers.md, as Tokenizer.to_blob() of rbe_edge.sources.tokenizers gives it. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "rbe/rbe.h"

enum { ROUNDS = 5 };

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    char *data = NULL;
    *bytes = 0;
    if (file != NULL) {
        long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
        if (size > 0 && fseek(file, 0, SEEK_SET) == 0 && (data = malloc((size_t)size)) != NULL) {
            *bytes = fread(data, 1, (size_t)size, file);
        }
        fclose(file);
    }
    if (data == NULL) {
        fprintf(stderr, "%s: cannot be read or is empty\n", path);
    }
    return data;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bench_tokenizer FILE.tokenizer TEXT\n");
        return 2;
    }
    size_t blob_bytes, text_bytes, n_tokens = 0;
    char *blob = read_file(argv[1], &blob_bytes), *text = read_file(argv[2], &text_bytes);
    uint32_t *tokens = malloc((text_bytes + 16) * sizeof *tokens);
    if (blob == NULL || text == NULL || tokens == NULL) {
        return 1;
    }
    double open_best = 1e9, tokenize_best = 1e9;
    uint32_t size = 0;
    for (int round = 0; round < ROUNDS; round++) {
        rbe_tokenizer *tokenizer;
        double start = seconds();
        rbe_status status = rbe_tokenizer_open(blob, blob_bytes, &tokenizer);
        double opened = seconds();
        if (status == RBE_OK) {
            status = rbe_tokenize(tokenizer, text, text_bytes, 0, tokens, text_bytes + 16, &n_tokens);
        }
        double done = seconds();
        if (status != RBE_OK) {
            fprintf(stderr, "%s\n", rbe_last_error());
            return 1;
        }
        size = rbe_tokenizer_size(tokenizer);
        open_best = opened - start < open_best ? opened - start : open_best;
        tokenize_best = done - opened < tokenize_best ? done - opened : tokenize_best;
        rbe_tokenizer_close(tokenizer);
    }
    printf("%u tokens, %.2f MB: open %.2f ms; %zu tokens from %.2f MB of text: %.1f MB/s\n", size, (double)blob_bytes / 1e6,
           open_best * 1e3, n_tokens, (double)text_bytes / 1e6, (double)text_bytes / 1e6 / tokenize_best);
    free(tokens);
    free(text);
    free(blob);
    return 0;
}
