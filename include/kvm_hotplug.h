/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Generated from src/capi by build.rs. To change it, change the comments there and build with KVM_HOTPLUG_HEADER=write. */

#ifndef KVM_HOTPLUG_H
#define KVM_HOTPLUG_H

#include <stddef.h>
#include <stdint.h>

/** @file kvm_hotplug.h
 *
 *  Plugs NICs, disks and SCSI controllers into running QEMU/KVM guests, takes them out again, and keeps
 *  the runtime file from which an identical guest is started. For agents written in C, C++ or Go, without
 *  libvirt.
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
 *  What holds for every function, so that it is said here alone:
 *
 *  - Return values. 0 and positive values are success; negative values are -errno. A function that does
 *    not say what it returns returns 0. Functions without the parameter reterr cannot fail, but for
 *    kvm_boot_inherit().
 *  - Errors. The last parameter takes a pointer to a struct kvm_hotplug_error *, or NULL. On failure, and
 *    only then, a new error is stored there, which the caller frees with kvm_hotplug_error_free(). An
 *    error already stored there is not freed. There is no thread-local or global state, so Go may move a
 *    goroutine between two calls.
 *  - Outputs (parameters named ret_...) are written on success only, and may be NULL unless it is for them
 *    that one calls.
 *  - Structs are passed with their sizeof; the calls at the end of this header fill it in. A caller
 *    compiled against an older header passes shorter ones, which are filled up with zeros; a newer one
 *    longer ones, which must end in zeros. Zero always means the default.
 *  - Flags. Each bit means one thing in the whole header. One that does not apply is refused.
 *  - Strings in are UTF-8, end in NUL, and are borrowed for the call; at most 131072 bytes. Strings out
 *    belong to the object they came from.
 *  - File descriptors in are borrowed: the library duplicates them, and the caller goes on to own its own.
 *    All descriptors the library makes are close-on-exec.
 *  - Blocking. A function that takes a timeout blocks no longer than that: milliseconds normally. One on a
 *    record blocks on disk I/O. The others do not block. What is different is said.
 *  - Timeouts are in milliseconds, from the start of the call, and cover all of it: waiting for another
 *    call on the handle, connecting, commands, and the guest. 0 means 5000, for a removal 20000.
 *  - Threads. Any thread may call anything. Calls on different handles are independent. On one handle
 *    several calls may be under way at once: what waits for the guest holds up nobody, what asks QEMU is
 *    done one after the other, and calls on one record take turns. Every call that waits may be ended
 *    (-ECANCELED) by kvm_hotplug_cancel(), which ends all of the handle, or by
 *    kvm_hotplug_cancel_thread(), which ends one. The library makes no threads, installs no signal
 *    handlers, raises no SIGPIPE, reads no environment variables, and writes nothing to stdout or stderr.
 *  - Fork. A child that does not exec must not use the handles of its parent.
 *  - Text for people and JSON (messages, log lines, ret_text, ret_json, ret_reply, members called text or
 *    reason_text) have no control characters, nor such as change the direction of writing: they stand
 *    there as \u001b. Names of QEMU's have none either. Paths are what they are.
 *  - Memory. What QEMU says is bounded (docs/limits.md has the numbers), lists are made where the caller
 *    wants them, and where there is no memory for a large answer, the call fails with -ENOMEM. What
 *    remains: if some kilobytes cannot be had, or what parsing one answer of QEMU's takes (32 MiB at
 *    most), the process is aborted, as Rust's allocator does.
 *  - Freeing functions accept NULL.
 *
 *  Parameters that mean the same everywhere:
 *  `guest`: a handle from kvm_hotplug_open().
 *  `runtime`: a record from kvm_runtime_load() or kvm_runtime_new().
 *  `boot`: a command from kvm_runtime_boot().
 *  `id`: the id of a device.
 *  `nic`, `disk`, `controller`, `batch`, `options`, `tap`, `command`: the request.
 *  `flags`: the flags that name the function, or 0.
 *  `path`: of the runtime file. Symbolic links are not followed in its last component.
 *  `timeout_ms`: how long the call may take, as above.
 *  `ret_device`: where to put the device.
 *  `ret_devices`, `ret_slots`, `ret_problems`, `ret_differences`: an array of capacity structs for a list.
 *  `capacity`: how many the array takes; 0 with a NULL array, to count only.
 *  `ret_count`: where to put how many there are; those beyond capacity are not written.
 *  `ret_runtime`: where to put the record, which is freed with kvm_runtime_free().
 *  `ret_guest`: where to put the handle, which is closed with kvm_hotplug_close().
 *  `reterr`: where to put the error, or NULL.
 *
 *  What functions fail with:
 *
 *  - Any call: -EFAULT (a pointer is NULL that must not be), -EBADF (the handle is not open), -EINVAL (a
 *    string is not UTF-8, a size is none that the struct ever had, such as that of a pointer; a number is
 *    not in its enum or range; an unknown flag), -E2BIG (a field is set that this version does not have),
 *    -ENOMEM (no memory for the answer), -ENOTRECOVERABLE (a bug of the library was caught; the handle
 *    only closes from then on).
 *  - Any call to QEMU: -ETIMEDOUT, -ECANCELED, -ECONNRESET (QEMU hung up), -ECONNREFUSED or -ENOENT (QEMU
 *    has gone), -EPROTO (what listens does not speak QMP, or says too much), -EREMOTEIO (QEMU refused a
 *    step, see kvm_hotplug_error_step()), -EBUSY (kind MONITOR_BUSY: the monitor serves another client).
 *  - Any change of a guest: as any call to QEMU; -EBUSY (kind MIGRATING: a migration is on its way, from
 *    here or to here, or the guest has gone with one), -EROFS (the guest is only looked at), or the errno
 *    of writing journal or runtime file. Guest, host and record are as they were then, unless
 *    kvm_hotplug_error_undo() says otherwise.
 *  - Any change of a record: -EBUSY (a guest handle is open with it), -EBADFD (it has no file), -EROFS (it
 *    is from kvm_runtime_load_readonly()), or the errno of writing journal or runtime file. The record is
 *    as it was then. */

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

/** Version of the C ABI this header belongs to. It goes up when a program built against an older header
 *  would break; the SONAME ends in it. Compare it with kvm_hotplug_abi_version() after dlopen(). */
#define KVM_HOTPLUG_ABI_VERSION 0

/** The version of the library, such as "0.1.0". The string is static. */
const char *kvm_hotplug_version(void);

/** The ABI version of the library: KVM_HOTPLUG_ABI_VERSION when it was built. */
uint32_t kvm_hotplug_abi_version(void);

/* ---- Errors -------------------------------------------------------------------------------------------- */

/** Why a call failed. Made by the failing call, belongs to the caller, who frees it with
 *  kvm_hotplug_error_free(). It refers to nothing else, may outlive every handle, and may be read from any
 *  number of threads at once. */
struct kvm_hotplug_error;

/** What went wrong, in numbers that never change meaning. Values that a caller does not know may come with
 *  newer versions: treat them by the errno. */
enum kvm_hotplug_error_kind {
    /** EINVAL, EFAULT, EBADF, ENAMETOOLONG, ELOOP: an argument is malformed, out of range or contradicts
     *  another one. */
    KVM_HOTPLUG_ERROR_INVALID = 1,
    KVM_HOTPLUG_ERROR_NOT_FOUND = 2, /**< ENOENT: a file, interface or bus that was named does not exist. */
    /** EEXIST: the id, MAC address, serial or image is in use, or the device exists with other settings. */
    KVM_HOTPLUG_ERROR_CONFLICT = 3,
    KVM_HOTPLUG_ERROR_NO_SLOT = 4, /**< ENOSPC: no free slot on any bus that takes hot-plugged devices. */
    KVM_HOTPLUG_ERROR_ADDRESS_TAKEN = 5, /**< EADDRINUSE: the address asked for is taken or quarantined. */
    /** EOPNOTSUPP: the bus, device or QEMU cannot do this to a running guest. */
    KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE = 6,
    /** EPERM: the guest said no to an unplug request; the device stays. QEMU up to 11.1 hears such an
     *  answer about processors and memory only: a guest that will not let a NIC or disk go looks like one
     *  that takes its time, and the removal is pending. */
    KVM_HOTPLUG_ERROR_GUEST_REFUSED = 7,
    /** EBUSY: the guest was busy with an earlier plug or unplug until the deadline. */
    KVM_HOTPLUG_ERROR_GUEST_BUSY = 8,
    KVM_HOTPLUG_ERROR_TIMEOUT = 9, /**< ETIMEDOUT: the deadline passed. */
    KVM_HOTPLUG_ERROR_CANCELED = 10, /**< ECANCELED: kvm_hotplug_cancel() ended the call. */
    /** EBUSY: the monitor socket accepts the connection but serves another client. */
    KVM_HOTPLUG_ERROR_MONITOR_BUSY = 11,
    KVM_HOTPLUG_ERROR_MONITOR_LOST = 12, /**< ECONNRESET, EPIPE: the monitor closed the connection. */
    /** EPROTO: the monitor said something that is not QMP, or too much of it. */
    KVM_HOTPLUG_ERROR_PROTOCOL = 13,
    /** EREMOTEIO: QEMU answered a command with an error; see kvm_hotplug_error_qmp_class(). */
    KVM_HOTPLUG_ERROR_QMP = 14,
    KVM_HOTPLUG_ERROR_HOST = 15, /**< The operating system refused a call; the errno is its own. */
    /** EAGAIN: another handle or process holds the runtime file; the message names it. */
    KVM_HOTPLUG_ERROR_LOCKED = 16,
    KVM_HOTPLUG_ERROR_FORMAT = 17, /**< EBADMSG: a runtime file, journal or image header is malformed. */
    /** EPROTONOSUPPORT, E2BIG: a file or struct comes from a newer version of this library. */
    KVM_HOTPLUG_ERROR_VERSION = 18,
    KVM_HOTPLUG_ERROR_LIMIT = 19, /**< EMSGSIZE, EFBIG: something exceeds a stated limit. */
    KVM_HOTPLUG_ERROR_FOREIGN = 20, /**< EACCES: the device was not made by this library and is left alone. */
    KVM_HOTPLUG_ERROR_IMAGE_LOCKED = 21, /**< EBUSY: the image is in use by another QEMU. */
    /** ENODEV: the host lacks something that was required, such as vhost-net. */
    KVM_HOTPLUG_ERROR_UNAVAILABLE = 22,
    /** EBADFD, EBUSY, EROFS, EDEADLK: the handle is in a state that does not allow this call. */
    KVM_HOTPLUG_ERROR_STATE = 23,
    /** ENOTRECOVERABLE: an internal error was caught; the handle only closes from here on. */
    KVM_HOTPLUG_ERROR_PANIC = 24,
    /** EBUSY: the guest is being migrated, or has been, or waits for a migration to come in. */
    KVM_HOTPLUG_ERROR_MIGRATING = 25,
    /** EPERM, ELOOP: an image, or a file that an image names, is not opened: nobody chose it, it is not
     *  what was recorded, or it is no file with data of its own. See kvm_runtime_set_backing(). */
    KVM_HOTPLUG_ERROR_IMAGE_REFUSED = 26,
    /** A file, or what listens at a socket, belongs to somebody whom the caller has no reason to trust. */
    KVM_HOTPLUG_ERROR_UNTRUSTED = 27,
};

/** One of enum kvm_hotplug_error_kind; 0 if error is NULL. */
int kvm_hotplug_error_kind(const struct kvm_hotplug_error *error);

/** What became of the steps that had been done when a call failed. */
enum kvm_hotplug_undo {
    KVM_HOTPLUG_UNDO_NOTHING = 0, /**< Nothing had been changed. */
    KVM_HOTPLUG_UNDO_COMPLETE = 1, /**< Everything that had been done was taken back. */
    /** Something is left, which kvm_hotplug_error_residue() names. The journal knows of it: the next call
     *  on the guest settles it, also in another process. */
    KVM_HOTPLUG_UNDO_INCOMPLETE = 2,
};

/** The errno, positive, as the failing call returned it negated; 0 if error is NULL. */
int kvm_hotplug_error_errno(const struct kvm_hotplug_error *error);

/** One line for people, UTF-8: the step, what was wrong, where, what to do, and what is left behind. The
 *  string belongs to the error and lives as long. NULL if error is NULL. */
const char *kvm_hotplug_error_message(const struct kvm_hotplug_error *error);

/** The step that failed, such as "device_add nic-pci-5", or NULL. The string belongs to the error and
 *  lives as long.
 * */
const char *kvm_hotplug_error_step(const struct kvm_hotplug_error *error);

/** The class of QEMU's error, such as "GenericError" or "DeviceNotFound", or NULL if QEMU did not refuse a
 *  command. The string belongs to the error and lives as long. */
const char *kvm_hotplug_error_qmp_class(const struct kvm_hotplug_error *error);

/** QEMU's own words, or NULL if QEMU did not refuse a command. The string belongs to the error and lives
 *  as long.
 * */
const char *kvm_hotplug_error_qmp_desc(const struct kvm_hotplug_error *error);

/** One of enum kvm_hotplug_undo: what became of the steps done before the failure. 0 if error is NULL. */
int kvm_hotplug_error_undo(const struct kvm_hotplug_error *error);

/** What is left behind, one entry a line, or NULL if nothing is. The string belongs to the error and lives
 *  as long.
 * */
const char *kvm_hotplug_error_residue(const struct kvm_hotplug_error *error);

/** Frees an error and the strings that belong to it; NULL is fine. */
void kvm_hotplug_error_free(struct kvm_hotplug_error *error);

/* ---- The record of a guest ----------------------------------------------------------------------------- */

/** The record of one guest: its command line without NICs and disks, and every NIC and disk with its
 *  address; with it its file and the lock on that. Made by kvm_runtime_new(), kvm_runtime_load() or
 *  kvm_runtime_load_readonly(), freed by kvm_runtime_free(). Any thread may use it; calls on one record
 *  take turns. */
struct kvm_runtime;

/** Flag of struct kvm_runtime_config: reserved_slots is given, also when it is 0. */
#define KVM_RUNTIME_NEW_RESERVED_SLOTS (1 << 19)
/** Flag of kvm_runtime_open(): for looking only. */
#define KVM_RUNTIME_OPEN_READ_ONLY (1 << 20)

/** Flag of kvm_runtime_open() and struct kvm_runtime_config: owner and mode of the runtime file, of what
 *  lies beside it and of their directory are not looked at. Whoever can write them then decides what is
 *  done with the caller's rights: which program is started and which files it is given. */
#define KVM_RUNTIME_OPEN_TRUST (1 << 21)

/** What a new record begins with. Zero everywhere is the default. */
struct kvm_runtime_config {
    const char *name; /**< The guest's name, for people; NULL for none. Borrowed for the call. */
    /** QEMU's command line without NICs and disks: command_count strings, the first of which is the
     *  program. NULL for none. Borrowed for the call. */
    const char *const *command;
    uint64_t command_count; /**< Number of strings in command, at most 65536. */
    /** Slots of pci.0, counted from 0, that are never chosen, 0 to 32. Counts only with
     *  KVM_RUNTIME_NEW_RESERVED_SLOTS; otherwise it is 4. */
    uint32_t reserved_slots;
    uint32_t flags; /**< KVM_RUNTIME_NEW_RESERVED_SLOTS and KVM_RUNTIME_OPEN_TRUST, or 0. */
};

/** Makes a record of a guest without NICs and disks. It has no file until kvm_runtime_save() gives it one.
 *  `config`, `config_size`: what it begins with, and sizeof *config; config may be NULL for a record
 *  without a command.
 *  Blocks: no.
 *  Fails with -EMSGSIZE (too many or too long strings), -EBADMSG (more than 32 slots reserved). */
int kvm_runtime_new(const struct kvm_runtime_config *config, size_t config_size,
                    struct kvm_runtime **ret_runtime, struct kvm_hotplug_error **reterr);

/** Loads a runtime file, and the journal beside it, and owns both until the record is freed: a lock file
 *  beside it ("<path>.lock", with the pid inside) keeps other handles and processes out. Its format is
 *  recognised, see enum kvm_runtime_format.
 *
 *  What the file says is done with the caller's rights. So it, what lies beside it and their directory
 *  must belong to the caller's user or to root, and be writable by nobody else: not by everybody (a
 *  directory with the sticky bit, such as /tmp, is fine), nor by a group that is neither root's nor one of
 *  the caller's (of root's, only the effective one counts). Access control lists are not looked at.
 *  kvm_runtime_open() can do without.
 *
 *  "<path>.lock", "<path>.new", "<path>.journal" and "<path>.kvm-hotplug" are this library's. Whatever
 *  else has one of these names is named in the error and stays as it is; so no record can have a name that
 *  ends so.
 *  Fails with -EINVAL (path is empty, ends like a file beside a record, or is no regular file; or a file
 *  beside it has a second name), -ENOENT (no such file), -ELOOP (a symbolic link), -EPERM with
 *  KVM_HOTPLUG_ERROR_UNTRUSTED (others can write it: the message names whom), -EEXIST (what lies beside it
 *  is not this library's), -EAGAIN (locked: the message names the holder), -EFBIG (over 4 MiB), -EBADMSG
 *  (malformed: the message names the element), -EPROTONOSUPPORT (written by a newer version), or the errno
 *  of open, flock, read or write. */
int kvm_runtime_load(const char *path, struct kvm_runtime **ret_runtime, struct kvm_hotplug_error **reterr);

/** Reads a runtime file for looking only: no lock is taken, so it works while an agent owns the file. Such
 *  a record can be listed; saving it or opening a guest with it fails with -EROFS.
 *  Fails like kvm_runtime_load(), but not with -EAGAIN. */
int kvm_runtime_load_readonly(const char *path, struct kvm_runtime **ret_runtime,
                              struct kvm_hotplug_error **reterr);

/** Loads or reads a runtime file, with a say in what is looked at. Without flags it is kvm_runtime_load(),
 *  with KVM_RUNTIME_OPEN_READ_ONLY it is kvm_runtime_load_readonly().
 *  `flags`: KVM_RUNTIME_OPEN_READ_ONLY and KVM_RUNTIME_OPEN_TRUST, or 0.
 *  Fails like kvm_runtime_load(). */
int kvm_runtime_open(const char *path, uint32_t flags, struct kvm_runtime **ret_runtime,
                     struct kvm_hotplug_error **reterr);

/** Writes the record to disk: a temporary file, synced, renamed into place, mode 0600, the directory
 *  synced. Calls on a live guest do this by themselves.
 *  `path`: for a record without a file, where to put it, which must not exist yet; the record owns that
 *  file from then on. NULL for a record that has one.
 *  Fails with -EINVAL (a Ganeti list cannot hold it: the message names the device and its setting; or path
 *  ends like a file beside a record, as kvm_runtime_load() says), -EBADFD (no path for a record without a
 *  file, or a path for one that has a file), -EEXIST (path exists, or what lies beside it is not this
 *  library's), -EPERM with KVM_HOTPLUG_ERROR_UNTRUSTED (others can write the directory, see
 *  kvm_runtime_load()), -EBADMSG (a journal of another record is there, and malformed), -EAGAIN (locked),
 *  -EROFS (from kvm_runtime_load_readonly()), or the errno of open, write, fsync or rename. The old file
 *  is as it was then. */
int kvm_runtime_save(struct kvm_runtime *runtime, const char *path, struct kvm_hotplug_error **reterr);

/** Frees a record; NULL is fine. Its file is unlocked when also the guest opened with it is closed; the
 *  order does not matter. Unsaved changes of a record without a file are lost. No other thread may be
 *  using it. */
void kvm_runtime_free(struct kvm_runtime *runtime);

/* ---- Opening and closing a guest ----------------------------------------------------------------------- */

/** A live guest: the connection to its monitor, its slot map, and what is pending. Made by
 *  kvm_hotplug_open(), freed by kvm_hotplug_close(). Any thread may use it; different handles are
 *  independent. The library makes no threads.
 *
 *  Several calls of one handle may be under way at once. A call that waits for the guest, which is what a
 *  removal does after it has asked, or for an add that another call has begun and not waited for, holds up
 *  no other one. What asks QEMU and waits for the answer, as an add does, is done by one call at a time:
 *  the others wait for it, in the order in which they came, each no longer than its own timeout. So they
 *  do while a call connects to a monitor that says nothing; kvm_hotplug_list(), kvm_hotplug_get_device(),
 *  kvm_hotplug_next_event() and kvm_hotplug_forward_qmp_events(), which need no monitor, do not wait for
 *  that, and when that call gives up, one that has time left connects anew.
 *
 *  A second removal of a device joins the first: each call has the same answer, or its own when its
 *  timeout comes first. A removal, a change or an add of a device that is being added waits for that add.
 *  An add of one that is being removed fails with -EEXIST.
 *
 *  A monitor serves one client at a time: while a handle is open, no other program can use that QMP
 *  socket. Give QEMU a second one if others need it. */
struct kvm_hotplug;

/** Timeout of calls that get 0, in milliseconds, except for removals. */
#define KVM_HOTPLUG_DEFAULT_TIMEOUT_MS 5000

/** Connects to the QMP socket of a running QEMU, looks at the guest, and finishes or undoes what an agent
 *  that died had begun (its journal says what); events tell what was settled. What was begun in another
 *  QEMU, which has ended since, is settled by the record, and never carried out on this one: removals are
 *  done, adds that are not in the record are dropped. If the commands of that agent went over another
 *  monitor of this QEMU, that one has to serve a client first, or to have none.
 *  `runtime`: the guest's record, which must have a file. One guest may be open with it at a time. It may
 *  be freed before the guest is closed.
 *  `socket_path`: the QMP socket, at most 107 bytes.
 *  Returns 0, or fails like any call to QEMU, and with -EINVAL (an empty path), -ENAMETOOLONG (the path),
 *  -EBADFD (the record has no file), -EROFS (a record from kvm_runtime_load_readonly()), -EBUSY (kind
 *  STATE: the record belongs to an open guest; kind MONITOR_BUSY: also for a monitor that an earlier agent
 *  used), -EPERM (the record remembers another user than the one that listens, see
 *  kvm_hotplug_open_with()), or the errno of a system call. Nothing is left behind on failure, except that
 *  settling may have got half-way, which the next call continues. */
int kvm_hotplug_open(struct kvm_runtime *runtime, const char *socket_path, uint32_t timeout_ms,
                     struct kvm_hotplug **ret_guest, struct kvm_hotplug_error **reterr);

/** Flag of struct kvm_hotplug_open_options: peer_uid is given, also when it is 0. */
#define KVM_HOTPLUG_OPEN_PEER_UID (1 << 13)
/** Flag of struct kvm_hotplug_open_options: peer_pid is given. */
#define KVM_HOTPLUG_OPEN_PEER_PID (1 << 14)

/** Flag of struct kvm_hotplug_open_options: another user than the remembered one is fine, and is
 *  remembered instead. */
#define KVM_HOTPLUG_OPEN_ACCEPT_PEER (1 << 15)

/** Flag of struct kvm_hotplug_open_options: the guest is only looked at. QEMU is asked questions and told
 *  nothing, and neither record nor journal is written: what an earlier agent left unfinished stays as it
 *  is, and its removals are listed as pending. */
#define KVM_HOTPLUG_OPEN_LOOK_ONLY (1 << 16)

/** Who has to listen at a monitor's socket, as the kernel noted it when that process began to listen
 *  (SO_PEERCRED). If all fields are zero, the user that the record remembers has to listen; if it
 *  remembers none, any user may. */
struct kvm_hotplug_open_options {
    /** The user, with KVM_HOTPLUG_OPEN_PEER_UID. The record remembers it: every later open expects it. It
     *  is the one that QEMU was started as, also if it runs as another one since (-runas); for a socket
     *  that somebody else made and QEMU was given, it is that one's. Seen from another user namespace, all
     *  users that this one does not have are one (65534, "nobody"), which is refused as such there. */
    uint32_t peer_uid;
    /** The process, with KVM_HOTPLUG_OPEN_PEER_PID, in the caller's numbers. It is another one with each
     *  start of QEMU, so it is for this handle only. One that cannot be seen, in another pid namespace, is
     *  refused. */
    int32_t peer_pid;
    /** KVM_HOTPLUG_OPEN_PEER_UID, KVM_HOTPLUG_OPEN_PEER_PID, KVM_HOTPLUG_OPEN_ACCEPT_PEER,
     *  KVM_HOTPLUG_OPEN_LOOK_ONLY, or 0. */
    uint32_t flags;
    uint32_t timeout_ms; /**< For all of the call; 0 means 5000. */
};

/** Opens a guest as kvm_hotplug_open() does, if the right one listens at its socket. Whoever listens there
 *  is handed descriptors of taps and images, so a socket in a directory that others can write is worth it.
 *  Nothing is said to one who is not expected; the same holds whenever the connection is made anew.
 *
 *  With KVM_HOTPLUG_OPEN_LOOK_ONLY the handle has a copy of the record as it is now, so any record will
 *  do: one from kvm_runtime_load_readonly(), which another program owns, as well as one that another
 *  handle has open. A monitor serves one client at a time, so while an agent is connected, looking takes a
 *  second monitor of the same QEMU. Listing, describing, the slot map, kvm_hotplug_verify(), plans and
 *  events work; what the journal has open is not made good, and kvm_runtime_unfinished() lists it. Every
 *  call that would change something fails with -EROFS and KVM_HOTPLUG_ERROR_STATE, as does a command of
 *  kvm_hotplug_qmp() that is no question. A user accepted or named is not remembered.
 *  `runtime`: the guest's record, which must have a file.
 *  `socket_path`: the QMP socket, at most 107 bytes.
 *  `options`, `options_size`: who has to listen, and how to open; sizeof *options.
 *  Fails like kvm_hotplug_open(), and with -EPERM and KVM_HOTPLUG_ERROR_UNTRUSTED (somebody else listens,
 *  or the record remembers another user: the message names both), -EINVAL (a peer_pid below 1). */
int kvm_hotplug_open_with(struct kvm_runtime *runtime, const char *socket_path,
                          const struct kvm_hotplug_open_options *options, size_t options_size,
                          struct kvm_hotplug **ret_guest, struct kvm_hotplug_error **reterr);

/** Closes the connection and frees the handle; NULL is fine. The guest and its devices stay as they are,
 *  pending removals stay in the journal. No other thread may be using the handle. */
void kvm_hotplug_close(struct kvm_hotplug *guest);

/* ---- What a device is ---------------------------------------------------------------------------------- */

/** What a call answers when it did not fail. Every such answer is success; negative values are -errno. */
enum kvm_hotplug_answer {
    /** Done in the running guest: the device is in, or gone, so that its storage or tap may be torn down. */
    KVM_HOTPLUG_ANSWER_DONE = 0,
    /** Recorded only: takes effect with the next boot. The device's reason says why. */
    KVM_HOTPLUG_ANSWER_AFTER_REBOOT = 1,
    /** A removal was asked for and the guest has not granted it yet: slot, id and backend stay taken. An
     *  event will follow; the device's reason says what the guest is doing. Do not tear anything down yet.
     *  Or an add was begun with KVM_HOTPLUG_NO_WAIT, and an event will say how it went. */
    KVM_HOTPLUG_ANSWER_PENDING = 2,
    KVM_HOTPLUG_ANSWER_ABSENT = 3, /**< There is no such device, neither in the record nor in the guest. */
};

/** How a device stands. */
enum kvm_hotplug_state {
    KVM_HOTPLUG_STATE_LIVE = 0, /**< In the guest. */
    KVM_HOTPLUG_STATE_AFTER_REBOOT = 1, /**< Recorded for the next boot, with which it comes or goes. */
    /** On its way out of the guest, or in with KVM_HOTPLUG_NO_WAIT, as with KVM_HOTPLUG_ANSWER_PENDING. */
    KVM_HOTPLUG_STATE_PENDING = 2,
    KVM_HOTPLUG_STATE_ABSENT = 3, /**< There is no such device, neither in the record nor in the guest. */
    /** The record has it, and the guest did not have it when it was last asked. */
    KVM_HOTPLUG_STATE_MISSING = 4,
};

/** What a device is. */
enum kvm_hotplug_device_type {
    KVM_HOTPLUG_DEVICE_NIC = 1, /**< A network card. */
    KVM_HOTPLUG_DEVICE_DISK = 2, /**< A disk. */
    KVM_HOTPLUG_DEVICE_CONTROLLER = 3, /**< A SCSI controller. */
};

/** What kind of place a device has. */
enum kvm_hotplug_address_type {
    KVM_HOTPLUG_ADDRESS_NONE = 0, /**< None yet. */
    KVM_HOTPLUG_ADDRESS_PCI = 1, /**< On a PCI bus: bus and slot. */
    KVM_HOTPLUG_ADDRESS_SCSI = 2, /**< On the bus of a SCSI controller: bus, channel, target and lun. */
};

/** Why a device is not (or not yet) what was asked for. */
enum kvm_hotplug_reason {
    KVM_HOTPLUG_REASON_NONE = 0, /**< Nothing to explain. */
    /** After reboot: QEMU is older than 5.2, the oldest that devices are plugged into. */
    KVM_HOTPLUG_REASON_QEMU_TOO_OLD = 1,
    KVM_HOTPLUG_REASON_MODEL = 2, /**< After reboot: the model is not a paravirtual one. */
    KVM_HOTPLUG_REASON_NO_ADDRESS = 3, /**< After reboot: the record does not say where the device sits. */
    /** After reboot: the SCSI controller comes with the next boot itself, or is of a model that does not
     *  tell a running guest of new disks. */
    KVM_HOTPLUG_REASON_CONTROLLER = 4,
    /** After reboot: nothing is in its way any more. It was recorded for the next boot when the guest did
     *  not run, or with an older QEMU; to have a new device now, remove it and add it again. */
    KVM_HOTPLUG_REASON_RECORDED = 5,
    KVM_HOTPLUG_REASON_DEADLINE = 16, /**< Pending: the guest runs and has not answered yet. */
    /** Pending: the guest runs but has never set the device up; it has not booted, or does not support
     *  hotplug. */
    KVM_HOTPLUG_REASON_NOT_BOOTED = 17,
    /** Pending: the guest has not been started, or was reset while it was stopped; it is asked once it
     *  runs. */
    KVM_HOTPLUG_REASON_NOT_STARTED = 18,
    KVM_HOTPLUG_REASON_PAUSED = 19, /**< Pending: the guest is paused. */
    KVM_HOTPLUG_REASON_ASLEEP = 20, /**< Pending: the guest is asleep (ACPI S3). */
    KVM_HOTPLUG_REASON_STOPPED = 21, /**< Pending: the guest has crashed or was stopped by an error. */
    KVM_HOTPLUG_REASON_NOT_AWAITED = 22, /**< Pending: the caller did not wait. */
    /** Pending: the guest is being migrated; it will be asked again where it runs afterwards. */
    KVM_HOTPLUG_REASON_MIGRATING = 23,
    /** Pending: the guest has let go of the disk, but QEMU still uses its image: for an export, a block
     *  job, or an image above it, which the words name. The removal is finished when that ends. */
    KVM_HOTPLUG_REASON_IN_USE = 24,
    /** Missing: the record has the device, and the guest did not have it when it was last asked, for
     *  instance since QEMU was started anew by hand. kvm_hotplug_repair() takes it out of the record. */
    KVM_HOTPLUG_REASON_MISSING = 25,
    /** Pending, from a record without its guest: a removal was begun, and its end is not written down. */
    KVM_HOTPLUG_REASON_REMOVAL_UNFINISHED = 32,
    /** Pending, from a record without its guest: an add was begun, and its end is not written down. The
     *  guest may have the device, or have had it. */
    KVM_HOTPLUG_REASON_ADD_UNFINISHED = 33,
    /** From a record without its guest: a change of the device was begun, and its end is not written down.
     *  The state is that of the device. */
    KVM_HOTPLUG_REASON_CHANGE_UNFINISHED = 34,
};

/** A device of a record or guest. Strings are UTF-8, end in NUL, and are empty where they do not apply. */
struct kvm_hotplug_device {
    /** Id in QEMU, and that of the netdev or block node behind it, if there is one: at most 31 characters. */
    char id[32];
    /** Bus it sits on, PCI or SCSI as address_type says; empty if it has no place yet. That of a SCSI
     *  controller with the id "scsi-pci-7" is "scsi-pci-7.0". */
    char bus[64];
    char mac[24]; /**< NIC: MAC address, as in "52:54:00:12:34:56". */
    char ifname[16]; /**< NIC: tap on the host when it was added. */
    char bridge[16]; /**< NIC: bridge on the host. */
    char model[64]; /**< QEMU device model. */
    char serial[40]; /**< Disk: serial number. */
    /** Disk: path of the image or block device, or the URI of one that Ganeti had QEMU open by itself.
     *  Empty if it is longer than 255 bytes: kvm_hotplug_get_path() and kvm_runtime_get_path() say it
     *  whole. */
    char path[256];
    char reason_text[160]; /**< The reason in words. */
    uint64_t generation; /**< Tells this attachment from earlier ones of the same id. */
    uint32_t device_type; /**< One of enum kvm_hotplug_device_type. */
    uint32_t state; /**< One of enum kvm_hotplug_state. */
    /** One of enum kvm_hotplug_reason: why the state is not LIVE. From a record without its guest there
     *  are only those of its journal, because the others depend on the guest. */
    uint32_t reason;
    uint32_t slot; /**< Slot on the PCI bus, 0 to 31; counts only with KVM_HOTPLUG_ADDRESS_PCI. */
    /** NIC: queue pairs. Disk: virtqueues, SCSI controller: request queues, 0 for QEMU's default. */
    uint32_t queues;
    uint32_t vhost; /**< NIC: 1 if vhost-net moves the packets. */
    uint32_t mtu; /**< NIC: MTU announced to the guest, 0 for none. */
    uint32_t read_only; /**< Disk: 1 if the guest cannot write to it. */
    uint32_t removed_after_reboot; /**< 1 if the device is to go with the next boot. */
    uint32_t reserved; /**< Always 0. */
    /** One of enum kvm_hotplug_address_type: which of slot or channel, target and lun counts. */
    uint32_t address_type;
    /** Channel of the SCSI bus: 0. Like target and lun it counts only with KVM_HOTPLUG_ADDRESS_SCSI. */
    uint32_t channel;
    uint32_t target; /**< Target on the channel, 0 to 255 (QEMU's scsi-id). */
    uint32_t lun; /**< Unit of the target, 0 to 16383. */
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
};

/* ---- Adding -------------------------------------------------------------------------------------------- */

/** Flag of requests: live or not at all. What would take effect after a reboot fails with -EOPNOTSUPP, and
 *  nothing is recorded. */
#define KVM_HOTPLUG_LIVE_ONLY (1 << 0)

/** Flag of requests: do not wait for QEMU or the guest.
 *
 *  A removal: the guest is asked. The answer is KVM_HOTPLUG_ANSWER_PENDING unless the device is gone
 *  already.
 *
 *  An add: everything is checked, opened and written down as ever, and errors about that are the call's
 *  own. The commands are sent, and the answer is KVM_HOTPLUG_ANSWER_PENDING with the id, the address and
 *  the generation that the device will have. kvm_hotplug_process(), called when kvm_hotplug_get_fd() is
 *  readable and every few seconds, takes in what QEMU answers. Then comes KVM_HOTPLUG_EVENT_ADDED or
 *  KVM_HOTPLUG_EVENT_ADD_FAILED, once for each device whose answer was PENDING, also when timeout_ms has
 *  passed without an answer; until then the device is not listed. What has to be asked first is waited
 *  for: what a guest is doing that does not run, and everything after a reconnect. Several adds may be
 *  under way at once, and each ends by itself; QEMU answers in the order in which it was asked, so that a
 *  call that asks it waits for those before it. If the handle is closed before, the next one that opens
 *  the record completes the add or takes it back, as after a crash. */
#define KVM_HOTPLUG_NO_WAIT (1 << 3)

/** Flag of requests: boot_index is given, also when it is 0. */
#define KVM_HOTPLUG_BOOT_INDEX (1 << 1)
/** Flag of struct kvm_hotplug_nic: tap_owner is given, also when it is 0. */
#define KVM_HOTPLUG_TAP_OWNER (1 << 2)
/** Flag of struct kvm_hotplug_nic: with its cable pulled, until kvm_hotplug_set_link() says otherwise. */
#define KVM_HOTPLUG_NIC_LINK_DOWN (1 << 4)

/** Whether the host kernel moves the packets of a NIC. */
enum kvm_hotplug_vhost {
    KVM_HOTPLUG_VHOST_AUTO = 0, /**< With vhost-net if the host has it. */
    KVM_HOTPLUG_VHOST_OFF = 1, /**< Without. */
    KVM_HOTPLUG_VHOST_REQUIRED = 2, /**< With, or the call fails with -ENODEV. */
};

/** A NIC to add. Zero everywhere is the default: a virtio-net-pci with one queue, a generated MAC address
 *  and a tap of its own, attached to nothing. Strings and arrays are borrowed for the call. */
struct kvm_hotplug_nic {
    /** Id of device and netdev: a letter, then up to 30 letters, digits, '-', '.' or '_'. NULL for
     *  "nic-pci-<slot>", or "nic-pci-<bus>" on a root port. */
    const char *id;
    /** MAC address as in "52:54:00:12:34:56", not multicast. NULL for a random one that begins with
     *  52:54:00. */
    const char *mac;
    /** Bridge the tap is attached to. NULL for none. Not together with tap_fds. A tap opened here has the
     *  NIC's MAC address with fe at its beginning, so that the bridge does not take it for its own; one
     *  that has no other ports does, unless it has been given an address. */
    const char *bridge;
    /** Name of the tap, at most 15 characters, or a pattern with one "%d". It must not exist. NULL for
     *  "tap%d". Not together with tap_fds. */
    const char *ifname;
    /** QEMU device model; NULL for "virtio-net-pci". One that is not of the virtio-net-pci family is
     *  recorded for the next boot. */
    const char *model;
    const char *bus; /**< Bus to sit on; NULL for the first free slot. With it, slot counts. */
    /** Taps that the caller opened, one per queue, all of one interface, each by an open() of its own.
     *  They are duplicated: the caller keeps and closes its own, and may give them again when the NIC is
     *  gone. Queues that are detached, as the driver of an earlier NIC leaves them, are attached first
     *  (TUNSETQUEUE) and stay so. A tap that a NIC of this guest has, also one that is being removed, is
     *  refused. The NIC is for the running guest: it cannot wait for a reboot (-EOPNOTSUPP), and a guest
     *  that has it is not started again from its record, by kvm_runtime_boot() or as the target of a
     *  migration, until the NIC is removed: no tap made there would be like this one. The exception is a
     *  record in Ganeti's format, if the tap was on a bridge: the list notes it, and the NIC is started
     *  over a new tap on that bridge, by Ganeti as well. NULL to have the tap opened. */
    const int32_t *tap_fds;
    uint32_t tap_fd_count; /**< Number of tap_fds; 0 to have the tap opened. */
    /** Queue pairs, 1 to 256; 0 means 1, or tap_fd_count. Each takes a descriptor of this process and of
     *  QEMU for the tap, and one for vhost (RLIMIT_NOFILE); with a record in Ganeti's format, as many as
     *  that says. */
    uint32_t queues;
    uint32_t vhost; /**< One of enum kvm_hotplug_vhost. */
    /** MTU in bytes, 68 to 65535, announced to the guest (host_mtu) and set on a tap opened here. 0
     *  announces none; the tap then takes its bridge's. */
    uint32_t mtu;
    uint32_t slot; /**< Slot on bus, 0 to 31; 0 means any that is free there, where the bus has others. */
    /** Place in the firmware's boot order, 0 to 2147483647, with KVM_HOTPLUG_BOOT_INDEX; makes the device
     *  load its option ROM, which a NIC without it does not. */
    uint32_t boot_index;
    /** User id that may reopen a tap opened here, with KVM_HOTPLUG_TAP_OWNER. It is recorded, for later
     *  boots. */
    uint32_t tap_owner;
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
    /** KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_BOOT_INDEX, KVM_HOTPLUG_TAP_OWNER, KVM_HOTPLUG_NIC_LINK_DOWN,
     *  KVM_HOTPLUG_NO_WAIT. */
    uint32_t flags;
    uint32_t reserved; /**< Must be 0. */
};

/** Plugs a NIC into the guest and records it: a tap is opened (multi-queue when asked), attached to its
 *  bridge, given its MTU and set up; QEMU gets its descriptors, a netdev and a device; the runtime file is
 *  replaced. All of it or nothing.
 *
 *  The call may be repeated: with an id that exists and the same settings it succeeds and does nothing.
 *  Returns KVM_HOTPLUG_ANSWER_DONE (in the guest), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded; the device's
 *  reason says why), KVM_HOTPLUG_ANSWER_PENDING (with KVM_HOTPLUG_NO_WAIT), or fails like any change of a
 *  guest, and with
 *  - -EBADF (a closed tap fd), -EINVAL (contradicting fields, an fd that is no tap, a bridge that is
 *    none);
 *  - -EEXIST (MAC address, tap or tap name taken; the id exists with other settings: the message names the
 *    field);
 *  - -ENOSPC (no free slot: counts per bus), -EADDRINUSE (the pinned one is taken), -EOPNOTSUPP (that bus
 *    takes none; or what would have to wait for a reboot, with KVM_HOTPLUG_LIVE_ONLY or tap_fds), -ENOENT
 *    (no such bus or bridge);
 *  - -ENODEV (vhost required and missing), or the errno of opening or setting up the tap (-EPERM without
 *    CAP_NET_ADMIN). */
int kvm_hotplug_add_nic(struct kvm_hotplug *guest, const struct kvm_hotplug_nic *nic, size_t nic_size,
                        struct kvm_hotplug_device *ret_device, size_t device_size,
                        struct kvm_hotplug_error **reterr);

/** Flag of struct kvm_hotplug_disk: the guest cannot write; the image is opened read-only. */
#define KVM_HOTPLUG_DISK_READ_ONLY (1 << 5)

/** Flag of struct kvm_hotplug_disk: others may write to the image at the same time (share-rw); the guests
 *  must know. */
#define KVM_HOTPLUG_DISK_SHARE_RW (1 << 6)

/** Flag of struct kvm_hotplug_disk: target and lun are given, also when they are 0; bus names the SCSI
 *  bus. */
#define KVM_HOTPLUG_DISK_SCSI_ADDRESS (1 << 7)

/** Flag of struct kvm_hotplug_disk: if the disk is there already, the files that its image is made of now
 *  are recorded in place of those that were, and its rule for backing files in place of the one that it
 *  had; see kvm_runtime_accept_chain(). */
#define KVM_HOTPLUG_DISK_ACCEPT_CHAIN (1 << 8)

/** Format of an image. */
enum kvm_hotplug_format {
    KVM_HOTPLUG_FORMAT_RAW = 0, /**< The bytes of the file are the bytes of the disk. */
    /** QEMU's copy-on-write format, with its backing files; each is opened by the library. The format of a
     *  backing file must be recorded in the image above it. */
    KVM_HOTPLUG_FORMAT_QCOW2 = 1,
    /** Look at the content, also of backing files. Only for images that no guest has ever written as raw:
     *  a guest could make a raw image look like a qcow2 with a backing file of its choice. What it turns
     *  out to be is recorded, and not looked for again. A file with the signature of any other format,
     *  such as vmdk, vdi, vhdx, luks or iso9660, is refused, not taken for raw. */
    KVM_HOTPLUG_FORMAT_PROBE = 2,
};

/** Host page cache and flushes, with QEMU's names. */
enum kvm_hotplug_cache {
    /** Through the page cache; the guest sees a write cache and flushes it. */
    KVM_HOTPLUG_CACHE_WRITEBACK = 0,
    KVM_HOTPLUG_CACHE_NONE = 1, /**< O_DIRECT; the guest sees a write cache and flushes it. */
    KVM_HOTPLUG_CACHE_WRITETHROUGH = 2, /**< Through the page cache; every write is flushed. */
    KVM_HOTPLUG_CACHE_DIRECTSYNC = 3, /**< O_DIRECT; every write is flushed. */
    /** Through the page cache; flushes are ignored: data is lost if the host dies. */
    KVM_HOTPLUG_CACHE_UNSAFE = 4,
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

/** A disk to add. Zero everywhere but in path is the default: a writable raw image as virtio-blk-pci.
 *  Strings are borrowed for the call. */
struct kvm_hotplug_disk {
    const char *path; /**< Absolute path of an image file or block device. Required. */
    /** Id of device and block node: a letter, then up to 30 letters, digits, '-', '.' or '_'. NULL for
     *  "disk-pci-<slot>", or "disk-pci-<bus>" on a root port; for a SCSI disk,
     *  "disk-<controller>-<target>", as in "disk-scsi-pci-7-0". */
    const char *id;
    /** Serial number the guest sees, printable ASCII; NULL for none. 1 to 20 characters; 1 to 36 with
     *  "scsi-hd", which has an id of the first 20 besides. Not with "scsi-block". */
    const char *serial;
    /** QEMU device model; NULL for "virtio-blk-pci". "scsi-hd" is a disk, and "scsi-block" a SCSI device
     *  of the host handed through (a block device that takes SG_IO; format raw; without serial, block
     *  sizes, wwn, cache WRITETHROUGH and DIRECTSYNC), on the bus of a SCSI controller. Any other that is
     *  not of the virtio-blk-pci family is recorded for the next boot. */
    const char *model;
    /** Bus to sit on; NULL for the first free slot. With it, slot counts.
     *
     *  For a SCSI disk, the bus of a controller: for one with the id c it is called "c.0". With it and
     *  KVM_HOTPLUG_DISK_SCSI_ADDRESS, target and lun count; without that flag, it is unit 0 of the first
     *  free target there. NULL for the first virtio-scsi controller with a free target; if the guest has
     *  no such controller, one is plugged in with the disk, in the first free slot. */
    const char *bus;
    uint32_t format; /**< One of enum kvm_hotplug_format. */
    uint32_t cache; /**< One of enum kvm_hotplug_cache. */
    uint32_t aio; /**< One of enum kvm_hotplug_aio. */
    uint32_t discard; /**< One of enum kvm_hotplug_discard. */
    uint32_t detect_zeroes; /**< One of enum kvm_hotplug_detect_zeroes. */
    /** Smallest unit of I/O in bytes, a power of two from 512 to 2097152; 0 means 512. */
    uint32_t logical_block_size;
    /** Unit the guest should align to in bytes, likewise, not below the logical one; 0 means the same. */
    uint32_t physical_block_size;
    /** Virtqueues, 1 to 1024; 0 for QEMU's default. Not for SCSI disks, whose controller has the queues. */
    uint32_t queues;
    /** Slot on bus, 0 to 31; 0 means any that is free there, where the bus has others. Not for SCSI disks. */
    uint32_t slot;
    /** Place in the firmware's boot order, 0 to 2147483647, with KVM_HOTPLUG_BOOT_INDEX. */
    uint32_t boot_index;
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
    /** KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_BOOT_INDEX, KVM_HOTPLUG_DISK_READ_ONLY,
     *  KVM_HOTPLUG_DISK_SHARE_RW, KVM_HOTPLUG_DISK_SCSI_ADDRESS, KVM_HOTPLUG_NO_WAIT,
     *  KVM_HOTPLUG_DISK_ACCEPT_CHAIN. */
    uint32_t flags;
    uint64_t wwn; /**< World wide name the guest sees, for "scsi-hd"; 0 for none. */
    /** SCSI target on bus, 0 to 255 (QEMU's scsi-id), with KVM_HOTPLUG_DISK_SCSI_ADDRESS. */
    uint32_t target;
    uint32_t lun; /**< Unit of the target, 0 to 16383, with KVM_HOTPLUG_DISK_SCSI_ADDRESS. */
    /** With a backing that names files or directories: their absolute paths, backing_count of them. */
    const char *const *backing_paths;
    uint32_t backing; /**< Where the image's backing files may be: one of enum kvm_hotplug_backing. */
    uint32_t backing_count; /**< Number of strings in backing_paths, at most 64. */
};

/** Plugs a disk into the guest and records it: the image and its backing files are opened with the
 *  caller's rights, in the mode QEMU will ask for; QEMU gets the descriptors, a block node and a device;
 *  the runtime file is replaced. All of it or nothing. QEMU itself opens no file, so it works when QEMU is
 *  in a chroot, runs as another user or under seccomp.
 *
 *  The caller chooses the image, and, with enum kvm_hotplug_backing, which backing files it may have; the
 *  names in an image choose nothing. Each file is looked at before it is opened, and all of them are
 *  recorded: later calls open these files for this disk, and refuse it when its image names others.
 *  External data files and encryption are refused.
 *
 *  A SCSI disk needs a controller: if the guest has none, a virtio-scsi-pci is plugged in with it, is
 *  recorded as a device of its own ("scsi-pci-<slot>"), and stays when the disk goes. If the disk cannot
 *  be added, the controller is taken out again.
 *
 *  QEMU locks images against use by another QEMU; in a chroot without /dev/null it does not (seen on QEMU
 *  7.2).
 *
 *  The call may be repeated: with an id that exists and the same settings it succeeds and does nothing, if
 *  its image is still made of the files that were recorded.
 *  Blocks: on opening the image as well.
 *  Returns KVM_HOTPLUG_ANSWER_DONE (in the guest), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded; the device's
 *  reason says why), KVM_HOTPLUG_ANSWER_PENDING (with KVM_HOTPLUG_NO_WAIT), or fails like any change of a
 *  guest, and with
 *  - -EINVAL (contradicting fields, a setting that the model does not have; the path is a directory or the
 *    like; a backing file's format is not recorded; scsi-block over what takes no SCSI commands);
 *  - -EPERM or -ELOOP (kind IMAGE_REFUSED: the image or a backing file is not one to open, or not what was
 *    recorded: the message names it);
 *  - -ENOENT (no such image, backing file or bus), -EACCES, -EROFS or another errno of open;
 *  - -EBADMSG (declared as qcow2 and is none, or marked corrupt), -EMSGSIZE (over 16 layers), -EOPNOTSUPP
 *    (encrypted or external data; a format that is neither raw nor qcow2; the pinned bus takes no devices;
 *    KVM_HOTPLUG_LIVE_ONLY);
 *  - -EEXIST (image, serial or wwn used in this guest; the image is below another disk's, or another
 *    disk's is below it; the id exists with other settings: the message names the field), -EBUSY (kind
 *    IMAGE_LOCKED: the image is in use by another QEMU);
 *  - -ENOSPC (no free slot or SCSI target: counts per bus), -EADDRINUSE (the pinned one is taken). */
int kvm_hotplug_add_disk(struct kvm_hotplug *guest, const struct kvm_hotplug_disk *disk, size_t disk_size,
                         struct kvm_hotplug_device *ret_device, size_t device_size,
                         struct kvm_hotplug_error **reterr);

/** Where the backing files of an image may be.
 *
 *  The caller chooses the image itself by its path. A qcow2 image names its backing file in its header.
 *  Everybody who can write to the image can change that name, and a guest that has taken QEMU over can.
 *  The library opens no file for its name alone. So the files of an image (path, format, and which file it
 *  is) are recorded when the disk is added, and no others are opened for it later. Which may be recorded
 *  is said here, for all disks of a record (kvm_runtime_set_backing()) or for one (struct
 *  kvm_hotplug_disk); what is said for a disk counts instead of what is said for the record.
 *
 *  Links are followed before it is looked whether a file is beneath a directory. Whatever is said here,
 *  nothing is opened that is neither a regular file nor a block device, that the kernel makes up (procfs,
 *  sysfs and the like), or that only a magic link of /proc leads to, such as the descriptors of a process.
 *  It holds for the image itself as well. */
enum kvm_hotplug_backing {
    /** For a disk, what its record says. For a record, KVM_HOTPLUG_BACKING_OWN_DIRECTORY. */
    KVM_HOTPLUG_BACKING_DEFAULT = 0,
    /** Regular files beneath the directory that the image lies in, its links followed. An image that is a
     *  block device, or lies in the root directory, has no such directory. Nothing is asked of the files
     *  that are recorded already. */
    KVM_HOTPLUG_BACKING_OWN_DIRECTORY = 1,
    KVM_HOTPLUG_BACKING_FORBIDDEN = 2, /**< Nowhere: an image that has a backing file is refused. */
    /** Exactly the files that backing_paths names, from the image down; at most 64. Block devices are
     *  fine. */
    KVM_HOTPLUG_BACKING_FILES = 3,
    /** Beneath one of the directories that backing_paths names; at most 64. */
    KVM_HOTPLUG_BACKING_DIRECTORIES = 4,
};

/** Says where the backing files of all disks of a record may be, but for those that have a rule of their
 *  own. It stands in the record, and counts whenever an image is opened from then on: for
 *  kvm_hotplug_add_disk(), kvm_runtime_boot() and all others, also for disks that are recorded already.
 *  Nothing is opened now.
 *  `backing`: one of enum kvm_hotplug_backing.
 *  `backing_paths`, `backing_count`: the absolute paths of the files or directories, if it names any; else
 *  NULL and 0. Borrowed for the call.
 *  Fails like any change of a record, and with -EINVAL (paths that are not absolute, none or too many). */
int kvm_runtime_set_backing(struct kvm_runtime *runtime, uint32_t backing, const char *const *backing_paths,
                            uint32_t backing_count, struct kvm_hotplug_error **reterr);

/** Records the files that a disk's image is made of now, in place of those that were recorded before:
 *  after its chain was changed on purpose, by `qemu-img rebase` for instance, or its image was replaced.
 *  Look at the chain before (`qemu-img info --backing-chain`): what is accepted is opened from then on. It
 *  has to be where the rule for the disk allows it.
 *
 *  While a guest is open with the record, kvm_hotplug_add_disk() with KVM_HOTPLUG_DISK_ACCEPT_CHAIN does
 *  the same.
 *  `id`: the disk.
 *  `backing`: the rule that the disk has from then on, one of enum kvm_hotplug_backing;
 *  KVM_HOTPLUG_BACKING_DEFAULT leaves it the rule that it has.
 *  `backing_paths`, `backing_count`: as for kvm_runtime_set_backing().
 *  Blocks: on opening the image as well.
 *  Fails like any change of a record, like kvm_hotplug_add_disk() for images, and with -EINVAL (not a
 *  disk), -ENOENT (no such disk, image or backing file), -EPERM or -ELOOP (kind IMAGE_REFUSED: the rule
 *  does not allow a file). */
int kvm_runtime_accept_chain(struct kvm_runtime *runtime, const char *id, uint32_t backing,
                             const char *const *backing_paths, uint32_t backing_count,
                             struct kvm_hotplug_error **reterr);

/** A SCSI controller to add. Zero everywhere is the default: a virtio-scsi-pci in the first free slot.
 *  Strings are borrowed for the call. */
struct kvm_hotplug_controller {
    /** Id: a letter, then up to 30 letters, digits, '-', '.' or '_'. NULL for "scsi-pci-<slot>", or
     *  "scsi-pci-<bus>" on a root port. The bus for its disks is called "<id>.0". */
    const char *id;
    /** QEMU device model; NULL for "virtio-scsi-pci". One that is not of that family is recorded for the
     *  next boot. */
    const char *model;
    const char *bus; /**< PCI bus to sit on; NULL for the first free slot. With it, slot counts. */
    uint32_t queues; /**< Request queues, 1 to 1021; 0 for QEMU's default. */
    uint32_t slot; /**< Slot on bus, 0 to 31; 0 means any that is free there, where the bus has others. */
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
    uint32_t flags; /**< KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT. */
};

/** Plugs a SCSI controller into the guest and records it. Seldom needed: kvm_hotplug_add_disk() brings one
 *  along for the first SCSI disk. It is for a controller with settings of its own, or a second one.
 *
 *  The call may be repeated: with an id that exists and the same settings it succeeds and does nothing.
 *  Returns KVM_HOTPLUG_ANSWER_DONE (in the guest), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded; the device's
 *  reason says why), KVM_HOTPLUG_ANSWER_PENDING (with KVM_HOTPLUG_NO_WAIT), or fails like any change of a
 *  guest, and with -ENOENT (no such bus), -EOPNOTSUPP (the pinned bus takes no devices;
 *  KVM_HOTPLUG_LIVE_ONLY), -EEXIST (the id exists with other settings: the message names the field),
 *  -ENOSPC (no free slot: counts per bus), -EADDRINUSE (the pinned one is taken). */
int kvm_hotplug_add_controller(struct kvm_hotplug *guest, const struct kvm_hotplug_controller *controller,
                               size_t controller_size, struct kvm_hotplug_device *ret_device,
                               size_t device_size, struct kvm_hotplug_error **reterr);

/** Most devices in one call. */
#define KVM_HOTPLUG_BATCH_MAX 256

/** Devices to add in one call. Zero everywhere is the default. Arrays, and the strings in them, are
 *  borrowed for the call. */
struct kvm_hotplug_add_batch {
    const struct kvm_hotplug_nic *nics; /**< NICs, as an array of structs. Their timeout_ms do not count. */
    size_t nic_size; /**< sizeof nics[0]. */
    size_t nic_count; /**< Number of nics. */
    /** Disks, as an array of structs. Their timeout_ms do not count. */
    const struct kvm_hotplug_disk *disks;
    size_t disk_size; /**< sizeof disks[0]. */
    size_t disk_count; /**< Number of disks. */
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
    uint32_t flags; /**< KVM_HOTPLUG_NO_WAIT, which counts for all devices if any of them has it; or 0. */
};

/** Plugs several NICs and disks into the guest as one operation: one journal entry, one write to the
 *  monitor, one wait, one replacement of the runtime file; NICs with several queues take one more wait,
 *  once for all of them. All of it or nothing: if one device cannot be added, those that could are taken
 *  out again. The guest has seen them by then, and is asked to let go of them; what it does not let go of
 *  by the deadline is named by kvm_hotplug_error_residue(), and pending.
 *
 *  The devices get their slots in the order in which they stand: all NICs, then all disks. As in
 *  kvm_hotplug_add_nic() and kvm_hotplug_add_disk(), one that is there already with the same settings is a
 *  success.
 *  `batch`, `batch_size`: nics and disks, KVM_HOTPLUG_BATCH_MAX at most together, and sizeof *batch.
 *  `ret_devices`, `device_size`: an array with room for all devices, NICs first, and sizeof
 *  ret_devices[0]; or NULL and 0. Written on success only.
 *  Returns KVM_HOTPLUG_ANSWER_DONE (all in the guest), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (some are recorded
 *  for the next boot, each device's state says which), KVM_HOTPLUG_ANSWER_PENDING (with
 *  KVM_HOTPLUG_NO_WAIT; a device that is recorded for the next boot then only has an event if the others
 *  fail), or fails like kvm_hotplug_add_nic() and kvm_hotplug_add_disk(), and says in the message which
 *  device it is about; -E2BIG also for more devices than allowed.
 *
 *  An agent that dies half-way leaves a journal from which the next one completes all of them or none. */
int kvm_hotplug_add_many(struct kvm_hotplug *guest, const struct kvm_hotplug_add_batch *batch,
                         size_t batch_size, struct kvm_hotplug_device *ret_devices, size_t device_size,
                         struct kvm_hotplug_error **reterr);

/* ---- Deleting ------------------------------------------------------------------------------------------ */

/** Timeout of removals that get 0, in milliseconds. Guests take 30 to 190 ms when they are idle, and over
 *  15 s with native PCIe hotplug (QEMU 5.2 on q35). */
#define KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS 20000

/** Flag of removals: also a disk whose data is in an image that the record does not have, such as a
 *  snapshot that somebody else made. That image stays as it is, and nothing but the caller knows of it
 *  then. */
#define KVM_HOTPLUG_DEL_LEAVE_OVERLAY (1 << 9)

/** A removal. */
struct kvm_hotplug_del_options {
    const char *id; /**< Id of the device. Required; borrowed for the call. */
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 20000. */
    uint32_t flags; /**< KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_DEL_LEAVE_OVERLAY. */
};

/** Takes a device out of the guest and its record: asks the guest, waits until QEMU says that this very
 *  device is gone, takes down what stood behind it, and replaces the runtime file. Nothing behind a device
 *  is touched before that.
 *
 *  The call may be repeated: a device that is gone is answered KVM_HOTPLUG_ANSWER_ABSENT; one whose
 *  removal is pending is waited for again, and the guest is asked again only after 10 s. Until the guest
 *  lets go, the device keeps its slot and id, and a later kvm_hotplug_process(), also in another process,
 *  finishes the removal.
 *
 *  A SCSI disk leaves without the guest's consent: QEMU takes it from its controller, whatever the guest
 *  is doing (paused and asleep included), and tells the guest afterwards. Unmount it first; the call takes
 *  some 60 ms (QEMU 7.2). A SCSI controller goes only when there is no disk on it.
 *
 *  A disk that somebody else has given another image in the guest, by a snapshot or the end of a mirror,
 *  is not removed unless KVM_HOTPLUG_DEL_LEAVE_OVERLAY says so: its data is in that image.
 *  `ret_device`, `device_size`: where to put the device, with the reason if it is pending, and its sizeof;
 *  or NULL and 0. Not written for KVM_HOTPLUG_ANSWER_ABSENT and errors.
 *  Blocks: up to the timeout, for the guest.
 *  Returns KVM_HOTPLUG_ANSWER_DONE (gone: its storage or tap may be torn down), KVM_HOTPLUG_ANSWER_PENDING
 *  (the guest has not let go: at the deadline, or at once if it is paused, asleep, stopped or not started;
 *  the device's reason says which), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded: it goes with the next
 *  boot), KVM_HOTPLUG_ANSWER_ABSENT, or fails like any change of a guest, and with
 *  - -EBUSY (kind CONFLICT: there are disks on the SCSI controller; or the disk's data is in an image that
 *    the record does not have);
 *  - -EPERM (kind GUEST_REFUSED: the guest said no; the device stays), -EBUSY (kind GUEST_BUSY: busy with
 *    an earlier plug or unplug until the deadline; the device stays);
 *  - -EACCES (kind FOREIGN: in the guest, not in the record), -EOPNOTSUPP (it shares its slot with other
 *    functions; the bus takes no removals; KVM_HOTPLUG_LIVE_ONLY).
 *
 *  After -ETIMEDOUT (QEMU did not answer) and other failures on the way kvm_hotplug_error_residue() says
 *  whether the guest may have been asked. */
int kvm_hotplug_del(struct kvm_hotplug *guest, const struct kvm_hotplug_del_options *options,
                    size_t options_size, struct kvm_hotplug_device *ret_device, size_t device_size,
                    struct kvm_hotplug_error **reterr);

/** Takes a NIC out of the guest: kvm_hotplug_del() in short, for NICs only.
 *  `timeout_ms`: for all of it; 0 means 20000.
 *  Answers and fails like kvm_hotplug_del(); -EINVAL also if the device is no NIC.
 *  kvm_hotplug_get_device() says why a removal is pending. */
int kvm_hotplug_del_nic(struct kvm_hotplug *guest, const char *id, uint32_t timeout_ms,
                        struct kvm_hotplug_error **reterr);

/** Takes a disk out of the guest: kvm_hotplug_del() in short, for disks only.
 *  `timeout_ms`: for all of it; 0 means 20000.
 *  Answers and fails like kvm_hotplug_del(); -EINVAL also if the device is no disk.
 *  kvm_hotplug_get_device() says why a removal is pending. */
int kvm_hotplug_del_disk(struct kvm_hotplug *guest, const char *id, uint32_t timeout_ms,
                         struct kvm_hotplug_error **reterr);

/** Takes a SCSI controller out of the guest: kvm_hotplug_del() in short, for controllers only.
 *  `timeout_ms`: for all of it; 0 means 20000.
 *  Answers and fails like kvm_hotplug_del(); -EINVAL also if the device is no controller, and -EBUSY (kind
 *  CONFLICT) while there are disks on it, recorded or only in the guest. kvm_hotplug_get_device() says why
 *  a removal is pending. */
int kvm_hotplug_del_controller(struct kvm_hotplug *guest, const char *id, uint32_t timeout_ms,
                               struct kvm_hotplug_error **reterr);

/** Devices to take out in one call. Zero everywhere is the default. The array, and the strings in it, are
 *  borrowed for the call. */
struct kvm_hotplug_del_batch {
    const char *const *ids; /**< Ids of NICs, disks and controllers. */
    size_t id_count; /**< Number of ids. */
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 20000. */
    uint32_t flags; /**< KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_DEL_LEAVE_OVERLAY, or 0. */
};

/** Takes several devices out of the guest and its record: the guest is asked for all of them in one write,
 *  they are waited for together, and what stood behind those that are gone is taken down in one go. Each
 *  device has an answer of its own, and one that stays keeps none of the others.
 *  `batch`, `batch_size`: ids and flags, KVM_HOTPLUG_BATCH_MAX ids at most, and sizeof *batch.
 *  `ret_devices`, `device_size`: an array with room for all devices, in the order of ids, and sizeof
 *  ret_devices[0]; or NULL and 0. One that is absent, or whose answer is an error, is all zeros.
 *  `ret_answers`: an array of integers, in the order of ids, with what kvm_hotplug_del() would have
 *  returned for each; or NULL. Written whenever the guest could be asked, also if the call then returns an
 *  error.
 *  `reterr`: where to put the error, or NULL. It is that of the first device in the list that has one.
 *  Returns KVM_HOTPLUG_ANSWER_DONE (all are gone, or were not there), KVM_HOTPLUG_ANSWER_PENDING (at least
 *  one is pending), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (at least one goes with the next boot, none is
 *  pending), or the first error as from kvm_hotplug_del(); -EINVAL also for an id that is named twice,
 *  -E2BIG also for more ids than allowed. */
int kvm_hotplug_del_many(struct kvm_hotplug *guest, const struct kvm_hotplug_del_batch *batch,
                         size_t batch_size, struct kvm_hotplug_device *ret_devices, size_t device_size,
                         int *ret_answers, struct kvm_hotplug_error **reterr);

/* ---- Changing ------------------------------------------------------------------------------------------ */

/** Pulls the cable of a NIC, or puts it back: the guest sees its carrier go and come. Recorded, so that it
 *  outlives the guest: QEMU has no device property for it (5.2 to 11.1), so whoever starts the guest again
 *  starts it paused (-S) and opens it before it runs; kvm_hotplug_open() sets the recorded links down.
 *
 *  The call may be repeated; it is then sent again, since others may have set the link.
 *  `up`: 1 for up, 0 for down.
 *  Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded; the NIC itself comes with
 *  the next boot), or fails like any change of a guest, and with -EINVAL (it is no NIC), -ENOENT (no such
 *  NIC; or recorded, but the guest does not have it), -EACCES (kind FOREIGN: in the guest, not in the
 *  record), -EBUSY (kind STATE: it is being removed).
 *
 *  After a failure that kvm_hotplug_error_undo() calls incomplete, the next call sets the link back. */
int kvm_hotplug_set_link(struct kvm_hotplug *guest, const char *id, int up, uint32_t timeout_ms,
                         struct kvm_hotplug_error **reterr);

/** Moves a NIC to another bridge of the host. Its tap changes places; the guest keeps its device, MTU
 *  included, and notices nothing. Recorded.
 *
 *  The tap is looked for by its recorded name in the network namespace of the calling thread. One that the
 *  caller opened (tap_fds) is moved as well if it is there. The tap is on no bridge for the moment between
 *  the two, and gets the MTU of the new one, unless the NIC was added with an mtu: a bridge takes that of
 *  its smallest port.
 *
 *  The call may be repeated: a tap that is on that bridge already is left there.
 *  `bridge`: name of the bridge to move to, or NULL to take it out of any.
 *  Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_AFTER_REBOOT (recorded; the NIC itself comes with
 *  the next boot), or fails like any change of a guest, and with -EINVAL (it is no NIC; bridge is no Linux
 *  bridge; not a name of an interface), -ENOENT (no such NIC or bridge; the tap is not in this network
 *  namespace; the guest does not have the device), -EACCES (kind FOREIGN: the device is not in the record,
 *  or the interface of that name is no tap), -EBUSY (kind STATE: it is being removed; kind HOST: the tap
 *  belongs to something that is no Linux bridge), or the errno of leaving or joining a bridge (-EPERM
 *  without CAP_NET_ADMIN). */
int kvm_hotplug_set_bridge(struct kvm_hotplug *guest, const char *id, const char *bridge, uint32_t timeout_ms,
                           struct kvm_hotplug_error **reterr);

/** Flag of kvm_hotplug_resize_disk(): the disk may get smaller. What lies behind its new end is lost. */
#define KVM_HOTPLUG_RESIZE_SHRINK (1 << 10)

/** Gives a disk another size while the guest uses it; the guest sees the new size at once, on a SCSI disk
 *  when it looks again (Linux: echo 1 >/sys/block/sda/device/rescan). A raw or qcow2 image is resized by
 *  QEMU; a block device has to be resized first, and is then looked at again.
 *
 *  The size is the image's own and is not recorded. The call may be repeated.
 *  `bytes`: the new size, a multiple of 512; or 0 for what the image or block device has now, after it was
 *  grown from outside.
 *  `ret_bytes`: where to put the size it has now, or NULL.
 *  Blocks: on opening the image as well; QEMU stands still while it resizes.
 *  Returns 0, or fails like any change of a guest, and with -EINVAL (no multiple of 512; it would get
 *  smaller without KVM_HOTPLUG_RESIZE_SHRINK; a block device has another size; it is no disk), -EPERM or
 *  -ELOOP (kind IMAGE_REFUSED: its image is made of other files than recorded), -ENOENT (no such disk or
 *  image; or recorded, but the guest does not have it), -EACCES (kind FOREIGN: in the guest, not in the
 *  record), -EBUSY (kind STATE: it is being removed), -EOPNOTSUPP (it is read-only, or comes with the next
 *  boot), -EREMOTEIO (also: no space, or qcow2 with internal snapshots), or the errno of opening the
 *  image.
 *
 *  After -ETIMEDOUT and -ECANCELED QEMU may or may not have done it, which a repeated call finds out;
 *  kvm_hotplug_error_residue() names the size then. */
int kvm_hotplug_resize_disk(struct kvm_hotplug *guest, const char *id, uint64_t bytes, uint32_t flags,
                            uint32_t timeout_ms, uint64_t *ret_bytes, struct kvm_hotplug_error **reterr);

/* ---- Looking ------------------------------------------------------------------------------------------- */

/** Lists the devices of a guest: those of the record, and those that are only on their way out.
 *  Blocks: while another call asks QEMU, but not while it connects; nothing is asked of QEMU. */
int kvm_hotplug_list(const struct kvm_hotplug *guest, struct kvm_hotplug_device *ret_devices,
                     size_t device_size, size_t capacity, size_t *ret_count,
                     struct kvm_hotplug_error **reterr);

/** Looks up one device by its id.
 *  `ret_device`, `device_size`: where to put the device, and its sizeof; or NULL and 0. Written only when
 *  it exists.
 *  Blocks: as kvm_hotplug_list().
 *  Returns the device's state, one of enum kvm_hotplug_state (KVM_HOTPLUG_STATE_ABSENT if there is no such
 *  device). */
int kvm_hotplug_get_device(const struct kvm_hotplug *guest, const char *id,
                           struct kvm_hotplug_device *ret_device, size_t device_size,
                           struct kvm_hotplug_error **reterr);

/** Lists the devices of a record. Where the journal beside it has an operation on a device that was begun,
 *  and whose end is not written down, the device's reason says so; see kvm_runtime_unfinished().
 *  Blocks: no. */
int kvm_runtime_list(const struct kvm_runtime *runtime, struct kvm_hotplug_device *ret_devices,
                     size_t device_size, size_t capacity, size_t *ret_count,
                     struct kvm_hotplug_error **reterr);

/** Lists the devices that the journal beside a record is about: an operation on each was begun, and its
 *  end is not written down. Their reasons say which operation. One that was being added is not in the
 *  record yet. The next kvm_hotplug_open() of the guest settles them, as kvm_hotplug_settle() does;
 *  kvm_runtime_settle() does it for a guest that is known to be off. Whoever copies the runtime file, or
 *  reads it by other means, to migrate the guest for instance, sees to it before that nothing but removals
 *  is unfinished. A record from kvm_runtime_load_readonly() will do, so this works without the lock; while
 *  an agent is at work, what it does at the moment is in the list.
 *  Blocks: no. */
int kvm_runtime_unfinished(const struct kvm_runtime *runtime, struct kvm_hotplug_device *ret_devices,
                           size_t device_size, size_t capacity, size_t *ret_count,
                           struct kvm_hotplug_error **reterr);

/** The path of a disk's image or block device, or the URI of one that Ganeti had QEMU open by itself. What
 *  the guest has is in another file if somebody else made a snapshot; kvm_hotplug_verify() tells.
 *  `ret_path`: where to put the path, as it was given; freed with kvm_hotplug_text_free().
 *  Blocks: as kvm_hotplug_list().
 *  Fails with -EINVAL (it is no disk), -ENOENT (no such device). */
int kvm_hotplug_get_path(const struct kvm_hotplug *guest, const char *id, char **ret_path,
                         struct kvm_hotplug_error **reterr);

/** The path of the image of a disk in a record, as kvm_hotplug_get_path() says it for a guest.
 *  `ret_path`: where to put the path, as it was given; freed with kvm_hotplug_text_free().
 *  Blocks: no.
 *  Fails with -EINVAL (it is no disk), -ENOENT (no such device). */
int kvm_runtime_get_path(const struct kvm_runtime *runtime, const char *id, char **ret_path,
                         struct kvm_hotplug_error **reterr);

/** Says everything that is known of the devices, as JSON text: what struct kvm_hotplug_device has, and
 *  what only the guest and the host know.
 *
 *  A device is an object with "id", "type" ("nic", "disk" or "scsi"), "state" ("live", "pending" or
 *  "after-reboot"), "reason", "generation", "model", "bus", "slot" (on a PCI bus), "channel", "target" and
 *  "lun" (on a SCSI bus), "in_guest". A SCSI controller has "queues". A NIC has "mac", "queues", "vhost",
 *  "mtu", "link" ("up" or "down", as recorded), "bridge" (as recorded), "boot_index", "tap_given" (whether
 *  the caller opened the tap), "tap_owner" and "tap": "name", "here" (in this network namespace), its
 *  "mtu" and "bridge" of the moment. A disk has "path", "format", "read_only", "share_rw", "serial",
 *  "cache", "aio", "discard", "detect_zeroes", "boot_index", "logical_block_size", "physical_block_size",
 *  "queues", "node_name" (null if QEMU has no such node), "size" (bytes, as the guest sees it),
 *  "allocated" (bytes of the image in use) and "fdsets". What is not known or left to QEMU is null.
 *  `id`: the device's id; or NULL for all of them, in an array.
 *  `ret_json`: where to put the text, UTF-8; freed with kvm_hotplug_text_free(). Written only for
 *  KVM_HOTPLUG_ANSWER_DONE.
 *  Blocks: for one question to QEMU if there are disks.
 *  Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_ABSENT (no such device), or fails like any call to
 *  QEMU. */
int kvm_hotplug_describe(struct kvm_hotplug *guest, const char *id, uint32_t timeout_ms, char **ret_json,
                         struct kvm_hotplug_error **reterr);

/** What a slot is used for. */
enum kvm_hotplug_slot_state {
    KVM_HOTPLUG_SLOT_FREE = 0, /**< Can be handed out. */
    KVM_HOTPLUG_SLOT_RESERVED = 1, /**< Left to QEMU, unless it is pinned. */
    KVM_HOTPLUG_SLOT_TAKEN = 2, /**< Somebody is there. */
    KVM_HOTPLUG_SLOT_QUARANTINED = 3, /**< A removal is pending there. */
    KVM_HOTPLUG_SLOT_NOT_HOTPLUGGABLE = 4, /**< Empty, but takes no devices while the guest runs. */
    KVM_HOTPLUG_SLOT_UNKNOWN = 5, /**< The guest has not said yet. */
    KVM_HOTPLUG_SLOT_MISSING = 6, /**< Left to a device of the record that the guest does not have. */
};

/** One slot of one bus. Strings are UTF-8 and end in NUL. */
struct kvm_hotplug_slot {
    char bus[64]; /**< Name of the bus. */
    char occupant[64]; /**< Id of the device there, or a description of one without an id; empty for none. */
    uint32_t slot; /**< Slot on the bus, 0 to 31; counts only with KVM_HOTPLUG_ADDRESS_PCI. */
    uint32_t state; /**< One of enum kvm_hotplug_slot_state. */
    /** One of enum kvm_hotplug_address_type: which of slot or channel, target and lun counts. */
    uint32_t address_type;
    uint32_t channel; /**< Channel of the SCSI bus: 0. */
    uint32_t target; /**< Target on the SCSI bus, 0 to 255. */
    uint32_t lun; /**< Unit of the target, 0 to 16383. */
};

/** Shows every slot of every PCI bus, as the guest has it now: bus by bus, in the order in which free
 *  slots are handed out. Behind them come the SCSI buses: of their 256 targets those in use, and the free
 *  one that is handed out next.
 *  `timeout_ms`: for asking the guest; 0 means 5000.
 *  Fails like any call to QEMU. */
int kvm_hotplug_slot_map(struct kvm_hotplug *guest, uint32_t timeout_ms, struct kvm_hotplug_slot *ret_slots,
                         size_t slot_size, size_t capacity, size_t *ret_count,
                         struct kvm_hotplug_error **reterr);

/** Says what kvm_hotplug_add_nic() would do with the same request, without doing it: the address, the ids,
 *  the commands, what would be opened on the host, and why it would wait for a reboot. Nothing is opened
 *  but, for looking whether they work, vhost descriptors; nothing is recorded. A generated MAC address is
 *  another one each time.
 *  `ret_device`, `device_size`: where to put the device as it would be, and its sizeof; or NULL and 0.
 *  `ret_plan`: where to put the plan, or NULL: a JSON object with "answer" ("done", "after-reboot"),
 *  "reason", "id", "bus", "slot" or "channel", "target" and "lun" (those that do not apply are null),
 *  "commands" (in order, each with "execute" and "arguments") and "host" (sentences). Freed with
 *  kvm_hotplug_text_free().
 *  Returns what the call would answer, or fails as it would before it sends anything. */
int kvm_hotplug_plan_nic(struct kvm_hotplug *guest, const struct kvm_hotplug_nic *nic, size_t nic_size,
                         struct kvm_hotplug_device *ret_device, size_t device_size, char **ret_plan,
                         struct kvm_hotplug_error **reterr);

/** Says what kvm_hotplug_add_disk() would do with the same request, without doing it. The image and its
 *  backing files are opened and closed again, to see whether they can be and what they are.
 *  `ret_device`, `device_size`, `ret_plan`: as for kvm_hotplug_plan_nic().
 *  Blocks: on opening the image as well.
 *  Returns what the call would answer, or fails as it would before it sends anything. */
int kvm_hotplug_plan_disk(struct kvm_hotplug *guest, const struct kvm_hotplug_disk *disk, size_t disk_size,
                          struct kvm_hotplug_device *ret_device, size_t device_size, char **ret_plan,
                          struct kvm_hotplug_error **reterr);

/** Says what kvm_hotplug_add_controller() would do with the same request, without doing it.
 *  `ret_device`, `device_size`, `ret_plan`: as for kvm_hotplug_plan_nic().
 *  Returns what the call would answer, or fails as it would before it sends anything. */
int kvm_hotplug_plan_controller(struct kvm_hotplug *guest, const struct kvm_hotplug_controller *controller,
                                size_t controller_size, struct kvm_hotplug_device *ret_device,
                                size_t device_size, char **ret_plan, struct kvm_hotplug_error **reterr);

/** Says what kvm_hotplug_del() would do with the same request, if the guest lets go, without doing it.
 *  `ret_device`, `device_size`, `ret_plan`: as for kvm_hotplug_plan_nic(); no device for
 *  KVM_HOTPLUG_ANSWER_ABSENT.
 *  Returns what the call would answer, or fails as it would before it sends anything. */
int kvm_hotplug_plan_del(struct kvm_hotplug *guest, const struct kvm_hotplug_del_options *options,
                         size_t options_size, struct kvm_hotplug_device *ret_device, size_t device_size,
                         char **ret_plan, struct kvm_hotplug_error **reterr);

/** Frees a text that this library gave out as char * to be freed; NULL is fine. */
void kvm_hotplug_text_free(char *text);

/** What record and guest disagree about. Callers treat values they do not know as "something": newer
 *  versions may add some. */
enum kvm_hotplug_difference_kind {
    /** Recorded, but not in the guest. kvm_hotplug_repair() takes it out of the record. */
    KVM_HOTPLUG_DIFFERENCE_MISSING = 1,
    /** In the guest, but not recorded and not in the recorded command: somebody else's, which is left
     *  alone. Also PCI and SCSI devices without an id; bridges and ports are taken for the machine's. */
    KVM_HOTPLUG_DIFFERENCE_FOREIGN = 2,
    /** Sits elsewhere than recorded. kvm_hotplug_repair() records where it is. */
    KVM_HOTPLUG_DIFFERENCE_ADDRESS = 3,
    KVM_HOTPLUG_DIFFERENCE_MODEL = 4, /**< Is another device model. */
    KVM_HOTPLUG_DIFFERENCE_BACKEND = 5, /**< Has another netdev or block node behind it, or none. */
    KVM_HOTPLUG_DIFFERENCE_MAC = 6, /**< Has another MAC address. */
    KVM_HOTPLUG_DIFFERENCE_QUEUES = 7, /**< Has another number of queues or interrupt vectors. */
    KVM_HOTPLUG_DIFFERENCE_MTU = 8, /**< Announces another MTU. */
    KVM_HOTPLUG_DIFFERENCE_ROM = 9, /**< Loads another option ROM. */
    KVM_HOTPLUG_DIFFERENCE_SERIAL = 10, /**< Has another serial. */
    /** Is writable where the record says read-only, or the reverse. */
    KVM_HOTPLUG_DIFFERENCE_READ_ONLY = 11,
    KVM_HOTPLUG_DIFFERENCE_SIZE = 12, /**< The guest sees another size than the image has. */
    KVM_HOTPLUG_DIFFERENCE_SETTING = 13, /**< Another setting; the texts say which. */
    /** A block node of ours that belongs to no device. kvm_hotplug_repair() removes it. */
    KVM_HOTPLUG_DIFFERENCE_ORPHAN_NODE = 14,
    /** An fdset with our tag that belongs to no device. kvm_hotplug_repair() removes it. */
    KVM_HOTPLUG_DIFFERENCE_ORPHAN_FDSET = 15,
    /** The tap is on another bridge of the host than recorded, or on none. */
    KVM_HOTPLUG_DIFFERENCE_BRIDGE = 16,
    /** A root port that the boot command made is not there, or is elsewhere. */
    KVM_HOTPLUG_DIFFERENCE_PORT = 17,
    /** The files that its image is made of on this host are not those that were recorded, or not to be
     *  opened. */
    KVM_HOTPLUG_DIFFERENCE_CHAIN = 18,
    /** A netdev that no NIC has, and neither the record nor its command knows. id is that of the netdev.
     *  Not mended: it may be somebody else's, on its way. */
    KVM_HOTPLUG_DIFFERENCE_ORPHAN_NETDEV = 19,
};

/** One disagreement between record and guest. Strings are UTF-8, end in NUL, and are cut if they are
 *  longer. */
struct kvm_hotplug_difference {
    /** Id of the device or node, or of the device that an fdset was for; empty for a device without one. */
    char id[64];
    char recorded[128]; /**< What the record says. */
    char found[128]; /**< What the guest shows. */
    char text[384]; /**< All of it in one sentence. */
    uint32_t kind; /**< One of enum kvm_hotplug_difference_kind. */
    uint32_t repairable; /**< 1 if kvm_hotplug_repair() deals with it. */
};

/** Compares record and guest both ways: devices, addresses, models, what stands behind them, MAC, queues,
 *  MTU, option ROM, serial, size, read-only, a disk's format, cache, detect-zeroes and open files, the
 *  taps (deleted, on another bridge), and devices, netdevs, nodes and fdsets that the record does not
 *  know.
 *
 *  Whether vhost-net moves a NIC's packets is compared as far as it is certain. A QEMU without a
 *  descriptor of vhost-net has no NIC with vhost; that is seen where this process may look into QEMU. QEMU
 *  7.2 tells it of each NIC, once the guest's driver is at work. Other versions do not, or end when they
 *  are asked (11.1), and the kernel does not say which NIC a descriptor of vhost-net is for.
 *
 *  Not compared are a link, which QEMU does not tell, and throttles (block_set_io_throttle), which no
 *  record has.
 *
 *  Devices that wait for a reboot and those on their way out are no difference. Nothing is changed, except
 *  that unfinished operations are settled as by every call on a guest that was not opened with
 *  KVM_HOTPLUG_OPEN_LOOK_ONLY.
 *  Returns 0 (see ret_count for how many differences there are), or fails like any call to QEMU. */
int kvm_hotplug_verify(struct kvm_hotplug *guest, uint32_t timeout_ms,
                       struct kvm_hotplug_difference *ret_differences, size_t difference_size,
                       size_t capacity, size_t *ret_count, struct kvm_hotplug_error **reterr);

/** Mends the differences that can be mended without a decision: a device that the guest no longer has
 *  leaves the record, and what stood behind it is taken down; one that sits elsewhere is recorded where it
 *  is; block nodes and fdsets with our tag that belong to no device are removed. Nothing foreign is
 *  touched. Events tell what was done.
 *  Fails like kvm_hotplug_verify(), and with the errno of writing journal or runtime file. What was mended
 *  before a failure stays mended. */
int kvm_hotplug_repair(struct kvm_hotplug *guest, uint32_t timeout_ms,
                       struct kvm_hotplug_difference *ret_differences, size_t difference_size,
                       size_t capacity, size_t *ret_count, struct kvm_hotplug_error **reterr);

/* ---- Waiting and events -------------------------------------------------------------------------------- */

/** Ends all calls that other threads are in on this handle, as soon as it can, also those that wait for
 *  another call; they fail with -ECANCELED, and the error of each says what became of its device. Later
 *  calls are not ended, nor adds that were not waited for. Does not wait for those calls itself.
 *  Blocks: no. May be called while other calls are running.
 *  Returns 1 if a call was running, 0 if not. */
int kvm_hotplug_cancel(const struct kvm_hotplug *guest, struct kvm_hotplug_error **reterr);

/** Ends the call that one thread is in on this handle, and no other, as kvm_hotplug_cancel() does. A
 *  thread that makes a call that another one is to end asks for its number before: a cancel that comes
 *  before the call has begun ends nothing.
 *  `thread`: what kvm_hotplug_thread() returned there.
 *  Blocks: no. May be called while other calls are running.
 *  Returns 1 if that thread was in a call, 0 if not. */
int kvm_hotplug_cancel_thread(const struct kvm_hotplug *guest, uint64_t thread,
                              struct kvm_hotplug_error **reterr);

/** The number of the calling thread, for kvm_hotplug_cancel_thread(). No other thread that lives has it;
 *  one that begins when this one has ended may get it.
 *  Returns the number, never 0. */
uint64_t kvm_hotplug_thread(void);

/** A descriptor for poll, epoll or select: readable when kvm_hotplug_process() has something to do or an
 *  event can be fetched. It belongs to the handle, stays the same for its life (also when the monitor is
 *  reconnected), and must be neither read nor closed.
 *  Blocks: no.
 *  Returns the descriptor. */
int kvm_hotplug_get_fd(const struct kvm_hotplug *guest, struct kvm_hotplug_error **reterr);

/** Takes in what QEMU has said: finishes adds that were not waited for, and removals that the guest
 *  granted late (backend down, record updated), clears up behind devices that the guest gave up by itself,
 *  and reconnects if the connection was lost. While QEMU is still at an add, this takes in what is there,
 *  and leaves everything else for later. Removals that have been pending for over 10 s are asked for
 *  again, since a guest that was booting did not hear it; an agent that waits for one therefore calls this
 *  every few seconds as well. It does not wait for news, only for the answers to the commands that this
 *  takes.
 *  `timeout_ms`: for those commands; 0 means 5000.
 *  Blocks: normally under a millisecond.
 *  Returns the number of events that kvm_hotplug_next_event() can fetch, or fails like any call to QEMU,
 *  and with the errno of writing journal or runtime file. What is not finished then is tried again by the
 *  next call. */
int kvm_hotplug_process(struct kvm_hotplug *guest, uint32_t timeout_ms, struct kvm_hotplug_error **reterr);

/** Kinds of events. Callers skip kinds they do not know: newer versions may add some. */
enum kvm_hotplug_event_type {
    /** A device of an add with KVM_HOTPLUG_NO_WAIT, or of an interrupted one, is in the guest, and
     *  recorded now. */
    KVM_HOTPLUG_EVENT_ADDED = 1,
    /** A removal that was pending has finished: storage or tap may be torn down. */
    KVM_HOTPLUG_EVENT_REMOVED = 2,
    /** The guest gave a device up by itself: storage or tap may be torn down. */
    KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST = 3,
    /** The guest refused to let go of a device; it stays. See KVM_HOTPLUG_ERROR_GUEST_REFUSED for when
     *  QEMU hears that. */
    KVM_HOTPLUG_EVENT_REFUSED = 4,
    KVM_HOTPLUG_EVENT_PENDING = 5, /**< A removal that an earlier agent had begun is waiting for the guest. */
    KVM_HOTPLUG_EVENT_UNDONE = 6, /**< An interrupted add was taken back. */
    /** The connection to the monitor is gone; the next call makes a new one. */
    KVM_HOTPLUG_EVENT_MONITOR_LOST = 7,
    /** Events were dropped because nobody fetched them (more than 1024, or 512 QMP events). */
    KVM_HOTPLUG_EVENT_LOST = 8,
    KVM_HOTPLUG_EVENT_MONITOR_RESTORED = 9, /**< There is a connection to the monitor again. */
    /** A disk could not be read or written: operation, action and no_space say more. */
    KVM_HOTPLUG_EVENT_IO_ERROR = 10,
    /** The guest shut down, or was made to; by_guest says which, text why. QEMU is about to exit unless it
     *  was started with -no-shutdown. */
    KVM_HOTPLUG_EVENT_SHUTDOWN = 11,
    KVM_HOTPLUG_EVENT_RESET = 12, /**< The guest was reset; by_guest says by whom, text why. */
    /** The guest's system has crashed and says so (through a pvpanic device). */
    KVM_HOTPLUG_EVENT_PANICKED = 13,
    /** A QMP event as it came, after kvm_hotplug_forward_qmp_events(); fetch it with
     *  kvm_hotplug_next_event_json(). */
    KVM_HOTPLUG_EVENT_QMP = 14,
    /** A device of an add with KVM_HOTPLUG_NO_WAIT could not be added: error_kind, error_number and text
     *  say why. What had been done is taken back, but for what the text says is left behind. */
    KVM_HOTPLUG_EVENT_ADD_FAILED = 15,
};

/** What QEMU did about a failed request to a disk. */
enum kvm_hotplug_io_action {
    KVM_HOTPLUG_IO_ACTION_REPORT = 1, /**< The guest was told. */
    KVM_HOTPLUG_IO_ACTION_IGNORE = 2, /**< Nothing. */
    /** The guest was stopped; QEMU repeats the request when it is let go on (QMP command cont). */
    KVM_HOTPLUG_IO_ACTION_STOP = 3,
};

/** One event. What a call answers itself is no event. */
struct kvm_hotplug_event {
    char id[32]; /**< Id of the device; empty for events about the guest. */
    /** Details in words, UTF-8. KVM_HOTPLUG_EVENT_QMP: the beginning of the event's JSON text. */
    char text[256];
    uint64_t generation; /**< Which attachment of that id. */
    uint64_t lost; /**< KVM_HOTPLUG_EVENT_LOST: how many were dropped. */
    uint32_t event_type; /**< One of enum kvm_hotplug_event_type. */
    uint32_t device_type; /**< One of enum kvm_hotplug_device_type; 0 for events about the guest. */
    /** How often it has happened since it was last fetched: I/O errors, resets and the like, which a guest
     *  can cause without end, are not kept twice. */
    uint64_t times;
    uint32_t action; /**< KVM_HOTPLUG_EVENT_IO_ERROR: one of enum kvm_hotplug_io_action. */
    uint32_t write; /**< KVM_HOTPLUG_EVENT_IO_ERROR: 1 if it was a write. */
    uint32_t no_space; /**< KVM_HOTPLUG_EVENT_IO_ERROR: 1 if there was no space left. */
    /** KVM_HOTPLUG_EVENT_SHUTDOWN, KVM_HOTPLUG_EVENT_RESET: 1 if the guest did it by itself. */
    uint32_t by_guest;
    /** KVM_HOTPLUG_EVENT_ADD_FAILED: what kvm_hotplug_error_kind() would have returned for the call. */
    uint32_t error_kind;
    /** KVM_HOTPLUG_EVENT_ADD_FAILED: the errno that the call would have returned, positive. */
    uint32_t error_number;
};

/** Fetches the oldest event. Call kvm_hotplug_process() before, to have news taken in.
 *  `ret_event`, `event_size`: where to put the event, and its sizeof. Written only when there is one.
 *  Blocks: as kvm_hotplug_list().
 *  Returns 1 if there was an event, 0 if not. */
int kvm_hotplug_next_event(struct kvm_hotplug *guest, struct kvm_hotplug_event *ret_event, size_t event_size,
                           struct kvm_hotplug_error **reterr);

/** Fetches the oldest event as JSON text, with everything that is known of it. Events come in one order,
 *  whichever function fetches them.
 *
 *  The text is an object: "event" (such as "removed" or "io-error": the names of enum
 *  kvm_hotplug_event_type in lower case, with "-"), "id", "type" ("nic", "disk" or "scsi") and
 *  "generation" of the device (null for events about the guest), "text", "times"; "lost" for lost;
 *  "operation" ("read" or "write"), "action" ("report", "ignore" or "stop") and "no_space" for io-error;
 *  "by_guest" for shutdown and reset; "qmp", with "event", "data" and "timestamp" as QEMU sent them, for
 *  qmp.
 *  `ret_json`: where to put the text, UTF-8; freed with kvm_hotplug_text_free(). Written only when there
 *  is an event.
 *  Blocks: as kvm_hotplug_list().
 *  Returns 1 if there was an event, 0 if not. */
int kvm_hotplug_next_event_json(struct kvm_hotplug *guest, char **ret_json,
                                struct kvm_hotplug_error **reterr);

/** Turns on or off that QMP events can be fetched as they are (KVM_HOTPLUG_EVENT_QMP), besides the events
 *  made from them. At most 512 of them, and 2 MiB, are kept; the oldest are dropped and counted then,
 *  never other events.
 *  `on`: 1 or 0. A new handle begins with 0. Turning it off leaves those that are kept.
 *  Blocks: as kvm_hotplug_list(). */
int kvm_hotplug_forward_qmp_events(struct kvm_hotplug *guest, int on, struct kvm_hotplug_error **reterr);

/* ---- Boot, reboot and migration ------------------------------------------------------------------------ */

/** A command that starts a guest, and the descriptors that it inherits. Made by kvm_runtime_boot(), freed
 *  by kvm_boot_free(). It does not change, so any number of threads may read it at once. */
struct kvm_boot;

/** Flag of struct kvm_boot_options: QEMU gets -S, so that the guest does not run until the monitor command
 *  "cont". A migration target then also waits for it after the migration. */
#define KVM_BOOT_PAUSED (1 << 17)

/** Flag of struct kvm_boot_options: the command is only made to be looked at. Nothing is written, neither
 *  record nor journal, and no tap is made; images are opened for reading and closed again. The command
 *  names descriptors that it does not have: kvm_boot_fds() has none, and kvm_boot_inherit() fails. Any
 *  record will do, also one from kvm_runtime_load_readonly(), and also while the guest runs or is open. */
#define KVM_BOOT_DRY_RUN (1 << 18)

/** What a started QEMU waits for before it runs the guest. */
enum kvm_boot_incoming {
    KVM_BOOT_INCOMING_NONE = 0, /**< Nothing: the guest boots. */
    /** The monitor command "migrate-incoming", so that kvm_hotplug_verify() can be called before. */
    KVM_BOOT_INCOMING_DEFER = 1,
    /** A migration over TCP. The address is host:port, as in "192.0.2.7:4444", "[2001:db8::7]:4444" or
     *  ":4444". */
    KVM_BOOT_INCOMING_TCP = 2,
    /** A migration over a Unix socket that QEMU makes. The address is its absolute path, at most 107
     *  bytes. */
    KVM_BOOT_INCOMING_UNIX = 3,
    KVM_BOOT_INCOMING_FD = 4, /**< A migration over incoming_fd, a connected socket or a pipe. */
};

/** How a guest is to be started. Zero everywhere is the default: a boot. Strings are borrowed for the
 *  call. */
struct kvm_boot_options {
    /** Where the migration comes in, with KVM_BOOT_INCOMING_TCP and KVM_BOOT_INCOMING_UNIX; NULL
     *  otherwise. */
    const char *incoming_address;
    uint32_t incoming; /**< One of enum kvm_boot_incoming. */
    /** The descriptor that the migration comes in by, with KVM_BOOT_INCOMING_FD; it is duplicated. 0
     *  otherwise. */
    int32_t incoming_fd;
    /** Version of the QEMU that the command is for, such as 7 and 2. With it, options are JSON where that
     *  version reads them (-device since 6.2, -netdev since 7.2; -blockdev always); 0 and 0 for options
     *  that every version reads. */
    uint32_t qemu_major;
    uint32_t qemu_minor; /**< See qemu_major. */
    /** Number in QEMU of the first descriptor, 3 or more; 0 means 3. The others follow without a gap. */
    uint32_t fd_base;
    /** Machine q35, boot only: for how many devices, beyond those that it starts with, the running guest
     *  shall have root ports. Ports that an earlier boot left free count. Machine pc has its slots
     *  whatever this says. */
    uint32_t spare_ports;
    uint32_t flags; /**< KVM_BOOT_PAUSED and KVM_BOOT_DRY_RUN, or 0. */
    uint32_t reserved; /**< Must be 0. */
    /** Path of the monitor's socket, at which the guest would answer if it ran: if somebody listens there,
     *  the call fails with -EBUSY. For a QEMU that gets its monitor otherwise than by the recorded
     *  command, whose own sockets are looked at in any case. NULL for none. */
    const char *qmp_path;
};

/** Makes the command that starts the guest of a record: its own command line, and every NIC and disk with
 *  exactly the ids, addresses and properties that the hot-plug calls give them. Images are opened, and
 *  taps are made, attached and set up, as by those calls, with the caller's rights: QEMU inherits them and
 *  opens nothing by itself, so it may be started in a chroot, as another user and under seccomp.
 *
 *  The command line in the record is taken as it is, and comes first. Devices in it that have no addr= are
 *  placed by QEMU: on machine pc, reserved_slots of the record must leave room for them. Nothing in a NIC
 *  or disk can add an option to it.
 *
 *  With KVM_BOOT_INCOMING_NONE, this is the reboot that changes wait for. The guest must not be running,
 *  and no handle may be open with the record. A guest that runs is refused, as far as this host shows that
 *  it does: the library connects to the Unix sockets at which the recorded command listens, and to
 *  qmp_path, and closes the connections at once; it looks whether its pid file is locked, and whether
 *  another QEMU has one of the images locked. A guest that none of this shows, or that runs on another
 *  host, is not found. Devices that waited for a reboot are in the command, at addresses chosen as by the
 *  hot-plug calls; those that were to go are not; a removal that the guest had not granted is done. If an
 *  add or change was interrupted, of which the record does not say how it ended, the call is refused,
 *  unless the process that it was begun in is seen to have ended: open the guest if it runs, and call
 *  kvm_runtime_settle() if it is known to be off. The runtime file says so before the call returns, and it
 *  stays true if QEMU is not started after all: the guest is off, and the next call makes the same
 *  command. On q35 the command has a root port for every device that needs one, and for spare_ports more;
 *  they are in the runtime file too.
 *
 *  With any other value of incoming, the command is that of a migration target: what the source has at
 *  this moment, taken from a copy of its runtime file. Changes that wait for a reboot go on waiting. The
 *  names of the new taps go into the record; one from kvm_runtime_load_readonly() will do as well, and
 *  then no file is written. kvm_runtime_check() before and kvm_hotplug_verify() after the start say
 *  whether the target is what it has to be. NICs of Ganeti's lists of three entries, for which no list
 *  says where QEMU has put them, are started in the same order without a place, so that they get the same
 *  ones; those are recorded when the target is opened. Images are opened in place, so storage is shared
 *  with the source or has been copied.
 *  `options`, `options_size`: how to start, and sizeof *options; NULL and 0 for a boot with defaults.
 *  `ret_boot`: where to put the command; freed with kvm_boot_free(), which closes the descriptors of this
 *  process.
 *  Blocks: on opening images, never on a process that listens at a socket. If a NIC's tap has a fixed name
 *  that is taken, also for up to half a second: the kernel needs some milliseconds to remove the tap of a
 *  QEMU (since 11) that has just ended, since that polls by io_uring.
 *  Returns 0, or fails like any change of a record, and with
 *  - -EBADF (incoming_fd is not open), -EINVAL (contradicting options; the command has -incoming already,
 *    or uses descriptors of the same numbers);
 *  - -EBUSY (the guest runs; an image is in use by another QEMU), -EBADFD (the record has no command; a
 *    NIC was added over a tap of the caller's, tap_fds, which cannot be given here yet: the message names
 *    the NIC and what to do; for a target: a device has no address; or an add or change was interrupted
 *    and is not settled);
 *  - -EEXIST (the command has an id of a NIC or disk; a tap of that name exists), -EADDRINUSE (two want
 *    one slot), -ENOSPC (no slot is left), -EOPNOTSUPP (a model that needs another bus than PCI);
 *  - what kvm_hotplug_add_nic() and kvm_hotplug_add_disk() fail with on the host's side: -EPERM or -ELOOP
 *    (kind IMAGE_REFUSED: an image is made of other files than recorded, or they may not be opened),
 *    -ENOENT (no such image, backing file or bridge), -EACCES, -EPERM, -ENODEV (the NIC has vhost and this
 *    host does not), -EBADMSG and others.
 *
 *  On failure nothing is left of taps and descriptors, and the record is as it was. */
int kvm_runtime_boot(struct kvm_runtime *runtime, const struct kvm_boot_options *options, size_t options_size,
                     struct kvm_boot **ret_boot, struct kvm_hotplug_error **reterr);

/** The command line: the program first, a NULL behind the last argument, as execv() takes it. It belongs
 *  to the command.
 *  `ret_count`: where to put the number of arguments, without the NULL; or NULL.
 *  Returns NULL if `boot` is no command. */
const char *const *kvm_boot_argv(const struct kvm_boot *boot, size_t *ret_count);

/** The descriptors, as they are numbered in this process, close-on-exec. In QEMU, the first of them has to
 *  have the number fd_base (3 by default), and the others those that follow: kvm_boot_inherit() in a child
 *  sees to it, and so do Go's exec.Cmd.ExtraFiles and Python's posix_spawn file actions. They belong to
 *  the command.
 *  `ret_count`: where to put how many there are; or NULL.
 *  Returns NULL if `boot` is no command. */
const int32_t *kvm_boot_fds(const struct kvm_boot *boot, size_t *ret_count);

/** Puts every descriptor at the number that the command has for it. For a child process, between fork()
 *  and execv(), and async-signal-safe: it allocates nothing and takes no lock. What the child has open at
 *  those numbers is closed.
 *
 *      const char *const *argv = kvm_boot_argv(boot, NULL);
 *      pid_t pid = fork();
 *      if (pid == 0) {
 *          if (kvm_boot_inherit(boot) == 0)
 *              execvp(argv[0], (char *const *)argv);
 *          _exit(127);
 *      }
 *  Returns 0, or -EBADF (no command), -EBADFD (one with KVM_BOOT_DRY_RUN, only to be looked at), -EMFILE
 *  or -EBADF (the numbers are above this process's limit, RLIMIT_NOFILE). */
int kvm_boot_inherit(const struct kvm_boot *boot);

/** Frees a command and closes its descriptors, which a QEMU that was started with it goes on to have. To
 *  be called as soon as QEMU is started: a tap lives as long as anybody has it open. */
void kvm_boot_free(struct kvm_boot *boot);

/** What kind of machine a command line starts. */
enum kvm_boot_machine {
    KVM_BOOT_MACHINE_PC = 1, /**< One whose devices sit in slots of pci.0, such as pc. */
    /** One where every device that can be unplugged needs a root port, such as q35. */
    KVM_BOOT_MACHINE_Q35 = 2,
    /** One that this library does not place devices in: they need addresses from the caller. */
    KVM_BOOT_MACHINE_OTHER = 3,
};

/** How full the next boot will be. */
struct kvm_boot_plan {
    uint32_t machine; /**< One of enum kvm_boot_machine. */
    uint32_t devices; /**< NICs and disks it starts with. */
    /** Devices that the running guest then has room for: free slots of pci.0 or free root ports. */
    uint32_t free;
    uint32_t ports; /**< Root ports that the command makes. */
    uint32_t new_ports; /**< How many of those the last boot did not have. */
    uint32_t reserved; /**< Must be 0. */
};

/** Says what the next boot comes to, without opening or changing anything: whether everything has a place,
 *  how many root ports it takes, and how many devices can be plugged in afterwards. To plan for a number
 *  of devices to come, give it as spare_ports and compare it with free.
 *  `spare_ports`: as in struct kvm_boot_options.
 *  `ret_plan`, `plan_size`: where to put the plan, and sizeof *ret_plan.
 *  Blocks: no.
 *  Fails with -EADDRINUSE (two want one slot), -ENOSPC (no slot is left), -EOPNOTSUPP (a model that needs
 *  another bus than PCI). */
int kvm_runtime_plan_boot(const struct kvm_runtime *runtime, uint32_t spare_ports,
                          struct kvm_boot_plan *ret_plan, size_t plan_size,
                          struct kvm_hotplug_error **reterr);

/** Flag of kvm_runtime_check(): the guest is to come from another host by migration, and not to be booted. */
#define KVM_RUNTIME_CHECK_INCOMING (1 << 22)

/** What stands in the way of a start. Callers treat values they do not know as "something": newer versions
 *  may add some. */
enum kvm_runtime_problem_kind {
    /** An image or one of its backing files cannot be opened as the guest needs it; or the guest was seen
     *  to write to another image, such as a snapshot that somebody else made, which has its data and is
     *  not in the record. */
    KVM_RUNTIME_PROBLEM_IMAGE = 1,
    KVM_RUNTIME_PROBLEM_BRIDGE = 2, /**< A bridge is missing, or is none. */
    /** Taps cannot be made, or there is an interface of the name that a tap is to have; or the NIC was
     *  added over a tap of the caller's (tap_fds), which cannot be given for a start yet. */
    KVM_RUNTIME_PROBLEM_TAP = 3,
    KVM_RUNTIME_PROBLEM_VHOST = 4, /**< A NIC has vhost, and this host has none. */
    KVM_RUNTIME_PROBLEM_QEMU_TOO_OLD = 5, /**< QEMU is older than 5.2. */
    KVM_RUNTIME_PROBLEM_MACHINE = 6, /**< QEMU does not know the machine type. */
    /** For a migration: the machine type has no version, and is another one in each version of QEMU.
     *  Harmless between hosts with the same QEMU. */
    KVM_RUNTIME_PROBLEM_MACHINE_NOT_PINNED = 7,
    KVM_RUNTIME_PROBLEM_MODEL = 8, /**< QEMU does not know the device model. */
    /** For a migration: a device of the running guest has no address in the record. */
    KVM_RUNTIME_PROBLEM_NO_ADDRESS = 9,
    /** The guest cannot be put together: two want one place, or there is none left. */
    KVM_RUNTIME_PROBLEM_PLACE = 10,
    /** The guest runs: somebody listens at a Unix socket at which its command would listen (-qmp,
     *  -monitor, -chardev and others), or has its pid file locked. Another QEMU would take the socket away
     *  from the one that runs. */
    KVM_RUNTIME_PROBLEM_RUNNING = 11,
    /** Another QEMU uses the image, or one of its backing files, in a way that does not go together with
     *  this use (for a boot); or another disk of the record, or of its command, has the same image. */
    KVM_RUNTIME_PROBLEM_IMAGE_IN_USE = 12,
    /** The record has no command, or QEMU would not start with it: it has ids or boot indices of the
     *  record's devices, or names files or directories that are not there. */
    KVM_RUNTIME_PROBLEM_COMMAND = 13,
    /** An add or change of this device is unfinished, and the record does not say how it ends: see
     *  kvm_runtime_unfinished(). */
    KVM_RUNTIME_PROBLEM_UNFINISHED = 14,
};

/** One thing that stands in the way. Strings are UTF-8, end in NUL, and are cut if they are longer. */
struct kvm_runtime_problem {
    char id[64]; /**< Id of the device that it is about; empty for the guest as a whole. */
    char text[512]; /**< What is wrong, in a sentence. */
    uint32_t kind; /**< One of enum kvm_runtime_problem_kind. */
    uint32_t reserved; /**< Always 0. */
};

/** Says whether this host can start the guest of a record, before anything is started: images and backing
 *  files can be opened in the mode they are needed in, bridges exist, taps can be made, vhost is there,
 *  everything has a place. With a monitor also what QEMU knows here: its version, the machine type, the
 *  device models. Nothing is changed; images are opened and closed again, and so are connections to the
 *  sockets at which the command listens, to see whether the guest runs.
 *
 *  The monitor is that of any QEMU of the version that is going to be used: the target, once it has been
 *  started to wait, or one that was started for this with `-machine none`. The library starts none by
 *  itself.
 *  `runtime`: the record; one from kvm_runtime_load_readonly() will do.
 *  `qmp_path`: path of the monitor's socket, nobody else connected; or NULL, to leave QEMU out.
 *  `timeout_ms`: for asking QEMU; 0 means 5000.
 *  `ret_count`: where to put how many there are, 0 if nothing stands in the way; those beyond capacity are
 *  not written.
 *  Blocks: on opening images as well.
 *  Returns 0, whatever was found, or fails like any call to QEMU. */
int kvm_runtime_check(const struct kvm_runtime *runtime, uint32_t flags, const char *qmp_path,
                      uint32_t timeout_ms, struct kvm_runtime_problem *ret_problems, size_t problem_size,
                      size_t capacity, size_t *ret_count, struct kvm_hotplug_error **reterr);

/** Adds a NIC to the record of a guest that does not run: kvm_runtime_boot() makes it part of the guest.
 *  The request is that of kvm_hotplug_add_nic(); its slot is chosen now, its tap is opened by the boot
 *  command, and given the name or pattern that ifname says. Any device model will do.
 *
 *  The call may be repeated: with an id that exists and the same settings it succeeds and does nothing.
 *  `runtime`: the record, which has a file.
 *  `nic`, `nic_size`: the request, and sizeof *nic; tap_fds, KVM_HOTPLUG_LIVE_ONLY and KVM_HOTPLUG_NO_WAIT
 *  are refused, timeout_ms does not count.
 *  `ret_device`, `device_size`: where to put the device, and its sizeof; or NULL and 0. Its state is
 *  KVM_HOTPLUG_ANSWER_AFTER_REBOOT until the boot.
 *  Returns 0, or fails like any change of a record, and like kvm_hotplug_add_nic() where that asks neither
 *  QEMU nor the guest. */
int kvm_runtime_add_nic(struct kvm_runtime *runtime, const struct kvm_hotplug_nic *nic, size_t nic_size,
                        struct kvm_hotplug_device *ret_device, size_t device_size,
                        struct kvm_hotplug_error **reterr);

/** Adds a disk to the record of a guest that does not run: kvm_runtime_boot() makes it part of the guest.
 *  The request is that of kvm_hotplug_add_disk(); its place is chosen now, with a SCSI controller if it
 *  needs one. The image is opened and closed again, to see whether it can be and what it is. Any device
 *  model on a PCI or SCSI bus will do.
 *
 *  The call may be repeated: with an id that exists and the same settings it succeeds and does nothing.
 *  `runtime`: the record, which has a file.
 *  `disk`, `disk_size`: the request, and sizeof *disk; KVM_HOTPLUG_LIVE_ONLY and KVM_HOTPLUG_NO_WAIT are
 *  refused, timeout_ms does not count.
 *  `ret_device`, `device_size`: where to put the device, and its sizeof; or NULL and 0. Its state is
 *  KVM_HOTPLUG_ANSWER_AFTER_REBOOT until the boot.
 *  Blocks: on opening the image as well.
 *  Returns 0, or fails like any change of a record, and like kvm_hotplug_add_disk() where that asks
 *  neither QEMU nor the guest. */
int kvm_runtime_add_disk(struct kvm_runtime *runtime, const struct kvm_hotplug_disk *disk, size_t disk_size,
                         struct kvm_hotplug_device *ret_device, size_t device_size,
                         struct kvm_hotplug_error **reterr);

/** Takes a NIC, a disk or a SCSI controller without disks out of the record of a guest that does not run.
 *  It is gone with the next kvm_runtime_boot(), and at once if it has never been in the guest; until then
 *  it is listed with removed_after_reboot. Its MAC address, serial and image may be used by another one
 *  already.
 *  `runtime`: the record, which has a file.
 *  `options`, `options_size`: the id, and sizeof *options; timeout_ms does not count, and no flags are
 *  known.
 *  `ret_device`, `device_size`: where to put the device, and its sizeof; or NULL and 0. Not written for
 *  KVM_HOTPLUG_ANSWER_ABSENT.
 *  Returns 0, KVM_HOTPLUG_ANSWER_ABSENT (no such device), or fails like any change of a record, and with
 *  -EBUSY (disks on the controller: the message names one). */
int kvm_runtime_del(struct kvm_runtime *runtime, const struct kvm_hotplug_del_options *options,
                    size_t options_size, struct kvm_hotplug_device *ret_device, size_t device_size,
                    struct kvm_hotplug_error **reterr);

/** Settles what is unfinished of a guest that is known to be off, by its record: removals are done, adds
 *  that are not in the record are dropped, and of a change the record says how far it came.
 *  kvm_runtime_boot() does the same where the process that the journal names has ended; where that cannot
 *  be seen (a journal of an older version, another PID namespace, a socket that somebody else made for
 *  QEMU), it refuses, and this is how the caller says that the guest is off. Of a guest that runs, it
 *  would lose devices: open that one instead, which settles it by what the guest has.
 *  `runtime`: the record, which must have a file; no guest may be open with it.
 *  Returns how many operations were settled, or fails like any change of a record, and with -EBUSY (QEMU
 *  is seen to run). */
int kvm_runtime_settle(struct kvm_runtime *runtime, struct kvm_hotplug_error **reterr);

/** Finishes or undoes what is unfinished of a running guest, and changes nothing else; kvm_hotplug_open()
 *  has done the same. Lists what is still pending: devices that the guest has been asked for and has not
 *  let go of. If there are none, record and guest agree about every operation, and the runtime file can be
 *  taken to another host as it is.
 *  `timeout_ms`: for all of it, and for an add that was not waited for; 0 means 5000.
 *  Blocks: up to the timeout; not for the guest.
 *  Fails like any call to QEMU, and with -EBUSY (also for a monitor that an earlier agent used), or the
 *  errno of writing journal or runtime file. */
int kvm_hotplug_settle(struct kvm_hotplug *guest, uint32_t timeout_ms, struct kvm_hotplug_device *ret_devices,
                       size_t device_size, size_t capacity, size_t *ret_count,
                       struct kvm_hotplug_error **reterr);

/* ---- Extras -------------------------------------------------------------------------------------------- */

/** A tap to open. Zero everywhere is the default: one queue, the kernel's choice of name, attached to
 *  nothing. Strings are borrowed for the call. */
struct kvm_hotplug_tap {
    /** Name, at most 15 characters, or a pattern with one "%d". It must not exist. NULL for "tap%d". */
    const char *ifname;
    const char *bridge; /**< Bridge to attach it to; NULL for none. */
    uint32_t queues; /**< Queues, 1 to 256; 0 means 1. Each takes a descriptor (RLIMIT_NOFILE). */
    uint32_t mtu; /**< MTU in bytes, 68 to 65521; 0 for the bridge's, or the kernel's 1500. */
    uint32_t tap_owner; /**< User id that may reopen it, with KVM_HOTPLUG_TAP_OWNER. */
    uint32_t flags; /**< KVM_HOTPLUG_TAP_OWNER or 0. */
};

/** Opens a tap with one descriptor per queue, with virtio-net headers, attaches it to a bridge, gives it
 *  an MTU and sets it up. Its hardware address begins with fe, so that no bridge takes it for its own that
 *  has another port. It disappears when the last descriptor is closed. For callers that want to hold taps
 *  themselves, and pass them as tap_fds; kvm_hotplug_add_nic() opens one by itself.
 *  `ret_fds`, `capacity`: an array with room for at least one int per queue. The descriptors are
 *  close-on-exec and belong to the caller, who closes them. Written on success only.
 *  `ret_ifname`: room for 16 bytes for the name, or NULL.
 *  Blocks: no.
 *  Returns the number of descriptors, or fails with -EINVAL (capacity too small, a bridge that is none),
 *  -EEXIST (the name is taken), -ENOENT (no /dev/net/tun, no such bridge), -EPERM (needs CAP_NET_ADMIN),
 *  or another errno of the kernel. Nothing is left on failure. */
int kvm_hotplug_open_tap(const struct kvm_hotplug_tap *tap, size_t tap_size, int32_t *ret_fds,
                         size_t capacity, char *ret_ifname, struct kvm_hotplug_error **reterr);

/** Flag of struct kvm_hotplug_command: send it even if it fools the record. */
#define KVM_HOTPLUG_QMP_FORCE (1 << 11)
/** Flag of struct kvm_hotplug_command: fd is given, also when it is 0. */
#define KVM_HOTPLUG_QMP_PASS_FD (1 << 12)

/** A QMP command. */
struct kvm_hotplug_command {
    const char *execute; /**< Its name, such as "query-status". Required; borrowed for the call. */
    /** Its arguments as the text of a JSON object, at most 131072 bytes and 127 levels deep; NULL for
     *  none. Borrowed. QEMU takes some 3.5 microseconds to read each byte. */
    const char *arguments;
    /** A file descriptor that QEMU gets along with it, with KVM_HOTPLUG_QMP_PASS_FD (getfd, add-fd).
     *  Borrowed. */
    int32_t fd;
    uint32_t timeout_ms; /**< Milliseconds for all of it; 0 means 5000. */
    uint32_t flags; /**< KVM_HOTPLUG_QMP_FORCE, KVM_HOTPLUG_QMP_PASS_FD. */
    uint32_t reserved; /**< Must be 0. */
};

/** Runs a QMP command of the caller's own over the guest's connection, since a monitor serves one client
 *  at a time.
 *
 *  Refused without KVM_HOTPLUG_QMP_FORCE, because the record would not know: device_add, device_del,
 *  netdev_add and netdev_del; qmp_capabilities; human-monitor-command with anything but "info" and "help";
 *  getfd and closefd of "k" and "v" with a digit behind, by which descriptors of NICs go; and, if they
 *  name a device, block node or fdset of the record: add-fd, remove-fd, set_link, qom-set, eject,
 *  blockdev-add, blockdev-del, blockdev-reopen, blockdev-snapshot, blockdev-snapshot-sync,
 *  blockdev-mirror, blockdev-change-medium, block_resize, block-commit, block-stream, drive-mirror,
 *  change-backing-file, x-blockdev-change and transaction. After a forced one the guest is looked at anew
 *  by the next call; what it did to a recorded device is the caller's to answer for, and
 *  kvm_hotplug_verify() may tell.
 *
 *  Everything else is sent as it is: stop, cont, system_reset (which completes pending removals), migrate,
 *  quit (after which calls fail with -ECONNREFUSED or -ENOENT), and so on.
 *  `command`, `command_size`: the command, and sizeof *command.
 *  `ret_reply`: where to put what it returned, as JSON text, at most 4 MiB; freed with
 *  kvm_hotplug_text_free(). NULL if it is of no interest.
 *  Returns 0, or fails like any call to QEMU, and with
 *  - -EREMOTEIO (kind QMP: QEMU answered with an error, see kvm_hotplug_error_qmp_class() and
 *    kvm_hotplug_error_qmp_desc());
 *  - -EPERM (kind STATE: it would fool the record), -EROFS (it is no question, and the guest is only
 *    looked at);
 *  - -EBADF (a closed fd), -EINVAL (not a name of a command, arguments are no JSON object), -EMSGSIZE (too
 *    long).
 *
 *  After -ETIMEDOUT, -ECANCELED, -ECONNRESET and -EPROTO nobody knows whether the command was done. */
int kvm_hotplug_qmp(struct kvm_hotplug *guest, const struct kvm_hotplug_command *command, size_t command_size,
                    char **ret_reply, struct kvm_hotplug_error **reterr);

/** How much a log line matters. A level includes those above it. */
enum kvm_hotplug_log_level {
    KVM_HOTPLUG_LOG_OFF = 0, /**< Nothing is logged; the callback is dropped. */
    KVM_HOTPLUG_LOG_ERROR = 1, /**< Something is left behind or lost. */
    KVM_HOTPLUG_LOG_WARNING = 2, /**< Something unexpected was dealt with. */
    KVM_HOTPLUG_LOG_INFO = 3, /**< What changed in a guest. */
    KVM_HOTPLUG_LOG_DEBUG = 4, /**< Every call and what was sent. */
};

/** Takes one log line: UTF-8, without a final newline, valid during the callback only. It is called in the
 *  middle of a call of this library, by the thread that made it; what is done about an add that no call
 *  waits for is logged by whatever call goes on with it. One line of a handle is written at a time. It
 *  must not call back into the handle (that call fails with EDEADLK), nor leave by longjmp or an
 *  exception. */
typedef void (*kvm_hotplug_log_fn)(void *userdata, int level, const char *message);

/** Releases the userdata of a log callback. Called once, when nothing can log through it any more. */
typedef void (*kvm_hotplug_free_fn)(void *userdata);

/** Sets where log lines go, for guests opened with this record from now on. Without this call nothing is
 *  logged; nothing ever goes to stdout or stderr.
 *  `level`: one of enum kvm_hotplug_log_level; 0 stops logging.
 *  `callback`: takes the lines; may be NULL with level 0.
 *  `userdata`: passed to the callback. Guests opened with one record may log from several threads at once.
 *  `free`: called once with userdata when nothing logs through it any more: after it was replaced, and the
 *  record and all guests that were opened with it are gone; at once if this call fails. NULL if there is
 *  nothing to free.
 *  Blocks: no. */
int kvm_runtime_set_log(struct kvm_runtime *runtime, int level, kvm_hotplug_log_fn callback, void *userdata,
                        kvm_hotplug_free_fn free, struct kvm_hotplug_error **reterr);

/** Format of a runtime file. A record is saved in the one it has. */
enum kvm_runtime_format {
    KVM_RUNTIME_FORMAT_NATIVE = 1, /**< Our own: a JSON object. */
    /** The list that Ganeti writes. Loaded are its lists of 4 entries (2.10 and later) and of 3 (2.0 to
     *  2.9: what the guest has is listed without an address and can only go with the next boot or after a
     *  migration, and its disks stay in the command; new devices are plugged in as usual). Saved it is a
     *  list of 4 that Ganeti 3.0 and later load, with everything kept that is unknown here, further
     *  entries too; what it has no room for (generations, changes for the next boot, taps) is in
     *  "<path>.kvm-hotplug", if need be.
     *
     *  A list with two devices at one place is loaded: kvm_hotplug_verify() says which of them the guest
     *  does not have, and kvm_runtime_check() that no boot can be made of it.
     *
     *  All NICs and all disks of such a guest have the same queues, vhost, cache, aio and discard, which
     *  are hypervisor parameters there: requests get them unless they ask for something else, and then
     *  they fail with -EINVAL, as they do for what Ganeti does not know (MTU, boot order, serial number,
     *  qcow2, read-only and such). */
    KVM_RUNTIME_FORMAT_GANETI = 2,
};

/** Says which format a record has: that of the file it was loaded from, or the one it was converted to.
 *  `ret_format`: where to put one of enum kvm_runtime_format. */
int kvm_runtime_get_format(const struct kvm_runtime *runtime, uint32_t *ret_format,
                           struct kvm_hotplug_error **reterr);

/** Makes a copy of a record in another format. The copy has no file until kvm_runtime_save() gives it one;
 *  the record stays what it is, also while a guest is open with it.
 *
 *  A Ganeti list fits into our own format whole, and comes out of it again as it was, but for what was
 *  changed meanwhile. A list holds less: a record is refused that has root ports, a SCSI controller
 *  outside of its command, a device without an address or not on a bus that Ganeti uses, or one with a
 *  setting that has no place there or is not the same for all NICs or all disks.
 *  `format`: one of enum kvm_runtime_format; the one it has makes a plain copy.
 *  Blocks: looks at the images of disks (type and size).
 *  Fails with -EINVAL (the format cannot hold the record: the message names the device and its setting),
 *  -EBADMSG (a list kept in the record is malformed). */
int kvm_runtime_convert(const struct kvm_runtime *runtime, uint32_t format, struct kvm_runtime **ret_runtime,
                        struct kvm_hotplug_error **reterr);

/* ---- The same calls without sizes ----------------------------------------------------------------------------- */

/*
 * Each of these calls the function whose name has kvm_hotplug_ for kvmh_, or kvm_runtime_ for kvmh_runtime_, with the sizes that
 * the structs have in this header; 0 where a pointer is NULL. Everything else is as it is described there. They are not exported
 * by the library: a program that loads it with dlopen() has them too if it looks up the functions they call.
 */
#define KVMH_SIZE(pointer) ((pointer) ? sizeof *(pointer) : 0)

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
