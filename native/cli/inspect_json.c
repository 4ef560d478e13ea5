#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspect.h"
#include "inspect_parts.h"
#include "output.h"
#include "rbe/chat.h"

static span metadata(const rbe_model *model, const rbe_model_info *info, const char *key)
{
    rbe_metadata entry;
    for (uint32_t i = 0; i < info->n_metadata; i++) {
        if (rbe_model_metadata(model, i, &entry) == RBE_OK && entry.type == RBE_VALUE_STRING && entry.key_bytes == strlen(key) &&
            memcmp(entry.key, key, entry.key_bytes) == 0) {
            return (span){entry.data, entry.count};
        }
    }
    return (span){"", 0};
}

static char *copy_of(span text)
{
    char *copy = malloc(text.bytes + 1);
    if (copy) {
        memcpy(copy, text.text, text.bytes);
        copy[text.bytes] = 0;
    }
    return copy;
}

const char *native_chat(const rbe_model *model, const rbe_model_info *info, char *out, size_t capacity)
{
    const span jinja = metadata(model, info, "chat_template"), form = metadata(model, info, "chat_form");
    const rbe_chat_message hello = {"user", "Hello!", 6};
    const char *style = "";
    char *bos = copy_of(metadata(model, info, "bos_token")), *eos = copy_of(metadata(model, info, "eos_token"));
    size_t bytes;
    const rbe_chat_options options = {.struct_bytes = sizeof options,
                                      .jinja = jinja.text,
                                      .jinja_bytes = jinja.bytes,
                                      .bos = bos,
                                      .eos = eos,
                                      .add_generation_prompt = 1,
                                      .form = form.bytes ? form.text : NULL,
                                      .form_bytes = form.bytes};
    const rbe_status status = jinja.bytes ? rbe_chat_format(&options, &hello, 1, NULL, 0, &bytes) : RBE_OK;
    if (jinja.bytes == 0) {
        snprintf(out, capacity, "plain, there is no template");
    } else if (status != RBE_OK && status != RBE_ERROR_CAPACITY) {
        snprintf(out, capacity, "no; %s", rbe_last_error());
    } else if (form.bytes) {
        snprintf(out, capacity, "by the proven chat form of the file");
    } else {
        (void)rbe_chat_detect(jinja.text, jinja.bytes, &style);
        snprintf(out, capacity, "%s, a template that the library knows", style);
    }
    free(bos);
    free(eos);
    return out;
}

static void write_value(const rbe_metadata *entry)
{
    double number;
    if (entry->type == RBE_VALUE_STRING) {
        json_text((span){entry->data, entry->count});
    } else if (entry->type == RBE_VALUE_F64) {
        memcpy(&number, entry->data, sizeof number);
        json_number(number);
    } else {
        const int is_list = entry->type == RBE_VALUE_U64_ARRAY;
        fputs(is_list ? "[" : "", stdout);
        for (uint32_t i = 0; i < entry->count; i++) {
            uint64_t value;
            memcpy(&value, (const char *)entry->data + 8 * (size_t)i, sizeof value);
            printf("%s%" PRIu64, i ? ", " : "", value);
        }
        fputs(is_list ? "]" : "", stdout);
    }
}

static void write_tensor(const rbe_tensor_info *tensor)
{
    fputs("{\"name\": ", stdout);
    json_text((span){tensor->name, tensor->name_bytes});
    printf(", \"kind\": \"%s\", \"rows\": %u, \"cols\": %u, \"rotation_block\": %u, \"seed\": %" PRIu64 ", \"plane_bits\": [",
           kind_of(tensor), tensor->rows, tensor->cols, tensor->rotation_block, tensor->seed);
    for (uint32_t i = 0; i < tensor->n_planes && i < 4; i++) {
        printf("%s%u", i ? ", " : "", tensor->plane_bits[i]);
    }
    fputs("], \"error\": ", stdout);
    json_number((double)tensor->error);
    printf(", \"data_bytes\": %" PRIu64 ", \"bits_per_weight\": ", tensor->data_bytes);
    json_number(tensor_bits(tensor));
    fputs("}", stdout);
}

int inspect_json(const rbe_model *model, const rbe_model_info *info, const char *path, int with_tensors, int verified)
{
    char chat[1024];
    const rbe_tokenizer *tokenizer = rbe_model_tokenizer(model);
    fputs("{\"path\": ", stdout);
    json_text(span_of(path));
    printf(", \"file_bytes\": %" PRIu64 ", \"parameters\": %" PRIu64 ", \"format_version\": %u, \"layers\": %u, \"width\": %u, ",
           info->file_bytes, info->n_parameters, info->format_version, info->n_layers, info->width);
    printf("\"vocabulary\": %u, \"context\": %u, \"kernel_set\": \"%s\", \"bits_per_weight\": ", info->n_vocabulary, info->context_tokens,
           info->kernel_set);
    json_number(file_bits(info));
    printf(", \"tokenizer_size\": %u, \"n_tensors\": %u, \"verified\": %s, \"chat_without_python\": ",
           tokenizer ? rbe_tokenizer_size(tokenizer) : 0, info->n_tensors, verified ? "true" : "false");
    json_text(span_of(native_chat(model, info, chat, sizeof chat)));
    fputs(", \"metadata\": {", stdout);
    for (uint32_t i = 0; i < info->n_metadata; i++) {
        rbe_metadata entry;
        if (rbe_model_metadata(model, i, &entry) != RBE_OK) {
            return fail_with(RBE_ERROR_FORMAT);
        }
        fputs(i ? ", " : "", stdout);
        json_text((span){entry.key, entry.key_bytes});
        fputs(": ", stdout);
        write_value(&entry);
    }
    fputs("}", stdout);
    write_parts_json(model);
    fputs(with_tensors ? ", \"tensors\": [" : "", stdout);
    for (uint32_t i = 0; with_tensors && i < info->n_tensors; i++) {
        rbe_tensor_info tensor = {.struct_bytes = sizeof tensor};
        if (rbe_model_tensor(model, i, &tensor) != RBE_OK) {
            return fail_with(RBE_ERROR_FORMAT);
        }
        fputs(i ? ", " : "", stdout);
        write_tensor(&tensor);
    }
    puts(with_tensors ? "]}" : "}");
    return 0;
}
