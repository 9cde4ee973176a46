/* A growing list of arguments for exec. */
#ifndef TEST_ARGUMENTS_H
#define TEST_ARGUMENTS_H

enum { MAX_ARGUMENTS = 255 };

struct arguments {
    char *list[MAX_ARGUMENTS + 1]; /* NULL at the end */
    int count;
};

void arguments_add(struct arguments *arguments, const char *format, ...) __attribute__((format(printf, 2, 3)));
void arguments_free(struct arguments *arguments);

#endif
