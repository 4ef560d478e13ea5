/* Parts of a file and its table of power modes: what is read, and that any damage to them gives one line and nothing else. */
#include <unistd.h>

#include "check.h"
#include "exercise.h"
#include "golden_files.h"

#define N_MUTATIONS 1500
#define GOLDEN RBE_GOLDEN_DIR "/v3/parts.rbe"

/* What is changed in the file: where, counted from a place, and the new number. */
typedef enum place { IN_HEADER, IN_ENTRY, IN_OTHER_ENTRY, IN_TABLE } place;

typedef struct edit {
    place from;
    uint32_t at, bytes;
    uint64_t value;
    rbe_status status; /* of opening */
    const char *said; /* part of the message */
} edit;

#define OTHER "later.thing_2"
#define RECORD(mode) (128 + (mode) * 200) /* 192 bytes, and 2 * 3 layers padded to 8 */

static const edit edits[] = {
    /* header */
    {IN_HEADER, 8, 4, 2, RBE_ERROR_FORMAT, "header field `reserved`"},
    {IN_HEADER, 8, 4, 4, RBE_ERROR_UNSUPPORTED, "format 4, this build reads 1 to 3"},
    {IN_HEADER, 48, 4, 0, RBE_ERROR_FORMAT, "the lists end elsewhere"},
    {IN_HEADER, 48, 4, 2, RBE_ERROR_FORMAT, "the lists end elsewhere"},
    {IN_HEADER, 48, 4, 4, RBE_ERROR_FORMAT, "header field `n_parts` is larger"},
    {IN_HEADER, 48, 4, 257, RBE_ERROR_FORMAT, "header field `n_parts` is larger"},
    {IN_HEADER, 48, 4, UINT32_MAX, RBE_ERROR_FORMAT, "header field `n_parts` is larger"},
    {IN_HEADER, 52, 4, 1, RBE_ERROR_FORMAT, "header field `reserved`"},
    /* entry */
    {IN_ENTRY, PART_VERSION, 4, 0, RBE_ERROR_FORMAT, "parts 0: field `version` is 0"},
    {IN_ENTRY, PART_VERSION, 4, 2, RBE_OK, ""},
    {IN_ENTRY, PART_FLAGS, 4, 1, RBE_OK, ""},
    {IN_ENTRY, PART_FLAGS, 4, 0x10000, RBE_ERROR_UNSUPPORTED, "needs a newer rbe"},
    {IN_OTHER_ENTRY, PART_FLAGS, 4, 1, RBE_ERROR_UNSUPPORTED, "part `" OTHER "` of version 9"},
    {IN_ENTRY, PART_OFFSET, 8, 64, RBE_ERROR_FORMAT, "field `offset` lies outside"},
    {IN_ENTRY, PART_OFFSET, 8, UINT64_MAX - 63, RBE_ERROR_FORMAT, "field `offset` lies outside"},
    {IN_ENTRY, PART_BYTES, 8, UINT64_MAX, RBE_ERROR_FORMAT, "field `bytes` goes past the end of the file"},
    {IN_ENTRY, PART_BYTES, 8, 900, RBE_ERROR_FORMAT, "part `modes`: field `bytes`"},
    {IN_ENTRY, PART_BYTES, 8, 0, RBE_ERROR_FORMAT, "part `modes`: field `bytes`"},
    {IN_ENTRY, PART_MORE_BYTES, 4, UINT32_MAX, RBE_ERROR_FORMAT, "field `more` goes past"},
    {IN_ENTRY, (uint32_t)-1, 1, 'S', RBE_ERROR_FORMAT, "field `name` is not 1 to 32 characters"},
    {IN_ENTRY, (uint32_t)-1, 1, ' ', RBE_ERROR_FORMAT, "field `name` holds a character"},
    {IN_ENTRY, (uint32_t)-9, 4, 0, RBE_ERROR_FORMAT, "field `name` is not 1 to 255"},
    {IN_ENTRY, (uint32_t)-9, 4, 33, RBE_ERROR_FORMAT, "field `name`"},
    {IN_OTHER_ENTRY, PART_CHECKSUM, 4, 1, RBE_ERROR_FORMAT, "part `" OTHER "`: field `checksum`"},
    /* table */
    {IN_TABLE, 0, 4, 5, RBE_ERROR_FORMAT, "field `n_modes`"},
    {IN_TABLE, 4, 4, 2, RBE_ERROR_FORMAT, "field `n_layers`"},
    {IN_TABLE, 8, 4, 2, RBE_ERROR_FORMAT, "field `against`"},
    {IN_TABLE, 12, 4, 1, RBE_ERROR_FORMAT, "field `reserved`"},
    {IN_TABLE, 16, 1, '\n', RBE_ERROR_FORMAT, "field `text`"},
    {IN_TABLE, 16, 1, 0xC3, RBE_ERROR_FORMAT, "field `text`"},
    {IN_TABLE, 16, 1, 0, RBE_ERROR_FORMAT, "field `text`"},
    {IN_TABLE, 127, 1, 'x', RBE_ERROR_FORMAT, "field `text`"},
    {IN_TABLE, RECORD(0), 4, 1, RBE_ERROR_FORMAT, "performance: field `mode`"},
    {IN_TABLE, RECORD(0) + 4, 4, 0, RBE_ERROR_FORMAT, "performance: field `found`"},
    {IN_TABLE, RECORD(0) + 8, 4, 1, RBE_ERROR_FORMAT, "performance: field `planes`"},
    {IN_TABLE, RECORD(0) + 192, 1, 1, RBE_ERROR_FORMAT, "performance: field `planes`"},
    {IN_TABLE, RECORD(1) + 4, 4, 2, RBE_ERROR_FORMAT, "balanced: field `found`"},
    {IN_TABLE, RECORD(1) + 8, 4, 5, RBE_ERROR_FORMAT, "balanced: field `planes`"},
    {IN_TABLE, RECORD(1) + 12, 4, RBE_SKIP, RBE_ERROR_FORMAT, "balanced: field `planes`"},
    {IN_TABLE, RECORD(1) + 192, 1, 5, RBE_ERROR_FORMAT, "balanced: field `planes`"},
    {IN_TABLE, RECORD(1) + 197, 1, 254, RBE_ERROR_FORMAT, "balanced: field `planes`"},
    {IN_TABLE, RECORD(1) + 198, 1, 1, RBE_ERROR_FORMAT, "balanced: field `planes`"},
    {IN_TABLE, RECORD(1) + 32, 8, 0x7FF0000000000000, RBE_ERROR_FORMAT, "balanced: field `perplexity`"},
    {IN_TABLE, RECORD(1) + 40, 8, 0x7FF8000000000000, RBE_ERROR_FORMAT, "balanced: field `kl`"},
    {IN_TABLE, RECORD(1) + 48, 8, 0xBFF0000000000000, RBE_ERROR_FORMAT, "balanced: field `kl_error`"},
    {IN_TABLE, RECORD(1) + 56, 8, 0x3FF0000000000001, RBE_ERROR_FORMAT, "balanced: field `top1`"},
    {IN_TABLE, RECORD(1) + 24, 8, 0, RBE_ERROR_FORMAT, "balanced: field `perplexity`"},
    {IN_TABLE, RECORD(1) + 64, 1, 'x', RBE_ERROR_FORMAT, "balanced: field `reason`"},
    {IN_TABLE, RECORD(2) + 4, 4, 1, RBE_ERROR_FORMAT, "saver: field `reason`"},
    {IN_TABLE, RECORD(2) + 191, 1, 'x', RBE_ERROR_FORMAT, "saver: field `reason`"},
    {IN_TABLE, RECORD(3) + 16, 8, UINT64_MAX, RBE_OK, ""},
    {IN_TABLE, RECORD(3) + 192, 1, 4, RBE_OK, ""},
};

static uint64_t table_offset(const unsigned char *data, size_t bytes)
{
    uint64_t offset;
    memcpy(&offset, data + find_part_entry(data, bytes, "modes") + PART_OFFSET, 8);
    return offset;
}

static void write_whole(const char *path, const unsigned char *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(data, 1, bytes, file) == bytes && fclose(file) == 0, "%s cannot be written", path);
}

static void check_edit(const edit *change, const char *path, unsigned n)
{
    size_t bytes;
    unsigned char *data = read_file(GOLDEN, &bytes);
    const size_t entry = find_part_entry(data, bytes, "modes"), other = find_part_entry(data, bytes, OTHER);
    const size_t starts[] = {0, entry, other, (size_t)table_offset(data, bytes)};
    unsigned char *at = data + starts[change->from];
    at = change->at > UINT32_MAX - 16 ? at - (uint32_t)-change->at : at + change->at;
    memcpy(at, &change->value, change->bytes);
    if (change->from == IN_TABLE) {
        repair_part(data, bytes, "modes");
    }
    if (change->bytes != 8 || change->from != IN_ENTRY) {
        uint64_t index_bytes;
        memcpy(&index_bytes, data + 24, 8);
        repair_head(data, bytes, (size_t)index_bytes);
    } else {
        repair_checksum(data, bytes); /* the part's as well, where it lies now */
    }
    write_whole(path, data, bytes);
    rbe_model *model = NULL;
    const rbe_status status = rbe_model_open(path, NULL, &model);
    const char *said = status == RBE_OK ? "" : rbe_last_error();
    CHECK(status == change->status && strstr(said, change->said) && !strchr(said, '\n'), "edit %u: status %d: %s", n, (int)status, said);
    rbe_model_close(model);
    free(data);
}

/* A required part is readable where it is known; a later version of a known part is an unknown one. */
static void check_versions(const char *path)
{
    size_t bytes;
    unsigned char *data = read_file(GOLDEN, &bytes);
    const size_t entry = find_part_entry(data, bytes, "modes");
    rbe_model *model = NULL;
    rbe_part_info part = {.struct_bytes = sizeof part};
    rbe_mode mode = {.struct_bytes = sizeof mode};
    memcpy(data + entry + PART_FLAGS, &(uint32_t){1}, 4);
    repair_checksum(data, bytes);
    write_whole(path, data, bytes);
    CHECK(rbe_model_open(path, NULL, &model) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_model_part_info(model, 0, &part) == RBE_OK && part.flags == RBE_PART_REQUIRED && part.known, "known and required");
    rbe_model_close(model);
    memcpy(data + entry + PART_VERSION, &(uint32_t){2}, 4);
    repair_checksum(data, bytes);
    write_whole(path, data, bytes);
    CHECK(rbe_model_open(path, NULL, &model) == RBE_ERROR_UNSUPPORTED, "a later version that is required");
    CHECK(strstr(rbe_last_error(), "`modes` of version 2") && strstr(rbe_last_error(), "needs a newer rbe"), "%s", rbe_last_error());
    memcpy(data + entry + PART_FLAGS, &(uint32_t){0}, 4);
    memset(data + table_offset(data, bytes), 0xFF, 128); /* of which this build knows nothing */
    repair_checksum(data, bytes);
    write_whole(path, data, bytes);
    CHECK(rbe_model_open(path, NULL, &model) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_model_part_info(model, 0, &part) == RBE_OK && part.version == 2 && !part.known, "a later version is unknown");
    CHECK(rbe_model_mode(model, RBE_MODE_SAVER, &mode) == RBE_ERROR_UNSUPPORTED, "no table");
    rbe_model_close(model);
    free(data);
}

/* Without checksums, damage to an unknown part is found when it is read. */
static void check_unread_damage(const char *path)
{
    size_t bytes;
    unsigned char *data = read_file(GOLDEN, &bytes);
    uint64_t offset, n = 1;
    uint32_t version = 7;
    const void *found = data;
    memcpy(&offset, data + find_part_entry(data, bytes, OTHER) + PART_OFFSET, 8);
    data[offset] ^= 1;
    write_whole(path, data, bytes);
    rbe_model *model = NULL;
    const rbe_model_options skipping = {.struct_bytes = sizeof skipping, .skip_checksums = 1};
    CHECK(rbe_model_open(path, NULL, &model) == RBE_ERROR_FORMAT, "damage that a checksum shows");
    CHECK(rbe_model_open(path, &skipping, &model) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_model_part(model, OTHER, &found, &n, &version) == RBE_ERROR_FORMAT && !found && n == 0 && version == 0, "damage");
    CHECK(rbe_model_part(model, "modes", &found, &n, &version) == RBE_OK && found && n == 928 && version == 1, "the other one");
    rbe_model_close(model);
    data[offset] ^= 1;
    data[table_offset(data, bytes)] ^= 1;
    write_whole(path, data, bytes);
    CHECK(rbe_model_open(path, &skipping, &model) == RBE_ERROR_FORMAT, "a known part is always checked");
    free(data);
}

/* Overlaps and names that are there twice. */
static void check_collisions(const char *path)
{
    size_t bytes;
    rbe_model *model = NULL;
    unsigned char *data = read_file(GOLDEN, &bytes);
    const size_t entry = find_part_entry(data, bytes, "modes");
    const uint64_t inside = table_offset(data, bytes) - 4096;
    memcpy(data + entry + PART_OFFSET, &inside, 8); /* over tensors, which lie before it */
    repair_checksum(data, bytes);
    write_whole(path, data, bytes);
    CHECK(rbe_model_open(path, NULL, &model) == RBE_ERROR_FORMAT && strstr(rbe_last_error(), "overlap"), "%s", rbe_last_error());
    free(data);
    data = read_file(GOLDEN, &bytes);
    const size_t empty = find_part_entry(data, bytes, "empty"), modes = find_part_entry(data, bytes, "modes");
    for (size_t i = 1; i <= 5; i++) { /* its name */
        data[empty - i] = data[modes - i];
    }
    repair_checksum(data, bytes);
    write_whole(path, data, bytes);
    CHECK(rbe_model_open(path, NULL, &model) == RBE_ERROR_FORMAT && strstr(rbe_last_error(), "two parts are named `modes`"), "%s",
          rbe_last_error());
    free(data);
}

static void check_reading(void)
{
    rbe_model *model = NULL;
    rbe_part_info part = {.struct_bytes = sizeof part};
    rbe_mode mode = {.struct_bytes = sizeof mode};
    const void *data;
    uint64_t n;
    CHECK(rbe_model_open(GOLDEN, NULL, &model) == RBE_OK && rbe_model_part_count(model) == 3, "%s", rbe_last_error());
    CHECK(rbe_model_part_count(NULL) == 0 && rbe_model_part_info(model, 3, &part) == RBE_ERROR_ARGUMENT, "three parts");
    CHECK(rbe_model_part_info(model, 1, &part) == RBE_OK && part.name_bytes == 13 && memcmp(part.name, OTHER, 13) == 0 &&
              part.version == 9 && part.flags == 0x8002 && !part.known && part.data_bytes == 18,
          "what later versions say of a part is listed");
    CHECK(rbe_model_part(model, OTHER, &data, &n, NULL) == RBE_OK && n == 18 && memcmp(data, "of a later version", 18) == 0, "its data");
    CHECK(rbe_model_part(model, "empty", &data, &n, NULL) == RBE_OK && n == 0, "an empty part");
    CHECK(rbe_model_part(model, "mode", &data, &n, NULL) == RBE_ERROR_UNSUPPORTED && !data, "no such part");
    CHECK(rbe_model_part(model, NULL, &data, &n, NULL) == RBE_ERROR_ARGUMENT, "no name");
    CHECK(rbe_model_part(model, "modes", NULL, &n, NULL) == RBE_ERROR_ARGUMENT, "nowhere");
    CHECK(rbe_model_mode(model, RBE_MODE_BALANCED, &mode) == RBE_OK && mode.found && mode.n_layers == 3 && mode.embedding == 1 &&
              mode.lm_head == 3 && memcmp(mode.attention, "\1\2\0", 3) == 0 && memcmp(mode.feed_forward, "\xFF\0\4", 3) == 0,
          "what the mode reads");
    CHECK(mode.bytes_per_token == 20000 && mode.n_tokens == 512 && mode.perplexity == 33.25 && mode.kl == 0.25 && mode.top1 == 0.625 &&
              mode.against == RBE_MODE_AGAINST_SOURCE && strcmp(mode.text, "a text of its own") == 0 && mode.reason[0] == 0,
          "what was measured");
    CHECK(rbe_model_mode(model, RBE_MODE_SAVER, &mode) == RBE_OK && !mode.found && strcmp(mode.reason, "none within 1.11") == 0,
          "none found");
    CHECK(rbe_model_mode(model, RBE_MODES, &mode) == RBE_ERROR_ARGUMENT, "no such mode");
    rbe_model_close(model);
    CHECK(rbe_model_open(RBE_GOLDEN_DIR "/v1/bits4.rbe", NULL, &model) == RBE_OK && rbe_model_part_count(model) == 0, "version 1");
    CHECK(rbe_model_mode(model, RBE_MODE_SAVER, &mode) == RBE_ERROR_UNSUPPORTED, "has no table");
    rbe_model_close(model);
}

/* Of the table and of the entries, with all checksums made right. */
static void check_mutations(const char *path)
{
    int opened = 0;
    for (int i = 0; i < N_MUTATIONS; i++) {
        size_t bytes;
        unsigned char *data = read_file(GOLDEN, &bytes);
        const uint64_t at = draw(4) ? table_offset(data, bytes) : find_part_entry(data, bytes, "modes") - 9;
        for (uint32_t n = draw(2) + 1; n > 0; n--) {
            size_t left = bytes - (size_t)at;
            mutate(data + at, &left, left < 928 ? (uint32_t)left : 928);
        }
        repair_checksum(data, bytes);
        write_whole(path, data, bytes);
        opened += exercise_file(path, 1);
        free(data);
    }
    CHECK(opened > N_MUTATIONS / 50 && opened < N_MUTATIONS, "%d of %d mutations could be opened", opened, N_MUTATIONS);
}

int main(void)
{
    char path[64] = "/dev/shm/rbe-parts-XXXXXX";
    int descriptor = mkstemp(path);
    if (descriptor < 0) {
        strcpy(path, "/tmp/rbe-parts-XXXXXX");
        descriptor = mkstemp(path);
    }
    CHECK(descriptor >= 0 && close(descriptor) == 0, "no temporary file");
    check_reading();
    for (unsigned i = 0; i < sizeof edits / sizeof *edits; i++) {
        check_edit(&edits[i], path, i);
    }
    check_versions(path);
    check_unread_damage(path);
    check_collisions(path);
    check_mutations(path);
    unlink(path);
    return check_finish();
}
