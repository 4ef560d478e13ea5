#include "inspect_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "rbe/effort.h"
#include "rbe/modes.h"
#include "rbe/parts.h"
#include "text.h"

static const char *const mode_names[RBE_MODES] = {"performance", "balanced", "saver", "emergency"};

static const char *against_of(const rbe_mode *mode)
{
    return mode->against == RBE_MODE_AGAINST_SOURCE ? "source" : "itself";
}

/* Words with commas between them. */
typedef struct word_list {
    uint32_t n;
} word_list;

static void write_comma(word_list *words)
{
    fputs(words->n++ ? ", " : "", stdout);
}

/* "no attention in 2, attention 1 in 10": how many layers read that many planes of a step, where they do not read all. */
static void write_step(word_list *words, const char *name, const uint8_t *planes, uint32_t n_layers)
{
    uint32_t counts[256] = {0};
    for (uint32_t i = 0; i < n_layers; i++) {
        counts[planes[i]]++;
    }
    if (counts[RBE_SKIP]) {
        write_comma(words);
        printf("no %s in %u", name, counts[RBE_SKIP]);
    }
    for (uint32_t n = 1; n <= 4; n++) {
        if (counts[n]) {
            write_comma(words);
            printf("%s %u in %u", name, n, counts[n]);
        }
    }
}

static void write_effort(const rbe_mode *mode)
{
    word_list words = {0};
    write_step(&words, "attention", mode->attention, mode->n_layers);
    write_step(&words, "feed-forward", mode->feed_forward, mode->n_layers);
    if (mode->embedding) {
        write_comma(&words);
        printf("embedding %u", mode->embedding);
    }
    if (mode->lm_head) {
        write_comma(&words);
        printf("lm_head %u", mode->lm_head);
    }
    if (words.n == 0) {
        fputs("everything", stdout);
    }
    if (!mode->found) {
        printf(" (%s)", mode->reason);
    }
    putchar('\n');
}

static void write_modes(const rbe_model *model)
{
    rbe_mode mode = {.struct_bytes = sizeof mode};
    if (rbe_model_mode(model, RBE_MODE_PERFORMANCE, &mode) != RBE_OK) {
        return;
    }
    printf("power modes, measured on %s, divergence from %s:\n", mode.text[0] ? mode.text : "nothing", against_of(&mode));
    printf("  %-11s  %10s  %10s  %8s %8s  %6s  reads, planes in layers\n", "mode", "per token", "perplexity", "KL", "+-", "top-1");
    for (uint32_t i = 0; i < RBE_MODES && rbe_model_mode(model, i, &mode) == RBE_OK; i++) {
        number_text size;
        printf("  %-11s  %10s  %10.3f  %8.4f %8.4f  %5.1f%%  ", mode_names[i], size_text_of(mode.bytes_per_token, &size), mode.perplexity,
               mode.kl, mode.kl_error, 100 * mode.top1);
        write_effort(&mode);
    }
}

void write_parts(const rbe_model *model)
{
    rbe_part_info part = {.struct_bytes = sizeof part};
    for (uint32_t i = 0; rbe_model_part_info(model, i, &part) == RBE_OK; i++) {
        number_text size;
        printf("part %.*s: version %u, %s%s%s\n", (int)part.name_bytes, part.name, part.version, size_text_of(part.data_bytes, &size),
               part.flags & RBE_PART_REQUIRED ? ", required" : "", part.known ? "" : " (unknown to this version)");
    }
    write_modes(model);
}

static void write_list(const char *name, const uint8_t *planes, uint32_t n_layers)
{
    printf(", \"%s\": [", name);
    for (uint32_t i = 0; i < n_layers; i++) {
        printf("%s%u", i ? ", " : "", planes[i]);
    }
    fputs("]", stdout);
}

static void write_number(const char *name, double value)
{
    printf(", \"%s\": ", name);
    json_number(value);
}

static void write_mode_json(const rbe_mode *mode)
{
    printf("{\"name\": \"%s\", \"found\": %s, \"reason\": ", mode_names[mode->mode], mode->found ? "true" : "false");
    json_text(span_of(mode->reason));
    write_list("attention", mode->attention, mode->n_layers);
    write_list("feed_forward", mode->feed_forward, mode->n_layers);
    printf(", \"embedding\": %u, \"lm_head\": %u, \"bytes_per_token\": %" PRIu64 ", \"n_tokens\": %" PRIu64, mode->embedding, mode->lm_head,
           mode->bytes_per_token, mode->n_tokens);
    write_number("perplexity", mode->perplexity);
    write_number("kl", mode->kl);
    write_number("kl_error", mode->kl_error);
    write_number("top1", mode->top1);
    fputs("}", stdout);
}

void write_parts_json(const rbe_model *model)
{
    rbe_part_info part = {.struct_bytes = sizeof part};
    rbe_mode mode = {.struct_bytes = sizeof mode};
    fputs(", \"parts\": [", stdout);
    for (uint32_t i = 0; rbe_model_part_info(model, i, &part) == RBE_OK; i++) {
        printf("%s{\"name\": ", i ? ", " : "");
        json_text((span){part.name, part.name_bytes});
        printf(", \"version\": %u, \"required\": %s, \"known\": %s, \"data_bytes\": %" PRIu64 "}", part.version,
               part.flags & RBE_PART_REQUIRED ? "true" : "false", part.known ? "true" : "false", part.data_bytes);
    }
    if (rbe_model_mode(model, RBE_MODE_PERFORMANCE, &mode) != RBE_OK) {
        fputs("], \"modes\": null", stdout);
        return;
    }
    fputs("], \"modes\": {\"text\": ", stdout);
    json_text(span_of(mode.text));
    printf(", \"against\": \"%s\", \"modes\": [", against_of(&mode));
    for (uint32_t i = 0; i < RBE_MODES && rbe_model_mode(model, i, &mode) == RBE_OK; i++) {
        fputs(i ? ", " : "", stdout);
        write_mode_json(&mode);
    }
    fputs("]}", stdout);
}
