/* The structs lie in memory as the table says, which Rust is held to as well. */
#include <string.h>

#include <kvm_hotplug.h>

#include "support/check.h"

struct line {
    const char *name;
    size_t got_offset, got_size, offset, size;
};

/* clang-format off */
#define STRUCT(name, bytes) {#name, 0, sizeof(struct name), 0, (bytes)},
#define FIELD(name, field, at, bytes) \
    {#name "." #field, offsetof(struct name, field), sizeof(((struct name *)0)->field), (at), (bytes)},
static const struct line lines[] = {
#include "layout.h"
};
/* clang-format on */

static void check(const struct line *line)
{
    if (line->got_offset != line->offset || line->got_size != line->size)
        FAIL("%s: offset %zu and size %zu, the table says %zu and %zu", line->name, line->got_offset, line->got_size,
             line->offset, line->size);
    test_count_check();
}

int main(void)
{
    size_t i;

    test_begin("api-layout", 10);
    for (i = 0; i < sizeof lines / sizeof *lines; i++)
        check(&lines[i]);
    return test_end();
}
