//! `kvm_hotplug_add_many` and `kvm_hotplug_del_many`.

use std::ffi::{c_char, c_int};

use super::args::{Plain, check_flags, null, read_struct, required_str, timeout};
use super::device::{kvm_hotplug_answer, kvm_hotplug_device};
use super::disk::{self, kvm_hotplug_disk};
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, check_device_out, kvm_hotplug};
use super::nic::{self, KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, kvm_hotplug_nic};
use super::removal::{KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS, KVM_HOTPLUG_DEL_LEAVE_OVERLAY, REMOVAL_FLAGS};
use super::show::{self};
use crate::error::{Error, Result};
use crate::guest::{AddRequest, Outcome, RemovalOfMany};

/// Most devices in one call.
pub const KVM_HOTPLUG_BATCH_MAX: usize = 256;

/// Devices to add in one call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_add_batch {
    /// NICs. Their timeout_ms do not count.
    pub nics: *const kvm_hotplug_nic,
    /// sizeof nics[0].
    pub nic_size: usize,
    /// Number of nics.
    pub nic_count: usize,
    /// Disks. Their timeout_ms do not count.
    pub disks: *const kvm_hotplug_disk,
    /// sizeof disks[0].
    pub disk_size: usize,
    /// Number of disks.
    pub disk_count: usize,
    /// Milliseconds for all of it; 0 means 5000.
    pub timeout_ms: u32,
    /// KVM_HOTPLUG_NO_WAIT, which counts for all if any device has it; or 0.
    pub flags: u32,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_hotplug_add_batch {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_add_batch, flags);
}

/// Devices to remove in one call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_del_batch {
    /// Ids of NICs, disks and controllers.
    pub ids: *const *const c_char,
    /// Number of ids.
    pub id_count: usize,
    /// Milliseconds for all of it; 0 means 20000.
    pub timeout_ms: u32,
    /// KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_DEL_LEAVE_OVERLAY, or 0.
    pub flags: u32,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_hotplug_del_batch {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_del_batch, flags);
}

/// Plugs several NICs and disks into the guest as one operation: one journal entry, one write to the monitor,
/// one wait (one more if there are NICs with several queues), one replacement of the runtime file. All of it
/// or nothing: if one device cannot be added, the others are removed again. The guest has seen them by then
/// and is asked to release them; kvm_hotplug_error_residue() names those that it does not release by the
/// deadline, and they are pending. If the agent dies, the next one completes all of them or none. Slots are
/// chosen in order: all NICs, then all disks.
///
/// `batch`: at most KVM_HOTPLUG_BATCH_MAX NICs and disks together.
/// `ret_devices`: an array with room for all devices, NICs first; or NULL, and 0 as its size.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE (all are in the guest), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (some are recorded
/// for the next boot: see their states), KVM_HOTPLUG_ANSWER_PENDING (with KVM_HOTPLUG_NO_WAIT; a device for
/// the next boot then has an event only if the others fail), or fails like kvm_hotplug_add_nic() and
/// kvm_hotplug_add_disk(), and names the device in the message; -E2BIG also for too many devices.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_add_many(
    guest: *mut kvm_hotplug,
    batch: *const kvm_hotplug_add_batch,
    batch_size: usize,
    ret_devices: *mut kvm_hotplug_device,
    device_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (guest, batch) = unsafe { (kvm_hotplug::get(guest)?, read_struct(batch, batch_size, "batch")?) };
        check_flags(batch.flags, KVM_HOTPLUG_NO_WAIT, "batch flags")?;
        check_count(batch.nic_count.saturating_add(batch.disk_count))?;
        check_device_out(ret_devices, device_size)?;
        // SAFETY: the caller vouches for the arrays and what is in them.
        let additions = unsafe { additions(&batch) }?;
        let outcomes = guest.add_all(additions, timeout(batch.timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        let answers: Vec<_> = outcomes.into_iter().map(Ok).collect();
        // SAFETY: the caller vouches for the array.
        unsafe { give_devices(&answers, ret_devices, device_size) };
        worst(answers)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// Removes several devices from the guest and its record: asks the guest for all in one write, waits for them
/// together, and tears down the backends of those that are gone together. Each device has its own answer; one
/// that stays keeps none of the others.
///
/// `batch`: ids and flags; at most KVM_HOTPLUG_BATCH_MAX ids.
/// `ret_devices`: an array with room for all devices, in the order of ids; or NULL, and 0 as its size. A
/// device that is absent or failed is all zeros.
/// `ret_answers`: an array of integers in the order of ids, with what kvm_hotplug_del() would have returned
/// for each; or NULL. Written whenever the guest could be asked, also if the call then fails.
/// `reterr`: where to put the error of the first device in the list that has one, or NULL.
///
/// Returns KVM_HOTPLUG_ANSWER_DONE (all are gone, or were absent), KVM_HOTPLUG_ANSWER_PENDING (at least one
/// is pending), KVM_HOTPLUG_ANSWER_AFTER_REBOOT (the next boot removes at least one, none is pending), or the
/// first error as from kvm_hotplug_del(); -EINVAL also for an id that is named twice, -E2BIG also for too
/// many ids.
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_del_many(
    guest: *mut kvm_hotplug,
    batch: *const kvm_hotplug_del_batch,
    batch_size: usize,
    ret_devices: *mut kvm_hotplug_device,
    device_size: usize,
    ret_answers: *mut c_int,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (guest, batch) = unsafe { (kvm_hotplug::get(guest)?, read_struct(batch, batch_size, "batch")?) };
        check_flags(batch.flags, REMOVAL_FLAGS, "batch flags")?;
        check_count(batch.id_count)?;
        check_device_out(ret_devices, device_size)?;
        // SAFETY: the caller vouches for the array and its strings.
        let ids = unsafe { ids(&batch) }?;
        let how = RemovalOfMany {
            live_only: batch.flags & KVM_HOTPLUG_LIVE_ONLY != 0,
            wait: batch.flags & KVM_HOTPLUG_NO_WAIT == 0,
            leave_overlay: batch.flags & KVM_HOTPLUG_DEL_LEAVE_OVERLAY != 0,
        };
        let within = timeout(batch.timeout_ms, KVM_HOTPLUG_DEFAULT_DEL_TIMEOUT_MS);
        let answers = guest.unplug_all(&ids, how, within)?;
        // SAFETY: the caller vouches for the arrays.
        unsafe {
            give_devices(&answers, ret_devices, device_size);
            give_answers(&answers, ret_answers);
        }
        worst(answers)
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

fn check_count(count: usize) -> Result<()> {
    if count <= KVM_HOTPLUG_BATCH_MAX {
        return Ok(());
    }
    let text = format!("{count} devices in one call, at most {KVM_HOTPLUG_BATCH_MAX} are allowed");
    Err(Error::invalid(text).with_errno(libc::E2BIG))
}

/// # Safety
/// The arrays are NULL or valid as described.
unsafe fn additions(batch: &kvm_hotplug_add_batch) -> Result<Vec<AddRequest>> {
    let mut additions = Vec::with_capacity(batch.nic_count + batch.disk_count);
    for index in 0..batch.nic_count {
        // SAFETY: the caller vouches for the array and the strings in it.
        let request = unsafe {
            element(batch.nics, batch.nic_size, index, "nics").and_then(|mut nic| {
                nic.flags |= batch.flags;
                nic::request(&nic)
            })
        };
        additions.push(AddRequest::Nic(named(request, "nics", index)?));
    }
    for index in 0..batch.disk_count {
        // SAFETY: as above.
        let request = unsafe {
            element(batch.disks, batch.disk_size, index, "disks").and_then(|mut disk| {
                disk.flags |= batch.flags;
                disk::request(&disk)
            })
        };
        additions.push(AddRequest::Disk(Box::new(named(request, "disks", index)?)));
    }
    Ok(additions)
}

fn named<T>(request: Result<T>, what: &str, index: usize) -> Result<T> {
    request.map_err(|error| error.context(format!("{what}[{index}]")))
}

/// An element of an array whose elements have the size the caller was compiled with.
///
/// # Safety
/// `array` is NULL or has an element of `size` bytes at `index`.
unsafe fn element<T: Plain>(array: *const T, size: usize, index: usize, what: &str) -> Result<T> {
    if array.is_null() {
        return Err(null(what));
    }
    let place = array.cast::<u8>().wrapping_add(index.saturating_mul(size)).cast::<T>();
    // SAFETY: the caller vouches for it.
    unsafe { read_struct(place, size, what) }
}

/// # Safety
/// The array is NULL or has `id_count` strings.
unsafe fn ids(batch: &kvm_hotplug_del_batch) -> Result<Vec<String>> {
    if batch.ids.is_null() && batch.id_count > 0 {
        return Err(null("ids"));
    }
    let one = |index: usize| {
        // SAFETY: the caller vouches for array and strings.
        unsafe { required_str(batch.ids.wrapping_add(index).read(), "ids") }.map(str::to_owned)
    };
    (0..batch.id_count).map(|index| named(one(index), "ids", index)).collect()
}

/// # Safety
/// `array` is NULL or has room for as many structs of `size` bytes.
unsafe fn give_devices(answers: &[Result<Outcome>], array: *mut kvm_hotplug_device, size: usize) {
    if array.is_null() {
        return;
    }
    for (index, answer) in answers.iter().enumerate() {
        let place = array.cast::<u8>().wrapping_add(index.saturating_mul(size)).cast::<kvm_hotplug_device>();
        // SAFETY: the caller vouches for it.
        unsafe {
            match answer {
                Ok(Outcome::Absent) | Err(_) => place.cast::<u8>().write_bytes(0, size),
                Ok(outcome) => show::write_device(outcome, place, size),
            }
        }
    }
}

/// # Safety
/// `array` is NULL or has room for as many integers.
unsafe fn give_answers(answers: &[Result<Outcome>], array: *mut c_int) {
    if array.is_null() {
        return;
    }
    for (index, answer) in answers.iter().enumerate() {
        let code = match answer {
            Ok(outcome) => show::code(outcome),
            Err(error) => -error.errno(),
        };
        // SAFETY: the caller vouches for it.
        unsafe { array.wrapping_add(index).write(code) };
    }
}

/// What all answers come to: the first error, or the farthest from done.
fn worst(answers: Vec<Result<Outcome>>) -> Result<c_int> {
    let mut worst = kvm_hotplug_answer::KVM_HOTPLUG_ANSWER_DONE as c_int;
    for answer in answers {
        let code = show::code(&answer?);
        // Absent is gone.
        if code != kvm_hotplug_answer::KVM_HOTPLUG_ANSWER_ABSENT as c_int {
            worst = worst.max(code);
        }
    }
    Ok(worst)
}
