/* `rbe inspect`: what a .rbe file holds. The lines and the JSON are those of the Python command. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "inspect.h"
#include "inspect_parts.h"
#include "output.h"
#include "rbe/effort.h"

#define SHOWN_CHARACTERS 100u /* of a long text, such as a chat template; --json gives all of it */

static const char usage[] = "usage: rbe inspect FILE [--tensors] [--verify] [--json]\n"
                            "\n"
                            "Shows hyper-parameters, tokenizer, sizes, provenance, parts and, with --tensors, every tensor.\n"
                            "\n"
                            "  FILE                   a .rbe file\n"
                            "  --tensors              list every tensor with its planes and measured error\n"
                            "  --verify               read the whole file and verify its checksums\n"
                            "  --json                 write one JSON object\n"
                            "\n"
                            "example:\n"
                            "  rbe inspect smol.rbe --tensors\n";

static const char *const kinds[] = {"?", "fp32", "fp16", "bf16", "trellis", "seed64", "basis", "bands", "ternary", "binary"};

const char *kind_of(const rbe_tensor_info *tensor)
{
    return kinds[tensor->kind < sizeof kinds / sizeof *kinds ? tensor->kind : 0];
}

double tensor_bits(const rbe_tensor_info *tensor)
{
    return (double)tensor->data_bytes * 8 / ((double)tensor->rows * tensor->cols);
}

double file_bits(const rbe_model_info *info)
{
    return info->n_parameters ? (double)info->file_bytes * 8 / (double)info->n_parameters : 0;
}

/* "4" or "2+2", "to 4+2" where bands have other ones; "" for dense tensors. */
static const char *planes_of(const rbe_tensor_info *tensor, char out[32])
{
    uint32_t n = (uint32_t)snprintf(out, 32, "%s", strcmp(kind_of(tensor), "bands") == 0 ? "to " : "");
    for (uint32_t i = 0; i < tensor->n_planes && i < 4; i++) {
        n += (uint32_t)snprintf(out + n, 32 - n, "%s%u", i ? "+" : "", tensor->plane_bits[i]);
    }
    return out;
}

/* A number with commas between thousands. */
static void write_thousands(uint64_t number)
{
    char digits[32];
    const int n = snprintf(digits, sizeof digits, "%" PRIu64, number);
    for (int i = 0; i < n; i++) {
        printf(i && (n - i) % 3 == 0 ? ",%c" : "%c", digits[i]);
    }
}

static size_t characters(span text)
{
    size_t n = 0, used;
    for (size_t at = 0; at < text.bytes; at += used, n++) {
        (void)code_point((span){text.text + at, text.bytes - at}, &used);
    }
    return n;
}

/* Words with a blank between them, the first SHOWN_CHARACTERS characters. */
static void write_shown(span text)
{
    char *words = malloc(text.bytes + 1);
    if (!words) {
        return;
    }
    one_line(text, words, text.bytes + 1);
    span shown = span_of(words);
    const size_t n = characters(shown);
    if (n > SHOWN_CHARACTERS) {
        size_t used, bytes = 0;
        for (size_t i = 0; i < SHOWN_CHARACTERS; i++, bytes += used) {
            (void)code_point((span){words + bytes, shown.bytes - bytes}, &used);
        }
        shown.bytes = bytes;
    }
    (void)write_text(shown);
    if (n > SHOWN_CHARACTERS) {
        printf("... (%zu characters; all with --json)", n);
    }
    free(words);
}

static void write_value(const rbe_metadata *entry)
{
    number_text text;
    uint64_t value;
    double number;
    if (entry->type == RBE_VALUE_STRING) {
        write_shown((span){entry->data, entry->count});
    } else if (entry->type == RBE_VALUE_F64) {
        memcpy(&number, entry->data, sizeof number);
        fputs(number_text_of(number, &text), stdout);
    } else {
        char *words = malloc((size_t)entry->count * 21 + 1);
        size_t n = 0;
        for (uint32_t i = 0; words && i < entry->count; i++) {
            memcpy(&value, (const char *)entry->data + 8 * (size_t)i, sizeof value);
            n += (size_t)snprintf(words + n, 22, "%s%" PRIu64, i ? " " : "", value);
        }
        write_shown((span){words, n});
        free(words);
    }
}

static void write_name(const char *name, size_t bytes, size_t width)
{
    const span text = {name, bytes};
    for (size_t at = 0, used; at < bytes; at += used) {
        const span rest = {name + at, bytes - at};
        const uint32_t code = code_point(rest, &used);
        if (code == '\n') {
            putchar(' ');
        } else if (!is_control(code)) {
            fwrite(rest.text, 1, used, stdout);
        }
    }
    for (size_t n = characters(text); n < width; n++) {
        putchar(' ');
    }
}

typedef struct kind_bytes {
    char name[64];
    uint64_t bytes;
} kind_bytes;

/* How many bytes each kind of tensor takes, the most first. */
static void write_kinds(const rbe_model *model, uint32_t n_tensors)
{
    kind_bytes found[64];
    size_t n = 0;
    for (uint32_t i = 0; i < n_tensors; i++) {
        rbe_tensor_info tensor = {.struct_bytes = sizeof tensor};
        char planes[32], name[64];
        if (rbe_model_tensor(model, i, &tensor) != RBE_OK) {
            continue;
        }
        snprintf(name, sizeof name, "%s%s%s", kind_of(&tensor), tensor.n_planes ? " " : "", planes_of(&tensor, planes));
        size_t at = 0;
        while (at < n && strcmp(found[at].name, name) != 0) {
            at++;
        }
        if (at == n && n < sizeof found / sizeof *found) {
            found[n] = (kind_bytes){.bytes = 0};
            snprintf(found[n++].name, sizeof found[0].name, "%s", name);
        }
        found[at < n ? at : n - 1].bytes += tensor.data_bytes;
    }
    for (size_t shown = 0; shown < n; shown++) {
        size_t most = 0;
        for (size_t i = 1; i < n; i++) {
            most = found[i].bytes > found[most].bytes ? i : most;
        }
        number_text size;
        printf("%s%s: %s", shown ? ", " : "", found[most].name, size_text_of(found[most].bytes, &size));
        found[most].bytes = 0;
    }
}

/* A whole number of the metadata; 0: there is none of that name. */
static uint64_t number_of(const rbe_model *model, uint32_t n_metadata, const char *key)
{
    rbe_metadata entry;
    uint64_t value = 0;
    for (uint32_t i = 0; i < n_metadata; i++) {
        if (rbe_model_metadata(model, i, &entry) == RBE_OK && entry.type == RBE_VALUE_U64 && entry.key_bytes == strlen(key) &&
            memcmp(entry.key, key, entry.key_bytes) == 0) {
            memcpy(&value, entry.data, sizeof value);
        }
    }
    return value;
}

static void write_experts(const rbe_model *model, uint32_t n_metadata)
{
    const uint64_t n = number_of(model, n_metadata, "experts");
    number_text size;
    uint64_t bytes;
    if (n && rbe_model_effort_bytes(model, NULL, &bytes) == RBE_OK) {
        printf("experts: %llu of %llu%s for each token, which reads %s of weights\n",
               (unsigned long long)number_of(model, n_metadata, "experts.used"), (unsigned long long)n,
               number_of(model, n_metadata, "experts.shared") ? " and a shared one" : "", size_text_of(bytes, &size));
    }
}

static int write_lines(const rbe_model *model, const rbe_model_info *info, const char *path)
{
    char shown[4096], chat[1024];
    number_text size;
    const rbe_tokenizer *tokenizer = rbe_model_tokenizer(model);
    rbe_metadata entry;
    size_t width = 0;
    one_line(span_of(path), shown, sizeof shown);
    printf("%s: format %u, %s, ", shown, info->format_version, size_text_of(info->file_bytes, &size));
    write_thousands(info->n_parameters);
    printf(" weights, %.2f bits per weight of the whole file\ntokenizer: ", file_bits(info));
    printf(tokenizer ? "%u tokens\n" : "none\n", tokenizer ? rbe_tokenizer_size(tokenizer) : 0);
    printf("tensors: %u (", info->n_tensors);
    write_kinds(model, info->n_tensors);
    printf(")\nruns with: %s kernels\nchat without Python: %s\n", info->kernel_set, native_chat(model, info, chat, sizeof chat));
    write_experts(model, info->n_metadata);
    write_parts(model);
    for (uint32_t i = 0; i < info->n_metadata; i++) {
        if (rbe_model_metadata(model, i, &entry) != RBE_OK) {
            return fail_with(RBE_ERROR_FORMAT);
        }
        const size_t n = characters((span){entry.key, entry.key_bytes});
        width = n > width ? n : width;
    }
    for (uint32_t i = 0; i < info->n_metadata; i++) {
        (void)rbe_model_metadata(model, i, &entry);
        write_name(entry.key, entry.key_bytes, width);
        fputs("  ", stdout);
        write_value(&entry);
        putchar('\n');
    }
    return 0;
}

static int write_tensors(const rbe_model *model, uint32_t n_tensors)
{
    rbe_tensor_info tensor = {.struct_bytes = sizeof tensor};
    size_t width = n_tensors ? 0 : 4;
    for (uint32_t i = 0; i < n_tensors; i++) {
        if (rbe_model_tensor(model, i, &tensor) != RBE_OK) {
            return fail_with(RBE_ERROR_FORMAT);
        }
        const size_t n = characters((span){tensor.name, tensor.name_bytes});
        width = n > width ? n : width;
    }
    putchar('\n');
    write_name("tensor", 6, width);
    printf("  %7s %7s  %-8s %-8s %8s %6s  %9s\n", "rows", "cols", "kind", "planes", "rotation", "bits", "error");
    for (uint32_t i = 0; i < n_tensors; i++) {
        char planes[32], rotation[16] = "-";
        (void)rbe_model_tensor(model, i, &tensor);
        if (tensor.rotation_block) {
            snprintf(rotation, sizeof rotation, "%u", tensor.rotation_block);
        }
        write_name(tensor.name, tensor.name_bytes, width);
        printf("  %7u %7u  %-8s %-8s %8s %6.2f  %9.3g\n", tensor.rows, tensor.cols, kind_of(&tensor),
               tensor.n_planes ? planes_of(&tensor, planes) : "-", rotation, tensor_bits(&tensor), (double)tensor.error);
    }
    return 0;
}

static int inspect(const model_source *source, int tensors, int verify, int json)
{
    rbe_model *model = NULL;
    rbe_model_info info = {.struct_bytes = sizeof info};
    int code = open_model(source, NULL, !verify, 0, &model);
    if (code == 0 && rbe_model_verify(model, NULL, NULL) != RBE_OK) {
        code = fail_with(RBE_ERROR_FORMAT);
    }
    if (code == 0 && rbe_model_get_info(model, &info) != RBE_OK) {
        code = fail_with(RBE_ERROR_ARGUMENT);
    }
    if (code == 0 && json) {
        code = inspect_json(model, &info, source->path, tensors, verify);
    } else if (code == 0) {
        code = write_lines(model, &info, source->path);
        code = code || !tensors ? code : write_tensors(model, info.n_tensors);
        if (code == 0 && verify) {
            puts("checksums: correct");
        }
    }
    rbe_model_close(model);
    return code;
}

int command_inspect(int argc, char **argv, const model_source *carried)
{
    model_options named = {0};
    model_source source;
    int tensors = 0, verify = 0, json = 0, code;
    const option rows[] = {
        {NULL, "--tensors", OPTION_FLAG, &tensors, NULL},
        {NULL, "--verify", OPTION_FLAG, &verify, NULL},
        {NULL, "--json", OPTION_FLAG, &json, NULL},
        {0},
    };
    const command_line line = {.command = "inspect", .usage = {usage}, .options = rows, .file = &named.file};
    if (read_command_line(&line, argc, argv, &code)) {
        return code;
    }
    if (json) {
        report_as_json();
    }
    code = choose_model(&named, carried, "inspect FILE", &source);
    return code ? code : inspect(&source, tensors, verify, json);
}
