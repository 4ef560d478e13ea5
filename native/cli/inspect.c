#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"

int report_failure(void)
{
    fprintf(stderr, "rbe-cli: %s\n", rbe_last_error());
    return 1;
}

/* Text from a file may hold anything: what could steer a terminal is shown as '?'. */
static void print_text(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        putchar(c < 32 || c == 127 ? '?' : c);
    }
}

static void print_value(const rbe_metadata *entry)
{
    if (entry->type == RBE_VALUE_STRING) {
        print_text(entry->data, entry->count < 60 ? entry->count : 60);
        if (entry->count > 60) {
            printf("... (%" PRIu32 " bytes)", entry->count);
        }
    } else if (entry->type == RBE_VALUE_F64) {
        double value;
        memcpy(&value, entry->data, sizeof value);
        printf("%g", value);
    } else {
        for (uint32_t i = 0; i < entry->count && i < 16; i++) {
            uint64_t value;
            memcpy(&value, (const char *)entry->data + 8 * (size_t)i, sizeof value);
            printf(i ? " %" PRIu64 : "%" PRIu64, value);
        }
        printf(entry->count > 16 ? " ..." : "");
    }
}

static int print_metadata(const rbe_model *model, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        rbe_metadata entry;
        if (rbe_model_metadata(model, i, &entry) != RBE_OK) {
            return report_failure();
        }
        printf("  %-28.*s ", (int)entry.key_bytes, entry.key);
        print_value(&entry);
        putchar('\n');
    }
    return 0;
}

static int print_tensors(const rbe_model *model, uint32_t n)
{
    static const char *const kinds[] = {"?", "fp32", "fp16", "bf16", "trellis", "seed64", "basis"};
    for (uint32_t i = 0; i < n; i++) {
        rbe_tensor_info tensor = {.struct_bytes = sizeof tensor};
        if (rbe_model_tensor(model, i, &tensor) != RBE_OK) {
            return report_failure();
        }
        printf("  %-36.*s %7" PRIu32 " x %-7" PRIu32 " %s", (int)tensor.name_bytes, tensor.name, tensor.rows, tensor.cols,
               kinds[tensor.kind]);
        for (uint32_t p = 0; p < tensor.n_planes; p++) {
            printf("%s%" PRIu32, p ? "+" : " ", tensor.plane_bits[p]);
        }
        printf("  %" PRIu64 " bytes, error %.4g\n", tensor.data_bytes, (double)tensor.error);
    }
    return 0;
}

int command_inspect(int argc, char **argv)
{
    const char *path = NULL;
    int tensors = 0;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--tensors") == 0) {
            tensors = 1;
        } else if (argv[i][0] == '-' || path) {
            fprintf(stderr, "rbe-cli: unexpected argument %s; see rbe-cli --help\n", argv[i]);
            return EXIT_USAGE;
        } else {
            path = argv[i];
        }
    }
    if (!path) {
        fprintf(stderr, "rbe-cli: name a .rbe file\n");
        return EXIT_USAGE;
    }
    rbe_model *model;
    rbe_model_info info = {.struct_bytes = sizeof info};
    if (rbe_model_open(path, NULL, &model) != RBE_OK || rbe_model_get_info(model, &info) != RBE_OK) {
        return report_failure();
    }
    printf("%s: format %" PRIu32 ", %" PRIu64 " bytes", path, info.format_version, info.file_bytes);
    if (info.n_parameters) {
        printf(", %" PRIu64 " parameters, %.3f bits per weight", info.n_parameters,
               8.0 * (double)info.file_bytes / (double)info.n_parameters);
    }
    putchar('\n');
    int code = print_metadata(model, info.n_metadata);
    if (code == 0 && tensors) {
        code = print_tensors(model, info.n_tensors);
    }
    rbe_model_close(model);
    return code;
}
