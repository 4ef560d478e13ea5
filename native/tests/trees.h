/* Machines as text, tests/golden/power/NAME.txt: comments, then lines "path: content" ("\n" in it is a newline; a path that ends in '/' is an
 * empty directory), unpacked under the directory of stand_in_files.h. What lies in vcgencmd/ is what the program of that name answers. */
#ifndef RBE_TESTS_TREES_H
#define RBE_TESTS_TREES_H

#include "rbe/power.h"
#include "stand_in_files.h"

static char firmware_program[128];

static inline void unescape(char *text)
{
    char *out = text;
    for (; *text; text++) {
        if (text[0] == '\\' && text[1] == 'n') {
            *out++ = '\n';
            text++;
        } else {
            *out++ = *text;
        }
    }
    *out = 0;
}

static inline void write_line(char *line)
{
    char path[224], full[300], *content = strstr(line, ": ");
    line[strcspn(line, "\n")] = 0;
    CHECK(content && content > line && content - line < 200, "%s", line);
    if (!content || content == line) {
        return;
    }
    *content = 0;
    content += 2;
    unescape(content);
    const int is_directory = content[-3] == '/';
    snprintf(path, sizeof path, "%.200s%s", line, is_directory ? "_" : "");
    write_file(path, content);
    if (is_directory) { /* which it needed, and which stays */
        snprintf(full, sizeof full, "%s/%s", root, path);
        CHECK(remove(full) == 0, "%s", full);
    }
}

/* Begins a machine from a tree, or an empty one (NULL). Its vcgencmd is there only where the tree has answers of it. */
static inline void begin_tree(const char *name)
{
    char path[512], line[4096];
    begin_machine();
    firmware_program[0] = 0;
    if (!name) {
        return;
    }
    snprintf(path, sizeof path, "%s/power/%s.txt", RBE_GOLDEN_DIR, name);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL, "%s", path);
    while (file && fgets(line, sizeof line, file)) {
        if (line[0] != '#') {
            if (strncmp(line, "vcgencmd/", 9) == 0 && !firmware_program[0]) {
                snprintf(firmware_program, sizeof firmware_program, "%s/answer", root);
                write_file("answer", "#!/bin/sh\nexec /bin/cat \"${0%/*}/vcgencmd/$1\"\n");
                CHECK(chmod(firmware_program, 0700) == 0, "%s", firmware_program);
            }
            write_line(line);
        }
    }
    if (file) {
        fclose(file);
    }
}

static inline rbe_power *open_tree(void)
{
    const rbe_power_options options = {
        .struct_bytes = sizeof options, .root = root, .firmware_program = firmware_program[0] ? firmware_program : NULL};
    rbe_power *power = NULL;
    CHECK(rbe_power_open(&options, &power) == RBE_OK && power, "%s", rbe_last_error());
    return power;
}

static inline rbe_power_sample sample_of(rbe_power *power)
{
    rbe_power_sample sample = {.struct_bytes = sizeof sample};
    CHECK(rbe_power_read(power, &sample) == RBE_OK, "%s", rbe_last_error());
    return sample;
}

/* Of the machine as it lies there, once. */
static inline rbe_power_sample sample_tree(void)
{
    rbe_power *power = open_tree();
    const rbe_power_sample sample = sample_of(power);
    rbe_power_close(power);
    return sample;
}

#endif
