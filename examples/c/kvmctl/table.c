#include "table.h"

#include <string.h>

#define BIT OPTION_BIT
#define ANYWHERE (BIT(OPTION_RUNTIME) | BIT(OPTION_JSON) | BIT(OPTION_PLAIN) | BIT(OPTION_VERBOSE) | BIT(OPTION_HELP) | \
                  BIT(OPTION_TRUST))
#define GUEST (BIT(OPTION_RUNTIME) | BIT(OPTION_SOCKET))
#define LIVE \
    (ANYWHERE | BIT(OPTION_SOCKET) | BIT(OPTION_TIMEOUT) | BIT(OPTION_PEER_UID) | BIT(OPTION_PEER_PID) | BIT(OPTION_ACCEPT_PEER))
#define PLACE \
    (BIT(OPTION_ID) | BIT(OPTION_BUS) | BIT(OPTION_SLOT) | BIT(OPTION_MODEL) | BIT(OPTION_BOOT_INDEX) | BIT(OPTION_LIVE_ONLY))

const struct option_info option_table[OPTIONS] = {
    [OPTION_RUNTIME] = {"runtime", "FILE", "@file", "the guest's runtime file (default: $KVMCTL_RUNTIME)"},
    [OPTION_SOCKET] = {"socket", "QMP", "@file",
                       "QMP socket of the running QEMU, which serves one client at a time (default: $KVMCTL_SOCKET)"},
    [OPTION_TIMEOUT] = {"timeout", "SECONDS", "", "for all of it"},
    [OPTION_JSON] = {"json", NULL, "", "say it as JSON, errors too, for scripts"},
    [OPTION_PLAIN] = {"plain", NULL, "",
                      "no colours, box characters, or line while something is waited for; the default when stdout is no terminal"},
    [OPTION_HELP] = {"help", NULL, "", "this text; behind a command, what that does"},
    [OPTION_VERBOSE] = {"verbose", NULL, "", "say on stderr what the library does"},
    [OPTION_VERSION] = {"version", NULL, "", "the version of the library"},
    [OPTION_NAME] = {"name", "NAME", "", "the guest's name, for people"},
    [OPTION_PRINT] = {"print", NULL, "", "only print the command line; nothing is opened for it or changed"},
    [OPTION_PORTS] = {"spare-ports", "N", "", "q35: empty root ports for devices to come (default: 4)"},
    [OPTION_PAUSED] = {"paused", NULL, "", "the guest does not run until it is told so: kvmctl qmp cont"},
    [OPTION_INCOMING] = {"incoming", "FROM", "defer",
                         "wait for a migration: tcp:HOST:PORT, unix:PATH, or \"defer\" for one that is said later"},
    [OPTION_MIGRATION] = {"migration", NULL, "", "it is to come from another host by migration, not to be booted"},
    [OPTION_ID] = {"id", "ID", "", "the device's id (default: from its slot, as in nic-pci-5)"},
    [OPTION_BUS] = {"bus", "NAME", "", "the bus it sits on (default: the first with a free slot)"},
    [OPTION_SLOT] = {"slot", "N", "", "the slot on that bus, 0 to 31 (default: any that is free there)"},
    [OPTION_MODEL] = {"model", "NAME", "", "QEMU device model (default: the paravirtual one)"},
    [OPTION_BOOT_INDEX] = {"boot-index", "N", "", "place in the firmware's boot order"},
    [OPTION_LIVE_ONLY] = {"live-only", NULL, "", "fail rather than record it for the next boot"},
    [OPTION_COLD] = {"cold", NULL, "", "the guest does not run: change its record alone, for the next boot"},
    [OPTION_BRIDGE] = {"bridge", "NAME", "@interface", "attach the tap to this bridge"},
    [OPTION_MAC] = {"mac", "ADDRESS", "", "MAC address (default: a random one)"},
    [OPTION_QUEUES] = {"queues", "N", "", "queue pairs of a NIC, 1 to 256; virtqueues of a disk or controller"},
    [OPTION_MTU] = {"mtu", "BYTES", "", "announced to the guest and set on the tap"},
    [OPTION_TAP] = {"tap", "NAME", "", "name of the tap, or a pattern with %d (default: tap%d)"},
    [OPTION_TAP_OWNER] = {"tap-owner", "UID", "", "user who may open the tap as well"},
    [OPTION_VHOST] = {"vhost", "MODE", "auto off required", "whether the host's kernel moves the packets"},
    [OPTION_LINK_DOWN] = {"link-down", NULL, "", "with its cable pulled"},
    [OPTION_PATH] = {"path", "FILE", "@file", "absolute path of an image or block device"},
    [OPTION_FORMAT] = {"format", "NAME", "raw qcow2 probe", "format of the image (default: raw)"},
    [OPTION_BACKING] = {"backing", "RULE", "own-directory forbidden file: dir:",
                        "where the image's backing files may be: beneath its own directory (the default), nowhere, this "
                        "file, or beneath this directory; file:PATH, from the image down, and dir:PATH may be repeated"},
    [OPTION_ACCEPT_CHAIN] = {"accept-chain", NULL, "",
                             "the disk is there already: record the files that its image is made of now"},
    [OPTION_SERIAL] = {"serial", "TEXT", "", "serial number the guest sees, up to 20 characters, 36 of a SCSI disk"},
    [OPTION_READ_ONLY] = {"read-only", NULL, "", "the guest cannot write"},
    [OPTION_SHARE_RW] = {"share-rw", NULL, "", "others may write to the image at the same time"},
    [OPTION_CACHE] = {"cache", "MODE", "writeback none writethrough directsync unsafe",
                      "host page cache and flushes (default: writeback)"},
    [OPTION_AIO] = {"aio", "WAY", "threads native io_uring", "how QEMU submits I/O (default: threads)"},
    [OPTION_DISCARD] = {"discard", "MODE", "ignore unmap", "what becomes of the guest's discards (default: ignore)"},
    [OPTION_DETECT_ZEROES] = {"detect-zeroes", "MODE", "off on unmap", "what becomes of writes of zeros (default: off)"},
    [OPTION_BLOCK_SIZE] = {"block-size", "BYTES", "512 4096", "smallest unit of I/O (default: 512)"},
    [OPTION_PHYSICAL_SIZE] = {"physical-block-size", "BYTES", "512 4096",
                              "unit that the guest should align to (default: that of --block-size)"},
    [OPTION_TARGET] = {"target", "N", "", "SCSI target on --bus, 0 to 255"},
    [OPTION_LUN] = {"lun", "N", "", "unit of that target, 0 to 16383"},
    [OPTION_WWN] = {"wwn", "NUMBER", "", "world wide name of a SCSI disk, as in 0x5000c50015ea71aa"},
    [OPTION_LEAVE_OVERLAY] = {"leave-overlay", NULL, "",
                              "also a disk whose data is in an image that the record does not have, which is left to you"},
    [OPTION_NO_WAIT] = {"no-wait", NULL, "", "only ask, do not wait for the guest"},
    [OPTION_NO_BRIDGE] = {"no-bridge", NULL, "", "take the NIC out of any bridge"},
    [OPTION_SHRINK] = {"shrink", NULL, "", "the disk may get smaller, and lose what lies behind its end"},
    [OPTION_MEND] = {"mend", NULL, "", "mend what is safe to mend, and show what is left"},
    [OPTION_QMP] = {"qmp", NULL, "", "also QMP events, as QEMU sends them"},
    [OPTION_COUNT] = {"count", "N", "", "end after so many events"},
    [OPTION_FORCE] = {"force", NULL, "", "send it even if it fools the record"},
    [OPTION_TRUST] = {"trust-record", NULL, "",
                      "use the record also if others can write it, who then decide what is done"},
    [OPTION_PEER_UID] = {"peer-uid", "UID", "", "only if this user listens at the socket; commands that change something remember it"},
    [OPTION_PEER_PID] = {"peer-pid", "PID", "", "only if this process listens at the socket"},
    [OPTION_ACCEPT_PEER] = {"accept-peer", NULL, "", "whoever listens; commands that change something remember that user from now on"},
    [OPTION_FD] = {"fd", "N", "", "descriptor of this process that goes along (getfd, add-fd)"},
};

const struct command_info command_table[COMMANDS] = {
    [COMMAND_INIT] = {"init", "[-- QEMU ARGUMENT...]", "", "make a new runtime file, the record of one guest",
                      "What stands behind -- is the guest's command line, without NICs and disks.",
                      BIT(OPTION_RUNTIME), ANYWHERE | BIT(OPTION_NAME)},
    [COMMAND_BOOT] = {"boot", "", "", "start the guest that the record describes, in place of this process",
                      "Taps and images are opened and handed to QEMU. Changes that waited for a reboot are made, "
                      "unless it is to wait for a migration, with --incoming. If the guest runs already, it is left alone: "
                      "somebody listens at a socket of its command line, or at --socket.",
                      BIT(OPTION_RUNTIME),
                      ANYWHERE | BIT(OPTION_SOCKET) | BIT(OPTION_PRINT) | BIT(OPTION_PORTS) | BIT(OPTION_PAUSED) | BIT(OPTION_INCOMING)},
    [COMMAND_CHECK] = {"check", "", "", "say what keeps this host from starting the guest",
                       "Images, bridges, taps, vhost and places, and whether it runs already. With --socket also what QEMU knows here; it is that of any QEMU of "
                       "the version that is going to be used, and never taken from the environment.",
                       BIT(OPTION_RUNTIME), LIVE | BIT(OPTION_MIGRATION)},
    [COMMAND_CONVERT] = {"convert", "native|ganeti FILE", "native ganeti", "write a copy of the record in another format",
                         "FILE must not exist. The record stays as it is.", BIT(OPTION_RUNTIME), ANYWHERE},
    [COMMAND_BACKING] = {"backing", "default|own-directory|forbidden|file:PATH...|dir:PATH...",
                         "default own-directory forbidden file: dir:",
                         "say where the backing files of the guest's disks may be",
                         "For all disks that have no --backing of their own: beneath the directory of the image, nowhere, "
                         "exactly these files from the image down, or beneath one of these directories.",
                         BIT(OPTION_RUNTIME), ANYWHERE},
    [COMMAND_ACCEPT] = {"accept", "ID", "@device", "record the files that a disk's image is made of now",
                        "After its chain was changed on purpose, or its image was replaced. Look before: qemu-img info "
                        "--backing-chain. No other files are opened for the disk later on.",
                        BIT(OPTION_RUNTIME), ANYWHERE | BIT(OPTION_BACKING)},
    [COMMAND_MAP] = {"map", "", "", "draw which slots are free, and what is in the others", "", GUEST, LIVE},
    [COMMAND_LIST] = {"list", "[ID]", "@device", "list the NICs, disks and SCSI controllers, or one of them",
                      "With --json all that is known. Without --socket from the record alone, also while an agent owns it; so it is if the guest "
                      "is off. What was begun and not finished is said with the device.", BIT(OPTION_RUNTIME), LIVE},
    [COMMAND_ADD_NIC] = {"add-nic", "", "", "plug a NIC: a tap is opened and handed to QEMU",
                         "With --cold it comes with the next boot.", GUEST,
                         LIVE | PLACE | BIT(OPTION_COLD) | BIT(OPTION_TAP_OWNER) | BIT(OPTION_BRIDGE) | BIT(OPTION_MAC) | BIT(OPTION_QUEUES) | BIT(OPTION_MTU) |
                             BIT(OPTION_TAP) | BIT(OPTION_VHOST) | BIT(OPTION_LINK_DOWN)},
    [COMMAND_ADD_DISK] = {"add-disk", "", "", "plug a disk: an image or block device is opened and handed to QEMU",
                          "With --model scsi-hd it is a SCSI disk; --bus, --target and --lun say where on which controller. "
                          "With --cold it comes with the next boot.",
                          GUEST | BIT(OPTION_PATH),
                          LIVE | PLACE | BIT(OPTION_COLD) | BIT(OPTION_PHYSICAL_SIZE) | BIT(OPTION_PATH) | BIT(OPTION_FORMAT) | BIT(OPTION_BACKING) |
                              BIT(OPTION_ACCEPT_CHAIN) | BIT(OPTION_SERIAL) | BIT(OPTION_READ_ONLY) |
                              BIT(OPTION_SHARE_RW) | BIT(OPTION_CACHE) | BIT(OPTION_AIO) | BIT(OPTION_DISCARD) |
                              BIT(OPTION_DETECT_ZEROES) | BIT(OPTION_BLOCK_SIZE) | BIT(OPTION_QUEUES) | BIT(OPTION_TARGET) |
                              BIT(OPTION_LUN) | BIT(OPTION_WWN)},
    [COMMAND_ADD_SCSI] = {"add-scsi", "", "", "plug a SCSI controller",
                          "Seldom needed: the first disk with --model scsi-hd brings one along.", GUEST,
                          LIVE | BIT(OPTION_ID) | BIT(OPTION_BUS) | BIT(OPTION_SLOT) | BIT(OPTION_MODEL) |
                              BIT(OPTION_QUEUES) | BIT(OPTION_LIVE_ONLY)},
    [COMMAND_DEL] = {"del", "ID...", "@device", "take devices out, and wait until the guest has let go of them",
                     "The guest is asked for all of them at once. Until it lets go, tap and image stay in use. The guest may take its time or refuse; a later command, of "
                     "whatever kind, finishes a removal that it grants late.",
                     GUEST, LIVE | BIT(OPTION_NO_WAIT) | BIT(OPTION_LIVE_ONLY) | BIT(OPTION_LEAVE_OVERLAY) | BIT(OPTION_COLD)},
    [COMMAND_LINK] = {"link", "ID up|down", "@device up down", "pull the cable of a NIC, or put it back", "", GUEST, LIVE},
    [COMMAND_MOVE] = {"move", "ID [BRIDGE]", "@device @interface",
                      "move a NIC to another bridge; the guest notices nothing", "", GUEST, LIVE | BIT(OPTION_NO_BRIDGE)},
    [COMMAND_RESIZE] = {"resize", "ID SIZE|now", "@device now", "give a disk another size while the guest uses it",
                        "SIZE is in bytes, or with K, M, G or T behind it (powers of 1024). \"now\" is for an image or block "
                        "device that was grown from outside.",
                        GUEST, LIVE | BIT(OPTION_SHRINK)},
    [COMMAND_PLAN] = {"plan", "add-nic|add-disk|add-scsi|del|boot ...", "add-nic add-disk add-scsi del boot",
                      "say what that command would do, without doing it",
                      "It takes the options of the command. That of a boot is how many devices there will be, and room for how many.", GUEST,
                      LIVE},
    [COMMAND_VERIFY] = {"verify", "", "", "compare record and guest, both ways", "", GUEST, LIVE | BIT(OPTION_MEND)},
    [COMMAND_SETTLE] = {"settle", "", "", "finish or undo what an agent that died has left",
                        "With --socket by what the guest has, and says what is still waiting for it; every command that may change the guest "
                        "does the same, while list, map, verify and plan only look. Without, by the record, for a guest that is known to be off.",
                        BIT(OPTION_RUNTIME), LIVE},
    [COMMAND_WATCH] = {"watch", "", "", "print what happens, until interrupted, the timeout or QEMU's end",
                       "With --json one object a line.", GUEST, LIVE | BIT(OPTION_QMP) | BIT(OPTION_COUNT)},
    [COMMAND_QMP] = {"qmp", "COMMAND [ARGUMENTS]", "query-status query-pci query-block query-commands stop cont",
                     "send a QMP command, and print what it returns",
                     "ARGUMENTS is a JSON object. Commands that would fool the record are refused.", GUEST,
                     LIVE | BIT(OPTION_FORCE) | BIT(OPTION_FD)},
};

const struct exit_info exit_table[] = {
    {0, "done"},
    {1, "failed"},
    {2, "wrong usage"},
    {3, "recorded for the next boot only"},
    {4, "the guest has not let go yet"},
    {5, "record and guest disagree (verify), or something keeps the guest from starting (check)"},
};

const int exit_count = sizeof exit_table / sizeof *exit_table;

int word_number(const char *words, const char *word)
{
    size_t length = strlen(word);
    int number = 0;

    while (*words != '\0') {
        size_t end = strcspn(words, " ");

        if (end == length && memcmp(words, word, length) == 0)
            return number;
        words += end + (words[end] == ' ');
        number++;
    }
    return -1;
}
