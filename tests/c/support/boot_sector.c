#include "boot_sector.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "files.h"

enum { SECTOR = 512, WAIT_MS = 60000 };

static void write_sector(const char *path, const void *program, size_t length)
{
    unsigned char sector[SECTOR] = {[SECTOR - 2] = 0x55, [SECTOR - 1] = 0xaa};
    int file = open(path, O_WRONLY | O_CLOEXEC);

    if (length > BOOT_SECTOR_MOST)
        FAIL("a program of %zu bytes is too long for a boot sector", length);
    memcpy(sector, program, length);
    if (file < 0 || pwrite(file, sector, sizeof sector, 0) != (ssize_t)sizeof sector || fsync(file) != 0)
        FAIL("cannot write the boot sector of %s", path);
    close(file);
}

void boot_sector(const char *path, const void *program, size_t length)
{
    image_raw(path, MEBIBYTE);
    write_sector(path, program, length);
}

/* For each character "mov al, character; out dx, al": the port sends it before the next one comes. */
void boot_sector_says_on(const char *device, const char *text)
{
    static const unsigned char choose_port[] = {0xba, 0xf8, 0x03}; /* mov dx, 0x3f8 */
    static const unsigned char halt[] = {0xfa, 0xf4, 0xeb, 0xfd};  /* cli; hlt; jmp to the hlt */
    unsigned char program[BOOT_SECTOR_MOST];
    size_t length = sizeof choose_port, i, letters = strlen(text);

    if (letters > 100)
        FAIL("\"%s\" is too long for a boot sector", text);
    memcpy(program, choose_port, sizeof choose_port);
    for (i = 0; i <= letters; i++) {
        program[length++] = 0xb0;
        program[length++] = i < letters ? (unsigned char)text[i] : '\n';
        program[length++] = 0xee;
    }
    memcpy(program + length, halt, sizeof halt);
    write_sector(device, program, length + sizeof halt);
}

void boot_sector_says(const char *path, const char *text)
{
    image_raw(path, MEBIBYTE);
    boot_sector_says_on(path, text);
}

void serial_says(struct serial_port *port, const char *wanted)
{
    long long end = now_ms() + test_patience(WAIT_MS);
    char *said = NULL, *line;

    for (;;) {
        said = file_read(port->path, NULL);
        line = said != NULL && strlen(said) > port->known ? said + port->known : NULL;
        if (line != NULL && strchr(line, '\n') != NULL)
            break;
        if (now_ms() >= end)
            FAIL("no program says \"%s\" on the serial port", wanted);
        free(said);
        sleep_ms(20);
    }
    *strchr(line, '\n') = '\0';
    port->known += strlen(line) + 1;
    CHECK_TEXT(line, wanted);
    free(said);
}
