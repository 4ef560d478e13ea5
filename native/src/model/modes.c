#include "model/modes.h"

#include <math.h>
#include <string.h>

#include "base/status.h"
#include "model/parts.h"
#include "rbe/effort.h"

/* As they lie in the file: everything at a multiple of its size, since parts begin at multiples of 64. */
typedef struct mode_table {
    uint32_t n_modes, n_layers, against, reserved;
    char text[112];
} mode_table;

/* Followed by the planes of each layer's attention and of each layer's feed-forward step, a byte each, and zeros up to a multiple of 8. */
typedef struct mode_record {
    uint32_t mode, found, embedding, lm_head;
    uint64_t bytes_per_token, n_tokens;
    double perplexity, kl, kl_error, top1;
    char reason[128];
} mode_record;

_Static_assert(sizeof(mode_table) == 128 && sizeof(mode_record) == 192, "read as they stand");

static const char *const mode_names[RBE_MODES] = {"performance", "balanced", "saver", "emergency"};

static size_t record_bytes(uint32_t n_layers)
{
    return sizeof(mode_record) + ((2 * (size_t)n_layers + 7) & ~(size_t)7);
}

static const mode_record *record_of(const rbe__part *part, uint32_t n_layers, uint32_t mode)
{
    return (const mode_record *)(const void *)(part->data + sizeof(mode_table) + mode * record_bytes(n_layers));
}

/* n_layers for the attention, then as many for the feed-forward steps. */
static const uint8_t *layers_of(const mode_record *record)
{
    return (const uint8_t *)(record + 1);
}

static rbe_status malformed(const char *path, const char *mode, const char *field, const char *problem)
{
    return rbe_fail(RBE_ERROR_FORMAT, "%s: damaged file: part `" RBE_PART_MODES "`: %s%sfield `%s` %s; copy the file again", path,
                    mode ? mode : "", mode ? ": " : "", field, problem);
}

/* Printable ASCII, then zeros, one at least. */
static int is_text(const char *text, size_t bytes)
{
    size_t n = 0;
    while (n < bytes && text[n]) {
        const unsigned char c = (unsigned char)text[n++];
        if (c < 32 || c > 126) {
            return 0;
        }
    }
    const size_t end = n;
    while (n < bytes && !text[n]) {
        n++;
    }
    return n == bytes && end < bytes;
}

static int is_measure(double value)
{
    return isfinite(value) && value >= 0;
}

/* The bytes behind a record: planes, or steps that are left out, then zeros. */
static int are_layers(const uint8_t *layers, uint32_t n_layers)
{
    const size_t end = record_bytes(n_layers) - sizeof(mode_record);
    for (size_t i = 0; i < end; i++) {
        const int in_range = layers[i] <= RBE_MAX_PLANES || layers[i] == RBE_SKIP;
        if (i < 2 * (size_t)n_layers ? !in_range : layers[i] != 0) {
            return 0;
        }
    }
    return 1;
}

/* Everything of every layer, as the first mode reads. */
static int reads_all(const mode_record *record, uint32_t n_layers)
{
    uint32_t any = record->embedding | record->lm_head;
    for (size_t i = 0; i < 2 * (size_t)n_layers; i++) {
        any |= layers_of(record)[i];
    }
    return any == 0;
}

static const char *bad_numbers(const mode_record *record)
{
    const double measures[] = {record->perplexity, record->kl, record->kl_error, record->top1};
    static const char *const names[] = {"perplexity", "kl", "kl_error", "top1"};
    for (int i = 0; i < 4; i++) {
        if (!is_measure(measures[i]) || (record->n_tokens == 0 && measures[i] > 0)) {
            return names[i];
        }
    }
    return record->top1 > 1 ? "top1" : NULL;
}

static rbe_status check_record(const char *path, const mode_record *record, uint32_t mode, uint32_t n_layers)
{
    const char *name = mode_names[mode];
    if (record->mode != mode || record->found > 1) {
        return malformed(path, name, record->mode != mode ? "mode" : "found", "is none that is known");
    }
    if (record->embedding > RBE_MAX_PLANES || record->lm_head > RBE_MAX_PLANES || !are_layers(layers_of(record), n_layers)) {
        return malformed(path, name, "planes", "is not 0 to 4, or 255 for a step that is left out");
    }
    if (mode == RBE_MODE_PERFORMANCE && !(record->found && reads_all(record, n_layers))) {
        return malformed(path, name, record->found ? "planes" : "found", "is not that of a mode that reads everything");
    }
    const char *wrong = bad_numbers(record);
    if (wrong) {
        return malformed(path, name, wrong, "is outside its range");
    }
    if (!is_text(record->reason, sizeof record->reason) || (record->reason[0] == 0) != (record->found == 1)) {
        return malformed(path, name, "reason", "is no text, or does not suit `found`");
    }
    return RBE_OK;
}

/* NULL where there is none that this build knows. */
static const rbe__part *find_modes(const rbe_model *model)
{
    const rbe__part *part = rbe__pack_part(&model->pack, RBE_PART_MODES);
    return part && part->known && !model->pack.index_only ? part : NULL;
}

rbe_status rbe__modes_check(const rbe_model *model, const char *path)
{
    const rbe__part *part = find_modes(model);
    const uint32_t n_layers = model->config.n_layers;
    if (!part) {
        return RBE_OK;
    }
    if (part->bytes != sizeof(mode_table) + RBE_MODES * record_bytes(n_layers)) {
        return malformed(path, NULL, "bytes", "does not match the layers of the model");
    }
    const mode_table *table = (const mode_table *)(const void *)part->data;
    if (table->n_modes != RBE_MODES || table->n_layers != n_layers) {
        return malformed(path, NULL, table->n_layers != n_layers ? "n_layers" : "n_modes", "is not that of the model");
    }
    if (table->against > RBE_MODE_AGAINST_SOURCE || table->reserved) {
        return malformed(path, NULL, table->reserved ? "reserved" : "against", "is none that is known");
    }
    if (!is_text(table->text, sizeof table->text)) {
        return malformed(path, NULL, "text", "is no text");
    }
    for (uint32_t mode = 0; mode < RBE_MODES; mode++) {
        RBE_TRY(check_record(path, record_of(part, n_layers, mode), mode, n_layers));
    }
    return RBE_OK;
}

rbe_status rbe_model_mode(const rbe_model *model, uint32_t mode, rbe_mode *out)
{
    if (!model || mode >= RBE_MODES) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_model_mode: no mode %u", mode);
    }
    RBE_TRY(rbe__check_info("rbe_model_mode", out));
    const rbe__part *part = find_modes(model);
    if (!part) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "the file holds no table of power modes that this build knows");
    }
    const uint32_t n_layers = model->config.n_layers;
    const mode_table *table = (const mode_table *)(const void *)part->data;
    const mode_record *record = record_of(part, n_layers, mode);
    const rbe_mode known = {
        .mode = mode,
        .found = record->found,
        .embedding = record->embedding,
        .lm_head = record->lm_head,
        .n_layers = n_layers,
        .against = table->against,
        .attention = layers_of(record),
        .feed_forward = layers_of(record) + n_layers,
        .bytes_per_token = record->bytes_per_token,
        .n_tokens = record->n_tokens,
        .perplexity = record->perplexity,
        .kl = record->kl,
        .kl_error = record->kl_error,
        .top1 = record->top1,
        .reason = record->reason,
        .text = table->text,
    };
    return rbe__give_info("rbe_model_mode", out, &known, sizeof known);
}
