#include "guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "files.h"

enum { BOOT_MS = 60000, COMMAND_MS = 60000, ASK_AGAIN_MS = 10, LAST_WORDS = 2000 };

static const char ready[] = "=== ready ===\n";

static bool ends_with_ready(const struct stream *shell)
{
    size_t length = strlen(ready);

    return shell->length >= length && strcmp(shell->data + shell->length - length, ready) == 0;
}

/* The marker at the end is newline, "=== <status> ===", newline; the first newline is not part of the
 * output. */
static bool ends_with_status(struct stream *shell, size_t *output_length, int *status)
{
    size_t start = shell->length;
    int used = 0;

    if (shell->length < 2 || shell->data[shell->length - 1] != '\n')
        return false;
    for (start = shell->length - 1; start > 0 && shell->data[start - 1] != '\n'; start--)
        ;
    if (sscanf(shell->data + start, "=== %d ===%n", status, &used) != 1)
        return false;
    /* The newline before it was seen to be lost in the emulated serial port of a busy machine. */
    *output_length = start == 0 ? 0 : start - 1;
    return used > 0 && start + (size_t)used + 1 == shell->length;
}

void guest_wait_boot(struct qemu *qemu)
{
    long long end = now_ms() + test_patience(BOOT_MS);

    while (!ends_with_ready(&qemu->shell))
        if (!stream_read(&qemu->shell, end))
            FAIL("the guest did not boot: %s", errno == 0 ? "QEMU has ended" : "not ready in time");
    stream_consume(&qemu->shell, qemu->shell.length);
}

static void copy_output(const struct stream *shell, size_t length, char *output, size_t size)
{
    if (output == NULL || size == 0)
        return;
    if (length >= size)
        length = size - 1;
    memcpy(output, shell->data, length);
    output[length] = '\0';
}

/* For whoever has to find out why it is silent: what its shell said last, and its kernel. */
static void show_last_words(const struct qemu *qemu)
{
    char path[TEST_PATH];
    size_t length = 0, from;
    char *console;

    fprintf(stderr, "the guest's shell said: %.*s\n", (int)qemu->shell.length, qemu->shell.data);
    path_in(path, qemu->dir, "console.log");
    console = file_read(path, &length);
    from = length > LAST_WORDS ? length - LAST_WORDS : 0;
    fprintf(stderr, "the guest's console ends: %.*s\n", (int)(length - from), console + from);
    free(console);
}

int guest_run(struct qemu *qemu, const char *command, char *output, size_t size)
{
    struct stream *shell = &qemu->shell;
    long long end = now_ms() + test_patience(COMMAND_MS);
    size_t length = 0;
    int status = 0;

    if (shell->fd < 0)
        FAIL("this QEMU was started without a guest");
    if (strchr(command, '\n') != NULL)
        FAIL("a command for the guest is one line: %s", command);
    stream_write(shell, command, strlen(command));
    stream_write(shell, "\n", 1);
    do {
        if (!stream_read(shell, end)) {
            int error = errno;

            show_last_words(qemu);
            FAIL("the guest does not finish \"%s\": %s", command, error == 0 ? "QEMU has ended" : "time is up");
        }
        if (ends_with_ready(shell))
            FAIL("the guest rebooted during \"%s\"", command);
    } while (!ends_with_status(shell, &length, &status));
    copy_output(shell, length, output, size);
    stream_consume(shell, shell->length);
    return status;
}

bool guest_wait(struct qemu *qemu, const char *condition, int timeout_ms)
{
    long long end = now_ms() + test_patience(timeout_ms);

    while (guest_run(qemu, condition, NULL, 0) != 0) {
        if (now_ms() >= end)
            return false;
        sleep_ms(ASK_AGAIN_MS);
    }
    return true;
}
