/* Small files that the operating system makes up (sysfs), and whom else it lets be asked about the machine. No function sets an error. */
#ifndef RBE_PLATFORM_SYSTEM_FILES_H
#define RBE_PLATFORM_SYSTEM_FILES_H

#include <stddef.h>
#include <stdint.h>

typedef enum rbe__file_state {
    RBE_FILE_READ = 0,
    RBE_FILE_ABSENT = 1,
    RBE_FILE_DENIED = 2,    /* to this user */
    RBE_FILE_UNREADABLE = 3 /* no file, too long, or not text; or its driver has no answer now */
} rbe__file_state;

/* The whole text of a file of less than `capacity` bytes, zero-terminated; "" where it is not read. Never waits for another program, as a
 * pipe would. Windows: always absent. */
rbe__file_state rbe__system_file_read(const char *path, char *out, size_t capacity);

typedef struct rbe__file_name {
    char text[64];
} rbe__file_name;

/* Names in a directory, sorted, without those that begin with a dot or are too long; at most `most`. The number; 0 where there is none. */
uint32_t rbe__directory_names(const char *path, rbe__file_name *names, uint32_t most);

/* Asks the firmware of a Raspberry Pi in the words of vcgencmd, by its device. 1 where it answered, zero-terminated; else 0, and on others. */
int rbe__firmware_ask(const char *device, const char *question, char *out, size_t capacity);

/* What a program prints: path, argument, no environment. 1 where it ended well within so many milliseconds and printed less than `capacity`
 * bytes; else it is killed. 0 on Windows and Android. */
int rbe__program_ask(const char *path, const char *argument, uint32_t milliseconds, char *out, size_t capacity);

#endif
