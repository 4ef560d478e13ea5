/* What a program asks of the operating system: the machine as files in the shape of Linux's describe it, and the place of the program itself. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "platform/program.h"

#if defined(__linux__)

static char root[] = "machine-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/proc/%s", root, name);
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(text, file) >= 0 && fclose(file) == 0, "%s", path);
}

static void remove_file(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/proc/%s", root, name);
    unlink(path);
}

static void check_machines(void)
{
    rbe__machine machine = {.processor = "old", .features = "old"};
    rbe__machine_read(root, &machine);
    CHECK(!machine.processor[0] && !machine.features[0], "no files, nothing known");

    write_file("cpuinfo", "processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm aes asimdhp cpuid asimdrdm asimddp\n"
                          "CPU implementer\t: 0x41\n\nprocessor\t: 1\nFeatures\t: fp\n\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n");
    rbe__machine_read(root, &machine);
    CHECK(strcmp(machine.processor, "Raspberry Pi 5 Model B Rev 1.0") == 0, "%s", machine.processor);
    CHECK(strcmp(machine.features, "asimd asimddp") == 0, "whole words alone: %s", machine.features);

    write_file("cpuinfo", "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx avx2x avx2 fma\nmodel name\t: Other\n");
    rbe__machine_read(root, &machine);
    CHECK(strcmp(machine.processor, "Some CPU") == 0 && strcmp(machine.features, "avx2 fma") == 0, "%s: %s", machine.processor,
          machine.features);

    char long_line[4096] = "model name : ";
    memset(long_line + 13, 'x', sizeof long_line - 14);
    write_file("cpuinfo", long_line);
    rbe__machine_read(root, &machine);
    CHECK(strlen(machine.processor) == sizeof machine.processor - 1, "cut");
    remove_file("cpuinfo");
}

static void check_place(const char *name)
{
    char path[4096], small[8];
    struct stat own, found;
    CHECK(rbe__program_path(name, path, sizeof path), "the place of this program");
    CHECK(stat(name, &own) == 0 && stat(path, &found) == 0 && own.st_ino == found.st_ino, "%s is this program", path);
    CHECK(!rbe__program_path(name, small, sizeof small), "no room for the name");
}

int main(int argc, char **argv)
{
    char folder[64];
    CHECK(argc == 1 && mkdtemp(root), "a folder");
    snprintf(folder, sizeof folder, "%s/proc", root);
    CHECK(mkdir(folder, 0700) == 0, "a folder");
    check_machines();
    rmdir(folder);
    rmdir(root);
    check_place(argv[0]);
    CHECK(rbe__any_number() != rbe__any_number() || rbe__any_number() != rbe__any_number(), "numbers differ");
    CHECK(rbe__peak_resident_bytes() > 100000, "a process has some memory");
    return check_finish();
}

#else

int main(void)
{
    char path[4096];
    CHECK(rbe__program_path("x", path, sizeof path) && access(path, R_OK) == 0, "the place of this program");
    return check_finish();
}

#endif
