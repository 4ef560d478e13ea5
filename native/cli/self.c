/* `rbe self`: one program that carries its model. */
#include <stdio.h>
#include <string.h>

#include "carried.h"
#include "commands.h"
#include "output.h"
#include "platform/platform.h"
#include "platform/program.h"

#define GRAIN 65536u
#define MOST_PROGRAM_BYTES (256u << 20)

static const char usage[] = "usage: rbe self FILE -o PROGRAM [options]\n"
                            "\n"
                            "Makes one program that carries its model. Started alone it chats; with `run` and a prompt it continues that.\n"
                            "\n"
                            "  FILE                   a .rbe file, as made by `rbe pack`\n"
                            "  -o, --output PROGRAM   the program to make\n"
                            "  --program OTHER        a program `rbe` for another target, which is to carry it (this one)\n"
                            "  --force                overwrite PROGRAM where it exists\n"
                            "  --json                 write one JSON object\n"
                            "\n"
                            "example:\n"
                            "  rbe self smol.rbe -o smol && ./smol\n"
                            "  ./smol run -p \"Once upon a time\" -n 100\n"
                            "  rbe self smol.rbe --program rpi5/bin/rbe -o smol-rpi5\n";

typedef struct self_state {
    const char *file, *output, *program;
    int force, json;
    rbe__mapped_file carrier, model;
    uint64_t program_bytes; /* of the carrier, without what it carries already */
    rbe__new_file *out;
} self_state;

/* Maps the program that is to carry the model. */
static int open_carrier(self_state *self)
{
    model_source carried;
    const int found = find_carried(self->program, &carried);
    if (found < 0) {
        return EXIT_FAILED;
    }
    if (rbe__map_file(self->program, &self->carrier) != RBE_OK) {
        return fail_with(RBE_ERROR_IO);
    }
    self->program_bytes = found ? carried.offset : self->carrier.bytes;
    if (self->program_bytes > MOST_PROGRAM_BYTES || !is_carrier(self->carrier.data, self->program_bytes)) {
        return fail(EXIT_FAILED, "%s is no program `rbe` that can carry a model; give one that was built from native/cli", self->program);
    }
    return 0;
}

/* Opens the model once, with all its checksums: what is damaged is not carried. */
static int check_model(self_state *self)
{
    rbe_model *model = NULL;
    int code = open_model(&(model_source){.path = self->file}, NULL, 0, 0, &model);
    code = code ? code : require_tokenizer(model, self->file);
    code = code || rbe_model_verify(model, NULL, NULL) == RBE_OK ? code : fail_with(RBE_ERROR_FORMAT);
    rbe_model_close(model);
    if (code) {
        return code;
    }
    return rbe__map_file(self->file, &self->model) == RBE_OK ? 0 : fail_with(RBE_ERROR_IO);
}

static int check_output(const self_state *self)
{
    FILE *file = self->force ? NULL : fopen(self->output, "rb");
    if (file) {
        fclose(file);
        return fail(EXIT_FAILED, "%s: exists already; give another name, or --force", self->output);
    }
    return 0;
}

/* In pieces, so that Ctrl-C is heard. */
static rbe_status copy(self_state *self, const uint8_t *data, uint64_t bytes, progress_line *line)
{
    for (uint64_t at = 0; at < bytes; at += 1u << 20) {
        const uint64_t left = bytes - at;
        RBE_TRY(rbe__new_file_write(self->out, data + at, (size_t)(left < 1u << 20 ? left : 1u << 20)));
        if (on_progress(at, bytes, line)) {
            return RBE_ERROR_CANCELLED;
        }
    }
    return RBE_OK;
}

static rbe_status write_all(self_state *self, progress_line *line)
{
    static const uint8_t zeros[GRAIN];
    uint8_t trailer[TRAILER_BYTES];
    const uint64_t offset = (self->program_bytes + GRAIN - 1) / GRAIN * GRAIN;
    make_trailer(offset, self->model.bytes, trailer);
    RBE_TRY(rbe__new_file_create(self->output, &self->out));
    RBE_TRY(copy(self, self->carrier.data, self->program_bytes, line));
    RBE_TRY(copy(self, zeros, offset - self->program_bytes, line));
    RBE_TRY(copy(self, self->model.data, self->model.bytes, line));
    RBE_TRY(rbe__new_file_write(self->out, trailer, sizeof trailer));
    return rbe__new_file_commit(self->out, self->carrier.data, 4);
}

static void say_made(const self_state *self)
{
    number_text program, model;
    if (self->json) {
        fputs("{\"path\": ", stdout);
        json_text(span_of(self->output));
        printf(", \"program_bytes\": %llu, \"model_bytes\": %llu}\n", (unsigned long long)self->program_bytes,
               (unsigned long long)self->model.bytes);
    } else {
        (void)write_text(span_of(self->output));
        printf(": a program of %s that carries a model of %s\n", size_text_of(self->program_bytes, &program),
               size_text_of(self->model.bytes, &model));
    }
}

static int make(self_state *self, const char *name)
{
    char own[4096];
    if (!self->file || !self->output) {
        return fail(EXIT_USAGE, "name a model and the program to make: rbe self FILE -o PROGRAM");
    }
    if (!self->program) {
        if (!rbe__program_path(name, own, sizeof own)) {
            return fail(EXIT_FAILED, "this system does not say where this program lies; give it with --program");
        }
        self->program = own;
    }
    int code = open_carrier(self);
    code = code ? code : check_model(self);
    code = code ? code : check_output(self);
    if (code) {
        return code;
    }
    progress_line line = begin_progress("writing");
    begin_interruptible(NULL);
    const rbe_status status = write_all(self, &line);
    end_progress(&line);
    end_interruptible();
    if (status != RBE_OK) {
        return fail_with(status);
    }
    if (!rbe__make_executable(self->output)) {
        return fail(EXIT_FAILED, "%s was written and could not be made executable; try chmod +x", self->output);
    }
    say_made(self);
    return 0;
}

int command_self(int argc, char **argv, const char *name)
{
    self_state self = {0};
    const option rows[] = {
        {"-o", "--output", OPTION_TEXT, &self.output, NULL},
        {NULL, "--program", OPTION_TEXT, &self.program, NULL},
        {NULL, "--force", OPTION_FLAG, &self.force, NULL},
        {NULL, "--json", OPTION_FLAG, &self.json, NULL},
        {0},
    };
    const command_line line = {.command = "self", .usage = {usage}, .options = rows, .file = &self.file};
    int code;
    if (!read_command_line(&line, argc, argv, &code)) {
        if (self.json) {
            report_as_json();
        }
        code = make(&self, name);
    }
    rbe__new_file_discard(self.out);
    rbe__unmap_file(&self.model);
    rbe__unmap_file(&self.carrier);
    return code;
}
