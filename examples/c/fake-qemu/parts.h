/* Between the files that make up the fake's guest. Each command is a function like these. */
#ifndef FAKE_PARTS_H
#define FAKE_PARTS_H

#include <string.h>

#include "guest.h"

#define PERIPHERAL "/machine/peripheral"

/* "pci.0", or "pcie.0" of a q35. */
const char *root_bus(const struct guest *guest);
bool runs(const struct guest *guest);

/* Writes an error. */
bool refuse(FILE *reply, const char *class, const char *text, ...) __attribute__((format(printf, 3, 4)));
#define GENERIC(reply, ...) refuse(reply, "GenericError", __VA_ARGS__)
/* Writes the answer of a command that returns nothing. */
bool done(FILE *reply);
/* A string, without what would have to be escaped where it is said again; and one of the arguments, of NAME bytes. */
void clean_text(struct slice value, char *out, size_t size);
void member_text(struct slice arguments, const char *key, char *out);

struct device *find_device(struct guest *guest, const char *id);
struct netdev *find_netdev(struct guest *guest, const char *id);
struct node *find_node(struct guest *guest, const char *name);

bool device_add(struct guest *guest, struct slice arguments, FILE *reply);
bool device_del(struct guest *guest, struct slice arguments, FILE *reply);
bool reset(struct guest *guest, FILE *reply);

bool getfd(struct guest *guest, struct slice arguments, int fd, FILE *reply);
bool closefd(struct guest *guest, struct slice arguments, FILE *reply);
bool add_fd(struct guest *guest, struct slice arguments, int fd, FILE *reply);
bool remove_fd(struct guest *guest, struct slice arguments, FILE *reply);
bool query_fdsets(const struct guest *guest, FILE *reply);
bool netdev_add(struct guest *guest, struct slice arguments, FILE *reply);
bool netdev_del(struct guest *guest, struct slice arguments, FILE *reply);
bool set_link(struct guest *guest, struct slice arguments, FILE *reply);
bool blockdev_add(struct guest *guest, struct slice arguments, FILE *reply);
bool blockdev_del(struct guest *guest, struct slice arguments, FILE *reply);
bool block_resize(struct guest *guest, struct slice arguments, FILE *reply);
bool query_nodes(const struct guest *guest, FILE *reply);

bool query_pci(const struct guest *guest, FILE *reply);
bool qom_list(const struct guest *guest, struct slice arguments, FILE *reply);
bool qom_get(struct guest *guest, struct slice arguments, FILE *reply);
bool query_status(const struct guest *guest, FILE *reply);
bool query_machines(const struct guest *guest, FILE *reply);

#endif
