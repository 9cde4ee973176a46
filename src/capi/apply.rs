//! Devices as JSON: `kvm_hotplug_add_json` and `kvm_hotplug_apply`.

use std::ffi::{CStr, c_char, c_int};

use super::args::{check_flags, null, timeout};
use super::device::kvm_hotplug_answer;
use super::error::kvm_hotplug_error;
use super::give;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, kvm_hotplug};
use super::nic::{KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT};
use super::removal::KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS;
use crate::error::{Error, Result};
use crate::guest::{AddRequest, Applied, Apply, read_devices, read_wanted};

/// Flag of kvm_hotplug_apply(): say what would be done, and do nothing.
pub const KVM_HOTPLUG_APPLY_PLAN: u32 = 1 << 24;
/// Flag of kvm_hotplug_apply(): NICs and disks that are not in the list stay.
pub const KVM_HOTPLUG_APPLY_KEEP_OTHERS: u32 = 1 << 25;
/// Flag of kvm_hotplug_apply(): a device whose settings differ in what cannot be changed in a running guest
/// is removed, and added with the new ones.
pub const KVM_HOTPLUG_APPLY_REPLACE: u32 = 1 << 26;

/// Adds what a JSON text describes, for languages without C structs: one object for one NIC, disk or SCSI
/// controller, or a list of them, which is one operation as with kvm_hotplug_add_many(). docs/json.md lists
/// the members. They have the names, ranges, units and defaults of the fields of struct kvm_hotplug_nic,
/// struct kvm_hotplug_disk and struct kvm_hotplug_controller. A member that does not exist is refused by
/// name.
///
/// `json`: UTF-8, at most 1 MiB, at most KVM_HOTPLUG_BATCH_MAX devices. It is not kept. The descriptors of
/// "tap_fds" are duplicated.
/// `timeout_ms`: milliseconds for all of it; 0 means 5000.
/// `flags`: KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, or 0; for all devices.
/// `ret_json`: where to put the answer, JSON for kvm_hotplug_text_free(), with the devices in the order of
/// the list; or NULL. Written on success only.
///
/// May be called by any thread; calls on one handle take turns. Returns and fails like
/// kvm_hotplug_add_many(), and with -EINVAL for a text that is no JSON, a member that does not exist or has
/// a wrong type or value, and -E2BIG for a longer text.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_add_json(
    guest: *mut kvm_hotplug,
    json: *const c_char,
    timeout_ms: u32,
    flags: u32,
    ret_json: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (guest, text) = unsafe { (kvm_hotplug::get(guest)?, required_text(json)?) };
        check_flags(flags, KVM_HOTPLUG_LIVE_ONLY | KVM_HOTPLUG_NO_WAIT, "flags")?;
        let mut requests = read_devices(text)?;
        for placement in requests.iter_mut().map(AddRequest::placement_mut) {
            placement.live_only |= flags & KVM_HOTPLUG_LIVE_ONLY != 0;
            placement.no_wait = flags & KVM_HOTPLUG_NO_WAIT != 0;
        }
        let kinds: Vec<_> = requests.iter().map(AddRequest::kind).collect();
        let outcomes = guest.add_all(requests, timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { give_applied(Applied::of_adds(&kinds, outcomes), ret_json) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Makes the guest have the NICs and disks of a list and no others, or says what that takes. The same list
/// once more does nothing, sends nothing and writes nothing.
///
/// Each device of the list has an "id", by which it is known the next time. What the record has under it is
/// compared:
/// - the same settings: nothing is done;
/// - another "link", or another "bridge" of a NIC whose tap the library opened: it is changed, and stays;
/// - another setting: the call fails with -EEXIST and names device and setting, or, with
///   KVM_HOTPLUG_APPLY_REPLACE, removes the device and adds the new one;
/// - its removal is under way, or the guest does not have it: it is removed first, and added then;
/// - nothing: it is added.
///
/// A member that is left out means its default, except "mac", the place and "ifname", which then may be any.
/// NICs and disks of the record that are not in the list are removed, unless KVM_HOTPLUG_APPLY_KEEP_OTHERS
/// is given. SCSI controllers and devices that the record does not have are never removed.
///
/// It is one operation. Everything is checked first. Then links and bridges are changed; if one cannot be,
/// the others are set back. Then devices are added, all or none; if that fails, the changes are set back,
/// and no removal has been asked for. The journal gets these adds and the removals in one write: if the agent
/// dies, the next one that opens the record completes the adds and begins the removals, or undoes the adds
/// and drops the removals. Then the guest is asked for all devices that are to go, at once. An add that needs
/// what a removal frees (id, MAC address, tap name, place, image, serial, wwn, or a slot if none is free)
/// comes last, with a journal entry of its own. The guest cannot be made to take back what it has let go of,
/// so a failure after that undoes nothing of the removals: the answer says what is done and what is left,
/// and the next call with the same list goes on from there.
///
/// `json`: UTF-8, as for kvm_hotplug_add_json(): a list, or an object with the list as "devices".
/// `timeout_ms`: milliseconds for all of it; 0 means 20000. If adds wait for removals, a quarter of it is
/// kept for them.
/// `flags`: KVM_HOTPLUG_APPLY_PLAN, KVM_HOTPLUG_APPLY_KEEP_OTHERS, KVM_HOTPLUG_APPLY_REPLACE,
/// KVM_HOTPLUG_LIVE_ONLY (what would wait for a boot fails), KVM_HOTPLUG_NO_WAIT (the guest is asked to let
/// go of devices, and not waited for; adds are waited for); or 0.
/// `ret_json`: where to put the answer, JSON for kvm_hotplug_text_free(): for each device what is done about
/// it, why, and what became of it (docs/json.md); or NULL. Written on success, and also if the call fails
/// after it has decided what is to be done.
///
/// May be called by any thread; calls on one handle take turns. While it waits for the guest, others go on.
/// kvm_hotplug_cancel() ends it: the answer says what is done.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE, KVM_HOTPLUG_ANSWER_PENDING (the guest has not let go of a device yet;
/// the next call with the same list joins that, and does not ask twice), KVM_HOTPLUG_ANSWER_AFTER_REBOOT
/// (something waits for the next boot, nothing is pending). With KVM_HOTPLUG_APPLY_PLAN it returns what the
/// call would, if guest and QEMU do as asked. Fails with -EINVAL (the text, or a device without id or twice
/// in the list), -E2BIG (too many devices, or a longer text), -EEXIST (a device with another setting, or one
/// that goes with the next boot), -EOPNOTSUPP (a device that cannot be replaced in the running guest), and
/// like the calls that it stands for: kvm_hotplug_add_many(), kvm_hotplug_del_many(),
/// kvm_hotplug_set_link() and kvm_hotplug_set_bridge().
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_apply(
    guest: *mut kvm_hotplug,
    json: *const c_char,
    timeout_ms: u32,
    flags: u32,
    ret_json: *mut *mut c_char,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and string.
        let (guest, text) = unsafe { (kvm_hotplug::get(guest)?, required_text(json)?) };
        let how = how(flags)?;
        let wanted = read_wanted(text)?;
        let within = timeout(timeout_ms, KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS);
        let applied = guest.apply(wanted, how, within)?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { give_applied(applied, ret_json) }
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

fn how(flags: u32) -> Result<Apply> {
    let known = KVM_HOTPLUG_APPLY_PLAN
        | KVM_HOTPLUG_APPLY_KEEP_OTHERS
        | KVM_HOTPLUG_APPLY_REPLACE
        | KVM_HOTPLUG_LIVE_ONLY
        | KVM_HOTPLUG_NO_WAIT;
    check_flags(flags, known, "flags")?;
    Ok(Apply {
        plan_only: flags & KVM_HOTPLUG_APPLY_PLAN != 0,
        keep_others: flags & KVM_HOTPLUG_APPLY_KEEP_OTHERS != 0,
        replace: flags & KVM_HOTPLUG_APPLY_REPLACE != 0,
        live_only: flags & KVM_HOTPLUG_LIVE_ONLY != 0,
        no_wait: flags & KVM_HOTPLUG_NO_WAIT != 0,
    })
}

/// A text that may be longer than other strings: how long is said where it is read.
///
/// # Safety
/// `json` is NULL or a NUL-terminated string, valid during `'a`.
unsafe fn required_text<'a>(json: *const c_char) -> Result<&'a str> {
    if json.is_null() {
        return Err(null("json"));
    }
    // SAFETY: the caller vouches for it.
    let text = unsafe { CStr::from_ptr(json) };
    text.to_str().map_err(|_| Error::invalid("json is not UTF-8"))
}

/// # Safety
/// `ret_json` is NULL or valid for writes.
unsafe fn give_applied(applied: Applied, ret_json: *mut *mut c_char) -> Result<c_int> {
    // SAFETY: passed on.
    unsafe { give::give_json(&applied.to_json(), ret_json) }?;
    let answer = match (applied.is_pending(), applied.waits_for_boot()) {
        (true, _) => kvm_hotplug_answer::KVM_HOTPLUG_ANSWER_PENDING,
        (false, true) => kvm_hotplug_answer::KVM_HOTPLUG_ANSWER_AFTER_REBOOT,
        (false, false) => kvm_hotplug_answer::KVM_HOTPLUG_ANSWER_DONE,
    };
    applied.error.map_or(Ok(answer as c_int), Err)
}
