/* The mailbox of a Raspberry Pi's firmware. Its words are those of vcgencmd/vcgencmd.c in github.com/raspberrypi/utils. */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "platform/system_files.h"

#define MAILBOX_PROPERTY _IOWR(100, 0, char *)
#define GENCMD_RESULT 0x00030080u
#define ANSWERED 0x80000000u /* in the second word, put there by the firmware */
#define TEXT_WORDS 1024u

int rbe__firmware_ask(const char *device, const char *question, char *out, size_t capacity)
{
    /* bytes in all, request, tag, bytes of its value, bytes of the request, the firmware's error, text, end */
    uint32_t words[7 + TEXT_WORDS] = {sizeof words, 0, GENCMD_RESULT, TEXT_WORDS * 4, 0, 0};
    char *text = (char *)(words + 6);
    const size_t bytes = strlen(question);
    out[0] = 0;
    const int file = bytes < TEXT_WORDS ? open(device, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
    if (file < 0) {
        return 0;
    }
    memcpy(text, question, bytes + 1);
    const int done = ioctl(file, MAILBOX_PROPERTY, words) >= 0 && words[1] == ANSWERED && words[5] == 0;
    close(file);
    const char *end = done ? memchr(text, 0, (size_t)TEXT_WORDS * 4) : NULL;
    if (!end || (size_t)(end - text) >= capacity) {
        return 0;
    }
    memcpy(out, text, (size_t)(end - text) + 1);
    return 1;
}
