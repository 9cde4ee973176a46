//! The library through its C interface, as a C program would call it.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut};

use ::kvm_hotplug::capi::device::{kvm_hotplug_answer, kvm_hotplug_device, kvm_hotplug_reason};
use ::kvm_hotplug::capi::disk::{
    KVM_HOTPLUG_READ_ONLY, KVM_HOTPLUG_SHARE_RW, kvm_hotplug_add_disk, kvm_hotplug_disk, kvm_hotplug_format,
};
use ::kvm_hotplug::capi::error::*;
use ::kvm_hotplug::capi::event::{kvm_hotplug_event, kvm_hotplug_event_type, kvm_hotplug_next_event};
use ::kvm_hotplug::capi::guest::*;
use ::kvm_hotplug::capi::nic::{
    KVM_HOTPLUG_BOOT_INDEX, KVM_HOTPLUG_LIVE_ONLY, kvm_hotplug_add_nic, kvm_hotplug_nic, kvm_hotplug_vhost,
};
use ::kvm_hotplug::capi::removal::{
    KVM_HOTPLUG_NO_WAIT, kvm_hotplug_del_disk, kvm_hotplug_del_nic, kvm_hotplug_removal, kvm_hotplug_unplug,
};
use ::kvm_hotplug::capi::runtime::{kvm_runtime, kvm_runtime_free, kvm_runtime_load};
use ::kvm_hotplug::capi::slots::{kvm_hotplug_slot, kvm_hotplug_slot_map, kvm_hotplug_slot_state};

use super::api::*;

pub struct CAgent;

/// The handle. Other threads may cancel what one of them is in.
struct CApi(*mut kvm_hotplug);

// SAFETY: any thread may call anything, says the header.
unsafe impl Send for CApi {}
// SAFETY: likewise.
unsafe impl Sync for CApi {}

impl Drop for CApi {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and nobody else has it any more.
        unsafe { kvm_hotplug_close(self.0) };
    }
}

/// Makes a call; its last parameter is given to `work`. Nothing but a failure may store an error.
fn call(work: impl FnOnce(*mut *mut kvm_hotplug_error) -> c_int) -> Result<c_int, Failure> {
    let mut error = null_mut();
    let result = work(&mut error);
    assert_eq!(result < 0, !error.is_null(), "the answer is {result}");
    if result >= 0 {
        return Ok(result);
    }
    let failure = failure(error);
    assert_eq!(failure.errno, -result);
    // SAFETY: it comes from the library, and nothing refers to it any more.
    unsafe { kvm_hotplug_error_free(error) };
    Err(failure)
}

fn failure(error: *const kvm_hotplug_error) -> Failure {
    // SAFETY: an error that the library has just given, with strings that live as long.
    unsafe {
        Failure {
            kind: kvm_hotplug_error_kind(error),
            errno: kvm_hotplug_error_errno(error),
            text: optional(kvm_hotplug_error_message(error)).unwrap(),
            step: optional(kvm_hotplug_error_step(error)),
            qmp_class: optional(kvm_hotplug_error_qmp_class(error)),
            qmp_desc: optional(kvm_hotplug_error_qmp_desc(error)),
            undo: kvm_hotplug_error_undo(error),
            left: optional(kvm_hotplug_error_left(error))
                .map_or_else(Vec::new, |left| left.lines().map(str::to_owned).collect()),
        }
    }
}

/// # Safety
/// `text` is NULL or a string.
unsafe fn optional(text: *const c_char) -> Option<String> {
    // SAFETY: the caller vouches for it.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned())
}

/// A string field; empty where it does not apply.
fn field(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|char| char.to_ne_bytes()[0]).collect();
    CStr::from_bytes_until_nul(&bytes).unwrap().to_str().unwrap().to_owned()
}

fn filled(chars: &[c_char]) -> Option<String> {
    Some(field(chars)).filter(|text| !text.is_empty())
}

/// A string that lives until the call is over, or NULL.
struct Text(Option<CString>);

impl Text {
    fn new(text: Option<&str>) -> Self {
        Self(text.map(|text| CString::new(text).unwrap()))
    }

    fn pointer(&self) -> *const c_char {
        self.0.as_ref().map_or(null(), |text| text.as_ptr())
    }
}

/// A struct as C programs begin with: zero everywhere.
///
/// # Safety
/// Zeros are a value of `S`.
unsafe fn zeroed<S>() -> S {
    // SAFETY: the caller vouches for it.
    unsafe { std::mem::zeroed() }
}

/// What both kinds of request have in common.
struct Common {
    id: Text,
    bus: Text,
    slot: u32,
    flags: u32,
    timeout_ms: u32,
}

impl Common {
    fn new(place: &Place) -> Self {
        let address = place.address.as_ref();
        Self {
            id: Text::new(place.id.as_deref()),
            bus: Text::new(address.map(|(bus, _)| bus.as_str())),
            slot: address.map_or(0, |(_, slot)| (*slot).into()),
            flags: if place.live_only { KVM_HOTPLUG_LIVE_ONLY } else { 0 },
            timeout_ms: milliseconds(place.timeout_ms),
        }
    }
}

fn milliseconds(timeout: u64) -> u32 {
    assert!(timeout > 0, "0 means the default to C programs");
    timeout.try_into().unwrap()
}

impl Agent for CAgent {
    fn name(&self) -> &'static str {
        "c"
    }

    fn open(&self, runtime: &Path, socket: &Path, timeout_ms: u64) -> Result<Box<dyn Api>, Failure> {
        let [runtime, socket] =
            [runtime, socket].map(|path| CString::new(path.as_os_str().as_bytes()).unwrap());
        let (mut record, mut guest): (*mut kvm_runtime, *mut kvm_hotplug) = (null_mut(), null_mut());
        // SAFETY: strings and places to write to are all there; the record may be freed before the guest is closed.
        unsafe {
            call(|error| kvm_runtime_load(runtime.as_ptr(), &mut record, error))?;
            let timeout = milliseconds(timeout_ms);
            let opened = call(|error| kvm_hotplug_open(record, socket.as_ptr(), timeout, &mut guest, error));
            kvm_runtime_free(record);
            opened?;
        }
        Ok(Box::new(CApi(guest)))
    }
}

impl CApi {
    /// A call that tells about a device.
    fn about_device(
        &self,
        work: impl FnOnce(*mut kvm_hotplug_device, usize, *mut *mut kvm_hotplug_error) -> c_int,
    ) -> Result<Answer, Failure> {
        use kvm_hotplug_answer::*;
        // SAFETY: integers and arrays of them.
        let mut device: kvm_hotplug_device = unsafe { zeroed() };
        let result = call(|error| work(&mut device, size_of::<kvm_hotplug_device>(), error))?;
        let told = filled(&device.id).map(|_| item(&device));
        let result = u32::try_from(result).unwrap();
        let state = match result {
            _ if result == KVM_HOTPLUG_DONE as u32 => State::Done,
            _ if result == KVM_HOTPLUG_AFTER_REBOOT as u32 => State::AfterReboot(later(device.reason)),
            _ if result == KVM_HOTPLUG_PENDING as u32 => State::Pending(reason(device.reason)),
            _ if result == KVM_HOTPLUG_ABSENT as u32 => State::Absent,
            other => panic!("the answer is {other}"),
        };
        Ok(Answer { state, device: told })
    }
}

impl Api for CApi {
    fn add_nic(&self, ask: &NicAsk) -> Result<Answer, Failure> {
        let common = Common::new(&ask.place);
        let [mac, bridge, ifname, model] =
            [&ask.mac, &ask.bridge, &ask.ifname, &ask.model].map(|text| Text::new(text.as_deref()));
        let fds: Vec<RawFd> = ask.fds.iter().map(|fd| fd.as_raw_fd()).collect();
        let vhost = match ask.vhost {
            true => kvm_hotplug_vhost::KVM_HOTPLUG_VHOST_REQUIRED,
            false => kvm_hotplug_vhost::KVM_HOTPLUG_VHOST_OFF,
        };
        // SAFETY: NULL and 0 are values of all its fields.
        let mut nic: kvm_hotplug_nic = unsafe { zeroed() };
        nic.id = common.id.pointer();
        nic.mac = mac.pointer();
        nic.bridge = bridge.pointer();
        nic.ifname = ifname.pointer();
        nic.model = model.pointer();
        nic.bus = common.bus.pointer();
        nic.tap_fds = if fds.is_empty() { null() } else { fds.as_ptr() };
        nic.tap_fd_count = fds.len().try_into().unwrap();
        nic.queues = ask.queues.into();
        nic.vhost = vhost as u32;
        nic.mtu = ask.mtu.map_or(0, u32::from);
        nic.slot = common.slot;
        nic.boot_index = ask.boot_index.unwrap_or(0);
        nic.timeout_ms = common.timeout_ms;
        nic.flags = common.flags | if ask.boot_index.is_some() { KVM_HOTPLUG_BOOT_INDEX } else { 0 };
        // SAFETY: the handle is open, and everything the request points to lives longer than the call.
        self.about_device(|device, size, error| unsafe {
            kvm_hotplug_add_nic(self.0, &nic, size_of_val(&nic), device, size, error)
        })
    }

    fn add_disk(&self, ask: &DiskAsk) -> Result<Answer, Failure> {
        let common = Common::new(&ask.place);
        let path = CString::new(ask.path.as_os_str().as_bytes()).unwrap();
        let [serial, model] = [&ask.serial, &ask.model].map(|text| Text::new(text.as_deref()));
        let format = match ask.format.as_deref() {
            None => kvm_hotplug_format::KVM_HOTPLUG_FORMAT_PROBE,
            Some("raw") => kvm_hotplug_format::KVM_HOTPLUG_FORMAT_RAW,
            Some("qcow2") => kvm_hotplug_format::KVM_HOTPLUG_FORMAT_QCOW2,
            Some(other) => panic!("format {other}"),
        };
        let flags = [
            (ask.read_only, KVM_HOTPLUG_READ_ONLY),
            (ask.share_rw, KVM_HOTPLUG_SHARE_RW),
            (ask.boot_index.is_some(), KVM_HOTPLUG_BOOT_INDEX),
        ];
        // SAFETY: NULL and 0 are values of all its fields.
        let mut disk: kvm_hotplug_disk = unsafe { zeroed() };
        disk.path = path.as_ptr();
        disk.id = common.id.pointer();
        disk.serial = serial.pointer();
        disk.model = model.pointer();
        disk.bus = common.bus.pointer();
        disk.format = format as u32;
        disk.slot = common.slot;
        disk.boot_index = ask.boot_index.unwrap_or(0);
        disk.timeout_ms = common.timeout_ms;
        disk.flags =
            flags.iter().fold(common.flags, |flags, (on, bit)| if *on { flags | bit } else { flags });
        // SAFETY: the handle is open, and everything the request points to lives longer than the call.
        self.about_device(|device, size, error| unsafe {
            kvm_hotplug_add_disk(self.0, &disk, size_of_val(&disk), device, size, error)
        })
    }

    /// By the short functions where they can say what is asked, so that these are tested as well.
    fn unplug(&self, ask: &UnplugAsk) -> Result<Answer, Failure> {
        let id = CString::new(ask.id.as_str()).unwrap();
        let timeout_ms = milliseconds(ask.timeout_ms);
        let short = match ask.kind {
            Some("nic") => Some(kvm_hotplug_del_nic as unsafe extern "C" fn(_, _, _, _) -> _),
            Some("disk") => Some(kvm_hotplug_del_disk as unsafe extern "C" fn(_, _, _, _) -> _),
            Some(other) => panic!("kind {other}"),
            None => None,
        };
        if let Some(short) = short.filter(|_| ask.wait && !ask.live_only) {
            return self.about_device(|device, size, error| {
                // SAFETY: handle, string and struct are there; the short functions do not tell about the device.
                unsafe {
                    kvm_hotplug_get_device(self.0, id.as_ptr(), device, size, null_mut());
                    let result = short(self.0, id.as_ptr(), timeout_ms, error);
                    kvm_hotplug_get_device(self.0, id.as_ptr(), device, size, null_mut());
                    result
                }
            });
        }
        assert!(ask.kind.is_none(), "the C interface has no such removal");
        let live_only = if ask.live_only { KVM_HOTPLUG_LIVE_ONLY } else { 0 };
        let no_wait = if ask.wait { 0 } else { KVM_HOTPLUG_NO_WAIT };
        let removal = kvm_hotplug_removal { id: id.as_ptr(), timeout_ms, flags: live_only | no_wait };
        // SAFETY: the handle is open, and the string lives longer than the call.
        self.about_device(|device, size, error| unsafe {
            kvm_hotplug_unplug(self.0, &removal, size_of_val(&removal), device, size, error)
        })
    }

    fn process(&self, timeout_ms: u64) -> Result<usize, Failure> {
        // SAFETY: the handle is open.
        let count = call(|error| unsafe { kvm_hotplug_process(self.0, milliseconds(timeout_ms), error) })?;
        Ok(count.try_into().unwrap())
    }

    fn next_event(&self) -> Option<News> {
        // SAFETY: integers and arrays of them; the handle is open.
        let (event, got) = unsafe {
            let mut event: kvm_hotplug_event = zeroed();
            let got = call(|error| kvm_hotplug_next_event(self.0, &mut event, size_of_val(&event), error));
            (event, got.unwrap())
        };
        (got == 1).then(|| News {
            what: what(&event),
            id: filled(&event.id),
            generation: event.generation,
            text: field(&event.text),
        })
    }

    fn list(&self) -> Vec<Item> {
        let listed = array(|devices: *mut kvm_hotplug_device, size, capacity, count, error| {
            // SAFETY: the handle is open, and the array has room for so many.
            unsafe { kvm_hotplug_list(self.0, devices, size, capacity, count, error) }
        });
        listed.unwrap().iter().map(item).collect()
    }

    fn slots(&self) -> Result<Vec<SlotItem>, Failure> {
        let timeout = milliseconds(AMPLE);
        let slots = array(|slots: *mut kvm_hotplug_slot, size, capacity, count, error| {
            // SAFETY: the handle is open, and the array has room for so many.
            unsafe { kvm_hotplug_slot_map(self.0, timeout, slots, size, capacity, count, error) }
        })?;
        let slot = |slot: &kvm_hotplug_slot| SlotItem {
            bus: field(&slot.bus),
            slot: slot.slot.try_into().unwrap(),
            state: usage(slot.state),
            occupant: field(&slot.occupant),
        };
        Ok(slots.iter().map(slot).collect())
    }

    fn fd(&self) -> RawFd {
        // SAFETY: the handle is open.
        call(|error| unsafe { kvm_hotplug_get_fd(self.0, error) }).unwrap()
    }

    fn cancel(&self) -> bool {
        // SAFETY: the handle is open.
        call(|error| unsafe { kvm_hotplug_cancel(self.0, error) }).unwrap() == 1
    }
}

/// An array that the library fills, counted first.
fn array<S: Clone>(
    work: impl Fn(*mut S, usize, usize, *mut usize, *mut *mut kvm_hotplug_error) -> c_int,
) -> Result<Vec<S>, Failure> {
    let (mut count, mut filled) = (0, 0);
    call(|error| work(null_mut(), size_of::<S>(), 0, &mut count, error))?;
    // SAFETY: the structs that arrays are made of are integers and arrays of them.
    let mut all = vec![unsafe { zeroed::<S>() }; count];
    call(|error| work(all.as_mut_ptr(), size_of::<S>(), count, &mut filled, error))?;
    assert_eq!(count, filled, "nothing has happened in between");
    Ok(all)
}

fn item(device: &kvm_hotplug_device) -> Item {
    use kvm_hotplug_answer::*;
    let presence = match (device.state, device.removed_after_reboot) {
        (_, 1) => Presence::RemoveAfterReboot,
        (state, _) if state == KVM_HOTPLUG_PENDING as u32 => Presence::Pending(reason(device.reason)),
        (state, _) if state == KVM_HOTPLUG_AFTER_REBOOT as u32 => Presence::AddAfterReboot,
        _ => Presence::Live,
    };
    Item {
        id: field(&device.id),
        kind: match device.device_type {
            1 => "nic",
            2 => "disk",
            other => panic!("device type {other}"),
        },
        address: filled(&device.bus).map(|bus| (bus, device.slot.try_into().unwrap())),
        generation: device.generation,
        presence,
        mac: filled(&device.mac),
        ifname: filled(&device.ifname),
    }
}

/// What a number of the header stands for here.
#[track_caller]
fn one_of<T: Copy>(number: u32, table: &[(u32, T)]) -> T {
    table.iter().find(|(known, _)| *known == number).unwrap_or_else(|| panic!("{number} is none of them")).1
}

fn later(why: u32) -> Later {
    use kvm_hotplug_reason::*;
    one_of(
        why,
        &[
            (KVM_HOTPLUG_REASON_QEMU_TOO_OLD as u32, Later::QemuTooOld),
            (KVM_HOTPLUG_REASON_MODEL as u32, Later::Model),
            (KVM_HOTPLUG_REASON_NO_ADDRESS as u32, Later::NoAddress),
        ],
    )
}

fn reason(why: u32) -> Why {
    use kvm_hotplug_reason::*;
    one_of(
        why,
        &[
            (KVM_HOTPLUG_REASON_DEADLINE as u32, Why::Deadline),
            (KVM_HOTPLUG_REASON_NOT_BOOTED as u32, Why::NotBooted),
            (KVM_HOTPLUG_REASON_NOT_STARTED as u32, Why::NotStarted),
            (KVM_HOTPLUG_REASON_PAUSED as u32, Why::Paused),
            (KVM_HOTPLUG_REASON_ASLEEP as u32, Why::Asleep),
            (KVM_HOTPLUG_REASON_STOPPED as u32, Why::Stopped),
            (KVM_HOTPLUG_REASON_NOT_AWAITED as u32, Why::NotAwaited),
        ],
    )
}

fn usage(state: u32) -> SlotUse {
    use kvm_hotplug_slot_state::*;
    one_of(
        state,
        &[
            (KVM_HOTPLUG_SLOT_FREE as u32, SlotUse::Free),
            (KVM_HOTPLUG_SLOT_RESERVED as u32, SlotUse::Reserved),
            (KVM_HOTPLUG_SLOT_TAKEN as u32, SlotUse::Taken),
            (KVM_HOTPLUG_SLOT_QUARANTINED as u32, SlotUse::Quarantined),
            (KVM_HOTPLUG_SLOT_NOT_HOTPLUGGABLE as u32, SlotUse::NotHotpluggable),
            (KVM_HOTPLUG_SLOT_UNKNOWN as u32, SlotUse::Unknown),
        ],
    )
}

fn what(event: &kvm_hotplug_event) -> What {
    use kvm_hotplug_event_type::*;
    one_of(
        event.event_type,
        &[
            (KVM_HOTPLUG_EVENT_ADDED as u32, What::Added),
            (KVM_HOTPLUG_EVENT_REMOVED as u32, What::Removed),
            (KVM_HOTPLUG_EVENT_REMOVED_BY_GUEST as u32, What::RemovedByGuest),
            (KVM_HOTPLUG_EVENT_REFUSED as u32, What::Refused),
            (KVM_HOTPLUG_EVENT_PENDING as u32, What::Pending),
            (KVM_HOTPLUG_EVENT_UNDONE as u32, What::Undone),
            (KVM_HOTPLUG_EVENT_MONITOR_LOST as u32, What::MonitorLost),
            (KVM_HOTPLUG_EVENT_LOST as u32, What::Lost(event.lost)),
        ],
    )
}
