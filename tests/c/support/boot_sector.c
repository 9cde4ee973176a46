#include "boot_sector.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "files.h"

enum { SECTOR = 512, SIGNATURE = 510 };

void boot_sector(const char *path, const void *program, size_t length)
{
    unsigned char sector[SECTOR] = {[SIGNATURE] = 0x55, [SIGNATURE + 1] = 0xaa};
    FILE *file;

    if (length > SIGNATURE)
        FAIL("a program of %zu bytes is too long for a boot sector", length);
    memcpy(sector, program, length);
    image_raw(path, MEBIBYTE);
    file = fopen(path, "r+");
    if (file == NULL || fwrite(sector, 1, sizeof sector, file) != sizeof sector || fclose(file) != 0)
        FAIL("cannot write the boot sector of %s", path);
}

/* For each character "mov al, character; out dx, al": the port sends it before the next one comes. */
void boot_sector_says(const char *path, const char *text)
{
    static const unsigned char choose_port[] = {0xba, 0xf8, 0x03}; /* mov dx, 0x3f8 */
    static const unsigned char halt[] = {0xfa, 0xf4, 0xeb, 0xfd};  /* cli; hlt; jmp to the hlt */
    unsigned char program[SIGNATURE];
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
    boot_sector(path, program, length + sizeof halt);
}
