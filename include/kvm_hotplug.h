/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Generated from src/capi by build.rs: change the comments there and build with KVM_HOTPLUG_HEADER=write. */

#ifndef KVM_HOTPLUG_H
#define KVM_HOTPLUG_H

#include <stddef.h>
#include <stdint.h>

/** @file kvm_hotplug.h
 *
 *  Plugs NICs, disks and SCSI controllers into running QEMU/KVM guests, removes them, and keeps the
 *  runtime file from which an identical guest is started. For agents written in C, C++, Go or Python,
 *  without libvirt.
 *
 *      #include <stdio.h>
 *      #include <kvm_hotplug.h>
 *
 *      int main(void)
 *      {
 *          struct kvm_hotplug_nic nic = { .mac = "52:54:00:12:34:56", .bridge = "br0", .queues = 2 };
 *          struct kvm_hotplug_device dev = { 0 };
 *          struct kvm_hotplug_error *err = NULL;
 *          struct kvm_runtime *rt = NULL;
 *          struct kvm_hotplug *vm = NULL;
 *
 *          int rc = kvm_runtime_load("/run/agent/web1.runtime", &rt, &err);
 *          if (rc >= 0)
 *              rc = kvm_hotplug_open(rt, "/run/agent/web1.qmp", 5000, &vm, &err);
 *          if (rc >= 0)
 *              rc = kvmh_add_nic(vm, &nic, &dev, &err);
 *          // 0: in the guest now.  KVM_HOTPLUG_ANSWER_AFTER_REBOOT: recorded only, dev.reason_text says why.
 *          if (rc >= 0)
 *              rc = kvm_hotplug_del_disk(vm, "disk-pci-6", 10000, &err);
 *          // 0: gone, its storage may be torn down.  KVM_HOTPLUG_ANSWER_PENDING: asked, an event will follow.
 *          if (rc < 0)
 *              fprintf(stderr, "%s\n", kvm_hotplug_error_message(err));
 *
 *          kvm_hotplug_error_free(err);
 *          kvm_hotplug_close(vm);
 *          kvm_runtime_free(rt);
 *          return rc < 0;
 *      }
 *
 *  Rules for all functions:
 *  - Return values. 0 and positive values are success, negative values are -errno. A function that does
 *    not say what it returns returns 0. Functions without the parameter reterr cannot fail, except
 *    kvm_boot_inherit().
 *  - Errors. The last parameter takes a pointer to a struct kvm_hotplug_error *, or NULL. On failure, and
 *    only then, a new error is stored there. The caller frees it with kvm_hotplug_error_free(). An error
 *    that is already there is not freed. There is no thread-local or global state, so Go may move a
 *    goroutine between two calls.
 *  - Outputs (parameters named ret_...) are written on success only. They may be NULL, except the one that
 *    a function is called for.
 *  - Structs are passed with their sizeof; the functions at the end of this header fill it in. The library
 *    fills up the shorter struct of an older header with zeros. The longer struct of a newer header must
 *    end in zeros. Zero always means the default. Strings and arrays in a struct are borrowed for the
 *    call.
 *  - Flags. Each bit has one meaning in the whole header. A flag that does not apply is refused.
 *  - Strings. Those that go in are UTF-8, end in NUL, have at most 131072 bytes, and are borrowed for the
 *    call. Those that come out are UTF-8 and end in NUL. A const char * belongs to the object that it
 *    comes from, and lives as long. A char * is freed with kvm_hotplug_text_free().
 *  - File descriptors in are borrowed: the library duplicates them, and the caller goes on to own its own.
 *    All descriptors the library makes are close-on-exec.
 *  - Blocking. A function with a timeout blocks no longer than that, normally for milliseconds. A function
 *    that reads or writes a runtime file or opens images blocks on disk I/O as well. The others do not
 *    block. Exceptions are stated.
 *  - Timeouts are in milliseconds, count from the start of the call, and cover all of it: waiting for
 *    another call on the handle, connecting, commands, and the guest. 0 means 5000, for a removal 20000.
 *  - Threads. Any thread may call any function. Calls on different handles are independent. Several calls
 *    on one handle may be under way at once. A call that waits for the guest holds up no other call. Calls
 *    that ask QEMU take turns, and so do calls on one record. kvm_hotplug_cancel() ends all calls of a
 *    handle that wait, kvm_hotplug_cancel_thread() ends one; they fail with -ECANCELED.
 *  - Process. The library makes no threads, except one for the time of a step in another network namespace
 *    (see netns of struct kvm_hotplug_nic), installs no signal handlers, raises no SIGPIPE, reads no
 *    environment variables, and writes nothing to stdout or stderr. A child that does not exec must not
 *    use its parent's handles.
 *  - Text for people (messages, log lines, members called text or reason_text) and JSON have no control
 *    characters, and none that change the direction of writing: these are written as \u001b. QEMU's names
 *    have none either. Paths are given unchanged.
 *  - Memory. The size of what QEMU sends is bounded (docs/limits.md has the numbers), and the caller
 *    allocates lists. A call fails with -ENOMEM if there is no memory for a large answer. If some
 *    kilobytes cannot be allocated, or the memory to parse one answer of QEMU (32 MiB at most), Rust's
 *    allocator aborts the process.
 *  - Freeing functions accept NULL. No other thread may be using the object.
 *
 *  Parameters that mean the same everywhere:
 *  `guest`: a handle from kvm_hotplug_open().
 *  `runtime`: a record from kvm_runtime_load(), kvm_runtime_new() or kvm_runtime_adopt().
 *  `boot`: a command from kvm_runtime_boot().
 *  `id`: the id of a device.
 *  `nic`, `disk`, `controller`, `batch`, `options`, `tap`, `command`: the request.
 *  `flags`: the flags that name the function, or 0.
 *  `path`: of the runtime file. Symbolic links are not followed in its last component.
 *  `socket_path`: of the QMP socket, as kvm_hotplug_open() takes it.
 *  `timeout_ms`: milliseconds for all of the call. 0 means 5000, for a removal 20000.
 *  `ret_device`: where to put the device; or NULL, and 0 as its size.
 *  `ret_devices`, `ret_slots`, `ret_problems`, `ret_differences`: an array of capacity structs for a list.
 *  `capacity`: how many structs the array takes; 0 with a NULL array, to count only.
 *  `ret_count`: where to put how many there are; those beyond capacity are not written.
 *  `ret_runtime`: where to put the record, which is freed with kvm_runtime_free().
 *  `ret_guest`: where to put the handle, which is closed with kvm_hotplug_close().
 *  `ret_json`, `ret_plan`, `ret_path`, `ret_reply`, `ret_report`: the text, to be freed with
 *  kvm_hotplug_text_free().
 *  `reterr`: where to put the error, or NULL.
 *
 *  What functions fail with:
 *  - Any call: -EFAULT (a pointer is NULL that must not be), -EBADF (the handle is not open), -EINVAL (a
 *    string is not UTF-8; a size is none that the struct ever had, such as that of a pointer; a number is
 *    not in its enum or range; an unknown flag), -E2BIG (a field is set that this version does not have),
 *    -ENOMEM (no memory for the answer), -ENOTRECOVERABLE (a bug of the library was caught; from then on
 *    the handle can only be closed).
 *  - Any call to QEMU: -ETIMEDOUT, -ECANCELED, -ECONNRESET (QEMU hung up), -ECONNREFUSED or -ENOENT (QEMU
 *    has ended), -EPROTO (the listener does not speak QMP, or sends too much), -EREMOTEIO (QEMU refused a
 *    step, see kvm_hotplug_error_step()), -EBUSY (kind MONITOR_BUSY: the monitor serves another client).
 *  - Any call that opens an image: -EPERM or -ELOOP (kind IMAGE_REFUSED: the image or a backing file may
 *    not be opened, or is not the recorded one: the message names it), -EINVAL (the path is a directory or
 *    the like; the format of a backing file is not recorded), -ENOENT (no such image or backing file),
 *    -EACCES, -EROFS or another errno of open, -EBADMSG (declared as qcow2 and is none, or marked
 *    corrupt), -EMSGSIZE (over 16 layers), -EOPNOTSUPP (encrypted or external data; a format that is
 *    neither raw nor qcow2).
 *  - Any change of a guest: as any call to QEMU; -EBUSY (kind MIGRATING: the guest is migrating, has
 *    migrated, or waits for a migration to come in), -EROFS (the guest was opened with
 *    KVM_HOTPLUG_OPEN_LOOK_ONLY), or the errno of writing journal or runtime file. A failure leaves guest,
 *    host and record unchanged, unless kvm_hotplug_error_undo() says otherwise.
 *  - Any add of a device: as any change of a guest; -ENOSPC (no free slot or SCSI target: counts per bus),
 *    -EADDRINUSE (the requested one is taken), -ENOENT (no such bus), -EOPNOTSUPP (the requested bus takes
 *    no devices; with KVM_HOTPLUG_LIVE_ONLY, the device would wait for a reboot), -EEXIST (the id exists
 *    with other settings: the message names the field). If the id exists with the same settings, the call
 *    succeeds and changes nothing.
 *  - Any change of a device: as any change of a guest; -EINVAL (the device is of another type), -ENOENT
 *    (no such device; or it is recorded, but not in the guest), -EACCES (kind FOREIGN: it is in the guest,
 *    but not in the record), -EBUSY (kind STATE: it is being removed).
 *  - Any change of a record: -EBUSY (a guest handle is open with it), -EBADFD (it has no file), -EROFS (it
 *    is from kvm_runtime_load_readonly()), or the errno of writing journal or runtime file. A failure
 *    leaves the record unchanged. */

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ------------------------------------------------------------------------------------------- */

/** The first number of the version this header belongs to. */
#define KVM_HOTPLUG_VERSION_MAJOR 0
/** The second number of the version this header belongs to. */
#define KVM_HOTPLUG_VERSION_MINOR 1
/** The third number of the version this header belongs to. */
#define KVM_HOTPLUG_VERSION_PATCH 0

/** Version of the C ABI this header belongs to, in which the SONAME ends. It increases when a program
 *  built against an older header would break. Compare it with kvm_hotplug_abi_version() after dlopen(). */
#define KVM_HOTPLUG_ABI_VERSION 0

/** The version of the library, such as "0.1.0". The string is static. */
const char *kvm_hotplug_version(void);

/** The ABI version of the library: KVM_HOTPLUG_ABI_VERSION when it was built. */
uint32_t kvm_hotplug_abi_version(void);

/* ---- Errors -------------------------------------------------------------------------------------------- */

/** Why a call failed. The caller frees it with kvm_hotplug_error_free(). It refers to nothing else, may
 *  outlive every handle, and any number of threads may read it at once. */
struct kvm_hotplug_error;

/** What went wrong. Numbers keep their meaning. Newer versions may add some: treat those by the errno. */
enum kvm_hotplug_error_kind {
    /** EINVAL, EFAULT, EBADF, ENAMETOOLONG, ELOOP, ESTALE: an argument is malformed, out of range or
     *  contradicts another. */
    KVM_HOTPLUG_ERROR_INVALID = 1,
    KVM_HOTPLUG_ERROR_NOT_FOUND = 2, /**< ENOENT: a file, interface or bus that was named does not exist. */
    KVM_HOTPLUG_ERROR_CONFLICT = 3, /**< EEXIST, EBUSY: id, MAC, serial or image in use; other settings. */
    KVM_HOTPLUG_ERROR_NO_SLOT = 4, /**< ENOSPC: no free slot on any bus that takes hot-plugged devices. */
    KVM_HOTPLUG_ERROR_ADDRESS_TAKEN = 5, /**< EADDRINUSE: the address asked for is taken or quarantined. */
    KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE = 6, /**< EOPNOTSUPP: bus, device or QEMU cannot do this live. */
    /** EPERM: the guest refused an unplug request; the device stays. QEMU up to 11.1 reports refusals for
     *  processors and memory only: the removal of a NIC or disk that the guest refuses stays pending. */
    KVM_HOTPLUG_ERROR_GUEST_REFUSED = 7,
    KVM_HOTPLUG_ERROR_GUEST_BUSY = 8, /**< EBUSY: busy with an earlier plug or unplug until the deadline. */
    KVM_HOTPLUG_ERROR_TIMEOUT = 9, /**< ETIMEDOUT: the deadline passed. */
    KVM_HOTPLUG_ERROR_CANCELED = 10, /**< ECANCELED: kvm_hotplug_cancel() ended the call. */
    KVM_HOTPLUG_ERROR_MONITOR_BUSY = 11, /**< EBUSY: the monitor serves another client. */
    KVM_HOTPLUG_ERROR_MONITOR_LOST = 12, /**< ECONNRESET, EPIPE: the monitor closed the connection. */
    KVM_HOTPLUG_ERROR_PROTOCOL = 13, /**< EPROTO: the monitor sent what is not QMP, or too much. */
    KVM_HOTPLUG_ERROR_QMP = 14, /**< EREMOTEIO: QEMU refused a command; see kvm_hotplug_error_qmp_class(). */
    KVM_HOTPLUG_ERROR_HOST = 15, /**< The operating system refused a call; the errno is its own. */
    KVM_HOTPLUG_ERROR_LOCKED = 16, /**< EAGAIN: the runtime file is locked; the message says by whom. */
    KVM_HOTPLUG_ERROR_FORMAT = 17, /**< EBADMSG: a runtime file, journal or image header is malformed. */
    KVM_HOTPLUG_ERROR_VERSION = 18, /**< EPROTONOSUPPORT, E2BIG: a file or struct of a newer version. */
    KVM_HOTPLUG_ERROR_LIMIT = 19, /**< EMSGSIZE, EFBIG: something exceeds a stated limit. */
    KVM_HOTPLUG_ERROR_FOREIGN = 20, /**< EACCES: the device was not made by this library and is left alone. */
    KVM_HOTPLUG_ERROR_IMAGE_LOCKED = 21, /**< EBUSY: the image is in use by another QEMU. */
    KVM_HOTPLUG_ERROR_UNAVAILABLE = 22, /**< ENODEV: the host lacks what is required, such as vhost-net. */
    KVM_HOTPLUG_ERROR_STATE = 23, /**< EBADFD, EBUSY, EROFS, EDEADLK: the handle's state forbids the call. */
    KVM_HOTPLUG_ERROR_PANIC = 24, /**< ENOTRECOVERABLE: a bug was caught; only closing still works. */
    KVM_HOTPLUG_ERROR_MIGRATING = 25, /**< EBUSY: the guest migrates, has migrated, or awaits migration. */
    /** EPERM, ELOOP: an image, or a file that an image names, may not be opened: the caller did not choose
     *  it, it is not the recorded one, or it has no data of its own. See kvm_runtime_set_backing(). */
    KVM_HOTPLUG_ERROR_IMAGE_REFUSED = 26,
    KVM_HOTPLUG_ERROR_UNTRUSTED = 27, /**< EPERM: an untrusted user owns a file or listens at a socket. */
};

/** One of enum kvm_hotplug_error_kind; 0 if error is NULL. */
int kvm_hotplug_error_kind(const struct kvm_hotplug_error *error);

/** What became of the steps that had been done when a call failed. */
enum kvm_hotplug_undo {
    KVM_HOTPLUG_UNDO_NOTHING = 0, /**< Nothing had been changed. */
    KVM_HOTPLUG_UNDO_COMPLETE = 1, /**< Everything that had been done was undone. */
    /** Something is left; kvm_hotplug_error_residue() names it. The next call on the guest settles it by
     *  the journal, also in another process. */
    KVM_HOTPLUG_UNDO_INCOMPLETE = 2,
};

/** The errno, positive, that the failing call returned negated; 0 if error is NULL. */
int kvm_hotplug_error_errno(const struct kvm_hotplug_error *error);

/** One line for people: the step, what was wrong, where, what to do, and what is left. NULL if error is
 *  NULL. */
const char *kvm_hotplug_error_message(const struct kvm_hotplug_error *error);

/** The step that failed, such as "device_add nic-pci-5", or NULL. */
const char *kvm_hotplug_error_step(const struct kvm_hotplug_error *error);

/** The class of QEMU's error, such as "DeviceNotFound", or NULL if QEMU did not refuse a command. */
const char *kvm_hotplug_error_qmp_class(const struct kvm_hotplug_error *error);

/** QEMU's description of its error, or NULL if QEMU did not refuse a command. */
const char *kvm_hotplug_error_qmp_desc(const struct kvm_hotplug_error *error);

/** One of enum kvm_hotplug_undo; 0 if error is NULL. */
int kvm_hotplug_error_undo(const struct kvm_hotplug_error *error);

/** What is left behind, one entry a line, or NULL if nothing is. */
const char *kvm_hotplug_error_residue(const struct kvm_hotplug_error *error);

/** Frees an error and its strings. */
void kvm_hotplug_error_free(struct kvm_hotplug_error *error);

/* ---- The record of a guest ----------------------------------------------------------------------------- */

/** The record of one guest: its command line without NICs and disks, every NIC and disk with its address,
 *  its file, and the lock on that file. Freed with kvm_runtime_free(). */
struct kvm_runtime;

/** Flag of struct kvm_runtime_config and struct kvm_runtime_adopt_options: reserved_slots is given, also
 *  when it is 0. */
#define KVM_RUNTIME_NEW_RESERVED_SLOTS (1 << 19)

/** Flag of kvm_runtime_open(): as kvm_runtime_load_readonly(). */
#define KVM_RUNTIME_OPEN_READ_ONLY (1 << 20)

/** Flag of kvm_runtime_open(), struct kvm_runtime_config and struct kvm_runtime_adopt_options: do not
 *  check owner and mode of the runtime file, the files beside it and their directory. Users who can write
 *  them then control what is done with the caller's rights: which program is started, and which files it
 *  is given. */
#define KVM_RUNTIME_OPEN_TRUST (1 << 21)

/** What a new record begins with. */
struct kvm_runtime_config {
    const char *name; /**< The guest's name, for people; NULL for none. */
    const char *const *command; /**< QEMU's command line without NICs and disks, program first; or NULL. */
    uint64_t command_count; /**< Number of strings in command, at most 65536. */
    /** Slots of pci.0, counted from 0, that are never chosen, 0 to 32. Without
     *  KVM_RUNTIME_NEW_RESERVED_SLOTS it is 4. */
    uint32_t reserved_slots;
    uint32_t flags; /**< KVM_RUNTIME_NEW_RESERVED_SLOTS and KVM_RUNTIME_OPEN_TRUST, or 0. */
};

/** Makes a record of a guest without NICs and disks. It has no file until kvm_runtime_save() gives it one.
 *  `config`: what it begins with; NULL, and 0 as its size, for a record without a command.
 *  Fails with -EMSGSIZE (too many or too long strings), -EBADMSG (more than 32 slots reserved). */
int kvm_runtime_new(const struct kvm_runtime_config *config, size_t config_size,
                    struct kvm_runtime **ret_runtime, struct kvm_hotplug_error **reterr);

/** Loads a runtime file and the journal beside it, in any format of enum kvm_runtime_format. The record
 *  owns both until it is freed: a lock file ("<path>.lock", with the pid inside) keeps other handles and
 *  processes out.
 *
 *  The library does what the file says with the caller's rights. So the file, the files beside it and
 *  their directory must belong to the caller's user or to root, and nobody else may be able to write to
 *  them. But a directory with the sticky bit, such as /tmp, may be writable by all, and a group may have
 *  write permission if it is root's or one of the caller's (if the caller is root, only its effective
 *  one). Access control lists are not checked. KVM_RUNTIME_OPEN_TRUST turns this check off.
 *
 *  The library reserves "<path>.lock", "<path>.new", "<path>.journal" and "<path>.kvm-hotplug". Another
 *  file of such a name is named in the error and left alone; a record's own name may not end so.
 *  Fails with -EINVAL (path is empty, ends as reserved, or is no regular file; or a file beside it has a
 *  second name), -ENOENT (no such file), -ELOOP (a symbolic link), -EPERM (kind UNTRUSTED: others can
 *  write it: the message names whom), -EEXIST (a file beside it is not this library's), -EAGAIN (locked:
 *  the message names the holder), -EFBIG (over 4 MiB), -EBADMSG (malformed: the message names the
 *  element), -EPROTONOSUPPORT (written by a newer version), or the errno of open, flock, read or write. */
int kvm_runtime_load(const char *path, struct kvm_runtime **ret_runtime, struct kvm_hotplug_error **reterr);

/** Reads a runtime file without a lock, so also while an agent owns it. Such a record can be listed;
 *  saving it or opening a guest with it to change the guest fails with -EROFS.
 *  Fails like kvm_runtime_load(), but not with -EAGAIN. */
int kvm_runtime_load_readonly(const char *path, struct kvm_runtime **ret_runtime,
                              struct kvm_hotplug_error **reterr);

/** Loads a runtime file as kvm_runtime_load() does, with flags.
 *  Fails like kvm_runtime_load(). */
int kvm_runtime_open(const char *path, uint32_t flags, struct kvm_runtime **ret_runtime,
                     struct kvm_hotplug_error **reterr);

/** Writes the record to disk: to a temporary file of mode 0600, which is synced and renamed into place;
 *  then the directory is synced. Calls that change a guest do this by themselves.
 *  `path`: for a record without a file, where to put it. The file must not exist; the record owns it from
 *  then on. NULL for a record that has a file.
 *  Fails with -EINVAL (a Ganeti list cannot hold the record: the message names the device and its setting;
 *  or path ends as kvm_runtime_load() reserves it), -EBADFD (neither path nor file, or both), -EEXIST
 *  (path exists, or a file beside it is not this library's), -EPERM (kind UNTRUSTED: others can write the
 *  directory, see kvm_runtime_load()), -EBADMSG (a malformed journal of another record is there), -EAGAIN
 *  (locked), -EROFS (from kvm_runtime_load_readonly()), or the errno of open, write, fsync or rename. A
 *  failure leaves the old file unchanged. */
int kvm_runtime_save(struct kvm_runtime *runtime, const char *path, struct kvm_hotplug_error **reterr);

/** Frees a record. Its file is unlocked when the guest opened with it is closed too; the order does not
 *  matter. Unsaved changes of a record without a file are lost. */
void kvm_runtime_free(struct kvm_runtime *runtime);

/** Which guest is adopted, and what of it is known. Zero means that it is found out. */
struct kvm_runtime_adopt_options {
    const char *qmp_path; /**< Path of the guest's QMP socket, which has no other client. Required. */
    const char *name; /**< The guest's name, for people; NULL for what its command says. */
    /** The command that QEMU was started with, program first; NULL for that of its process. */
    const char *const *command;
    uint64_t command_count; /**< Number of strings in command, at most 65536. */
    /** Directory in which relative paths of the command begin; NULL for that of its process. */
    const char *directory;
    /** The process; 0 for the one that listens at the socket. It is needed where another process has made
     *  the socket for QEMU. */
    int32_t pid;
    /** Slots of pci.0, counted from 0, that are never chosen, 0 to 32. Without
     *  KVM_RUNTIME_NEW_RESERVED_SLOTS it is 4, or as many as QEMU has given to devices of its own. */
    uint32_t reserved_slots;
    uint32_t flags; /**< KVM_RUNTIME_NEW_RESERVED_SLOTS and KVM_RUNTIME_OPEN_TRUST, or 0. */
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
};

/** Makes a record of a running guest that any program has started, from the command line of QEMU's process
 *  and from what QEMU reports. Nothing in the guest changes.
 *
 *  These devices are recorded, if they have an id: NICs of PCI over a tap, disks of virtio-blk and scsi-hd
 *  over a raw or qcow2 image in a file or on a block device, and controllers of virtio-scsi. They can be
 *  removed, verified and booted like those that this library has added. All else stays in the recorded
 *  command as it is, with the place that it has now, and is never touched. Options that are about one
 *  start (-S, -incoming, -loadvm) are not recorded.
 *
 *  The library reads /proc of QEMU's process, so the caller must be root or QEMU's user, with
 *  CAP_SYS_PTRACE if QEMU has more capabilities than the caller. The monitor is left when the call ends. A
 *  disk is recorded only if the file at its path is one that QEMU has open.
 *
 *  The command is what the process says of itself, and a boot runs it with the caller's rights. If the
 *  guest may have taken over QEMU, give the command here, or look at the recorded one before it is booted.
 *  `ret_runtime`: NULL to get the report only. The record has no file until kvm_runtime_save() gives it
 *  one.
 *  `ret_report`: a JSON text that lists what is recorded, what is not and why, and what the next start
 *  will lack (docs/json.md); it is freed with kvm_hotplug_text_free(). Or NULL.
 *  Fails like any call to QEMU, and with -ENOENT (QEMU's process has no command to read, and none is
 *  given), -EMSGSIZE (too many or too long strings), -EBADMSG (more than 32 slots reserved, or the guest
 *  has what no record can hold), -EBUSY (kind MONITOR_BUSY), or the errno of reading /proc. */
int kvm_runtime_adopt(const struct kvm_runtime_adopt_options *options, size_t options_size,
                      struct kvm_runtime **ret_runtime, char **ret_report, struct kvm_hotplug_error **reterr);

/* ---- Opening and closing a guest ----------------------------------------------------------------------- */

/** A live guest: the connection to its monitor, its slot map, and its pending operations. Freed with
 *  kvm_hotplug_close().
 *
 *  Calls that ask QEMU and wait for its reply, such as adds, run one at a time. They take turns in the
 *  order in which they came, and each waits no longer than its own timeout. A call that waits for the
 *  guest, such as a removal after its request, holds up no other call. Neither does waiting for an add
 *  that another call began with KVM_HOTPLUG_NO_WAIT. While a call connects to a monitor that does not
 *  reply, the others wait too, except kvm_hotplug_list(), kvm_hotplug_get_device(),
 *  kvm_hotplug_next_event() and kvm_hotplug_forward_qmp_events(), which need no monitor. When that call
 *  gives up, one that has time left connects anew.
 *
 *  A second removal of a device joins the first: both give the same answer, unless a timeout ends one
 *  earlier. A removal, change or add of a device that is being added waits for that add. An add of a
 *  device that is being removed fails with -EEXIST.
 *
 *  A monitor serves one client at a time: while a handle is open, no other program can use that QMP
 *  socket. Give QEMU a second one if others need it. */
struct kvm_hotplug;

/** Timeout of calls that get 0, in milliseconds, except for removals. */
#define KVM_HOTPLUG_DEFAULT_TIMEOUT_MS 5000

/** Connects to the QMP socket of a running QEMU, examines the guest, and finishes or undoes what an
 *  earlier agent left unfinished in the journal; events report the results. What was begun in a QEMU that
 *  has ended since is settled by the record and never carried out on this one: removals are done, adds
 *  that are not in the record are dropped. If the earlier agent used another monitor of this QEMU, that
 *  monitor must first accept a connection, or have no client.
 *  `runtime`: the guest's record, which must have a file. One guest may be open with it at a time. It may
 *  be freed before the guest is closed.
 *  `socket_path`: the monitor's Unix socket. The path may be longer than a socket's address, as long as
 *  its last part has at most 85 bytes. "@name" is an abstract name, as of QEMU's "path=name,abstract=on",
 *  which only a process in the same network namespace reaches; a file of that name is "./@name". If no
 *  file has the name, "host:port" and "[address]:port" are a TCP port and "vsock:CID:PORT" is a vsock
 *  port; a path is also what has a slash in it. A host's name is looked up as the system does it, which
 *  the timeout does not bound; an address is not looked up.
 *
 *  Over TCP and vsock no descriptors can be passed: an add of a NIC or a disk fails with -EOPNOTSUPP
 *  before anything is done. Everything else works. The kernel does not say who listens there, so the
 *  recorded user is not checked, and anybody who can reach such a port can control the guest.
 *  Fails like any call to QEMU, and with -EINVAL (an empty path), -ENAMETOOLONG (its last part), -ENOENT
 *  (also: no host has the name), -EBADFD (the record has no file), -EROFS (a record from
 *  kvm_runtime_load_readonly()), -EBUSY (kind STATE: the record belongs to an open guest; kind
 *  MONITOR_BUSY: also for a monitor that an earlier agent used), -EPERM (another user than the recorded
 *  one listens, see kvm_hotplug_open_with()), or the errno of a system call. A failure leaves nothing
 *  behind, except that settling may be half done, which the next call continues. */
int kvm_hotplug_open(struct kvm_runtime *runtime, const char *socket_path, uint32_t timeout_ms,
                     struct kvm_hotplug **ret_guest, struct kvm_hotplug_error **reterr);

/** Flag of struct kvm_hotplug_open_options: peer_uid is given, also when it is 0. */
#define KVM_HOTPLUG_OPEN_PEER_UID (1 << 13)
/** Flag of struct kvm_hotplug_open_options: peer_pid is given. */
#define KVM_HOTPLUG_OPEN_PEER_PID (1 << 14)
/** Flag of struct kvm_hotplug_open_options: accept another user than the recorded one, and record it. */
#define KVM_HOTPLUG_OPEN_ACCEPT_PEER (1 << 15)

/** Flag of struct kvm_hotplug_open_options: only look. QEMU is queried, nothing else; record and journal
 *  are not written. What an earlier agent left unfinished stays so; its removals are listed as pending. */
#define KVM_HOTPLUG_OPEN_LOOK_ONLY (1 << 16)

/** Flag of struct kvm_hotplug_open_options: the record needs no file, as long as it has none. What is
 *  recorded and what is unfinished is remembered by the record alone: if this process ends in between,
 *  nobody finishes what it has begun. */
#define KVM_HOTPLUG_OPEN_IN_MEMORY (1 << 23)

/** Flag of struct kvm_hotplug_open_options: QEMU is being started, so wait until it listens and replies.
 *  Without it, a call fails at once with -ENOENT or -ECONNREFUSED if QEMU does not listen yet. */
#define KVM_HOTPLUG_OPEN_STARTING (1 << 28)

/** Which process must listen at a monitor's socket, as the kernel noted it when it began to listen
 *  (SO_PEERCRED). If all fields are zero, the recorded user must, or any user if none is recorded. */
struct kvm_hotplug_open_options {
    /** The user, with KVM_HOTPLUG_OPEN_PEER_UID; recorded, and expected by every later open. It is the
     *  user that QEMU was started as, also after -runas; for a socket that another process made and QEMU
     *  was given, that process's user. In another user namespace, users that it does not have all appear
     *  as 65534 ("nobody"), which is refused there. */
    uint32_t peer_uid;
    /** The process, with KVM_HOTPLUG_OPEN_PEER_PID, as the caller numbers it, for this handle only: it
     *  changes with each start of QEMU. One that is invisible, in another pid namespace, is refused. */
    int32_t peer_pid;
    /** KVM_HOTPLUG_OPEN_PEER_UID, KVM_HOTPLUG_OPEN_PEER_PID, KVM_HOTPLUG_OPEN_ACCEPT_PEER,
     *  KVM_HOTPLUG_OPEN_LOOK_ONLY, KVM_HOTPLUG_OPEN_IN_MEMORY, KVM_HOTPLUG_OPEN_STARTING, or 0. */
    uint32_t flags;
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
};

/** Opens a guest as kvm_hotplug_open() does, if the expected process listens at its socket. The listener
 *  is handed descriptors of taps and images, so use this for a socket in a directory that others can
 *  write. Nothing is sent to another process; each reconnect checks again.
 *
 *  With KVM_HOTPLUG_OPEN_LOOK_ONLY the handle has a copy of the record, so any record will do: one from
 *  kvm_runtime_load_readonly(), also of a file that another program owns, or one that another handle has
 *  open. While an agent is connected, it takes a second monitor of the same QEMU. Listing, describing, the
 *  slot map, kvm_hotplug_verify(), plans and events work. Unfinished operations are not settled;
 *  kvm_runtime_unfinished() lists them. Every call that would change something fails with -EROFS (kind
 *  STATE), as does kvm_hotplug_qmp() with a command that is no query. An accepted or given user is not
 *  recorded.
 *
 *  With KVM_HOTPLUG_OPEN_IN_MEMORY a record from kvm_runtime_new() or kvm_runtime_adopt() will do that has
 *  no file yet. kvm_runtime_save() can give it one later, when the guest is closed.
 *
 *  With KVM_HOTPLUG_OPEN_STARTING the call connects again and again until QEMU listens at the socket and
 *  has sent its greeting, or until the timeout. A later reconnect does not wait for a start.
 *  `runtime`: the guest's record, which must have a file, but for that.
 *  Fails like kvm_hotplug_open(), and with -ETIMEDOUT (KVM_HOTPLUG_OPEN_STARTING, and QEMU does not listen
 *  in time), -EBADFD (KVM_HOTPLUG_OPEN_IN_MEMORY, and the record has a file), -EPERM (kind UNTRUSTED:
 *  another process or user listens, or another user is recorded: the message names both), -EINVAL (a
 *  peer_pid below 1). */
int kvm_hotplug_open_with(struct kvm_runtime *runtime, const char *socket_path,
                          const struct kvm_hotplug_open_options *options, size_t options_size,
                          struct kvm_hotplug **ret_guest, struct kvm_hotplug_error **reterr);

/** Closes the connection and frees the handle. Guest and devices stay as they are, and pending removals
 *  stay in the journal. */
void kvm_hotplug_close(struct kvm_hotplug *guest);

/** Opens a guest as kvm_hotplug_open_with() does, over a connection to its monitor that the caller has
 *  made: a Unix, TCP or vsock stream socket, such as one end of a socket pair whose other end QEMU has.
 *
 *  The library duplicates the descriptor, and the caller can close its own. Nothing may have been read
 *  from the connection or written to it: QEMU greets each client once. While both are open, only the
 *  library uses it. When the guest is closed and the caller's descriptor is not, QEMU still serves this
 *  client.
 *
 *  The library cannot make such a connection again. If it is lost, every call to QEMU fails with -ENOTCONN
 *  (kind MONITOR_LOST), until the caller gives another one with kvm_hotplug_give_connection(), or closes
 *  the guest and opens it again. What was begun stays in the journal.
 *
 *  Over TCP and vsock the limits of kvm_hotplug_open() hold. Who listens is checked if the kernel says it:
 *  not for TCP, vsock and the end of a socket pair, of which peer_uid and peer_pid are refused. Over a
 *  monitor that QEMU deletes with its client no NIC can be added, see kvm_hotplug_lend_monitor().
 *  `fd`: the socket, connected to QEMU's monitor.
 *  `options`: NULL, or as for kvm_hotplug_open_with().
 *  Fails like kvm_hotplug_open_with(), and with -EBADF (no descriptor), -ENOTSOCK, -EPROTOTYPE (no stream
 *  socket), -EAFNOSUPPORT (of another family), -ENOTCONN (not connected), -EBUSY (kind MONITOR_BUSY: no
 *  greeting came, perhaps because another program has read it). */
int kvm_hotplug_open_connection(struct kvm_runtime *runtime, int fd,
                                const struct kvm_hotplug_open_options *options, size_t options_size,
                                struct kvm_hotplug **ret_guest, struct kvm_hotplug_error **reterr);

/** Gives a guest that was opened with kvm_hotplug_open_connection() another connection to a monitor of the
 *  same QEMU, or of the one that has taken its place. The next call to QEMU uses it when the one of the
 *  moment is lost, and no earlier. The library duplicates the descriptor; one that was given before and
 *  not used is closed.
 *  `fd`: the socket, connected to QEMU's monitor.
 *  Fails with -EBADFD (kind STATE: the guest was opened by the name of its monitor), -EINVAL, and as
 *  kvm_hotplug_open_connection() does for the descriptor. */
int kvm_hotplug_give_connection(struct kvm_hotplug *guest, int fd, struct kvm_hotplug_error **reterr);

/** Has QEMU make another monitor, and gives the caller a connection to it: for a script, a console or a
 *  profiler, beside the monitor that the library uses. Needs QEMU 11.1.
 *  `ret_fd`: a stream socket, close-on-exec, that is the caller's to close. QEMU greets on it as on any
 *  monitor. When all of its descriptors are closed, QEMU deletes the monitor. Nothing of it is recorded.
 *
 *  kvm_hotplug_qmp() refuses some commands. The library does not see what is sent over a lent monitor, so
 *  a program that has it controls the guest. A guest can be opened over it with
 *  kvm_hotplug_open_connection(), but no NIC can be added there: QEMU 11.1 never closes a descriptor that
 *  such a client has passed and not used.
 *  Fails like any call to QEMU, and with -EOPNOTSUPP (an older QEMU; the guest is open over TCP or vsock),
 *  -EROFS (a guest that is only looked at), or the errno of a system call. A failure leaves nothing
 *  behind. */
int kvm_hotplug_lend_monitor(struct kvm_hotplug *guest, uint32_t timeout_ms, int *ret_fd,
                             struct kvm_hotplug_error **reterr);

/* ---- What a device is ---------------------------------------------------------------------------------- */

/** The type of a device. */
enum kvm_hotplug_device_type {
    KVM_HOTPLUG_DEVICE_NIC = 1, /**< A network card. */
    KVM_HOTPLUG_DEVICE_DISK = 2, /**< A disk. */
    KVM_HOTPLUG_DEVICE_CONTROLLER = 3, /**< A SCSI controller. */
};

/** What a call answers when it did not fail. */
enum kvm_hotplug_answer {
    /** Done in the running guest. The storage or tap of a removed device may be torn down. */
    KVM_HOTPLUG_ANSWER_DONE = 0,
    KVM_HOTPLUG_ANSWER_AFTER_REBOOT = 1, /**< Recorded for the next boot. The device's reason says why. */
    /** The guest was asked for a removal and has not granted it yet. Slot, id and backend stay taken: do
     *  not tear anything down. The device's reason says what the guest is doing, and an event will follow.
     *  Or an add was begun with KVM_HOTPLUG_NO_WAIT, and an event will report its result. */
    KVM_HOTPLUG_ANSWER_PENDING = 2,
    KVM_HOTPLUG_ANSWER_ABSENT = 3, /**< No such device, neither in the record nor in the guest. */
};

/** The state of a device. */
enum kvm_hotplug_state {
    KVM_HOTPLUG_STATE_LIVE = 0, /**< In the guest. */
    KVM_HOTPLUG_STATE_AFTER_REBOOT = 1, /**< Recorded: the next boot adds or removes it. */
    KVM_HOTPLUG_STATE_PENDING = 2, /**< Being removed, or being added with KVM_HOTPLUG_NO_WAIT. */
    KVM_HOTPLUG_STATE_ABSENT = 3, /**< No such device, neither in the record nor in the guest. */
    KVM_HOTPLUG_STATE_MISSING = 4, /**< Recorded, but not in the guest when it was last asked. */
};

/** The type of a device's address. */
enum kvm_hotplug_address_type {
    KVM_HOTPLUG_ADDRESS_NONE = 0, /**< None yet. */
    KVM_HOTPLUG_ADDRESS_PCI = 1, /**< On a PCI bus: bus and slot. */
    KVM_HOTPLUG_ADDRESS_SCSI = 2, /**< On a controller's SCSI bus: bus, channel, target and lun. */
};

/** Why a device is not (or not yet) what was asked for. */
enum kvm_hotplug_reason {
    KVM_HOTPLUG_REASON_NONE = 0, /**< Nothing to explain. */
    KVM_HOTPLUG_REASON_QEMU_TOO_OLD = 1, /**< After reboot: hot-plug needs QEMU 5.2 or later. */
    /** After reboot: the library plugs no device of this model into a running guest, or the record is
     *  Ganeti's and the model is not paravirtual. */
    KVM_HOTPLUG_REASON_MODEL = 2,
    KVM_HOTPLUG_REASON_NO_ADDRESS = 3, /**< After reboot: the record does not have its address. */
    /** After reboot: the SCSI controller comes with the next boot itself, or its model does not report new
     *  disks to a running guest. */
    KVM_HOTPLUG_REASON_CONTROLLER = 4,
    /** After reboot: recorded when the guest did not run, or with an older QEMU. Nothing prevents a plug
     *  now: remove the device and add it again. */
    KVM_HOTPLUG_REASON_RECORDED = 5,
    /** No slot is free that a device gets unasked, and the record says that it waits for the next boot
     *  then. */
    KVM_HOTPLUG_REASON_FULL = 6,
    KVM_HOTPLUG_REASON_DEADLINE = 16, /**< Pending: the guest runs and has not answered yet. */
    /** Pending: the guest has never set the device up: it has not booted, or does not support hotplug. */
    KVM_HOTPLUG_REASON_NOT_BOOTED = 17,
    /** Pending: the guest was not started, or was reset while stopped; it is asked once it runs. */
    KVM_HOTPLUG_REASON_NOT_STARTED = 18,
    KVM_HOTPLUG_REASON_PAUSED = 19, /**< Pending: the guest is paused. */
    KVM_HOTPLUG_REASON_ASLEEP = 20, /**< Pending: the guest is asleep (ACPI S3). */
    KVM_HOTPLUG_REASON_STOPPED = 21, /**< Pending: the guest has crashed or was stopped by an error. */
    KVM_HOTPLUG_REASON_NOT_AWAITED = 22, /**< Pending: the caller did not wait. */
    KVM_HOTPLUG_REASON_MIGRATING = 23, /**< Pending: the guest migrates; asked again where it runs then. */
    /** Pending: the guest has released the disk, but an export, a block job or an image above it, which
     *  reason_text names, still uses its image. The removal finishes when that ends. */
    KVM_HOTPLUG_REASON_IN_USE = 24,
    /** Missing: recorded, but not in the guest when it was last asked, for instance after a restart of
     *  QEMU by hand. kvm_hotplug_repair() removes it from the record. */
    KVM_HOTPLUG_REASON_MISSING = 25,
    /** Pending, of kvm_hotplug_change_media() alone: the guest has locked the tray of the drive. */
    KVM_HOTPLUG_REASON_TRAY_LOCKED = 26,
    /** Pending, from a record without its guest: a removal was begun, and its end is not recorded. */
    KVM_HOTPLUG_REASON_REMOVAL_UNFINISHED = 32,
    /** Pending, from a record without its guest: an add was begun, and its end is not recorded. The guest
     *  may have the device, or have had it. */
    KVM_HOTPLUG_REASON_ADD_UNFINISHED = 33,
    /** From a record without its guest: a change was begun, and its end is not recorded. The state is the
     *  device's. */
    KVM_HOTPLUG_REASON_CHANGE_UNFINISHED = 34,
};

/** A device of a record or guest. Strings are empty where they do not apply. */
struct kvm_hotplug_device {
    char id[32]; /**< Id in QEMU, also of its netdev or block node, if any; at most 31 characters. */
    char bus[64]; /**< PCI or SCSI bus, as address_type says; empty without an address. */
    char mac[24]; /**< NIC: MAC address, as in "52:54:00:12:34:56". */
    char ifname[16]; /**< NIC: tap on the host when it was added. */
    char bridge[16]; /**< NIC: bridge on the host. */
    char model[64]; /**< QEMU device model. */
    char serial[40]; /**< Disk: serial number. */
    /** Disk: path of the image or block device, or Ganeti's URI for one that QEMU opens. Empty if it is
     *  longer than 255 bytes: see kvm_hotplug_get_path() and kvm_runtime_get_path(). */
    char path[256];
    char reason_text[160]; /**< The reason in words. */
    uint64_t generation; /**< Tells this attachment from earlier ones of the same id. */
    uint32_t device_type; /**< One of enum kvm_hotplug_device_type. */
    uint32_t state; /**< One of enum kvm_hotplug_state. */
    /** One of enum kvm_hotplug_reason: why the state is not LIVE. A record without its guest has only the
     *  reasons of its journal. */
    uint32_t reason;
    uint32_t slot; /**< PCI: slot on the bus, 0 to 31. */
    uint32_t queues; /**< Queue pairs (NIC), virtqueues (disk), request queues; 0: QEMU's default. */
    uint32_t vhost; /**< NIC: 1 if vhost-net moves the packets. */
    uint32_t mtu; /**< NIC: MTU announced to the guest, 0 for none. */
    uint32_t read_only; /**< Disk: 1 if the guest cannot write to it. */
    uint32_t removed_after_reboot; /**< 1 if the next boot removes the device. */
    uint32_t reserved; /**< Always 0. */
    uint32_t address_type; /**< One of enum kvm_hotplug_address_type: which fields count. */
    uint32_t channel; /**< SCSI: channel of the bus, 0. */
    uint32_t target; /**< SCSI: target on the channel, 0 to 255 (QEMU's scsi-id). */
    uint32_t lun; /**< SCSI: unit of the target, 0 to 16383. */
    uint32_t link_down; /**< NIC: 1 if its link is recorded as down. */
    int32_t boot_index; /**< Place in the firmware's boot order, -1 for none. */
    uint32_t format; /**< Disk: one of enum kvm_hotplug_format, RAW or QCOW2. */
    uint32_t cache; /**< Disk: one of enum kvm_hotplug_cache. */
    uint32_t aio; /**< Disk: one of enum kvm_hotplug_aio. */
    uint32_t discard; /**< Disk: one of enum kvm_hotplug_discard. */
    uint32_t detect_zeroes; /**< Disk: one of enum kvm_hotplug_detect_zeroes. */
    uint32_t share_rw; /**< Disk: 1 if others may write to the image at the same time. */
    uint32_t logical_block_size; /**< Disk: smallest unit of I/O in bytes, 0 for QEMU's default. */
    uint32_t physical_block_size; /**< Disk: unit the guest should align to in bytes, 0 for the same. */
    uint64_t wwn; /**< Disk: world wide name, 0 for none. */
    /** In the guest: slot and function of each bridge from the root bus on, and of the device,
     *  hexadecimal, as in "05.0" or "10.0/00.0"; of a SCSI disk, those of its controller. No guest can
     *  change it. Behind another root bus than 0, the number of that bus is in front, as in
     *  "80:00.0/01.0". This and the next three are empty where they are not known: for devices that the
     *  guest does not have, from a record alone, and in the answer of the call that adds the device. */
    char pci_path[64];
    /** Domain, bus, slot and function as the guest sees them, as in "0000:01:00.0"; of a SCSI disk, those
     *  of its controller. The number of a bus behind a bridge is the guest's, as QEMU last showed it:
     *  empty until the firmware has run, and a reboot may change it. */
    char guest_address[16];
    /** What Linux with udev of systemd calls the device by that address. NIC: "enp1s0", the property
     *  ID_NET_NAME_PATH. Disk: its link "/dev/disk/by-path/pci-0000:00:05.0" or, for SCSI,
     *  "/dev/disk/by-path/pci-0000:00:06.0-scsi-0:0:1:0"; systemd makes "virtio-pci-0000:00:05.0" there as
     *  well for virtio-blk. Other systems, and guests with rules of their own, give other names. */
    char guest_name[80];
    /** NIC on pci.0 of machine pc: "ens5", the property ID_NET_NAME_SLOT by the number that ACPI has for
     *  the slot. Linux with systemd prefers it to guest_name, which is then an alternative name of the
     *  NIC. */
    char guest_slot_name[16];
};

/* ---- Adding -------------------------------------------------------------------------------------------- */

/** Whether the host kernel moves the packets of a NIC. */
enum kvm_hotplug_vhost {
    KVM_HOTPLUG_VHOST_AUTO = 0, /**< With vhost-net if the host has it. */
    KVM_HOTPLUG_VHOST_OFF = 1, /**< Without. */
    KVM_HOTPLUG_VHOST_REQUIRED = 2, /**< With, or the call fails with -ENODEV. */
};

/** Flag of requests: now or not at all. What would wait for a reboot fails with -EOPNOTSUPP. */
#define KVM_HOTPLUG_LIVE_ONLY (1 << 0)

/** Flag of requests: do not wait for QEMU or the guest. A removal asks the guest. Its answer is
 *  KVM_HOTPLUG_ANSWER_PENDING, unless the device is gone already.
 *
 *  An add checks, opens and records everything as usual, and fails as usual. It sends the commands. Its
 *  answer is KVM_HOTPLUG_ANSWER_PENDING with the id, address and generation that the device will have.
 *  kvm_hotplug_process() processes QEMU's replies: call it when kvm_hotplug_get_fd() is readable, and
 *  every few seconds. Each such device then has one event, KVM_HOTPLUG_EVENT_ADDED or
 *  KVM_HOTPLUG_EVENT_ADD_FAILED, also if timeout_ms passes without a reply. It is not listed before. The
 *  call still waits for queries it depends on: the run state of a guest that is not known to run, and the
 *  inventory after a reconnect. Several adds may be under way at once, and each ends by itself. QEMU
 *  replies in order, so a later call that asks it waits for them. If the handle is closed first, the next
 *  one that opens the record completes or undoes the add, as after a crash. */
#define KVM_HOTPLUG_NO_WAIT (1 << 3)

/** Flag of struct kvm_hotplug_nic and struct kvm_hotplug_disk: if the guest has a device with the id that
 *  the record does not have, such as one whose agent was killed before it had recorded it, and its
 *  settings are those that are asked for, it is recorded, and nothing else is done. The answer is that of
 *  a repeated call. Without the flag, or if a setting differs, the call fails with -EEXIST. It takes an
 *  id, also one that follows from ganeti_entry, and for a NIC its mac. What QEMU does not show (aio,
 *  discard, tap_owner, and queues of a disk that are not asked for) is recorded as asked for. */
#define KVM_HOTPLUG_ADOPT (1 << 29)

/** Flag of requests: boot_index is given, also when it is 0. */
#define KVM_HOTPLUG_BOOT_INDEX (1 << 1)
/** Flag of struct kvm_hotplug_nic: tap_owner is given, also when it is 0. */
#define KVM_HOTPLUG_TAP_OWNER (1 << 2)
/** Flag of struct kvm_hotplug_nic: the link is down until kvm_hotplug_set_link() sets it up. */
#define KVM_HOTPLUG_NIC_LINK_DOWN (1 << 4)

/** A NIC to add. The default is a virtio-net-pci with one queue, a generated MAC address, and a tap of its
 *  own that is on no bridge. */
struct kvm_hotplug_nic {
    /** Id of device and netdev: a letter, then up to 30 letters, digits, '-', '.' or '_'. NULL for
     *  "nic-pci-<slot>", or "nic-pci-<bus>" on a root port. */
    const char *id;
    const char *mac; /**< MAC address, not multicast; NULL for a random one that begins with 52:54:00. */
    /** Bridge to attach the tap to; NULL for none. Not together with tap_fds. The tap's own MAC address is
     *  the NIC's with fe as its first byte, so that the bridge does not adopt it as its own. A bridge
     *  without other ports does, unless its address was set. */
    const char *bridge;
    /** Name of the tap, at most 15 characters, or a pattern with one "%d". It must not exist. NULL for
     *  "tap%d". Not together with tap_fds. */
    const char *ifname;
    /** QEMU device model; NULL for "virtio-net-pci". That family, e1000, e1000-82544gc, e1000-82545em,
     *  e1000e, igb (QEMU 8.0 or later), pcnet, rtl8139 and vmxnet3 are plugged into the running guest.
     *  Other models are recorded for the next boot, and with a record in Ganeti's format all but the
     *  virtio-net-pci family are. On a bus with many slots, an igb in slot n keeps n + 16 and n + 17 free
     *  for its virtual functions. EOPNOTSUPP: QEMU does not know the model; EINVAL: it is no NIC. */
    const char *model;
    const char *bus; /**< Bus; NULL for the first free slot of any. With it, slot counts. */
    /** Taps that the caller opened, one per queue, all of one interface, each by its own open(); NULL to
     *  have the tap opened. They are duplicated: the caller closes its own, and may pass them again when
     *  the NIC is gone. Detached queues, as a NIC's driver leaves them, are attached (TUNSETQUEUE) and
     *  stay so. A tap of another NIC of the guest is refused, also while that NIC is being removed. Such a
     *  NIC cannot wait for a reboot (-EOPNOTSUPP). Each kvm_runtime_boot(), also for a migration target,
     *  must be given its tap by kvm_runtime_give_tap(), since it cannot make the tap again. Exception: in
     *  Ganeti's format the record notes the tap's bridge, and the next start, also by Ganeti, makes a new
     *  tap on it. */
    const int32_t *tap_fds;
    uint32_t tap_fd_count; /**< Number of tap_fds; 0 to have the tap opened. */
    /** Queue pairs, 1 to 256; 0 means 1, or tap_fd_count, or what a record in Ganeti's format says. Each
     *  takes a descriptor of this process and of QEMU for the tap, and one for vhost (RLIMIT_NOFILE). */
    uint32_t queues;
    uint32_t vhost; /**< One of enum kvm_hotplug_vhost. */
    /** MTU in bytes, 68 to 65535, announced to the guest (host_mtu) and set on a tap opened here. 0
     *  announces none; the tap then gets its bridge's. */
    uint32_t mtu;
    uint32_t slot; /**< Slot on bus, 0 to 31; 0 means any free one, where the bus has others. */
    /** Place in the firmware's boot order, 0 to 2147483647, with KVM_HOTPLUG_BOOT_INDEX. The NIC then
     *  loads its option ROM, otherwise it does not. */
    uint32_t boot_index;
    /** User id that may reopen a tap opened here, with KVM_HOTPLUG_TAP_OWNER; recorded for later boots. */
    uint32_t tap_owner;
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
    /** KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_BOOT_INDEX, KVM_HOTPLUG_TAP_OWNER, KVM_HOTPLUG_NIC_LINK_DOWN,
     *  KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_ADOPT. */
    uint32_t flags;
    uint32_t reserved; /**< Must be 0. */
    /** Network namespace in which the tap is made and the bridge looked for: an absolute path, such as
     *  "/run/netns/blue" or "/proc/1234/ns/net"; NULL for that of the caller. Recorded: later calls, boots
     *  and migration targets use it. "/proc/self/fd/7" is recorded as the path that the namespace is
     *  mounted at. The library enters it with a thread that ends before the call does; no other thread's
     *  namespace changes. Needs CAP_SYS_ADMIN. Not together with tap_fds. */
    const char *netns;
    /** For a record in Ganeti's format: what Ganeti has of the NIC, as JSON text of an object of at most 8
     *  KiB (uuid, name, ip, nicparams, network ...); NULL for none. It is kept in the journal, and stands
     *  in the list as it is given, with hvinfo for its place. Its uuid gives the id, unless the request
     *  has one. Its mac gives the MAC address and its link the bridge; a request that has others fails
     *  with -EINVAL. In a mode other than "bridged" the tap is the caller's (tap_fds). In another format
     *  it is kept for kvm_runtime_convert(). */
    const char *ganeti_entry;
    /** Further properties of the device in QEMU, as JSON text of an object of at most 8 KiB, such as
     *  {"packed": true, "rx_queue_size": 1024, "csum": false}; NULL for none. Values are texts, whole
     *  numbers, true and false. QEMU is asked which properties the model has, and of which type: "on"
     *  becomes true where it is a switch. Recorded, compared by kvm_hotplug_verify(), and there after boot
     *  and migration. A device that exists has to have those that are asked for. Without a guest
     *  (kvm_runtime_add_nic()) nobody can be asked: write them in QEMU's types. Fails with -EINVAL for a
     *  property that this QEMU's model does not have, for one that another field of the request sets, and
     *  for romfile, multifunction, failover and failover_pair_id; with -E2BIG for a longer text. A Ganeti
     *  list has no place for them (-EINVAL). */
    const char *properties;
    /** Limit of what the guest receives over this NIC, in bytes per second, 1024 to 2^40; 0 for none. What
     *  is too much waits up to 50 ms, and is dropped then (tbf as root qdisc of the tap). Recorded,
     *  compared by kvm_hotplug_verify(), there after boot and migration, changed by
     *  kvm_hotplug_set_nic_limits(), and taken away with the NIC, also from a tap of the caller's, which
     *  has to be in the network namespace of the calling thread. Not in a Ganeti list (-EINVAL). */
    uint64_t inbound_average;
    /** Bytes that it may receive at once, at least 69632, since packets have up to 64 KiB; 0 for a tenth
     *  of a second. */
    uint64_t inbound_burst;
    /** The same of what the guest sends. What is too much is dropped (a police action at the ingress qdisc
     *  of the tap). */
    uint64_t outbound_average;
    uint64_t outbound_burst; /**< Bytes that it may send at once, likewise. */
    /** In the place of a tap: a netdev as QEMU describes it (Netdev in its QMP reference) without its id,
     *  as JSON text of at most 8 KiB, such as {"type": "user", "hostfwd": [{"str":
     *  "tcp:127.0.0.1:2222-:22"}]}; NULL for a tap. The types are user, stream and dgram (QEMU 7.2 or
     *  later), and vhost-user. QEMU opens what is behind it by itself, also after a boot or migration. A
     *  vhost-user has addr, the Unix socket of its backend, in the place of chardev, which the library
     *  makes. It is refused in a guest whose memory is not shared (-EOPNOTSUPP). The backend has to
     *  answer: QEMU and its guest stand still until it has. Not together with bridge, ifname, tap_fds,
     *  tap_owner, netns, limits, or vhost that is required; queues only for a vhost-user (-EINVAL).
     *  Members that reach the host in another way (smb, tftp, guestfwd) are refused, too. -EOPNOTSUPP:
     *  this QEMU does not have the type. Not in a Ganeti list (-EINVAL). */
    const char *netdev;
    /** How the tap that is made here is a port of the bridge, as JSON text of an object; NULL for as the
     *  kernel makes it. isolated (true: no frames between it and other isolated ports), learning (false:
     *  the bridge learns no addresses behind it), hairpin (true: frames may go back out where they came
     *  in), vlan (VLAN of frames without a tag, 1 to 4094), trunk (a list of VLANs whose frames have their
     *  tags, each a number or a text such as "20-30"). With vlan or trunk the port has those VLANs and no
     *  others, and the bridge has to tell VLANs apart (vlan_filtering 1; else -ENOTSUP). The tap is down
     *  until that is set. Recorded, kept by kvm_hotplug_set_bridge(), there after boot and migration;
     *  kvm_hotplug_verify() compares the first three. Not with tap_fds or without a bridge, and not in a
     *  Ganeti list (-EINVAL). */
    const char *port;
};

/** Plugs a NIC into the guest and records it: opens a tap (multi-queue if requested), attaches it to its
 *  bridge, sets its MTU and sets it up, gives QEMU its descriptors, a netdev and a device, and replaces
 *  the runtime file. All of it or nothing.
 *  Returns one of enum kvm_hotplug_answer, or fails like any add of a device, and with -EBADF (a closed
 *  tap fd), -EINVAL (contradicting fields, an fd that is no tap, a bridge that is none), -EEXIST (MAC
 *  address, tap or tap name taken; the tap has a queueing discipline of somebody else), -ENOENT (no such
 *  bridge or network namespace), -EOPNOTSUPP (with tap_fds, it would wait for a reboot), -ENODEV (vhost is
 *  required and missing; the kernel lacks what a limit takes), or the errno of opening or setting up the
 *  tap (-EPERM without CAP_NET_ADMIN). */
int kvm_hotplug_add_nic(struct kvm_hotplug *guest, const struct kvm_hotplug_nic *nic, size_t nic_size,
                        struct kvm_hotplug_device *ret_device, size_t device_size,
                        struct kvm_hotplug_error **reterr);

/** Format of an image. */
enum kvm_hotplug_format {
    KVM_HOTPLUG_FORMAT_RAW = 0, /**< The bytes of the file are the bytes of the disk. */
    /** QEMU's copy-on-write format. The library opens each backing file. Its format must be recorded in
     *  the image above it. */
    KVM_HOTPLUG_FORMAT_QCOW2 = 1,
    /** Detect the format by content, also of backing files. Only for images that no guest has ever written
     *  as raw: a guest can make a raw image look like a qcow2 with a backing file of its choice. The
     *  result is recorded and not detected again. A file with another format's signature, such as vmdk,
     *  vdi, vhdx, luks or iso9660, is refused, not taken for raw. */
    KVM_HOTPLUG_FORMAT_PROBE = 2,
};

/** Host page cache and flushes, with QEMU's names. */
enum kvm_hotplug_cache {
    KVM_HOTPLUG_CACHE_WRITEBACK = 0, /**< Page cache; the guest sees a write cache and flushes it. */
    KVM_HOTPLUG_CACHE_NONE = 1, /**< O_DIRECT; the guest sees a write cache and flushes it. */
    KVM_HOTPLUG_CACHE_WRITETHROUGH = 2, /**< Page cache; every write is flushed. */
    KVM_HOTPLUG_CACHE_DIRECTSYNC = 3, /**< O_DIRECT; every write is flushed. */
    KVM_HOTPLUG_CACHE_UNSAFE = 4, /**< Page cache; flushes are ignored: data is lost if the host dies. */
};

/** How QEMU submits I/O. */
enum kvm_hotplug_aio {
    KVM_HOTPLUG_AIO_THREADS = 0, /**< A pool of threads. */
    KVM_HOTPLUG_AIO_NATIVE = 1, /**< Linux AIO; needs cache NONE or DIRECTSYNC. */
    KVM_HOTPLUG_AIO_IO_URING = 2, /**< io_uring. */
};

/** What becomes of the guest's discard requests. */
enum kvm_hotplug_discard {
    KVM_HOTPLUG_DISCARD_IGNORE = 0, /**< Ignored. */
    KVM_HOTPLUG_DISCARD_UNMAP = 1, /**< Storage is given back. */
};

/** What becomes of writes of zeros. */
enum kvm_hotplug_detect_zeroes {
    KVM_HOTPLUG_DETECT_ZEROES_OFF = 0, /**< Written. */
    KVM_HOTPLUG_DETECT_ZEROES_ON = 1, /**< Turned into an efficient write of zeros. */
    KVM_HOTPLUG_DETECT_ZEROES_UNMAP = 2, /**< Turned into a discard; needs discard UNMAP. */
};

/** A secret of a disk's source. It is copied, and the copy is written over when it is not needed any more.
 *  It is in no record, journal, log, error or command line. This struct does not grow. */
struct kvm_hotplug_secret {
    const char *name; /**< The name that a node of the source has for it: 1 to 31 characters, as of an id. */
    const void *data; /**< Its bytes. QEMU takes most secrets as UTF-8 text, without a newline at the end. */
    size_t length; /**< Number of bytes, 1 to 16384. */
};

/** Flag of struct kvm_hotplug_disk: the guest cannot write; the image is opened read-only. */
#define KVM_HOTPLUG_DISK_READ_ONLY (1 << 5)

/** Flag of struct kvm_hotplug_disk: others may write to the image at once (share-rw); the guests must
 *  know. */
#define KVM_HOTPLUG_DISK_SHARE_RW (1 << 6)

/** Flag of struct kvm_hotplug_disk: target and lun are given, also when 0; bus names the SCSI bus. */
#define KVM_HOTPLUG_DISK_SCSI_ADDRESS (1 << 7)

/** Flag of struct kvm_hotplug_disk: if the disk exists already, replace the recorded files of its image
 *  and its rule for backing files by the present ones; see kvm_runtime_accept_chain(). */
#define KVM_HOTPLUG_DISK_ACCEPT_CHAIN (1 << 8)

/** Flag of struct kvm_hotplug_disk and struct kvm_hotplug_controller: the library makes the iothread.
 *  Without a name it is the device's own, "<id>-iothread". One with a name is made with the first device
 *  that asks for it with this flag, and deleted after the last. Of a mapping, each is such a one. */
#define KVM_HOTPLUG_MAKE_IOTHREAD (1 << 30)

/** A disk to add. The default, besides path, is a writable raw image as virtio-blk-pci. */
struct kvm_hotplug_disk {
    /** Absolute path of an image file or block device. Required without a source, but for "scsi-cd": NULL
     *  or empty for a CD drive without a medium. */
    const char *path;
    /** Id of device and block node, of the same form as a NIC's. NULL for "disk-pci-<slot>", or
     *  "disk-pci-<bus>" on a root port; for a SCSI disk "disk-<controller>-<target>", as in
     *  "disk-scsi-pci-7-0". */
    const char *id;
    /** Serial number the guest sees, printable ASCII; NULL for none. 1 to 20 characters; 1 to 36 with
     *  "scsi-hd" and "scsi-cd", which also have an id of the first 20. Not with "scsi-block"; "nvme" needs
     *  one. */
    const char *serial;
    /** QEMU device model; NULL for "virtio-blk-pci". "scsi-hd" is a disk on the bus of a SCSI controller.
     *  "scsi-block" passes a SCSI device of the host through, on such a bus (a block device that takes
     *  SG_IO; format raw; without serial, block sizes, wwn, cache WRITETHROUGH and DIRECTSYNC). "scsi-cd"
     *  is a CD drive on such a bus (with KVM_HOTPLUG_DISK_READ_ONLY; without block sizes). "nvme" is a
     *  disk of NVM Express in a slot of PCI (without wwn and queues; on QEMU 5.2 without boot_index).
     *  Other models outside of the virtio-blk-pci family are recorded for the next boot. */
    const char *model;
    /** Bus; NULL for the first free slot of any. With it, slot counts. For a SCSI disk it is the bus
     *  "<id>.0" of a controller: target and lun count with KVM_HOTPLUG_DISK_SCSI_ADDRESS, otherwise the
     *  disk is unit 0 of the first free target. NULL for the first virtio-scsi controller with a free
     *  target; if there is none, one is plugged in with the disk, in the first free slot. */
    const char *bus;
    uint32_t format; /**< One of enum kvm_hotplug_format. */
    uint32_t cache; /**< One of enum kvm_hotplug_cache. */
    uint32_t aio; /**< One of enum kvm_hotplug_aio. */
    uint32_t discard; /**< One of enum kvm_hotplug_discard. */
    uint32_t detect_zeroes; /**< One of enum kvm_hotplug_detect_zeroes. */
    uint32_t logical_block_size; /**< Unit of I/O in bytes, a power of two, 512 to 2097152; 0 means 512. */
    uint32_t physical_block_size; /**< Unit to align to, likewise, at least the logical; 0: the same. */
    uint32_t queues; /**< Virtqueues, 1 to 1024; 0 for QEMU's default. Not for SCSI disks. */
    uint32_t slot; /**< PCI: slot on bus, 0 to 31; 0 means any free one, where the bus has others. */
    uint32_t boot_index; /**< Place in the boot order, 0 to 2147483647, with KVM_HOTPLUG_BOOT_INDEX. */
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
    /** KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_BOOT_INDEX, KVM_HOTPLUG_DISK_READ_ONLY,
     *  KVM_HOTPLUG_DISK_SHARE_RW, KVM_HOTPLUG_DISK_SCSI_ADDRESS, KVM_HOTPLUG_NO_WAIT,
     *  KVM_HOTPLUG_DISK_ACCEPT_CHAIN, KVM_HOTPLUG_ADOPT, KVM_HOTPLUG_MAKE_IOTHREAD. */
    uint32_t flags;
    uint64_t wwn; /**< World wide name the guest sees, for "scsi-hd" and "scsi-cd"; 0 for none. */
    uint32_t target; /**< SCSI target on bus, 0 to 255, with KVM_HOTPLUG_DISK_SCSI_ADDRESS. */
    uint32_t lun; /**< Unit of the target, 0 to 16383, with KVM_HOTPLUG_DISK_SCSI_ADDRESS. */
    const char *const *backing_paths; /**< Absolute paths, if backing names files or directories. */
    uint32_t backing; /**< Where backing files may be: one of enum kvm_hotplug_backing. */
    uint32_t backing_count; /**< Number of strings in backing_paths, at most 64. */
    /** As in struct kvm_hotplug_nic. In Ganeti's format the cache mode of the boot disks follows from its
     *  dev_type, and the disk gets it. Without an entry, a file with KVM_HOTPLUG_CACHE_NONE is listed as
     *  "sharedfile". */
    const char *ganeti_entry;
    /** Further properties of the device in QEMU, as in struct kvm_hotplug_nic: werror and rerror
     *  ("report", "ignore", "enospc", "stop"), discard_granularity, rotation_rate, queue-size and others. */
    const char *properties;
    /** The iothread that does the disk's I/O, by its id; NULL for QEMU's main thread, or for one of the
     *  disk's own with KVM_HOTPLUG_MAKE_IOTHREAD. Without that flag QEMU has to have it (-ENOENT), also
     *  with the next boot. For the virtio-blk-pci family: of SCSI disks the controller has it.
     *
     *  Or several, among which the queues are divided, as QEMU's iothread-vq-mapping in JSON: a text that
     *  begins with "[", such as [{"iothread": "a", "vqs": [0, 2]}, {"iothread": "b", "vqs": [1]}]. Without
     *  vqs each gets a queue in turn. From QEMU 9.2 on; an older one would pass over it (-ENOTSUP). */
    const char *iothread;
    /** Instead of path and format: a block node as QEMU's blockdev-add takes it (BlockdevOptions), with
     *  the nodes below it, as a JSON object of at most 16384 bytes; kvm_hotplug_source_json() makes common
     *  ones. No node has a node-name or is named, and read-only, cache, discard and detect-zeroes of the
     *  first one come from this struct. The library opens the files and block devices in it ("file",
     *  "host_device", "host_cdrom", by absolute paths), and QEMU what is behind a network. A qcow2 without
     *  "backing" has none. While QEMU connects, it answers nothing and its guest may stand still. */
    const char *source;
    /** How much I/O the disk may do, as JSON text of an object with QEMU's names; NULL for no limits:
     *  bps-total, bps-read, bps-write (bytes each second), iops-total, iops-read, iops-write (operations);
     *  each with -max for bursts and -max-length for how many seconds a burst lasts; iops-size (bytes that
     *  count as one operation). A total goes with neither reads nor writes. "group" is the name of a group
     *  that has the limits together: each of its disks is added with the same ones. Not with "scsi-block"
     *  or a CD drive, and with an id of at most 25 characters. kvm_hotplug_set_disk_limits() changes them. */
    const char *limits;
    /** What the nodes of the source name as secrets (key-secret, password-secret and the like), at most
     *  16; NULL for none. QEMU gets each as an object of the disk's own, which goes with the disk. The
     *  record has the names alone: kvm_runtime_boot() needs the secrets again, see
     *  kvm_runtime_give_secret(). A name that is not here is the id of an object that QEMU has already. */
    const struct kvm_hotplug_secret *secrets;
    size_t secret_count; /**< Number of secrets. */
    /** What the nodes of the source name as credentials for TLS (tls-creds), as JSON text of an object;
     *  NULL for none. By name each is an object with qom-type ("tls-creds-x509", "tls-creds-psk" or
     *  "tls-creds-anon"), dir (absolute path of the directory with the keys and certificates, which QEMU
     *  reads by itself), and where they apply verify-peer, priority, username, and passwordid (the name of
     *  a secret). */
    const char *tls_creds;
};

/** Plugs a disk into the guest and records it: opens the image and its backing files with the caller's
 *  rights in the mode that QEMU needs, gives QEMU the descriptors, a block node and a device, and replaces
 *  the runtime file. All of it or nothing. QEMU opens no file itself, so it may be in a chroot, run as
 *  another user or under seccomp.
 *
 *  The caller chooses the image, and by enum kvm_hotplug_backing which backing files it may have. The
 *  names in an image choose nothing. Each file is checked before it is opened, and all are recorded: later
 *  calls open these files for this disk, and refuse it if its image names others. QEMU locks images
 *  against another QEMU, except in a chroot without /dev/null (seen on QEMU 7.2).
 *
 *  If a SCSI disk finds no controller, a virtio-scsi-pci is plugged in with it and recorded as a device of
 *  its own ("scsi-pci-<slot>"). It is removed again if the disk cannot be added. It stays when the disk is
 *  removed.
 *  Returns one of enum kvm_hotplug_answer, or fails like any add of a device, like any call that opens an
 *  image, and with
 *  - -EINVAL (contradicting fields, a setting that the model does not have; scsi-block on a device without
 *    SCSI commands), -EBUSY (kind IMAGE_LOCKED: another QEMU uses the image);
 *  - -EEXIST (image, serial or wwn used in this guest; the image is below another disk's, or another
 *    disk's is below it). A disk that exists must still have the recorded files. */
int kvm_hotplug_add_disk(struct kvm_hotplug *guest, const struct kvm_hotplug_disk *disk, size_t disk_size,
                         struct kvm_hotplug_device *ret_device, size_t device_size,
                         struct kvm_hotplug_error **reterr);

/** The parts of a common source of a disk: of an NBD export, or of an image in Ceph, or of an encrypted
 *  file. */
struct kvm_hotplug_source {
    const char *nbd_socket; /**< NBD: absolute path of the server's Unix socket. */
    const char *nbd_host; /**< NBD: the server's host instead, over TCP. */
    const char *nbd_export; /**< NBD: name of the export; NULL for the server's default. */
    /** NBD: name in tls_creds of struct kvm_hotplug_disk that encrypts the connection; NULL for none. QEMU
     *  5.2 has that with nbd_host alone. */
    const char *nbd_tls_creds;
    /** NBD: name that the server's certificate has to have; NULL for the host's. Not in QEMU 5.2. */
    const char *nbd_tls_hostname;
    const char *rbd_pool; /**< RBD: the pool. */
    const char *rbd_image; /**< RBD: the image. */
    const char *rbd_namespace; /**< RBD: namespace in the pool; NULL for none. */
    const char *rbd_snapshot; /**< RBD: snapshot of the image, which can only be read; NULL for none. */
    const char *rbd_user; /**< RBD: the user, as in "admin" for client.admin; NULL for Ceph's default. */
    /** RBD: absolute path of the configuration, which QEMU reads; NULL for Ceph's default. */
    const char *rbd_conf;
    const char *luks_path; /**< LUKS: absolute path of the image or block device. */
    const char *luks_key_secret; /**< LUKS: name in secrets of struct kvm_hotplug_disk with its passphrase. */
    uint32_t nbd_port; /**< NBD: TCP port, 1 to 65535; 0 means 10809. */
    /** NBD: seconds that requests wait for a lost server to come back; 0 for not at all. */
    uint32_t nbd_reconnect_delay;
    /** NBD: seconds that QEMU tries to connect at first; 0 for once. Not in QEMU 5.2. */
    uint32_t nbd_open_timeout;
    uint32_t reserved; /**< Must be 0. */
    /** RBD: name in secrets of struct kvm_hotplug_disk with the user's key; NULL for Ceph's keyring. The
     *  secret is the key itself, of which a keyring has the base64. */
    const char *rbd_key_secret;
};

/** The source of a disk, as struct kvm_hotplug_disk takes it, of its parts. The text is freed with
 *  kvm_hotplug_text_free().
 *  Blocks: only for LUKS, on a look at what is at luks_path.
 *  `source`: the parts, for one kind of storage.
 *  Fails with -EINVAL (parts of none, or of more than one; a part that has to be given). */
int kvm_hotplug_source_json(const struct kvm_hotplug_source *source, size_t source_size, char **ret_json,
                            struct kvm_hotplug_error **reterr);

/** Where the backing files of an image may be.
 *
 *  A qcow2 image names its backing file in its header. Whoever can write to the image can change that
 *  name, such as a guest that has taken over QEMU. So the library opens no file for its name alone: it
 *  records the files of an image (path, format, and which file it is) when the disk is added, and opens no
 *  others for it later. This enum says which may be recorded, for all disks of a record
 *  (kvm_runtime_set_backing()) or for one (struct kvm_hotplug_disk), which takes precedence.
 *
 *  Links are followed before a path is compared with a directory. The library never opens, as the image
 *  itself either, files that are neither regular nor block devices, files that the kernel makes up
 *  (procfs, sysfs and the like), and files that only a magic link of /proc leads to, such as a process's
 *  descriptors. */
enum kvm_hotplug_backing {
    /** For a disk, the record's rule. For a record, KVM_HOTPLUG_BACKING_OWN_DIRECTORY. */
    KVM_HOTPLUG_BACKING_DEFAULT = 0,
    /** Regular files beneath the image's directory, the image's links followed. A block device, or an
     *  image in the root directory, has no such directory. Files that are recorded already are not checked
     *  again. */
    KVM_HOTPLUG_BACKING_OWN_DIRECTORY = 1,
    KVM_HOTPLUG_BACKING_FORBIDDEN = 2, /**< Nowhere: an image with a backing file is refused. */
    KVM_HOTPLUG_BACKING_FILES = 3, /**< Exactly backing_paths, from the image down; block devices too. */
    KVM_HOTPLUG_BACKING_DIRECTORIES = 4, /**< Beneath one of the directories in backing_paths. */
};

/** Sets where the backing files of a record's disks may be, except for disks with a rule of their own. It
 *  is recorded and applies whenever an image is opened from then on, also for disks that are recorded
 *  already. Nothing is opened now.
 *  `backing`: one of enum kvm_hotplug_backing.
 *  `backing_paths`, `backing_count`: the absolute paths of files or directories, at most 64, if backing
 *  takes any; else NULL and 0.
 *  Fails like any change of a record, and with -EINVAL (paths that are not absolute, none or too many). */
int kvm_runtime_set_backing(struct kvm_runtime *runtime, uint32_t backing, const char *const *backing_paths,
                            uint32_t backing_count, struct kvm_hotplug_error **reterr);

/** Records the present files of a disk's image in place of the recorded ones, after its chain was changed
 *  on purpose, by `qemu-img rebase` for instance, or its image was replaced. The rule for the disk must
 *  allow them. Check the chain first (`qemu-img info --backing-chain`): accepted files are opened from
 *  then on. While a guest is open with the record, call kvm_hotplug_add_disk() with
 *  KVM_HOTPLUG_DISK_ACCEPT_CHAIN instead.
 *  `backing`: the disk's rule from then on; KVM_HOTPLUG_BACKING_DEFAULT keeps the rule that it has.
 *  `backing_paths`, `backing_count`: as for kvm_runtime_set_backing().
 *  Fails like any change of a record, like any call that opens an image, and with -EINVAL (not a disk),
 *  -ENOENT (no such disk). */
int kvm_runtime_accept_chain(struct kvm_runtime *runtime, const char *id, uint32_t backing,
                             const char *const *backing_paths, uint32_t backing_count,
                             struct kvm_hotplug_error **reterr);

/** A SCSI controller to add. The default is a virtio-scsi-pci in the first free slot. */
struct kvm_hotplug_controller {
    /** Id, of the same form as a NIC's. NULL for "scsi-pci-<slot>", or "scsi-pci-<bus>" on a root port.
     *  The bus for its disks is "<id>.0". */
    const char *id;
    /** QEMU device model; NULL for "virtio-scsi-pci". Models outside of that family are recorded for the
     *  next boot. */
    const char *model;
    const char *bus; /**< PCI bus; NULL for the first free slot of any. With it, slot counts. */
    uint32_t queues; /**< Request queues, 1 to 1021; 0 for QEMU's default. */
    uint32_t slot; /**< Slot on bus, 0 to 31; 0 means any free one, where the bus has others. */
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
    uint32_t flags; /**< KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_MAKE_IOTHREAD. */
    const char *properties; /**< Further properties of the device in QEMU, as in struct kvm_hotplug_nic. */
    const char *iothread; /**< The iothread that does the I/O of its disks, as in struct kvm_hotplug_disk. */
};

/** Plugs a SCSI controller into the guest and records it. kvm_hotplug_add_disk() does this by itself for
 *  the first SCSI disk; call this for a controller with settings of its own, or a second one.
 *  Returns one of enum kvm_hotplug_answer, or fails like any add of a device. */
int kvm_hotplug_add_controller(struct kvm_hotplug *guest, const struct kvm_hotplug_controller *controller,
                               size_t controller_size, struct kvm_hotplug_device *ret_device,
                               size_t device_size, struct kvm_hotplug_error **reterr);

/** Most devices in one call. */
#define KVM_HOTPLUG_BATCH_MAX 256

/** Devices to add in one call. */
struct kvm_hotplug_add_batch {
    const struct kvm_hotplug_nic *nics; /**< NICs. Their timeout_ms do not count. */
    size_t nic_size; /**< sizeof nics[0]. */
    size_t nic_count; /**< Number of nics. */
    const struct kvm_hotplug_disk *disks; /**< Disks. Their timeout_ms do not count. */
    size_t disk_size; /**< sizeof disks[0]. */
    size_t disk_count; /**< Number of disks. */
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
    uint32_t flags; /**< KVM_HOTPLUG_NO_WAIT, which counts for all if any device has it; or 0. */
};

/** Plugs several NICs and disks into the guest as one operation: one journal entry, one write to the
 *  monitor, one wait (one more if there are NICs with several queues), one replacement of the runtime
 *  file. All of it or nothing: if one device cannot be added, the others are removed again. The guest has
 *  seen them by then and is asked to release them; kvm_hotplug_error_residue() names those that it does
 *  not release by the deadline, and they are pending. If the agent dies, the next one completes all of
 *  them or none. Slots are chosen in order: all NICs, then all disks.
 *  `batch`: at most KVM_HOTPLUG_BATCH_MAX NICs and disks together.
 *  `ret_devices`: an array with room for all devices, NICs first; or NULL, and 0 as its size.
 *  Returns KVM_HOTPLUG_ANSWER_DONE (all are in the guest), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (some are
 *  recorded for the next boot: see their states), KVM_HOTPLUG_ANSWER_PENDING (with KVM_HOTPLUG_NO_WAIT; a
 *  device for the next boot then has an event only if the others fail), or fails like
 *  kvm_hotplug_add_nic() and kvm_hotplug_add_disk(), and names the device in the message; -E2BIG also for
 *  too many devices. */
int kvm_hotplug_add_many(struct kvm_hotplug *guest, const struct kvm_hotplug_add_batch *batch,
                         size_t batch_size, struct kvm_hotplug_device *ret_devices, size_t device_size,
                         struct kvm_hotplug_error **reterr);

/* ---- Deleting ------------------------------------------------------------------------------------------ */

/** Timeout of removals that get 0, in milliseconds. An idle guest takes 30 to 190 ms, one with native PCIe
 *  hotplug over 15 s (QEMU 5.2 on q35). */
#define KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS 20000

/** Flag of removals: also remove a disk whose data is in an image outside of the record, such as another
 *  program's snapshot. That image stays, and only the caller knows of it then. */
#define KVM_HOTPLUG_DEL_LEAVE_OVERLAY (1 << 9)

/** A removal. */
struct kvm_hotplug_del_options {
    const char *id; /**< Id of the device; of a device without one, its path in QOM. Required. */
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 20000. */
    uint32_t flags; /**< KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_DEL_LEAVE_OVERLAY. */
};

/** Removes a device from the guest and its record: asks the guest, waits until QEMU reports that this very
 *  device is gone, tears down its backend, and replaces the runtime file. The backend is not touched
 *  before that.
 *
 *  The call may be repeated. A device that is gone is answered KVM_HOTPLUG_ANSWER_ABSENT. A pending
 *  removal is waited for again, and the guest is asked again only after 10 s. Until the guest releases the
 *  device, its slot and id stay taken. A later kvm_hotplug_process(), also in another process, finishes
 *  the removal.
 *
 *  QEMU removes a SCSI disk without the guest's consent, also while the guest is paused or asleep, and
 *  tells the guest afterwards: unmount it first. The call takes some 60 ms (QEMU 7.2). A SCSI controller
 *  is removed only if it has no disks. If another program gave a disk another image, by a snapshot or the
 *  end of a mirror, its data is there, and it is removed only with KVM_HOTPLUG_DEL_LEAVE_OVERLAY.
 *
 *  A device without an id, which no record has, is removed by its path in QOM, such as
 *  /machine/peripheral-anon/device[0] (see kvm_hotplug_describe_unrecorded()). The recorded command makes
 *  it again at the next boot, and QEMU keeps its netdev. While such a removal is pending, no event
 *  follows: the call is to be repeated.
 *  `ret_device`: where to put the device, unless it is absent; or NULL, and 0 as its size. Of a device
 *  without an id, state and reason alone.
 *  Blocks: up to the timeout, for the guest.
 *  Returns KVM_HOTPLUG_ANSWER_DONE (gone: its storage or tap may be torn down), KVM_HOTPLUG_ANSWER_PENDING
 *  (at the deadline, or at once if the guest is paused, asleep, stopped or not started: see the reason),
 *  KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded: the next boot removes it), KVM_HOTPLUG_ANSWER_ABSENT, or
 *  fails like any change of a guest, and with
 *  - -EBUSY (kind CONFLICT: the controller has disks, or the disk's data is in an image outside of the
 *    record; kind GUEST_BUSY: the guest was busy with an earlier plug or unplug until the deadline, and
 *    the device stays);
 *  - -EPERM (kind GUEST_REFUSED: the guest refused; the device stays), -EACCES (kind FOREIGN: it is in the
 *    guest, but not in the record), -EOPNOTSUPP (it shares its slot with other functions; the bus takes no
 *    removals; KVM_HOTPLUG_LIVE_ONLY).
 *
 *  After -ETIMEDOUT (QEMU did not reply) and other late failures kvm_hotplug_error_residue() says whether
 *  the guest may have been asked. */
int kvm_hotplug_del(struct kvm_hotplug *guest, const struct kvm_hotplug_del_options *options,
                    size_t options_size, struct kvm_hotplug_device *ret_device, size_t device_size,
                    struct kvm_hotplug_error **reterr);

/** Removes a NIC, as kvm_hotplug_del() without flags. kvm_hotplug_get_device() says why a removal is
 *  pending.
 *  Answers and fails like kvm_hotplug_del(), and with -EINVAL (it is no NIC). */
int kvm_hotplug_del_nic(struct kvm_hotplug *guest, const char *id, uint32_t timeout_ms,
                        struct kvm_hotplug_error **reterr);

/** Removes a disk, as kvm_hotplug_del() without flags. kvm_hotplug_get_device() says why a removal is
 *  pending.
 *  Answers and fails like kvm_hotplug_del(), and with -EINVAL (it is no disk). */
int kvm_hotplug_del_disk(struct kvm_hotplug *guest, const char *id, uint32_t timeout_ms,
                         struct kvm_hotplug_error **reterr);

/** Removes a SCSI controller, as kvm_hotplug_del() without flags. kvm_hotplug_get_device() says why a
 *  removal is pending.
 *  Answers and fails like kvm_hotplug_del(), and with -EINVAL (it is no controller), -EBUSY (kind
 *  CONFLICT: it has disks, recorded or only in the guest). */
int kvm_hotplug_del_controller(struct kvm_hotplug *guest, const char *id, uint32_t timeout_ms,
                               struct kvm_hotplug_error **reterr);

/** Devices to remove in one call. */
struct kvm_hotplug_del_batch {
    const char *const *ids; /**< Ids of NICs, disks and controllers. */
    size_t id_count; /**< Number of ids. */
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 20000. */
    uint32_t flags; /**< KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_DEL_LEAVE_OVERLAY, or 0. */
};

/** Removes several devices from the guest and its record: asks the guest for all in one write, waits for
 *  them together, and tears down the backends of those that are gone together. Each device has its own
 *  answer; one that stays keeps none of the others.
 *  `batch`: ids and flags; at most KVM_HOTPLUG_BATCH_MAX ids.
 *  `ret_devices`: an array with room for all devices, in the order of ids; or NULL, and 0 as its size. A
 *  device that is absent or failed is all zeros.
 *  `ret_answers`: an array of integers in the order of ids, with what kvm_hotplug_del() would have
 *  returned for each; or NULL. Written whenever the guest could be asked, also if the call then fails.
 *  `reterr`: where to put the error of the first device in the list that has one, or NULL.
 *  Returns KVM_HOTPLUG_ANSWER_DONE (all are gone, or were absent), KVM_HOTPLUG_ANSWER_PENDING (at least
 *  one is pending), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (the next boot removes at least one, none is pending),
 *  or the first error as from kvm_hotplug_del(); -EINVAL also for an id that is named twice, -E2BIG also
 *  for too many ids. */
int kvm_hotplug_del_many(struct kvm_hotplug *guest, const struct kvm_hotplug_del_batch *batch,
                         size_t batch_size, struct kvm_hotplug_device *ret_devices, size_t device_size,
                         int *ret_answers, struct kvm_hotplug_error **reterr);

/* ---- Changing ------------------------------------------------------------------------------------------ */

/** Sets the link of a NIC up or down: the guest sees its carrier change. Recorded. QEMU has no device
 *  property for it (5.2 to 11.1), so start such a guest paused (-S) and open it before it runs:
 *  kvm_hotplug_open() sets the recorded links down. A repeated call sends the command again, since another
 *  program may have set the link.
 *  `up`: 1 for up, 0 for down.
 *  Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (the NIC itself comes with the next
 *  boot), or fails like any change of a device. After a failure that kvm_hotplug_error_undo() calls
 *  incomplete, the next call sets the link back. */
int kvm_hotplug_set_link(struct kvm_hotplug *guest, const char *id, int up, uint32_t timeout_ms,
                         struct kvm_hotplug_error **reterr);

/** Moves the tap of a NIC to another bridge of the host. Recorded. The guest keeps its device, MTU
 *  included, and notices nothing. The tap is on no bridge for a moment, and gets the MTU of the new one,
 *  unless the NIC was added with an mtu: a bridge takes that of its smallest port. A tap that is on that
 *  bridge already stays there.
 *
 *  The library looks for the tap by its recorded name in the network namespace of the calling thread. One
 *  that the caller opened (tap_fds) is moved as well if it is there.
 *  `bridge`: name of the bridge to move to, or NULL to take it out of any.
 *  Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (the NIC itself comes with the next
 *  boot), or fails like any change of a device, and with -EINVAL (bridge is no Linux bridge, or no name of
 *  an interface), -ENOENT (no such bridge; the tap is not in this network namespace), -EACCES (kind
 *  FOREIGN: the interface of that name is no tap), -EBUSY (kind HOST: the tap belongs to something that is
 *  no Linux bridge), or the errno of leaving or joining a bridge (-EPERM without CAP_NET_ADMIN). */
int kvm_hotplug_set_bridge(struct kvm_hotplug *guest, const char *id, const char *bridge, uint32_t timeout_ms,
                           struct kvm_hotplug_error **reterr);

/** How much a guest may receive and send over a NIC: the fields of the same names in struct
 *  kvm_hotplug_nic. */
struct kvm_hotplug_nic_limits {
    uint64_t inbound_average; /**< Bytes per second that the guest receives; 0 for no limit. */
    uint64_t inbound_burst; /**< Bytes that it may receive at once; 0 for a tenth of a second. */
    uint64_t outbound_average; /**< Bytes per second that the guest sends; 0 for no limit. */
    uint64_t outbound_burst; /**< Bytes that it may send at once; 0 for a tenth of a second. */
};

/** Sets how much the guest may receive and send over a NIC, in both directions at once. Recorded. The
 *  guest and QEMU notice nothing. A repeated call sets the limits again, since another program may have
 *  removed them. A failure leaves the limits that it had.
 *
 *  The library looks for the tap as kvm_hotplug_set_bridge() does. The disciplines of somebody else on it
 *  are left alone: one that is in the way fails the call, with -EEXIST.
 *  `limits`: all of them; a direction that is 0 has no limit from then on.
 *  Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (the NIC itself comes with the next
 *  boot), or fails like any change of a device, and with -EINVAL (out of range; a record in Ganeti's
 *  format), -ENOENT (the tap is not in this network namespace), -EACCES (kind FOREIGN: the interface of
 *  that name is not the tap), -EEXIST (a queueing discipline of somebody else), -ENODEV (the kernel lacks
 *  what a limit takes), or the errno of the kernel (-EPERM without CAP_NET_ADMIN). */
int kvm_hotplug_set_nic_limits(struct kvm_hotplug *guest, const char *id,
                               const struct kvm_hotplug_nic_limits *limits, size_t limits_size,
                               uint32_t timeout_ms, struct kvm_hotplug_error **reterr);

/** Sets how much I/O a disk may do while the guest uses it, and with it all disks of its group. Recorded,
 *  and there after the next boot and a migration. Also for a disk that was added without limits. What is
 *  not named is not limited from then on. A repeated call sets the limits again, since another program may
 *  have changed them.
 *  `limits`: as in struct kvm_hotplug_disk; NULL for none. A disk stays in the group that it was added
 *  with: "group" may be left out, and is no other.
 *  Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (the disk itself comes with the next
 *  boot), or fails like any change of a device, and with -EINVAL (contradicting limits, another group, an
 *  id of more than 25 characters, scsi-block), -E2BIG (a text of more than 2 KiB). After a failure that
 *  kvm_hotplug_error_undo() calls incomplete, the next call sets the limits back. */
int kvm_hotplug_set_disk_limits(struct kvm_hotplug *guest, const char *id, const char *limits,
                                uint32_t timeout_ms, struct kvm_hotplug_error **reterr);

/** Flag of kvm_hotplug_resize_disk(): the disk may shrink. Data beyond its new end is lost. */
#define KVM_HOTPLUG_RESIZE_SHRINK (1 << 10)

/** Resizes a disk while the guest uses it. The guest sees the new size at once, on a SCSI disk after a
 *  rescan (Linux: echo 1 >/sys/block/sda/device/rescan). QEMU resizes a raw or qcow2 image, and stands
 *  still meanwhile. A block device must be resized first; QEMU then reads its size again. The size is the
 *  image's own and is not recorded. The call may be repeated.
 *  `bytes`: the new size, a multiple of 512; or 0 for what the image or block device has now, after it was
 *  grown from outside.
 *  `ret_bytes`: where to put the size it has now, or NULL.
 *  Fails like any change of a device, like any call that opens an image, and with -EINVAL (no multiple of
 *  512; it would shrink without KVM_HOTPLUG_RESIZE_SHRINK; a block device has another size), -EOPNOTSUPP
 *  (it is read-only, or comes with the next boot), -EREMOTEIO (also: no space, or qcow2 with internal
 *  snapshots). After -ETIMEDOUT and -ECANCELED QEMU may or may not have done it: repeat the call to find
 *  out. kvm_hotplug_error_residue() names the size then. */
int kvm_hotplug_resize_disk(struct kvm_hotplug *guest, const char *id, uint64_t bytes, uint32_t flags,
                            uint32_t timeout_ms, uint64_t *ret_bytes, struct kvm_hotplug_error **reterr);

/** The medium that a CD drive is to have. */
struct kvm_hotplug_medium {
    /** Absolute path of an image file or block device; NULL takes out the medium that is in the drive. */
    const char *path;
    const char *const *backing_paths; /**< Absolute paths, if backing names files or directories. */
    uint32_t format; /**< One of enum kvm_hotplug_format. */
    uint32_t backing; /**< Where backing files may be: one of enum kvm_hotplug_backing. */
    uint32_t backing_count; /**< Number of strings in backing_paths, at most 64. */
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
    uint32_t force; /**< 1 to open the tray also if the guest has locked it; 0 not to. */
    uint32_t reserved; /**< 0. */
};

/** Changes the medium of a CD drive ("scsi-cd") while the guest runs: puts one in, exchanges the one that
 *  is there, or takes it out. The library opens the image with the caller's rights and gives QEMU the
 *  descriptors, as for kvm_hotplug_add_disk(). It opens the tray, exchanges the medium and closes the
 *  tray; the guest sees that its medium has changed. The drive has its old medium again if a step fails.
 *  The new one is recorded, so that the next boot and a migration target have it.
 *
 *  A guest may lock the tray, as Linux does while the drive is mounted or open. It is asked to open the
 *  tray then, once a second. If it has not done so at the deadline, the answer is
 *  KVM_HOTPLUG_ANSWER_PENDING with KVM_HOTPLUG_REASON_TRAY_LOCKED: nothing is changed, and nothing happens
 *  later unless the call is repeated. With force the tray is opened all the same.
 *
 *  A call for the medium that is in the drive already changes nothing. Other settings of the drive stay.
 *  `id`: id of the drive.
 *  `medium`: the medium that it is to have, and how long to wait for the guest.
 *  `ret_device`: where to put the drive as it is then, or NULL.
 *  Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_PENDING, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (the drive
 *  itself comes with the next boot), or fails like any change of a device, like any call that opens an
 *  image, and with -EINVAL (no CD drive), -EEXIST (another disk of this guest writes to the image), -EBUSY
 *  (kind CONFLICT: another program has put a medium into the drive), -EOPNOTSUPP (the guest was started
 *  with the medium as -drive). After a failure that kvm_hotplug_error_undo() calls incomplete, the next
 *  call puts the old medium back. */
int kvm_hotplug_change_media(struct kvm_hotplug *guest, const char *id,
                             const struct kvm_hotplug_medium *medium, size_t medium_size,
                             struct kvm_hotplug_device *ret_device, size_t device_size,
                             struct kvm_hotplug_error **reterr);

/* ---- All at once --------------------------------------------------------------------------------------- */

/** Flag of kvm_hotplug_apply(): say what would be done, and do nothing. */
#define KVM_HOTPLUG_APPLY_PLAN (1 << 24)
/** Flag of kvm_hotplug_apply(): NICs and disks that are not in the list stay. */
#define KVM_HOTPLUG_APPLY_KEEP_OTHERS (1 << 25)

/** Flag of kvm_hotplug_apply(): a device whose settings differ in what cannot be changed in a running
 *  guest is removed, and added with the new ones. */
#define KVM_HOTPLUG_APPLY_REPLACE (1 << 26)

/** Adds what a JSON text describes, for languages without C structs: one object for one NIC, disk or SCSI
 *  controller, or a list of them, which is one operation as with kvm_hotplug_add_many(). docs/json.md
 *  lists the members. They have the names, ranges, units and defaults of the fields of struct
 *  kvm_hotplug_nic, struct kvm_hotplug_disk and struct kvm_hotplug_controller. A member that does not
 *  exist is refused by name.
 *  `json`: UTF-8, at most 1 MiB, at most KVM_HOTPLUG_BATCH_MAX devices. It is not kept. The descriptors of
 *  "tap_fds" are duplicated.
 *  `timeout_ms`: milliseconds for all of it; 0 means 5000.
 *  `flags`: KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, or 0; for all devices.
 *  `ret_json`: where to put the answer, JSON for kvm_hotplug_text_free(), with the devices in the order of
 *  the list; or NULL. Written on success only.
 *
 *  May be called by any thread; calls on one handle take turns. Returns and fails like
 *  kvm_hotplug_add_many(), and with -EINVAL for a text that is no JSON, a member that does not exist or
 *  has a wrong type or value, and -E2BIG for a longer text. */
int kvm_hotplug_add_json(struct kvm_hotplug *guest, const char *json, uint32_t timeout_ms, uint32_t flags,
                         char **ret_json, struct kvm_hotplug_error **reterr);

/** Makes the guest have the NICs and disks of a list and no others, or says what that takes. The same list
 *  once more does nothing, sends nothing and writes nothing.
 *
 *  Each device of the list has an "id", by which it is known the next time. What the record has under it
 *  is compared:
 *  - the same settings: nothing is done;
 *  - another "link", or another "bridge" of a NIC whose tap the library opened: it is changed, and stays;
 *  - another setting: the call fails with -EEXIST and names device and setting, or, with
 *    KVM_HOTPLUG_APPLY_REPLACE, removes the device and adds the new one;
 *  - its removal is under way, or the guest does not have it: it is removed first, and added then;
 *  - nothing: it is added.
 *
 *  A member that is left out means its default, except "mac", the place and "ifname", which then may be
 *  any. NICs and disks of the record that are not in the list are removed, unless
 *  KVM_HOTPLUG_APPLY_KEEP_OTHERS is given. SCSI controllers and devices that the record does not have are
 *  never removed.
 *
 *  It is one operation. Everything is checked first. Then links and bridges are changed; if one cannot be,
 *  the others are set back. Then devices are added, all or none; if that fails, the changes are set back,
 *  and no removal has been asked for. The journal gets these adds and the removals in one write: if the
 *  agent dies, the next one that opens the record completes the adds and begins the removals, or undoes
 *  the adds and drops the removals. Then the guest is asked for all devices that are to go, at once. An
 *  add that needs what a removal frees (id, MAC address, tap name, place, image, serial, wwn, or a slot if
 *  none is free) comes last, with a journal entry of its own. The guest cannot be made to take back what
 *  it has let go of, so a failure after that undoes nothing of the removals: the answer says what is done
 *  and what is left, and the next call with the same list goes on from there.
 *  `json`: UTF-8, as for kvm_hotplug_add_json(): a list, or an object with the list as "devices".
 *  `timeout_ms`: milliseconds for all of it; 0 means 20000. If adds wait for removals, a quarter of it is
 *  kept for them.
 *  `flags`: KVM_HOTPLUG_APPLY_PLAN, KVM_HOTPLUG_APPLY_KEEP_OTHERS, KVM_HOTPLUG_APPLY_REPLACE,
 *  KVM_HOTPLUG_LIVE_ONLY (what would wait for a boot fails), KVM_HOTPLUG_NO_WAIT (the guest is asked to
 *  let go of devices, and not waited for; adds are waited for); or 0.
 *  `ret_json`: where to put the answer, JSON for kvm_hotplug_text_free(): for each device what is done
 *  about it, why, and what became of it (docs/json.md); or NULL. Written on success, and also if the call
 *  fails after it has decided what is to be done.
 *
 *  May be called by any thread; calls on one handle take turns. While it waits for the guest, others go
 *  on. kvm_hotplug_cancel() ends it: the answer says what is done.
 *  Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_PENDING (the guest has not let go of a device yet;
 *  the next call with the same list joins that, and does not ask twice), KVM_HOTPLUG_ANSWER_AFTER_REBOOT
 *  (something waits for the next boot, nothing is pending). With KVM_HOTPLUG_APPLY_PLAN it returns what
 *  the call would, if guest and QEMU do as asked. Fails with -EINVAL (the text, or a device without id or
 *  twice in the list), -E2BIG (too many devices, or a longer text), -EEXIST (a device with another
 *  setting, or one that goes with the next boot), -EOPNOTSUPP (a device that cannot be replaced in the
 *  running guest), and like the calls that it stands for: kvm_hotplug_add_many(), kvm_hotplug_del_many(),
 *  kvm_hotplug_set_link() and kvm_hotplug_set_bridge(). */
int kvm_hotplug_apply(struct kvm_hotplug *guest, const char *json, uint32_t timeout_ms, uint32_t flags,
                      char **ret_json, struct kvm_hotplug_error **reterr);

/* ---- Looking ------------------------------------------------------------------------------------------- */

/** Lists the devices of a guest: those of the record, and those that are only being removed.
 *  Blocks: while another call asks QEMU, but not while it connects; QEMU is not asked. */
int kvm_hotplug_list(const struct kvm_hotplug *guest, struct kvm_hotplug_device *ret_devices,
                     size_t device_size, size_t capacity, size_t *ret_count,
                     struct kvm_hotplug_error **reterr);

/** Looks up one device by its id.
 *  `ret_device`: where to put the device if it exists; or NULL, and 0 as its size.
 *  Blocks: as kvm_hotplug_list().
 *  Returns one of enum kvm_hotplug_state; KVM_HOTPLUG_STATE_ABSENT if there is no such device. */
int kvm_hotplug_get_device(const struct kvm_hotplug *guest, const char *id,
                           struct kvm_hotplug_device *ret_device, size_t device_size,
                           struct kvm_hotplug_error **reterr);

/** Lists the devices of a record. If the journal has an unfinished operation on a device, its reason says
 *  so; see kvm_runtime_unfinished(). */
int kvm_runtime_list(const struct kvm_runtime *runtime, struct kvm_hotplug_device *ret_devices,
                     size_t device_size, size_t capacity, size_t *ret_count,
                     struct kvm_hotplug_error **reterr);

/** Lists the devices with an unfinished operation in the journal beside a record: begun, with no recorded
 *  end. The reasons say which operation. A device that was being added is not in the record yet. The next
 *  kvm_hotplug_open() settles them, as kvm_hotplug_settle() does; kvm_runtime_settle() does it for a guest
 *  that is known to be off. Before you copy the runtime file or read it by other means, for a migration
 *  for instance, see that only removals are unfinished. This works without the lock, with a record from
 *  kvm_runtime_load_readonly(); the list then has what a running agent does at the moment. */
int kvm_runtime_unfinished(const struct kvm_runtime *runtime, struct kvm_hotplug_device *ret_devices,
                           size_t device_size, size_t capacity, size_t *ret_count,
                           struct kvm_hotplug_error **reterr);

/** The path of a disk's image or block device as it was given, or Ganeti's URI for one that QEMU opens; of
 *  a disk with a source "json:" and the source, as QEMU writes it. If another program made a snapshot, the
 *  guest writes to another file; kvm_hotplug_verify() reports that.
 *  Blocks: as kvm_hotplug_list().
 *  Fails with -EINVAL (it is no disk), -ENOENT (no such device). */
int kvm_hotplug_get_path(const struct kvm_hotplug *guest, const char *id, char **ret_path,
                         struct kvm_hotplug_error **reterr);

/** The path of the image of a disk in a record or in the journal beside it, as kvm_hotplug_get_path()
 *  returns it for a guest.
 *  Fails with -EINVAL (it is no disk), -ENOENT (no such device). */
int kvm_runtime_get_path(const struct kvm_runtime *runtime, const char *id, char **ret_path,
                         struct kvm_hotplug_error **reterr);

/** Describes devices as JSON text: what struct kvm_hotplug_device has, and what only guest and host know.
 *  docs/json.md lists the members. QEMU gets one query, if there are disks; and several, as long as the
 *  guest has not numbered its PCI buses.
 *  `id`: the device's id; or NULL for all of them, in an array.
 *  Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_ABSENT (no such device, and no text), or fails like
 *  any call to QEMU. */
int kvm_hotplug_describe(struct kvm_hotplug *guest, const char *id, uint32_t timeout_ms, char **ret_json,
                         struct kvm_hotplug_error **reterr);

/** Describes the NICs, disks and SCSI controllers that the guest has and the record has not, as a JSON
 *  array: those of another program, and those without an id, as -nic and -drive if=virtio make them. Each
 *  has its path in QOM. docs/json.md lists the members.
 *
 *  kvm_hotplug_del() takes the path of a device without an id. The library leaves devices alone that have
 *  an id and are not recorded: kvm_runtime_adopt() records them.
 *  Fails like any call to QEMU. */
int kvm_hotplug_describe_unrecorded(struct kvm_hotplug *guest, uint32_t timeout_ms, char **ret_json,
                                    struct kvm_hotplug_error **reterr);

/** Says what the guest's QEMU knows of device models, as JSON text: its version and package, and the
 *  properties of each NIC, disk and SCSI controller that the library plugs, with their types in QEMU's
 *  words; null for a model that it does not have. docs/json.md lists the members. QEMU is asked once for
 *  each connection, about all of them with one write, which takes it some milliseconds.
 *
 *  An agent keeps the text for all guests of one build of QEMU; see kvm_hotplug_give_capabilities().
 *  Fails like any call to QEMU. */
int kvm_hotplug_get_capabilities(struct kvm_hotplug *guest, uint32_t timeout_ms, char **ret_json,
                                 struct kvm_hotplug_error **reterr);

/** Gives the library what another guest has said of its QEMU, so that this one is not asked. QEMU is asked
 *  for its version only. Builds are the same if version and package are: an agent that uses several builds
 *  without a package name keeps a text for each.
 *  `json`: the text of kvm_hotplug_get_capabilities(). It is used until the connection is lost.
 *  Fails like any call to QEMU, and with -EINVAL (it is no such text), -ESTALE (the guest has another
 *  build). */
int kvm_hotplug_give_capabilities(struct kvm_hotplug *guest, const char *json, uint32_t timeout_ms,
                                  struct kvm_hotplug_error **reterr);

/** What a slot is used for. */
enum kvm_hotplug_slot_state {
    KVM_HOTPLUG_SLOT_FREE = 0, /**< Can be chosen. */
    KVM_HOTPLUG_SLOT_RESERVED = 1, /**< Left to QEMU, unless a request names it. */
    KVM_HOTPLUG_SLOT_TAKEN = 2, /**< A device is there. */
    KVM_HOTPLUG_SLOT_QUARANTINED = 3, /**< A removal is pending there. */
    KVM_HOTPLUG_SLOT_NOT_HOTPLUGGABLE = 4, /**< Empty, but takes no devices while the guest runs. */
    KVM_HOTPLUG_SLOT_UNKNOWN = 5, /**< QEMU has not reported it yet. */
    KVM_HOTPLUG_SLOT_MISSING = 6, /**< Kept for a recorded device that the guest does not have. */
};

/** One slot of one bus. */
struct kvm_hotplug_slot {
    char bus[64]; /**< Name of the bus. */
    char occupant[64]; /**< Id of the device there, or a description if it has no id; empty for none. */
    uint32_t slot; /**< PCI: slot on the bus, 0 to 31. */
    uint32_t state; /**< One of enum kvm_hotplug_slot_state. */
    uint32_t address_type; /**< One of enum kvm_hotplug_address_type: which fields count. */
    uint32_t channel; /**< SCSI: channel of the bus, 0. */
    uint32_t target; /**< SCSI: target on the channel, 0 to 255. */
    uint32_t lun; /**< SCSI: unit of the target, 0 to 16383. */
};

/** Lists every slot of every PCI bus as the guest has it now, in the order in which free slots are chosen;
 *  then the SCSI buses: of their 256 targets those in use, and the free one that is chosen next.
 *  Fails like any call to QEMU. */
int kvm_hotplug_slot_map(struct kvm_hotplug *guest, uint32_t timeout_ms, struct kvm_hotplug_slot *ret_slots,
                         size_t slot_size, size_t capacity, size_t *ret_count,
                         struct kvm_hotplug_error **reterr);

/** Says what kvm_hotplug_add_nic() would do with the same request, without doing it: the address, the ids,
 *  the commands, what would be opened on the host, and why it would wait for a reboot. docs/json.md lists
 *  the members of the plan. Only vhost descriptors are opened, to see whether they work; nothing is
 *  recorded. A generated MAC address is another one each time.
 *  `ret_device`: where to put the device as it would be; or NULL, and 0 as its size.
 *  Returns what the call would answer, or fails as it would before it sends anything. */
int kvm_hotplug_plan_nic(struct kvm_hotplug *guest, const struct kvm_hotplug_nic *nic, size_t nic_size,
                         struct kvm_hotplug_device *ret_device, size_t device_size, char **ret_plan,
                         struct kvm_hotplug_error **reterr);

/** Says what kvm_hotplug_add_disk() would do with the same request, as kvm_hotplug_plan_nic() does. The
 *  image and its backing files are opened and closed again, to see whether they can be opened and what
 *  they are.
 *  Returns what the call would answer, or fails as it would before it sends anything. */
int kvm_hotplug_plan_disk(struct kvm_hotplug *guest, const struct kvm_hotplug_disk *disk, size_t disk_size,
                          struct kvm_hotplug_device *ret_device, size_t device_size, char **ret_plan,
                          struct kvm_hotplug_error **reterr);

/** Says what kvm_hotplug_add_controller() would do with the same request, as kvm_hotplug_plan_nic() does.
 *  Returns what the call would answer, or fails as it would before it sends anything. */
int kvm_hotplug_plan_controller(struct kvm_hotplug *guest, const struct kvm_hotplug_controller *controller,
                                size_t controller_size, struct kvm_hotplug_device *ret_device,
                                size_t device_size, char **ret_plan, struct kvm_hotplug_error **reterr);

/** Says what kvm_hotplug_del() would do with the same request, if the guest releases the device, as
 *  kvm_hotplug_plan_nic() does. There is no device for KVM_HOTPLUG_ANSWER_ABSENT.
 *  Returns what the call would answer, or fails as it would before it sends anything. */
int kvm_hotplug_plan_del(struct kvm_hotplug *guest, const struct kvm_hotplug_del_options *options,
                         size_t options_size, struct kvm_hotplug_device *ret_device, size_t device_size,
                         char **ret_plan, struct kvm_hotplug_error **reterr);

/** Frees a text that the library returned as a char *. */
void kvm_hotplug_text_free(char *text);

/** What record and guest disagree about, and what kvm_hotplug_repair() does about it. Newer versions may
 *  add kinds: treat those as "something". */
enum kvm_hotplug_difference_kind {
    KVM_HOTPLUG_DIFFERENCE_MISSING = 1, /**< Recorded, not in the guest. Repair drops it from the record. */
    /** In the guest, but neither in the record nor in its command: another program's, and left alone. Also
     *  PCI and SCSI devices without an id; bridges and ports count as the machine's. */
    KVM_HOTPLUG_DIFFERENCE_FOREIGN = 2,
    KVM_HOTPLUG_DIFFERENCE_ADDRESS = 3, /**< At another address than recorded. Repair records it. */
    KVM_HOTPLUG_DIFFERENCE_MODEL = 4, /**< Is another device model. */
    KVM_HOTPLUG_DIFFERENCE_BACKEND = 5, /**< Has another netdev or block node as backend, or none. */
    KVM_HOTPLUG_DIFFERENCE_MAC = 6, /**< Has another MAC address. */
    KVM_HOTPLUG_DIFFERENCE_QUEUES = 7, /**< Has another number of queues or interrupt vectors. */
    KVM_HOTPLUG_DIFFERENCE_MTU = 8, /**< Announces another MTU. */
    KVM_HOTPLUG_DIFFERENCE_ROM = 9, /**< Loads another option ROM. */
    KVM_HOTPLUG_DIFFERENCE_SERIAL = 10, /**< Has another serial. */
    KVM_HOTPLUG_DIFFERENCE_READ_ONLY = 11, /**< Writable where the record says read-only, or the reverse. */
    KVM_HOTPLUG_DIFFERENCE_SIZE = 12, /**< The guest sees another size than the image has. */
    KVM_HOTPLUG_DIFFERENCE_SETTING = 13, /**< Another setting; the texts say which. */
    KVM_HOTPLUG_DIFFERENCE_ORPHAN_NODE = 14, /**< A block node of ours without a device. Repair removes it. */
    KVM_HOTPLUG_DIFFERENCE_ORPHAN_FDSET = 15, /**< An fdset of ours without a device. Repair removes it. */
    KVM_HOTPLUG_DIFFERENCE_BRIDGE = 16, /**< The tap is on another host bridge than recorded, or on none. */
    /** A root port or PCI bridge of the boot command is absent or elsewhere. */
    KVM_HOTPLUG_DIFFERENCE_PORT = 17,
    /** The files of its image on this host are not the recorded ones, or may not be opened. */
    KVM_HOTPLUG_DIFFERENCE_CHAIN = 18,
    /** A netdev without a NIC that neither the record nor its command has; id is the netdev's. Not
     *  repaired: another program may be about to use it. */
    KVM_HOTPLUG_DIFFERENCE_ORPHAN_NETDEV = 19,
};

/** One disagreement between record and guest. Strings that do not fit are cut. */
struct kvm_hotplug_difference {
    char id[64]; /**< Id of the device, node or netdev, or of an fdset's device; empty without one. */
    char recorded[128]; /**< What the record says. */
    char found[128]; /**< What the guest shows. */
    char text[384]; /**< All of it in one sentence. */
    uint32_t kind; /**< One of enum kvm_hotplug_difference_kind. */
    uint32_t repairable; /**< 1 if kvm_hotplug_repair() repairs it. */
};

/** Compares record and guest both ways: devices, addresses, models, backends, MAC, queues, MTU, option
 *  ROM, serial, size, read-only, a disk's format, cache, detect-zeroes and open files, taps (deleted, on
 *  another bridge), and devices, netdevs, nodes and fdsets that the record does not have. Links, which
 *  QEMU does not report, and throttles (block_set_io_throttle), which no record has, are not compared.
 *
 *  Whether a NIC uses vhost-net is compared as far as it is certain. A QEMU without a vhost-net descriptor
 *  has no such NIC; this is seen if this process may inspect QEMU. QEMU 7.2 reports it for each NIC whose
 *  driver is at work. Other versions do not report it, or end when asked (11.1), and the kernel does not
 *  say which NIC a descriptor is for.
 *
 *  Devices that wait for a reboot or are being removed are no difference. Nothing is changed, except that
 *  unfinished operations are settled as by every call on a guest that was not opened with
 *  KVM_HOTPLUG_OPEN_LOOK_ONLY.
 *  Fails like any call to QEMU. */
int kvm_hotplug_verify(struct kvm_hotplug *guest, uint32_t timeout_ms,
                       struct kvm_hotplug_difference *ret_differences, size_t difference_size,
                       size_t capacity, size_t *ret_count, struct kvm_hotplug_error **reterr);

/** Repairs the differences that need no decision: drops a device that the guest no longer has from the
 *  record and tears down its backend, records the address of one that is elsewhere, and removes block
 *  nodes and fdsets with our tag that belong to no device. Foreign devices are not touched. Events report
 *  what was done.
 *  Fails like kvm_hotplug_verify(), and with the errno of writing journal or runtime file. What was
 *  repaired before a failure stays so. */
int kvm_hotplug_repair(struct kvm_hotplug *guest, uint32_t timeout_ms,
                       struct kvm_hotplug_difference *ret_differences, size_t difference_size,
                       size_t capacity, size_t *ret_count, struct kvm_hotplug_error **reterr);

/* ---- Waiting and events -------------------------------------------------------------------------------- */

/** Ends all calls of other threads on this handle as soon as possible, also those that wait for another
 *  call, but does not wait for them. They fail with -ECANCELED, and each error says what became of its
 *  device. Later calls are not ended, nor adds with KVM_HOTPLUG_NO_WAIT.
 *  Returns 1 if a call was running, 0 if not. */
int kvm_hotplug_cancel(const struct kvm_hotplug *guest, struct kvm_hotplug_error **reterr);

/** Ends the call of one thread on this handle, as kvm_hotplug_cancel() does. That thread asks for its
 *  number before its call; a cancel that comes before the call has begun ends nothing.
 *  `thread`: what kvm_hotplug_thread() returned there.
 *  Returns 1 if that thread was in a call, 0 if not. */
int kvm_hotplug_cancel_thread(const struct kvm_hotplug *guest, uint64_t thread,
                              struct kvm_hotplug_error **reterr);

/** The number of the calling thread, for kvm_hotplug_cancel_thread(); never 0. A thread that begins after
 *  this one has ended may get the same number. */
uint64_t kvm_hotplug_thread(void);

/** A descriptor for poll, epoll or select: readable when kvm_hotplug_process() has something to do or an
 *  event can be fetched. It belongs to the handle, stays the same also after a reconnect, and must be
 *  neither read nor closed.
 *  Returns the descriptor. */
int kvm_hotplug_get_fd(const struct kvm_hotplug *guest, struct kvm_hotplug_error **reterr);

/** Processes what QEMU has sent: finishes adds with KVM_HOTPLUG_NO_WAIT and removals that the guest
 *  granted late (tears down the backend, updates the record), cleans up after devices that the guest gave
 *  up by itself, and reconnects if the connection was lost. While QEMU is still busy with an add, it only
 *  processes what has arrived, and leaves the rest for later. It asks again for removals that have been
 *  pending for over 10 s, since a booting guest misses the request; so call it every few seconds as well
 *  while one is pending. It does not wait for events, only for the replies to its own commands.
 *  `timeout_ms`: milliseconds for those commands; 0 means 5000.
 *  Blocks: normally under a millisecond.
 *  Returns the number of events that kvm_hotplug_next_event() can fetch, or fails like any call to QEMU,
 *  and with the errno of writing journal or runtime file. The next call tries again what is not finished. */
int kvm_hotplug_process(struct kvm_hotplug *guest, uint32_t timeout_ms, struct kvm_hotplug_error **reterr);

/** What QEMU did about a failed request to a disk. */
enum kvm_hotplug_io_action {
    KVM_HOTPLUG_IO_ACTION_REPORT = 1, /**< The guest was told. */
    KVM_HOTPLUG_IO_ACTION_IGNORE = 2, /**< Nothing. */
    KVM_HOTPLUG_IO_ACTION_STOP = 3, /**< QEMU stopped the guest, and repeats the request after "cont". */
};

/** Types of events. Newer versions may add some: skip those. */
enum kvm_hotplug_event_type {
    KVM_HOTPLUG_EVENT_ADDED = 1, /**< An add with KVM_HOTPLUG_NO_WAIT, or an interrupted one, is done. */
    KVM_HOTPLUG_EVENT_REMOVED = 2, /**< A pending removal is done: storage or tap may be torn down. */
    /** The guest gave up a device by itself: storage or tap may be torn down. */
    KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST = 3,
    /** The guest refused a removal; the device stays. See KVM_HOTPLUG_ERROR_GUEST_REFUSED. */
    KVM_HOTPLUG_EVENT_REFUSED = 4,
    KVM_HOTPLUG_EVENT_PENDING = 5, /**< An earlier agent's removal is waiting for the guest. */
    KVM_HOTPLUG_EVENT_UNDONE = 6, /**< An interrupted add was undone. */
    KVM_HOTPLUG_EVENT_MONITOR_LOST = 7, /**< The monitor connection is lost; the next call reconnects. */
    KVM_HOTPLUG_EVENT_LOST = 8, /**< Unfetched events were dropped (over 1024, or over 512 QMP events). */
    KVM_HOTPLUG_EVENT_MONITOR_RESTORED = 9, /**< The monitor is connected again. */
    KVM_HOTPLUG_EVENT_IO_ERROR = 10, /**< A disk request failed; see action, write and no_space. */
    /** The guest shut down; by_guest says by whom, text why. QEMU exits, unless started with -no-shutdown. */
    KVM_HOTPLUG_EVENT_SHUTDOWN = 11,
    KVM_HOTPLUG_EVENT_RESET = 12, /**< The guest was reset; by_guest says by whom, text why. */
    KVM_HOTPLUG_EVENT_PANICKED = 13, /**< The guest's system crashed and reports it (pvpanic device). */
    /** A QMP event, after kvm_hotplug_forward_qmp_events(); fetch it with kvm_hotplug_next_event_json(). */
    KVM_HOTPLUG_EVENT_QMP = 14,
    /** An add with KVM_HOTPLUG_NO_WAIT failed: error_kind, error_number and text say why. It was undone,
     *  except for what text says is left behind. */
    KVM_HOTPLUG_EVENT_ADD_FAILED = 15,
    /** The guest opened the tray of a CD drive, as for an eject. Recorded: the next boot finds no medium
     *  in the drive. */
    KVM_HOTPLUG_EVENT_TRAY_OPENED = 16,
    /** The tray of a CD drive that the guest had opened is closed again, by the guest or a reset. */
    KVM_HOTPLUG_EVENT_TRAY_CLOSED = 17,
};

/** One event. What a call itself answers is no event. */
struct kvm_hotplug_event {
    char id[32]; /**< Id of the device; empty for events about the guest. */
    char text[256]; /**< Details in words; of KVM_HOTPLUG_EVENT_QMP the beginning of its JSON text. */
    uint64_t generation; /**< Which attachment of that id. */
    uint64_t lost; /**< KVM_HOTPLUG_EVENT_LOST: how many were dropped. */
    uint32_t event_type; /**< One of enum kvm_hotplug_event_type. */
    uint32_t device_type; /**< One of enum kvm_hotplug_device_type; 0 for events about the guest. */
    /** How often it has happened since it was last fetched: I/O errors, resets and the like, which a guest
     *  can cause without end, are kept once. */
    uint64_t times;
    uint32_t action; /**< KVM_HOTPLUG_EVENT_IO_ERROR: one of enum kvm_hotplug_io_action. */
    uint32_t write; /**< KVM_HOTPLUG_EVENT_IO_ERROR: 1 if it was a write. */
    uint32_t no_space; /**< KVM_HOTPLUG_EVENT_IO_ERROR: 1 if there was no space left. */
    uint32_t by_guest; /**< SHUTDOWN and RESET events: 1 if the guest did it by itself. */
    uint32_t error_kind; /**< KVM_HOTPLUG_EVENT_ADD_FAILED: as of kvm_hotplug_error_kind(). */
    uint32_t error_number; /**< KVM_HOTPLUG_EVENT_ADD_FAILED: the errno, positive. */
    /** Of a NIC: its tap on the host; empty if it has none or the event is about another device. */
    char ifname[16];
};

/** Fetches the oldest event. Call kvm_hotplug_process() first, so that QEMU's events are processed.
 *  `ret_event`: where to put the event, if there is one.
 *  Blocks: as kvm_hotplug_list().
 *  Returns 1 if there was an event, 0 if not. */
int kvm_hotplug_next_event(struct kvm_hotplug *guest, struct kvm_hotplug_event *ret_event, size_t event_size,
                           struct kvm_hotplug_error **reterr);

/** Fetches the oldest event as JSON text with all its details; docs/json.md lists the members. Both
 *  functions fetch from one queue.
 *  Blocks: as kvm_hotplug_list().
 *  Returns 1 if there was an event, 0 if not (and no text). */
int kvm_hotplug_next_event_json(struct kvm_hotplug *guest, char **ret_json,
                                struct kvm_hotplug_error **reterr);

/** Turns events of type KVM_HOTPLUG_EVENT_QMP on or off: QMP events as QEMU sent them, besides the events
 *  made from them. At most 512 of them, and 2 MiB, are kept. Beyond that the oldest of them are dropped
 *  and counted, never other events. Turning it off leaves those that are kept.
 *  `on`: 1 or 0. A new handle begins with 0.
 *  Blocks: as kvm_hotplug_list(). */
int kvm_hotplug_forward_qmp_events(struct kvm_hotplug *guest, int on, struct kvm_hotplug_error **reterr);

/* ---- Boot, reboot and migration ------------------------------------------------------------------------ */

/** A command that starts a guest, and the descriptors that it inherits. Made by kvm_runtime_boot(), freed
 *  with kvm_boot_free(). It does not change, so any number of threads may read it at once. */
struct kvm_boot;

/** Flag of struct kvm_boot_options: start QEMU with -S, so that the guest does not run until the monitor
 *  command "cont". A migration target then also waits for it after the migration. */
#define KVM_BOOT_PAUSED (1 << 17)

/** Flag of struct kvm_boot_options: make the command only to look at it. Nothing is written and no tap is
 *  made; images are opened for reading and closed again. kvm_boot_fds() has no descriptors, and
 *  kvm_boot_inherit() fails. Any record will do, also one from kvm_runtime_load_readonly(), and also while
 *  the guest runs or is open. */
#define KVM_BOOT_DRY_RUN (1 << 18)

/** Flag of struct kvm_boot_options: QEMU is to listen at qmp_path this time. The first QMP monitor of the
 *  recorded command that listens at a Unix socket listens there instead. If the command has none, "-qmp
 *  unix:PATH,server=on,wait=off" is added. The recorded command stays as it is. So a migration target can
 *  be started on the host of its source. */
#define KVM_BOOT_SET_MONITOR (1 << 27)

/** What a started QEMU waits for before it runs the guest. */
enum kvm_boot_incoming {
    KVM_BOOT_INCOMING_NONE = 0, /**< Nothing: the guest boots. */
    KVM_BOOT_INCOMING_DEFER = 1, /**< The command "migrate-incoming"; kvm_hotplug_verify() works before. */
    /** A migration over TCP. The address is host:port, as in "192.0.2.7:4444", "[2001:db8::7]:4444" or
     *  ":4444". */
    KVM_BOOT_INCOMING_TCP = 2,
    /** A migration over a Unix socket that QEMU makes: its absolute path, at most 107 bytes. */
    KVM_BOOT_INCOMING_UNIX = 3,
    KVM_BOOT_INCOMING_FD = 4, /**< A migration over incoming_fd, a connected socket or a pipe. */
};

/** How to start a guest. The default is a boot. */
struct kvm_boot_options {
    const char *incoming_address; /**< For KVM_BOOT_INCOMING_TCP and KVM_BOOT_INCOMING_UNIX; else NULL. */
    uint32_t incoming; /**< One of enum kvm_boot_incoming. */
    int32_t incoming_fd; /**< For KVM_BOOT_INCOMING_FD, duplicated; else 0. */
    /** Version of the QEMU that will be started, such as 7 and 2. Options are then JSON where it reads
     *  them (-device since 6.2, -netdev since 7.2; -blockdev always). 0 and 0 for options that every
     *  version reads. */
    uint32_t qemu_major;
    uint32_t qemu_minor; /**< See qemu_major. */
    uint32_t fd_base; /**< Number in QEMU of the first descriptor, 3 or more; 0 means 3. The others follow. */
    /** Machine q35, boot only: for how many devices, beyond those it starts with, the guest shall have
     *  root ports. Ports that an earlier boot left free count. Machine pc ignores it, unless
     *  kvm_runtime_set_when_full() lets devices wait: then it gets PCI bridges, as many as pci.0 has slots
     *  for. */
    uint32_t spare_ports;
    uint32_t flags; /**< KVM_BOOT_PAUSED, KVM_BOOT_DRY_RUN and KVM_BOOT_SET_MONITOR, or 0. */
    uint32_t reserved; /**< Must be 0. */
    /** Path of the monitor's socket if the recorded command, whose sockets are checked anyway, does not
     *  have it; NULL for none. If a process listens there, the call fails with -EBUSY. With
     *  KVM_BOOT_SET_MONITOR it is where QEMU will listen: an absolute path of at most 107 bytes. */
    const char *qmp_path;
};

/** Makes the command that starts the guest of a record: its own command line, and every NIC and disk with
 *  exactly the ids, addresses and properties that the hot-plug calls give them. Images are opened, and
 *  taps made and set up, as by those calls, with the caller's rights. QEMU inherits them and opens nothing
 *  itself, so it may be started in a chroot, as another user and under seccomp. The recorded command line
 *  comes first and is not changed. QEMU places its devices that have no addr=: on machine pc,
 *  reserved_slots of the record must leave room for them. No NIC or disk can add an option to it.
 *
 *  With KVM_BOOT_INCOMING_NONE this is the reboot that changes wait for. Devices for the next boot are in
 *  the command, at addresses chosen as by the hot-plug calls; devices to remove are not, and pending
 *  removals are done. On q35 the command has a root port for every device that needs one, and for
 *  spare_ports more; on pc, the PCI bridges that kvm_runtime_set_when_full() is about. All this is in the
 *  runtime file before the call returns. It stays true if QEMU is not started after all: the guest is off,
 *  and the next call makes the same command.
 *
 *  The guest must not run, and no handle may be open with the record. A guest that is seen to run on this
 *  host is refused: the library connects to the Unix sockets at which the recorded command listens and to
 *  qmp_path, closes the connections at once, and checks whether the guest's pid file is locked, or an
 *  image by another QEMU. An interrupted add or change with no recorded end is refused too, unless its
 *  QEMU is seen to have ended: open the guest if it runs, or call kvm_runtime_settle() if it is known to
 *  be off.
 *
 *  With any other value of incoming, the command is that of a migration target: what the source has now,
 *  from a copy of its runtime file. Changes that wait for a reboot go on waiting. The names of the new
 *  taps are recorded; with a record from kvm_runtime_load_readonly() no file is written. Call
 *  kvm_runtime_check() before and kvm_hotplug_verify() after the start. Images are opened in place, so
 *  storage must be shared with the source or have been copied. NICs of Ganeti's lists of three entries,
 *  which have no addresses, are started in the same order, so that QEMU gives them the same ones; those
 *  are recorded when the target is opened.
 *  `options`: how to start; NULL, and 0 as its size, for a boot with defaults.
 *  `ret_boot`: where to put the command; freed with kvm_boot_free(), which closes this process's
 *  descriptors.
 *  Blocks: on opening images, never on a process that listens at a socket. If the fixed name of a tap is
 *  taken, also for up to half a second: the kernel needs some milliseconds to remove the tap of a QEMU
 *  that has just ended (since 11, which polls by io_uring).
 *  Returns 0, or fails like any change of a record, like any call that opens an image, and with
 *  - -EBADF (incoming_fd is not open), -EINVAL (contradicting options; the command has -incoming already,
 *    or uses descriptors of the same numbers);
 *  - -EBUSY (the guest runs; another QEMU uses an image), -EBADFD (the record has no command; a NIC was
 *    added with tap_fds and no tap was given for it, see kvm_runtime_give_tap(); a device of a migration
 *    target has no address; an add or change is not settled);
 *  - -EEXIST (the command has an id of a NIC or disk; a tap of that name exists), -EADDRINUSE (two devices
 *    want one slot), -ENOSPC (no slot is left), -EOPNOTSUPP (a model that needs another bus than PCI);
 *  - -ENOENT (no such bridge), -ENODEV (the NIC has vhost and this host does not), or the errno of making
 *    taps (-EPERM without CAP_NET_ADMIN). A failure leaves no taps and descriptors, and the record
 *    unchanged. */
int kvm_runtime_boot(struct kvm_runtime *runtime, const struct kvm_boot_options *options, size_t options_size,
                     struct kvm_boot **ret_boot, struct kvm_hotplug_error **reterr);

/** The command line as execv() takes it: the program first, a NULL behind the last argument. It belongs to
 *  the command.
 *  `ret_count`: where to put the number of arguments, without the NULL; or NULL.
 *  Returns NULL if `boot` is no command. */
const char *const *kvm_boot_argv(const struct kvm_boot *boot, size_t *ret_count);

/** The descriptors, as this process numbers them, close-on-exec. They belong to the command. In QEMU they
 *  must have the numbers from fd_base on: kvm_boot_inherit() in a child does that, and so do Go's
 *  exec.Cmd.ExtraFiles and Python's posix_spawn file actions.
 *  `ret_count`: where to put how many there are; or NULL.
 *  Returns NULL if `boot` is no command. */
const int32_t *kvm_boot_fds(const struct kvm_boot *boot, size_t *ret_count);

/** Gives every descriptor the number that the command has for it. For a child process, between fork() and
 *  execv(). Async-signal-safe: it allocates nothing and takes no lock. What the child has open at those
 *  numbers is closed.
 *
 *      const char *const *argv = kvm_boot_argv(boot, NULL);
 *      pid_t pid = fork();
 *      if (pid == 0) {
 *          if (kvm_boot_inherit(boot) == 0)
 *              execvp(argv[0], (char *const *)argv);
 *          _exit(127);
 *      }
 *  Returns 0, or -EBADF (no command), -EBADFD (made with KVM_BOOT_DRY_RUN), -EMFILE or -EBADF (the numbers
 *  are above this process's limit, RLIMIT_NOFILE). */
int kvm_boot_inherit(const struct kvm_boot *boot);

/** Frees a command and closes this process's descriptors. Call it as soon as QEMU is started: a tap lives
 *  as long as any process has it open. */
void kvm_boot_free(struct kvm_boot *boot);

/** Gives a NIC of the caller's own tap, one that was added with tap_fds, its tap for the next start of
 *  this record: kvm_runtime_boot(), also for a migration target. Without it that call fails with -EBADFD,
 *  and kvm_runtime_check() says so before. It may be another tap than before, on another host for
 *  instance; everything about it is the caller's. A start takes what was given for it; the next one needs
 *  its taps again. So does a record that is loaded anew.
 *  `id`: the NIC.
 *  `tap_fds`: open queues of one tap or macvtap, as many as the NIC has, each by its own open(). They are
 *  duplicated.
 *  `tap_fd_count`: how many there are, 1 to 256.
 *  Fails with -ENOENT (no such device), -EINVAL (no NIC; no tap; another number of queues; a queue twice),
 *  -EBADF (a closed descriptor), -EBADFD (kind STATE: the NIC's tap is made by each start), -EEXIST (the
 *  tap is another NIC's), or the errno of looking at the tap. */
int kvm_runtime_give_tap(struct kvm_runtime *runtime, const char *id, const int32_t *tap_fds,
                         size_t tap_fd_count, struct kvm_hotplug_error **reterr);

/** Gives a disk a secret of its source for the next start of this record: kvm_runtime_boot(), also for a
 *  migration target. Without all of them that call fails with -EBADFD, and kvm_runtime_check() names
 *  before which are missing. QEMU reads the secret from an inherited file in memory, as /proc/self/fd/N,
 *  so there has to be a /proc where it starts. A start takes what was given for it; the next one needs it
 *  again. So does a record that is loaded anew.
 *  `id`: the disk.
 *  `name`: the name that the source has for the secret; see kvm_hotplug_describe().
 *  `data`: the bytes, which are copied.
 *  `length`: how many they are, 1 to 16384.
 *  Fails with -ENOENT (no such disk; the disk has no secret of this name), -EINVAL (the secret is empty),
 *  -E2BIG (it is too long), -EFAULT. */
int kvm_runtime_give_secret(struct kvm_runtime *runtime, const char *id, const char *name, const void *data,
                            size_t length, struct kvm_hotplug_error **reterr);

/** What kind of machine a command line starts. */
enum kvm_boot_machine {
    KVM_BOOT_MACHINE_PC = 1, /**< Devices sit in slots of pci.0, as on pc. */
    KVM_BOOT_MACHINE_Q35 = 2, /**< Every device that can be unplugged needs a root port, as on q35. */
    KVM_BOOT_MACHINE_OTHER = 3, /**< The library chooses no addresses: requests must give them. */
};

/** How full the next boot will be. */
struct kvm_boot_plan {
    uint32_t machine; /**< One of enum kvm_boot_machine. */
    uint32_t devices; /**< NICs and disks it starts with. */
    uint32_t free; /**< Devices that it then has room for: free slots of pci.0 or free root ports. */
    uint32_t ports; /**< Root ports that the command makes. */
    uint32_t new_ports; /**< How many of those the last boot did not have. */
    uint32_t reserved; /**< Must be 0. */
    uint32_t bridges; /**< PCI bridges that the command makes, on pc. */
    uint32_t new_bridges; /**< How many of those the last boot did not have. */
};

/** Says what the next boot results in, without opening or changing anything: whether every device has an
 *  address, how many root ports or PCI bridges it takes, and how many devices can be plugged in
 *  afterwards. To plan for more devices, give their number as spare_ports and compare it with free.
 *  `spare_ports`: as in struct kvm_boot_options.
 *  `ret_plan`: where to put the plan.
 *  Fails with -EADDRINUSE (two devices want one slot), -ENOSPC (no slot is left), -EOPNOTSUPP (a model
 *  that needs another bus than PCI). */
int kvm_runtime_plan_boot(const struct kvm_runtime *runtime, uint32_t spare_ports,
                          struct kvm_boot_plan *ret_plan, size_t plan_size,
                          struct kvm_hotplug_error **reterr);

/** What prevents a start. Newer versions may add kinds: treat those as "something". */
enum kvm_runtime_problem_kind {
    /** An image or backing file cannot be opened as the guest needs it; or the guest was seen to write to
     *  an image outside of the record, such as another program's snapshot, which has its data. */
    KVM_RUNTIME_PROBLEM_IMAGE = 1,
    KVM_RUNTIME_PROBLEM_BRIDGE = 2, /**< A bridge is missing, or is none. */
    /** Taps cannot be made, or the name of one is taken; or the NIC was added with tap_fds and has not
     *  been given its tap for this start. */
    KVM_RUNTIME_PROBLEM_TAP = 3,
    KVM_RUNTIME_PROBLEM_VHOST = 4, /**< A NIC has vhost, and this host has none. */
    KVM_RUNTIME_PROBLEM_QEMU_TOO_OLD = 5, /**< QEMU is older than 5.2. */
    KVM_RUNTIME_PROBLEM_MACHINE = 6, /**< QEMU does not know the machine type. */
    /** For a migration: the machine type has no version, and differs with each version of QEMU. Harmless
     *  between hosts with the same QEMU. */
    KVM_RUNTIME_PROBLEM_MACHINE_NOT_PINNED = 7,
    KVM_RUNTIME_PROBLEM_MODEL = 8, /**< QEMU does not know the device model. */
    KVM_RUNTIME_PROBLEM_NO_ADDRESS = 9, /**< For a migration: a device has no address in the record. */
    KVM_RUNTIME_PROBLEM_PLACE = 10, /**< Two devices want one address, or none is left. */
    /** The guest runs: a process listens at a Unix socket of its command (-qmp, -monitor, -chardev and
     *  others), or has its pid file locked. Another QEMU would take over that socket. */
    KVM_RUNTIME_PROBLEM_RUNNING = 11,
    /** For a boot: another QEMU uses the image or a backing file in a conflicting way. Or another disk of
     *  the record, or of its command, has the same image. */
    KVM_RUNTIME_PROBLEM_IMAGE_IN_USE = 12,
    /** The record has no command, or QEMU would not start with it: it has ids or boot indices of recorded
     *  devices, or names missing files or directories. */
    KVM_RUNTIME_PROBLEM_COMMAND = 13,
    KVM_RUNTIME_PROBLEM_UNFINISHED = 14, /**< An unfinished add or change; see kvm_runtime_unfinished(). */
    /** A disk has secrets that have not been given for this start; see kvm_runtime_give_secret(). */
    KVM_RUNTIME_PROBLEM_SECRET = 15,
};

/** Flag of kvm_runtime_check(): the guest will come from another host by migration, not boot. */
#define KVM_RUNTIME_CHECK_INCOMING (1 << 22)

/** One thing that prevents a start. Strings that do not fit are cut. */
struct kvm_runtime_problem {
    char id[64]; /**< Id of the device; empty for the guest as a whole. */
    char text[512]; /**< What is wrong, in a sentence. */
    uint32_t kind; /**< One of enum kvm_runtime_problem_kind. */
    uint32_t reserved; /**< Always 0. */
};

/** Checks whether this host can start the guest of a record: images and backing files can be opened as
 *  needed, bridges exist, taps can be made, vhost is there, every device has an address, and the guest
 *  does not run. With a monitor, also QEMU's version, the machine type and the device models. Nothing is
 *  changed: images, and connections to the sockets at which the command listens, are opened and closed
 *  again.
 *  `runtime`: the record; one from kvm_runtime_load_readonly() will do.
 *  `qmp_path`: of a monitor without another client, of any QEMU of the version to be used: the waiting
 *  target, or one started for this with `-machine none` (the library starts none). NULL to leave QEMU out.
 *  Returns 0, whatever was found, or fails like any call to QEMU. */
int kvm_runtime_check(const struct kvm_runtime *runtime, uint32_t flags, const char *qmp_path,
                      uint32_t timeout_ms, struct kvm_runtime_problem *ret_problems, size_t problem_size,
                      size_t capacity, size_t *ret_count, struct kvm_hotplug_error **reterr);

/** Adds a NIC to the record of a guest that does not run; kvm_runtime_boot() starts the guest with it. Any
 *  device model will do. The slot is chosen now. The boot opens the tap, with the name or pattern in
 *  ifname. The device's state is KVM_HOTPLUG_STATE_AFTER_REBOOT until then.
 *  `nic`: as for kvm_hotplug_add_nic(); tap_fds, KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT and
 *  KVM_HOTPLUG_ADOPT are refused, timeout_ms does not count.
 *  Returns 0, or fails like any change of a record, and like kvm_hotplug_add_nic() where that asks neither
 *  QEMU nor the guest. */
int kvm_runtime_add_nic(struct kvm_runtime *runtime, const struct kvm_hotplug_nic *nic, size_t nic_size,
                        struct kvm_hotplug_device *ret_device, size_t device_size,
                        struct kvm_hotplug_error **reterr);

/** Adds a disk to the record of a guest that does not run; kvm_runtime_boot() starts the guest with it.
 *  Any device model on a PCI or SCSI bus will do. The address is chosen now, with a SCSI controller if it
 *  needs one. The image is opened and closed again, to see whether it can be opened and what it is. The
 *  device's state is KVM_HOTPLUG_STATE_AFTER_REBOOT until the boot.
 *  `disk`: as for kvm_hotplug_add_disk(); KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT and KVM_HOTPLUG_ADOPT
 *  are refused, timeout_ms does not count.
 *  Returns 0, or fails like any change of a record, and like kvm_hotplug_add_disk() where that asks
 *  neither QEMU nor the guest. */
int kvm_runtime_add_disk(struct kvm_runtime *runtime, const struct kvm_hotplug_disk *disk, size_t disk_size,
                         struct kvm_hotplug_device *ret_device, size_t device_size,
                         struct kvm_hotplug_error **reterr);

/** Removes a NIC, a disk or a SCSI controller without disks from the record of a guest that does not run.
 *  It is gone at once if it has never been in the guest, otherwise with the next kvm_runtime_boot(); until
 *  then it is listed with removed_after_reboot. Its MAC address, serial and image are free at once.
 *  `options`: the id; timeout_ms does not count, and there are no flags.
 *  `ret_device`: where to put the device, unless it is absent; or NULL, and 0 as its size.
 *  Returns 0, KVM_HOTPLUG_ANSWER_ABSENT (no such device), or fails like any change of a record, and with
 *  -EBUSY (disks on the controller: the message names one). */
int kvm_runtime_del(struct kvm_runtime *runtime, const struct kvm_hotplug_del_options *options,
                    size_t options_size, struct kvm_hotplug_device *ret_device, size_t device_size,
                    struct kvm_hotplug_error **reterr);

/** Settles the unfinished operations of a guest that is known to be off by its record: removals are done,
 *  adds that are not in the record are dropped, and of a change the record says how far it came.
 *  kvm_runtime_boot() does the same if the QEMU that the journal names is seen to have ended. Where that
 *  cannot be seen (a journal of an older version, another PID namespace, a socket that another process
 *  made for QEMU), it refuses, and the caller says by this call that the guest is off. For a guest that
 *  runs this would lose devices: open it instead.
 *  Returns how many operations were settled, or fails like any change of a record, and with -EBUSY (QEMU
 *  is seen to run). */
int kvm_runtime_settle(struct kvm_runtime *runtime, struct kvm_hotplug_error **reterr);

/** Finishes or undoes the unfinished operations of a running guest, as kvm_hotplug_open() does, and
 *  changes nothing else. Lists the devices that the guest was asked to release and has not released. If
 *  there are none, record and guest agree about every operation, and the runtime file can be taken to
 *  another host. Waits for adds with KVM_HOTPLUG_NO_WAIT, but not for the guest.
 *  Fails like any call to QEMU, and with -EBUSY (also for a monitor that an earlier agent used), or the
 *  errno of writing journal or runtime file. */
int kvm_hotplug_settle(struct kvm_hotplug *guest, uint32_t timeout_ms, struct kvm_hotplug_device *ret_devices,
                       size_t device_size, size_t capacity, size_t *ret_count,
                       struct kvm_hotplug_error **reterr);

/** Deletes a runtime file and everything that the library keeps beside it: the journal, in Ganeti's format
 *  the file `<path>.kvm-hotplug`, and what an interrupted write has left. For a guest that has ended, or
 *  has left this host by a migration. What is not there is no error, so that the call may be repeated.
 *  Fails like kvm_runtime_load(), except that the file need not exist, and with -EBUSY (the journal has
 *  unfinished operations, and their QEMU is seen to run), or the errno of deleting a file. */
int kvm_runtime_delete(const char *path, struct kvm_hotplug_error **reterr);

/** Which of the free slots a new device gets. */
enum kvm_runtime_slot_policy {
    KVM_RUNTIME_SLOT_POLICY_FIRST_FREE = 0, /**< The first. */
    /** The first that no device has had since the policy was set, then the one that was given up longest
     *  ago. Linux names a NIC after its slot: a new NIC then does not get the name of one that has just
     *  left, with the settings that the guest has for it. */
    KVM_RUNTIME_SLOT_POLICY_LONGEST_FREE = 1,
};

/** What an add does that finds no free slot. */
enum kvm_runtime_when_full {
    KVM_RUNTIME_WHEN_FULL_REFUSE = 0, /**< It fails. */
    /** The device comes with the next boot, whose command makes room: on q35 a root port, on pc a PCI
     *  bridge, which is recorded. */
    KVM_RUNTIME_WHEN_FULL_NEXT_BOOT = 1,
};

/** Says which of the free slots of a guest's PCI buses a new device gets that asks for none. It is
 *  recorded. With KVM_RUNTIME_SLOT_POLICY_LONGEST_FREE the record also remembers which slots devices have
 *  given up, from now on.
 *  `policy`: one of enum kvm_runtime_slot_policy.
 *  Fails like any change of a record, and with -EINVAL (policy is none of the enum). */
int kvm_runtime_set_slot_policy(struct kvm_runtime *runtime, uint32_t policy,
                                struct kvm_hotplug_error **reterr);

/** Says what an add does that finds no free slot and asks for none. It is recorded. With
 *  KVM_RUNTIME_WHEN_FULL_NEXT_BOOT the add answers KVM_HOTPLUG_ANSWER_AFTER_REBOOT, and the last free slot
 *  of pci.0 is kept for the PCI bridge that the next boot makes. Nothing is added to the running guest to
 *  make room: docs/decisions.md says why. Bridges that are recorded stay; with
 *  KVM_RUNTIME_WHEN_FULL_REFUSE the next boot leaves out those that no device is behind.
 *  `when_full`: one of enum kvm_runtime_when_full.
 *  Fails like any change of a record, and with -EINVAL (when_full is none of the enum, or the record is a
 *  Ganeti list). */
int kvm_runtime_set_when_full(struct kvm_runtime *runtime, uint32_t when_full,
                              struct kvm_hotplug_error **reterr);

/** Reserves slots of a PCI bus: a device gets one of them only if its request names it, or if the slots
 *  are reserved for its type. It is recorded, and replaces what was said of the same slots before. A
 *  record has at most 64 such ranges. Devices that are there already stay.
 *  `bus`: name of the bus, such as "pci.0" or the id of a bridge.
 *  `first`, `last`: the slots, 0 to 31; last is not below first.
 *  `types`: the device types that may have them unasked: the sum of 1 << enum kvm_hotplug_device_type for
 *  each, such as (1 << KVM_HOTPLUG_DEVICE_NIC); 0 for none. A slot in several ranges is for the types that
 *  all of them have.
 *  Fails like any change of a record, and with -EINVAL (a slot or type that there is not), -EBADMSG (last
 *  is below first, or too many ranges). */
int kvm_runtime_reserve_slots(struct kvm_runtime *runtime, const char *bus, uint32_t first, uint32_t last,
                              uint32_t types, struct kvm_hotplug_error **reterr);

/** Takes back what kvm_runtime_reserve_slots() has reserved.
 *  `bus`: name of the bus; NULL for all buses.
 *  Fails like any change of a record. */
int kvm_runtime_release_slots(struct kvm_runtime *runtime, const char *bus,
                              struct kvm_hotplug_error **reterr);

/* ---- Extras -------------------------------------------------------------------------------------------- */

/** The word for a value of an enum of this header: what JSON texts, kvmctl and the Go and Python packages
 *  call it, such as "not-hotpluggable" for KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE.
 *  `enumeration`: the name of the enum, such as "kvm_hotplug_error_kind".
 *  `value`: the value, as in an error, an answer or a struct.
 *  Returns a static string, or NULL if there is no such enum or value. */
const char *kvm_hotplug_enum_name(const char *enumeration, uint32_t value);

/** A tap to open. The default has one queue, a name chosen by the kernel, and no bridge. */
struct kvm_hotplug_tap {
    const char *ifname; /**< Name, at most 15 characters, or a pattern with one "%d". NULL for "tap%d". */
    const char *bridge; /**< Bridge to attach it to; NULL for none. */
    uint32_t queues; /**< Queues, 1 to 256; 0 means 1. Each takes a descriptor (RLIMIT_NOFILE). */
    uint32_t mtu; /**< MTU in bytes, 68 to 65521; 0 for the bridge's, or the kernel's 1500. */
    uint32_t tap_owner; /**< User id that may reopen it, with KVM_HOTPLUG_TAP_OWNER. */
    uint32_t flags; /**< KVM_HOTPLUG_TAP_OWNER or 0. */
};

/** Opens a tap with one descriptor per queue and virtio-net headers, attaches it to a bridge, sets its MTU
 *  and sets it up. Its MAC address begins with fe, so that a bridge with another port does not adopt it.
 *  It disappears when the last descriptor is closed. For callers that hold taps themselves and pass them
 *  as tap_fds; kvm_hotplug_add_nic() opens one by itself.
 *  `ret_fds`, `capacity`: an array with room for one descriptor per queue. The caller closes the
 *  descriptors.
 *  `ret_ifname`: room for 16 bytes for the name, or NULL.
 *  Returns the number of descriptors, or fails with -EINVAL (capacity too small, a bridge that is none),
 *  -EEXIST (the name is taken), -ENOENT (no /dev/net/tun, no such bridge), -EPERM (needs CAP_NET_ADMIN),
 *  or another errno of the kernel. Nothing is left on failure. */
int kvm_hotplug_open_tap(const struct kvm_hotplug_tap *tap, size_t tap_size, int32_t *ret_fds,
                         size_t capacity, char *ret_ifname, struct kvm_hotplug_error **reterr);

/** Flag of struct kvm_hotplug_command: send the command even if the record will be wrong after it. */
#define KVM_HOTPLUG_QMP_FORCE (1 << 11)
/** Flag of struct kvm_hotplug_command: fd is given, also when it is 0. */
#define KVM_HOTPLUG_QMP_PASS_FD (1 << 12)

/** A QMP command. */
struct kvm_hotplug_command {
    const char *execute; /**< Its name, such as "query-status". Required. */
    /** Its arguments as the text of a JSON object, at most 131072 bytes and 127 levels deep; NULL for
     *  none. QEMU takes some 3.5 microseconds to read each byte. */
    const char *arguments;
    int32_t fd; /**< Descriptor that QEMU gets with it (getfd, add-fd), with KVM_HOTPLUG_QMP_PASS_FD. */
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
    uint32_t flags; /**< KVM_HOTPLUG_QMP_FORCE, KVM_HOTPLUG_QMP_PASS_FD. */
    uint32_t reserved; /**< Must be 0. */
};

/** Runs a QMP command of the caller's own over the guest's connection, since a monitor serves one client
 *  at a time. Commands after which the record would be wrong, such as device_add, or set_link of a
 *  recorded NIC, are refused without KVM_HOTPLUG_QMP_FORCE; docs/qmp.md lists them. After a forced one the
 *  next call examines the guest anew. The caller is responsible for its effect on a recorded device;
 *  kvm_hotplug_verify() may report it. All other commands are sent unchanged: stop, cont, system_reset
 *  (which completes pending removals), migrate, quit (calls then fail with -ECONNREFUSED or -ENOENT), and
 *  so on.
 *  `ret_reply`: where to put the result as JSON text, at most 4 MiB, freed with kvm_hotplug_text_free();
 *  or NULL.
 *  Returns 0, or fails like any call to QEMU, and with -EREMOTEIO (kind QMP: QEMU answered with an error,
 *  see kvm_hotplug_error_qmp_class() and kvm_hotplug_error_qmp_desc()), -EPERM (kind STATE: the record
 *  would be wrong), -EROFS (it is no query, and the guest was opened with KVM_HOTPLUG_OPEN_LOOK_ONLY),
 *  -EBADF (a closed fd), -EINVAL (not a name of a command, arguments are no JSON object), -EMSGSIZE (too
 *  long). After -ETIMEDOUT, -ECANCELED, -ECONNRESET and -EPROTO it is unknown whether QEMU executed the
 *  command. */
int kvm_hotplug_qmp(struct kvm_hotplug *guest, const struct kvm_hotplug_command *command, size_t command_size,
                    char **ret_reply, struct kvm_hotplug_error **reterr);

/** How important a log line is. A level includes those above it. */
enum kvm_hotplug_log_level {
    KVM_HOTPLUG_LOG_OFF = 0, /**< Nothing is logged; the callback is dropped. */
    KVM_HOTPLUG_LOG_ERROR = 1, /**< Something is left behind or lost. */
    KVM_HOTPLUG_LOG_WARNING = 2, /**< Something unexpected was handled. */
    KVM_HOTPLUG_LOG_INFO = 3, /**< What changed in a guest. */
    KVM_HOTPLUG_LOG_DEBUG = 4, /**< Every call and what was sent. */
};

/** Takes one log line: without a final newline, valid during the callback only. The thread that is in a
 *  call of this library calls it. What happens to an add that no call waits for is logged by the call that
 *  goes on with it. Lines of one handle come one at a time. The callback must not call into the handle
 *  (that call fails with EDEADLK), nor leave by longjmp or an exception. */
typedef void (*kvm_hotplug_log_fn)(void *userdata, int level, const char *message);

/** Releases the userdata of a log callback. Called once, when nothing can log through it any more. */
typedef void (*kvm_hotplug_free_fn)(void *userdata);

/** Sets the callback for log lines of guests opened with this record from now on. Without it nothing is
 *  logged.
 *  `level`: one of enum kvm_hotplug_log_level; 0 stops logging.
 *  `callback`: takes the lines; may be NULL with level 0.
 *  `userdata`: passed to the callback. Guests opened with one record may log from several threads at once.
 *  `free`: called once with userdata when nothing logs through it any more: another callback was set or
 *  the record freed, and all guests that were opened with it are closed. Called at once if this call
 *  fails. NULL if there is nothing to free. */
int kvm_runtime_set_log(struct kvm_runtime *runtime, int level, kvm_hotplug_log_fn callback, void *userdata,
                        kvm_hotplug_free_fn free, struct kvm_hotplug_error **reterr);

/** Format of a runtime file. A record is saved in the one it has. */
enum kvm_runtime_format {
    KVM_RUNTIME_FORMAT_NATIVE = 1, /**< Our own: a JSON object. */
    /** Ganeti's list: loaded with 4 entries (2.10 and later) or 3 (2.0 to 2.9), saved with 4, which Ganeti
     *  3.0 and later load. All NICs and all disks then have the same queues, vhost, cache, aio and
     *  discard. A request for others, or for what Ganeti does not know, fails with -EINVAL. docs/ganeti.md
     *  has the details. */
    KVM_RUNTIME_FORMAT_GANETI = 2,
};

/** Says which format a record has: that of the file it was loaded from, or the one it was converted to.
 *  `ret_format`: where to put one of enum kvm_runtime_format. */
int kvm_runtime_get_format(const struct kvm_runtime *runtime, uint32_t *ret_format,
                           struct kvm_hotplug_error **reterr);

/** Copies a record, in the format that it has: for a file of another name, for a migration target, or to
 *  try something with. The copy has no file until kvm_runtime_save() gives it one. The record itself is
 *  not changed; a guest may be open with it. The journal is not copied: a device that is being removed is
 *  in the copy, and one that is being added is not. So see that kvm_runtime_unfinished() lists no add and
 *  no change.
 *
 *  For a migration to a QEMU on the same host, give kvm_runtime_boot() the copy and KVM_BOOT_SET_MONITOR.
 *  Fails like any call. */
int kvm_runtime_copy(const struct kvm_runtime *runtime, struct kvm_runtime **ret_runtime,
                     struct kvm_hotplug_error **reterr);

/** Copies a record in another format. The copy has no file until kvm_runtime_save() gives it one. The
 *  record itself is not changed; a guest may be open with it. A Ganeti list fits into the native format
 *  whole, and converts back unchanged, except for later changes. A list cannot hold root ports, a SCSI
 *  controller outside of the command, a device without an address or on a bus that Ganeti does not use,
 *  nor a setting that has no place there or differs between NICs or disks.
 *  `format`: one of enum kvm_runtime_format; the one it has makes a plain copy, as kvm_runtime_copy()
 *  does.
 *  Blocks: on reading type and size of the disks' images.
 *  Fails with -EINVAL (the format cannot hold the record: the message names the device and its setting),
 *  -EBADMSG (a list kept in the record is malformed). */
int kvm_runtime_convert(const struct kvm_runtime *runtime, uint32_t format, struct kvm_runtime **ret_runtime,
                        struct kvm_hotplug_error **reterr);

/* ---- The same calls without sizes ---------------------------------------------------------------------- */

/*
 * Each of these calls the function with kvm_hotplug_ for kvmh_ in its name, or kvm_runtime_ for
 * kvmh_runtime_, with the sizes that the structs have in this header; 0 where a pointer is NULL. Everything
 * else is as described there. The library does not export them: a program that loads it with dlopen() has
 * them too if it looks up the functions that they call.
 */
#define KVMH_SIZE(pointer) ((pointer) ? sizeof *(pointer) : 0)

static inline int kvmh_runtime_adopt(const struct kvm_runtime_adopt_options *options,
                                     struct kvm_runtime **ret_runtime, char **ret_report,
                                     struct kvm_hotplug_error **reterr)
{ return kvm_runtime_adopt(options, KVMH_SIZE(options), ret_runtime, ret_report, reterr); }
static inline int kvmh_add_many(struct kvm_hotplug *guest, const struct kvm_hotplug_add_batch *batch,
                                struct kvm_hotplug_device *ret_devices, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_add_many(guest, batch, KVMH_SIZE(batch), ret_devices, KVMH_SIZE(ret_devices), reterr); }
static inline int kvmh_del_many(struct kvm_hotplug *guest, const struct kvm_hotplug_del_batch *batch,
                                struct kvm_hotplug_device *ret_devices, int *ret_answers,
                                struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_del_many(guest, batch, KVMH_SIZE(batch), ret_devices, KVMH_SIZE(ret_devices),
                              ret_answers, reterr); }
static inline int kvmh_runtime_boot(struct kvm_runtime *runtime, const struct kvm_boot_options *options,
                                    struct kvm_boot **ret_boot, struct kvm_hotplug_error **reterr)
{ return kvm_runtime_boot(runtime, options, KVMH_SIZE(options), ret_boot, reterr); }
static inline int kvmh_runtime_plan_boot(const struct kvm_runtime *runtime, uint32_t spare_ports,
                                         struct kvm_boot_plan *ret_plan, struct kvm_hotplug_error **reterr)
{ return kvm_runtime_plan_boot(runtime, spare_ports, ret_plan, KVMH_SIZE(ret_plan), reterr); }
static inline int kvmh_runtime_check(const struct kvm_runtime *runtime, uint32_t flags, const char *qmp_path,
                                     uint32_t timeout_ms, struct kvm_runtime_problem *ret_problems,
                                     size_t capacity, size_t *ret_count, struct kvm_hotplug_error **reterr)
{ return kvm_runtime_check(runtime, flags, qmp_path, timeout_ms, ret_problems, KVMH_SIZE(ret_problems),
                           capacity, ret_count, reterr); }
static inline int kvmh_runtime_add_nic(struct kvm_runtime *runtime, const struct kvm_hotplug_nic *nic,
                                       struct kvm_hotplug_device *ret_device,
                                       struct kvm_hotplug_error **reterr)
{ return kvm_runtime_add_nic(runtime, nic, KVMH_SIZE(nic), ret_device, KVMH_SIZE(ret_device), reterr); }
static inline int kvmh_runtime_add_disk(struct kvm_runtime *runtime, const struct kvm_hotplug_disk *disk,
                                        struct kvm_hotplug_device *ret_device,
                                        struct kvm_hotplug_error **reterr)
{ return kvm_runtime_add_disk(runtime, disk, KVMH_SIZE(disk), ret_device, KVMH_SIZE(ret_device), reterr); }
static inline int kvmh_runtime_del(struct kvm_runtime *runtime, const struct kvm_hotplug_del_options *options,
                                   struct kvm_hotplug_device *ret_device, struct kvm_hotplug_error **reterr)
{ return kvm_runtime_del(runtime, options, KVMH_SIZE(options), ret_device, KVMH_SIZE(ret_device), reterr); }
static inline int kvmh_open_connection(struct kvm_runtime *runtime, int fd,
                                       const struct kvm_hotplug_open_options *options,
                                       struct kvm_hotplug **ret_guest, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_open_connection(runtime, fd, options, KVMH_SIZE(options), ret_guest, reterr); }
static inline int kvmh_add_controller(struct kvm_hotplug *guest,
                                      const struct kvm_hotplug_controller *controller,
                                      struct kvm_hotplug_device *ret_device,
                                      struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_add_controller(guest, controller, KVMH_SIZE(controller), ret_device,
                                    KVMH_SIZE(ret_device), reterr); }
static inline int kvmh_add_disk(struct kvm_hotplug *guest, const struct kvm_hotplug_disk *disk,
                                struct kvm_hotplug_device *ret_device, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_add_disk(guest, disk, KVMH_SIZE(disk), ret_device, KVMH_SIZE(ret_device), reterr); }
static inline int kvmh_next_event(struct kvm_hotplug *guest, struct kvm_hotplug_event *ret_event,
                                  struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_next_event(guest, ret_event, KVMH_SIZE(ret_event), reterr); }
static inline int kvmh_open_with(struct kvm_runtime *runtime, const char *socket_path,
                                 const struct kvm_hotplug_open_options *options,
                                 struct kvm_hotplug **ret_guest, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_open_with(runtime, socket_path, options, KVMH_SIZE(options), ret_guest, reterr); }
static inline int kvmh_set_nic_limits(struct kvm_hotplug *guest, const char *id,
                                      const struct kvm_hotplug_nic_limits *limits, uint32_t timeout_ms,
                                      struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_set_nic_limits(guest, id, limits, KVMH_SIZE(limits), timeout_ms, reterr); }
static inline int kvmh_list(const struct kvm_hotplug *guest, struct kvm_hotplug_device *ret_devices,
                            size_t capacity, size_t *ret_count, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_list(guest, ret_devices, KVMH_SIZE(ret_devices), capacity, ret_count, reterr); }
static inline int kvmh_get_device(const struct kvm_hotplug *guest, const char *id,
                                  struct kvm_hotplug_device *ret_device, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_get_device(guest, id, ret_device, KVMH_SIZE(ret_device), reterr); }
static inline int kvmh_runtime_list(const struct kvm_runtime *runtime, struct kvm_hotplug_device *ret_devices,
                                    size_t capacity, size_t *ret_count, struct kvm_hotplug_error **reterr)
{ return kvm_runtime_list(runtime, ret_devices, KVMH_SIZE(ret_devices), capacity, ret_count, reterr); }
static inline int kvmh_runtime_unfinished(const struct kvm_runtime *runtime,
                                          struct kvm_hotplug_device *ret_devices, size_t capacity,
                                          size_t *ret_count, struct kvm_hotplug_error **reterr)
{ return kvm_runtime_unfinished(runtime, ret_devices, KVMH_SIZE(ret_devices), capacity, ret_count, reterr); }
static inline int kvmh_change_media(struct kvm_hotplug *guest, const char *id,
                                    const struct kvm_hotplug_medium *medium,
                                    struct kvm_hotplug_device *ret_device, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_change_media(guest, id, medium, KVMH_SIZE(medium), ret_device, KVMH_SIZE(ret_device),
                                  reterr); }
static inline int kvmh_add_nic(struct kvm_hotplug *guest, const struct kvm_hotplug_nic *nic,
                               struct kvm_hotplug_device *ret_device, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_add_nic(guest, nic, KVMH_SIZE(nic), ret_device, KVMH_SIZE(ret_device), reterr); }
static inline int kvmh_plan_nic(struct kvm_hotplug *guest, const struct kvm_hotplug_nic *nic,
                                struct kvm_hotplug_device *ret_device, char **ret_plan,
                                struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_plan_nic(guest, nic, KVMH_SIZE(nic), ret_device, KVMH_SIZE(ret_device), ret_plan,
                              reterr); }
static inline int kvmh_plan_disk(struct kvm_hotplug *guest, const struct kvm_hotplug_disk *disk,
                                 struct kvm_hotplug_device *ret_device, char **ret_plan,
                                 struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_plan_disk(guest, disk, KVMH_SIZE(disk), ret_device, KVMH_SIZE(ret_device), ret_plan,
                               reterr); }
static inline int kvmh_plan_controller(struct kvm_hotplug *guest,
                                       const struct kvm_hotplug_controller *controller,
                                       struct kvm_hotplug_device *ret_device, char **ret_plan,
                                       struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_plan_controller(guest, controller, KVMH_SIZE(controller), ret_device,
                                     KVMH_SIZE(ret_device), ret_plan, reterr); }
static inline int kvmh_plan_del(struct kvm_hotplug *guest, const struct kvm_hotplug_del_options *options,
                                struct kvm_hotplug_device *ret_device, char **ret_plan,
                                struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_plan_del(guest, options, KVMH_SIZE(options), ret_device, KVMH_SIZE(ret_device), ret_plan,
                              reterr); }
static inline int kvmh_qmp(struct kvm_hotplug *guest, const struct kvm_hotplug_command *command,
                           char **ret_reply, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_qmp(guest, command, KVMH_SIZE(command), ret_reply, reterr); }
static inline int kvmh_del(struct kvm_hotplug *guest, const struct kvm_hotplug_del_options *options,
                           struct kvm_hotplug_device *ret_device, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_del(guest, options, KVMH_SIZE(options), ret_device, KVMH_SIZE(ret_device), reterr); }
static inline int kvmh_runtime_new(const struct kvm_runtime_config *config, struct kvm_runtime **ret_runtime,
                                   struct kvm_hotplug_error **reterr)
{ return kvm_runtime_new(config, KVMH_SIZE(config), ret_runtime, reterr); }
static inline int kvmh_settle(struct kvm_hotplug *guest, uint32_t timeout_ms,
                              struct kvm_hotplug_device *ret_devices, size_t capacity, size_t *ret_count,
                              struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_settle(guest, timeout_ms, ret_devices, KVMH_SIZE(ret_devices), capacity, ret_count,
                            reterr); }
static inline int kvmh_slot_map(struct kvm_hotplug *guest, uint32_t timeout_ms,
                                struct kvm_hotplug_slot *ret_slots, size_t capacity, size_t *ret_count,
                                struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_slot_map(guest, timeout_ms, ret_slots, KVMH_SIZE(ret_slots), capacity, ret_count,
                              reterr); }
static inline int kvmh_source_json(const struct kvm_hotplug_source *source, char **ret_json,
                                   struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_source_json(source, KVMH_SIZE(source), ret_json, reterr); }
static inline int kvmh_open_tap(const struct kvm_hotplug_tap *tap, int32_t *ret_fds, size_t capacity,
                                char *ret_ifname, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_open_tap(tap, KVMH_SIZE(tap), ret_fds, capacity, ret_ifname, reterr); }
static inline int kvmh_verify(struct kvm_hotplug *guest, uint32_t timeout_ms,
                              struct kvm_hotplug_difference *ret_differences, size_t capacity,
                              size_t *ret_count, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_verify(guest, timeout_ms, ret_differences, KVMH_SIZE(ret_differences), capacity,
                            ret_count, reterr); }
static inline int kvmh_repair(struct kvm_hotplug *guest, uint32_t timeout_ms,
                              struct kvm_hotplug_difference *ret_differences, size_t capacity,
                              size_t *ret_count, struct kvm_hotplug_error **reterr)
{ return kvm_hotplug_repair(guest, timeout_ms, ret_differences, KVMH_SIZE(ret_differences), capacity,
                            ret_count, reterr); }

#ifdef __cplusplus
}
#endif

#endif
