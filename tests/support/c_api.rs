//! The library through its C interface, called as a C program would.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use ::kvm_hotplug::capi::apply::*;
use ::kvm_hotplug::capi::backing::kvm_hotplug_backing;
use ::kvm_hotplug::capi::batch::*;
use ::kvm_hotplug::capi::capabilities::*;
use ::kvm_hotplug::capi::controller::*;
use ::kvm_hotplug::capi::describe::kvm_hotplug_describe;
use ::kvm_hotplug::capi::device::{
    kvm_hotplug_answer as Code, kvm_hotplug_device, kvm_hotplug_reason as Reason,
    kvm_hotplug_state as Standing,
};
use ::kvm_hotplug::capi::disk::*;
use ::kvm_hotplug::capi::error::*;
use ::kvm_hotplug::capi::error_read::*;
use ::kvm_hotplug::capi::event::{
    kvm_hotplug_event, kvm_hotplug_forward_qmp_events, kvm_hotplug_next_event, kvm_hotplug_next_event_json,
};
use ::kvm_hotplug::capi::guest::{
    KVM_HOTPLUG_OPEN_LOOK_ONLY, kvm_hotplug as Handle, kvm_hotplug_close, kvm_hotplug_open,
    kvm_hotplug_open_options, kvm_hotplug_open_with,
};
use ::kvm_hotplug::capi::limits::kvm_hotplug_set_disk_limits;
use ::kvm_hotplug::capi::link::{
    kvm_hotplug_nic_limits, kvm_hotplug_set_bridge, kvm_hotplug_set_link, kvm_hotplug_set_nic_limits,
};
use ::kvm_hotplug::capi::list::{kvm_hotplug_get_device, kvm_hotplug_list};
use ::kvm_hotplug::capi::log::kvm_hotplug_log_level::KVM_HOTPLUG_LOG_DEBUG;
use ::kvm_hotplug::capi::log::kvm_runtime_set_log;
use ::kvm_hotplug::capi::media::{kvm_hotplug_change_media, kvm_hotplug_medium};
use ::kvm_hotplug::capi::nic::*;
use ::kvm_hotplug::capi::plan::kvm_hotplug_text_free;
use ::kvm_hotplug::capi::qmp::*;
use ::kvm_hotplug::capi::removal::*;
use ::kvm_hotplug::capi::resize::{KVM_HOTPLUG_RESIZE_SHRINK, kvm_hotplug_resize_disk};
use ::kvm_hotplug::capi::runtime::*;
use ::kvm_hotplug::capi::secret::kvm_hotplug_secret;
use ::kvm_hotplug::capi::settle::kvm_hotplug_settle;
use ::kvm_hotplug::capi::slots::{kvm_hotplug_slot, kvm_hotplug_slot_map};
use ::kvm_hotplug::capi::verify::{kvm_hotplug_difference, kvm_hotplug_repair, kvm_hotplug_verify};
use ::kvm_hotplug::capi::wait::{
    kvm_hotplug_cancel, kvm_hotplug_cancel_thread, kvm_hotplug_get_fd, kvm_hotplug_process,
    kvm_hotplug_thread,
};
use ::kvm_hotplug::disk::{BackingRule, Cache, FormatRequest};
use ::kvm_hotplug::engine::SlotStatus;
use ::kvm_hotplug::ids::IoThread;
use ::kvm_hotplug::net::vhost::VhostMode;

use serde_json::Value;

use super::api::*;

pub struct CAgent;

struct CApi(*mut Handle);

// SAFETY: the header says that any thread may use a handle.
unsafe impl Send for CApi {}
// SAFETY: and that calls on one handle take turns.
unsafe impl Sync for CApi {}

type Reterr<'a> = &'a mut *mut kvm_hotplug_error;

/// Makes a call that takes a place for an error, and reads the error if it fails.
fn call(work: impl FnOnce(Reterr<'_>) -> c_int) -> Result<c_int, Failure> {
    let mut error = null_mut();
    let code = work(&mut error);
    if code >= 0 {
        assert!(error.is_null(), "an error beside a success");
        return Ok(code);
    }
    assert!(!error.is_null(), "a failure without an error");
    // SAFETY: the library has just made it, and it is freed once, after the last use.
    let failure = unsafe {
        let failure = Failure {
            kind: kvm_hotplug_error_kind(error),
            errno: kvm_hotplug_error_errno(error),
            text: text(kvm_hotplug_error_message(error)).unwrap(),
            step: text(kvm_hotplug_error_step(error)),
            qmp_class: text(kvm_hotplug_error_qmp_class(error)),
            qmp_desc: text(kvm_hotplug_error_qmp_desc(error)),
            undo: kvm_hotplug_error_undo(error),
            left: text(kvm_hotplug_error_residue(error))
                .map_or_else(Vec::new, |left| left.lines().map(str::to_owned).collect()),
        };
        kvm_hotplug_error_free(error);
        failure
    };
    assert_eq!(code, -failure.errno, "{failure:?}");
    Err(failure)
}

/// # Safety
/// NULL or a string.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    // SAFETY: passed on.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_str().unwrap().to_owned())
}

/// A string in an array of a result; `None` if it is empty.
fn field(array: &[c_char]) -> Option<String> {
    let bytes: Vec<u8> = array.iter().take_while(|c| **c != 0).map(|c| c.to_ne_bytes()[0]).collect();
    (!bytes.is_empty()).then(|| String::from_utf8(bytes).unwrap())
}

/// Strings of a request, which live as long as it is used.
#[derive(Default)]
struct Strings(Vec<CString>, Vec<Vec<*const c_char>>, Vec<Vec<kvm_hotplug_secret>>);

impl Strings {
    fn keep(&mut self, text: Option<impl AsRef<[u8]>>) -> *const c_char {
        let Some(text) = text else { return null() };
        self.0.push(CString::new(text.as_ref()).unwrap());
        self.0.last().unwrap().as_ptr()
    }

    fn keep_secrets(&mut self, secrets: &[(String, String)]) -> *const kvm_hotplug_secret {
        let made = |(name, text): &(String, String)| kvm_hotplug_secret {
            name: self.keep(Some(name)),
            data: self.keep(Some(text)).cast(),
            length: text.len(),
        };
        let made: Vec<kvm_hotplug_secret> = secrets.iter().map(made).collect();
        self.2.push(made);
        self.2.last().map_or(null(), |made| if secrets.is_empty() { null() } else { made.as_ptr() })
    }

    fn keep_all(&mut self, paths: &[PathBuf]) -> *const *const c_char {
        let pointers = paths.iter().map(|path| self.keep(Some(path.as_os_str().as_bytes()))).collect();
        self.1.push(pointers);
        self.1.last().map_or(null(), |pointers| if paths.is_empty() { null() } else { pointers.as_ptr() })
    }
}

/// A struct as C makes it with `= {0}`.
fn zeroed<T: Copy>() -> T {
    // SAFETY: only for structs of the header, which consist of integers and pointers.
    unsafe { std::mem::zeroed() }
}

unsafe extern "C" fn print(_: *mut c_void, level: c_int, message: *const c_char) {
    // SAFETY: the header promises a string.
    let message = unsafe { text(message) }.unwrap();
    #[allow(clippy::print_stdout)]
    {
        println!("  [{level}] {message}");
    }
}

/// A timeout in C's width; 0 would mean the default there.
fn milliseconds(timeout_ms: u64) -> u32 {
    u32::try_from(timeout_ms.max(1)).unwrap()
}

fn flags(place: &Place, boot_index: Option<u32>) -> u32 {
    let flag = |set, flag| if set { flag } else { 0 };
    flag(place.live_only, KVM_HOTPLUG_LIVE_ONLY)
        | flag(place.no_wait, KVM_HOTPLUG_NO_WAIT)
        | flag(place.adopt, KVM_HOTPLUG_ADOPT)
        | flag(boot_index.is_some(), KVM_HOTPLUG_BOOT_INDEX)
}

impl Agent for CAgent {
    fn name(&self) -> &'static str {
        "c"
    }

    fn look(&self, runtime: &Path, socket: &Path, timeout_ms: u64) -> Result<Box<dyn Api>, Failure> {
        let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
        let (runtime_path, socket) = (path(runtime), path(socket));
        let (mut runtime, mut guest) = (null_mut(), null_mut());
        let mut listener = zeroed::<kvm_hotplug_open_options>();
        (listener.flags, listener.timeout_ms) = (KVM_HOTPLUG_OPEN_LOOK_ONLY, milliseconds(timeout_ms));
        let size = size_of_val(&listener);
        // SAFETY: as in open().
        unsafe {
            call(|error| kvm_runtime_load_readonly(runtime_path.as_ptr(), &raw mut runtime, error))?;
            let who = &raw const listener;
            let opened = call(|error| {
                kvm_hotplug_open_with(runtime, socket.as_ptr(), who, size, &raw mut guest, error)
            });
            kvm_runtime_free(runtime);
            opened?;
        }
        Ok(Box::new(CApi(guest)))
    }

    fn open(&self, runtime: &Path, socket: &Path, timeout_ms: u64) -> Result<Box<dyn Api>, Failure> {
        let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
        let (runtime_path, socket) = (path(runtime), path(socket));
        let (mut runtime, mut guest) = (null_mut(), null_mut());
        // SAFETY: strings and places for results live through the calls; the record is freed once, after its
        // last use, which may be before the guest is closed.
        unsafe {
            call(|error| kvm_runtime_load(runtime_path.as_ptr(), &raw mut runtime, error))?;
            let level = KVM_HOTPLUG_LOG_DEBUG as c_int;
            call(|error| kvm_runtime_set_log(runtime, level, Some(print), null_mut(), None, error)).unwrap();
            let timeout = milliseconds(timeout_ms);
            let opened =
                call(|error| kvm_hotplug_open(runtime, socket.as_ptr(), timeout, &raw mut guest, error));
            kvm_runtime_free(runtime);
            opened?;
        }
        Ok(Box::new(CApi(guest)))
    }
}

type Compare = unsafe extern "C" fn(
    *mut Handle,
    u32,
    *mut kvm_hotplug_difference,
    usize,
    usize,
    *mut usize,
    *mut *mut kvm_hotplug_error,
) -> c_int;

impl CApi {
    fn differences(&self, compare: Compare) -> Result<Vec<String>, Failure> {
        let mut found = vec![zeroed::<kvm_hotplug_difference>(); 64];
        let (size, mut count) = (size_of::<kvm_hotplug_difference>(), 0);
        // SAFETY: the array has that many elements.
        call(|error| unsafe {
            let (array, capacity) = (found.as_mut_ptr(), found.len());
            compare(self.0, milliseconds(AMPLE), array, size, capacity, &raw mut count, error)
        })?;
        found.truncate(count);
        Ok(found.iter().map(|difference| field(&difference.text).unwrap_or_default()).collect())
    }
}

impl Drop for CApi {
    fn drop(&mut self) {
        // SAFETY: nobody else has the handle any more.
        unsafe { kvm_hotplug_close(self.0) };
    }
}

impl Api for CApi {
    fn add_nic(&self, nic: &NicArgs) -> Result<Answer, Failure> {
        let (mut strings, fds) = (Strings::default(), raw_fds(nic));
        let request = nic_struct(nic, &mut strings, &fds);
        let (size, mut device) = (size_of_val(&request), zeroed::<kvm_hotplug_device>());
        let device_size = size_of_val(&device);
        // SAFETY: all of it lives through the call.
        let code = call(|error| unsafe {
            kvm_hotplug_add_nic(self.0, &raw const request, size, &raw mut device, device_size, error)
        })?;
        Ok(answer(code, &device))
    }

    fn add_disk(&self, disk: &DiskArgs) -> Result<Answer, Failure> {
        let mut strings = Strings::default();
        let request = disk_struct(disk, &mut strings);
        let (size, mut device) = (size_of_val(&request), zeroed::<kvm_hotplug_device>());
        let device_size = size_of_val(&device);
        // SAFETY: all of it lives through the call.
        let code = call(|error| unsafe {
            kvm_hotplug_add_disk(self.0, &raw const request, size, &raw mut device, device_size, error)
        })?;
        Ok(answer(code, &device))
    }

    fn add_controller(&self, controller: &ControllerArgs) -> Result<Answer, Failure> {
        let mut strings = Strings::default();
        let request = kvm_hotplug_controller {
            id: strings.keep(controller.place.id.as_ref()),
            model: strings.keep(controller.model.as_ref()),
            bus: strings.keep(controller.place.address.as_ref().map(|(bus, _)| bus)),
            queues: controller.queues.map_or(0, u32::from),
            slot: controller.place.address.as_ref().map_or(0, |(_, slot)| u32::from(*slot)),
            timeout_ms: milliseconds(controller.place.timeout_ms),
            flags: flags(&controller.place, None) | iothread_flag(controller.iothread.as_ref()),
            properties: strings.keep(controller.place.properties.as_ref()),
            iothread: strings.keep(controller.iothread.as_ref().and_then(IoThread::text).as_deref()),
        };
        let (size, mut device) = (size_of_val(&request), zeroed::<kvm_hotplug_device>());
        let device_size = size_of_val(&device);
        // SAFETY: all of it lives through the call.
        let code = call(|error| unsafe {
            kvm_hotplug_add_controller(self.0, &raw const request, size, &raw mut device, device_size, error)
        })?;
        Ok(answer(code, &device))
    }

    fn add_all(&self, nics: &[NicArgs], disks: &[DiskArgs], timeout_ms: u64) -> Result<Vec<Answer>, Failure> {
        let mut strings = Strings::default();
        let fds: Vec<Vec<RawFd>> = nics.iter().map(raw_fds).collect();
        let nics: Vec<_> =
            nics.iter().zip(&fds).map(|(nic, fds)| nic_struct(nic, &mut strings, fds)).collect();
        let disks: Vec<_> = disks.iter().map(|disk| disk_struct(disk, &mut strings)).collect();
        let batch = kvm_hotplug_add_batch {
            nics: nics.as_ptr(),
            nic_size: size_of::<kvm_hotplug_nic>(),
            nic_count: nics.len(),
            disks: disks.as_ptr(),
            disk_size: size_of::<kvm_hotplug_disk>(),
            disk_count: disks.len(),
            timeout_ms: milliseconds(timeout_ms),
            ..zeroed()
        };
        let mut devices = vec![zeroed::<kvm_hotplug_device>(); nics.len() + disks.len()];
        let (size, device_size) = (size_of_val(&batch), size_of::<kvm_hotplug_device>());
        // SAFETY: all of it lives through the call.
        let worst = call(|error| unsafe {
            kvm_hotplug_add_many(self.0, &raw const batch, size, devices.as_mut_ptr(), device_size, error)
        })?;
        let code = |device: &kvm_hotplug_device| c_int::try_from(device.state).unwrap();
        assert_eq!(worst, devices.iter().map(code).max().unwrap_or(0));
        Ok(devices.iter().map(|device| answer(code(device), device)).collect())
    }

    fn add_json(&self, text: &str, timeout_ms: u64) -> Result<Value, Failure> {
        let (text, mut answer) = (CString::new(text).unwrap(), null_mut());
        let timeout = milliseconds(timeout_ms);
        // SAFETY: all of it lives through the call.
        call(|error| unsafe {
            kvm_hotplug_add_json(self.0, text.as_ptr(), timeout, 0, &raw mut answer, error)
        })?;
        // SAFETY: given away by the call.
        Ok(unsafe { json(answer) })
    }

    fn apply(&self, text: &str, how: ApplyArgs) -> Applied {
        let (text, mut answer) = (CString::new(text).unwrap(), null_mut());
        let flags = [
            (how.plan, KVM_HOTPLUG_APPLY_PLAN),
            (how.keep_others, KVM_HOTPLUG_APPLY_KEEP_OTHERS),
            (how.replace, KVM_HOTPLUG_APPLY_REPLACE),
            (how.live_only, KVM_HOTPLUG_LIVE_ONLY),
            (how.no_wait, KVM_HOTPLUG_NO_WAIT),
        ];
        let flags = flags.iter().filter(|(is, _)| *is).map(|(_, flag)| flag).sum();
        let timeout = milliseconds(how.timeout_ms);
        // SAFETY: all of it lives through the call.
        let code = call(|error| unsafe {
            kvm_hotplug_apply(self.0, text.as_ptr(), timeout, flags, &raw mut answer, error)
        });
        // SAFETY: given away by the call, if it is there.
        let json = (!answer.is_null()).then(|| unsafe { json(answer) });
        let word = |code| ["done", "after-reboot", "pending"][usize::try_from(code).unwrap()];
        Applied { json, result: code.map(word) }
    }

    fn unplug_all(&self, ids: &[String], timeout_ms: u64) -> Vec<Result<Answer, i32>> {
        let mut strings = Strings::default();
        let ids: Vec<_> = ids.iter().map(|id| strings.keep(Some(id))).collect();
        let batch = kvm_hotplug_del_batch {
            ids: ids.as_ptr(),
            id_count: ids.len(),
            timeout_ms: milliseconds(timeout_ms),
            ..zeroed()
        };
        let mut devices = vec![zeroed::<kvm_hotplug_device>(); ids.len()];
        let mut codes = vec![c_int::MIN; ids.len()];
        let (size, device_size) = (size_of_val(&batch), size_of::<kvm_hotplug_device>());
        // SAFETY: all of it lives through the call.
        let whole = call(|error| unsafe {
            let (devices, codes) = (devices.as_mut_ptr(), codes.as_mut_ptr());
            kvm_hotplug_del_many(self.0, &raw const batch, size, devices, device_size, codes, error)
        });
        assert_eq!(whole.err().map(|failure| -failure.errno), codes.iter().copied().find(|code| *code < 0));
        let one = |(code, device): (&c_int, &kvm_hotplug_device)| match *code {
            code if code < 0 => Err(-code),
            code => Ok(answer(code, device)),
        };
        codes.iter().zip(&devices).map(one).collect()
    }

    /// The functions for one kind answer no device, so it is looked up before.
    fn unplug(&self, removal: &UnplugArgs) -> Result<Answer, Failure> {
        let id = CString::new(removal.id.as_str()).unwrap();
        let timeout = milliseconds(removal.timeout_ms);
        let mut device = zeroed::<kvm_hotplug_device>();
        let device_size = size_of_val(&device);
        let live_only = if removal.live_only { KVM_HOTPLUG_LIVE_ONLY } else { 0 };
        let overlay = if removal.leave_overlay { KVM_HOTPLUG_DEL_LEAVE_OVERLAY } else { 0 };
        let flags = live_only | overlay | if removal.wait { 0 } else { KVM_HOTPLUG_NO_WAIT };
        let request = kvm_hotplug_del_options { id: id.as_ptr(), timeout_ms: timeout, flags };
        let size = size_of_val(&request);
        // SAFETY: all of it lives through the calls.
        let code = call(|error| unsafe {
            match removal.kind {
                None => {
                    kvm_hotplug_del(self.0, &raw const request, size, &raw mut device, device_size, error)
                }
                Some(kind) => {
                    assert_eq!(flags, 0, "the functions for one kind take no flags");
                    kvm_hotplug_get_device(self.0, id.as_ptr(), &raw mut device, device_size, null_mut());
                    match kind {
                        "nic" => kvm_hotplug_del_nic(self.0, id.as_ptr(), timeout, error),
                        "disk" => kvm_hotplug_del_disk(self.0, id.as_ptr(), timeout, error),
                        "scsi" => kvm_hotplug_del_controller(self.0, id.as_ptr(), timeout, error),
                        other => panic!("kind {other}"),
                    }
                }
            }
        })?;
        Ok(answer(code, &device))
    }

    fn set_link(&self, id: &str, up: bool, timeout_ms: u64) -> Result<Changed, Failure> {
        let (id, timeout) = (CString::new(id).unwrap(), milliseconds(timeout_ms));
        let code = call(|error| {
            // SAFETY: the string lives through the call.
            unsafe { kvm_hotplug_set_link(self.0, id.as_ptr(), up.into(), timeout, error) }
        })?;
        Ok(change(code))
    }

    fn set_nic_limits(&self, id: &str, wanted: LimitArgs, timeout_ms: u64) -> Result<Changed, Failure> {
        let (id, timeout) = (CString::new(id).unwrap(), milliseconds(timeout_ms));
        let limits = kvm_hotplug_nic_limits {
            inbound_average: wanted.inbound.0,
            inbound_burst: wanted.inbound.1,
            outbound_average: wanted.outbound.0,
            outbound_burst: wanted.outbound.1,
        };
        // SAFETY: string and struct live through the call.
        let code = call(|error| unsafe {
            let (limits, size) = (&raw const limits, size_of::<kvm_hotplug_nic_limits>());
            kvm_hotplug_set_nic_limits(self.0, id.as_ptr(), limits, size, timeout, error)
        })?;
        Ok(change(code))
    }

    fn set_bridge(&self, id: &str, bridge: Option<&str>, timeout_ms: u64) -> Result<Changed, Failure> {
        let mut strings = Strings::default();
        let (id, bridge) = (strings.keep(Some(id)), strings.keep(bridge));
        // SAFETY: the strings live through the call.
        let code = call(|error| unsafe {
            kvm_hotplug_set_bridge(self.0, id, bridge, milliseconds(timeout_ms), error)
        })?;
        Ok(change(code))
    }

    fn set_limits(&self, id: &str, limits: &str, timeout_ms: u64) -> Result<Changed, Failure> {
        let mut strings = Strings::default();
        let (id, limits) = (strings.keep(Some(id)), strings.keep(Some(limits)));
        // SAFETY: the strings live through the call.
        let code = call(|error| unsafe {
            kvm_hotplug_set_disk_limits(self.0, id, limits, milliseconds(timeout_ms), error)
        })?;
        Ok(change(code))
    }

    fn resize(&self, id: &str, size: SizeArgs, timeout_ms: u64) -> Result<u64, Failure> {
        let (id, timeout) = (CString::new(id).unwrap(), milliseconds(timeout_ms));
        let flags = if size.may_shrink { KVM_HOTPLUG_RESIZE_SHRINK } else { 0 };
        let (bytes, mut now) = (size.bytes.unwrap_or(0), 0);
        // SAFETY: string and number live through the call.
        let code = call(|error| unsafe {
            kvm_hotplug_resize_disk(self.0, id.as_ptr(), bytes, flags, timeout, &raw mut now, error)
        })?;
        assert_eq!(code, 0);
        Ok(now)
    }

    fn change_media(&self, id: &str, medium: &MediumArgs) -> Result<Answer, Failure> {
        let mut strings = Strings::default();
        let id = strings.keep(Some(id));
        let request = kvm_hotplug_medium {
            path: strings.keep(medium.path.as_ref().map(|path| path.to_str().unwrap())),
            backing_paths: null(),
            format: if medium.format == "qcow2" { 1 } else { 0 },
            backing: 0,
            backing_count: 0,
            timeout_ms: milliseconds(medium.timeout_ms),
            force: medium.force.into(),
            reserved: 0,
        };
        let (size, mut device) = (size_of_val(&request), zeroed::<kvm_hotplug_device>());
        let room = size_of_val(&device);
        // SAFETY: all of it lives through the call.
        let code = call(|error| unsafe {
            kvm_hotplug_change_media(self.0, id, &raw const request, size, &raw mut device, room, error)
        })?;
        Ok(answer(code, &device))
    }

    fn qmp(&self, command: &QmpArgs) -> Result<Value, Failure> {
        let mut strings = Strings::default();
        let none = command.arguments.as_object().unwrap().is_empty();
        let pass = if command.fd.is_some() { KVM_HOTPLUG_QMP_PASS_FD } else { 0 };
        let request = kvm_hotplug_command {
            execute: strings.keep(Some(&command.name)),
            arguments: strings.keep((!none).then(|| command.arguments.to_string())),
            fd: command.fd.as_ref().map_or(0, |fd| fd.as_raw_fd()),
            timeout_ms: milliseconds(command.timeout_ms),
            flags: pass | if command.force { KVM_HOTPLUG_QMP_FORCE } else { 0 },
            reserved: 0,
        };
        let (size, mut reply) = (size_of_val(&request), null_mut());
        // SAFETY: all of it lives through the call.
        let code = call(|error| unsafe {
            kvm_hotplug_qmp(self.0, &raw const request, size, &raw mut reply, error)
        })?;
        assert_eq!(code, 0);
        // SAFETY: given away by the call that succeeded.
        Ok(unsafe { json(reply) })
    }

    fn forward_qmp_events(&self, on: bool) {
        // SAFETY: the handle is open.
        call(|error| unsafe { kvm_hotplug_forward_qmp_events(self.0, on.into(), error) }).unwrap();
    }

    fn describe(&self, id: Option<&str>) -> Result<Option<Value>, Failure> {
        let mut strings = Strings::default();
        let (id, mut text) = (strings.keep(id), null_mut());
        let timeout = milliseconds(AMPLE);
        // SAFETY: all of it lives through the call.
        let code = call(|error| unsafe { kvm_hotplug_describe(self.0, id, timeout, &raw mut text, error) })?;
        // SAFETY: given away by the call, if it says so.
        Ok((code == Code::KVM_HOTPLUG_ANSWER_DONE as c_int).then(|| unsafe { json(text) }))
    }

    fn capabilities(&self) -> Result<Value, Failure> {
        let mut text = null_mut();
        let timeout = milliseconds(AMPLE);
        // SAFETY: all of it lives through the call.
        call(|error| unsafe { kvm_hotplug_get_capabilities(self.0, timeout, &raw mut text, error) })?;
        // SAFETY: given away by the call.
        Ok(unsafe { json(text) })
    }

    fn give_capabilities(&self, text: &str) -> Result<(), Failure> {
        let mut strings = Strings::default();
        let (text, timeout) = (strings.keep(Some(text)), milliseconds(AMPLE));
        // SAFETY: all of it lives through the call.
        call(|error| unsafe { kvm_hotplug_give_capabilities(self.0, text, timeout, error) }).map(drop)
    }

    fn next_event_json(&self) -> Option<Value> {
        let mut text = null_mut();
        // SAFETY: the pointer lives through the call.
        let code = call(|error| unsafe { kvm_hotplug_next_event_json(self.0, &raw mut text, error) });
        // SAFETY: given away by the call, if it says so.
        (code.unwrap() == 1).then(|| unsafe { json(text) })
    }

    fn process(&self, timeout_ms: u64) -> Result<usize, Failure> {
        // SAFETY: the handle is open.
        let count = call(|error| unsafe { kvm_hotplug_process(self.0, milliseconds(timeout_ms), error) })?;
        Ok(usize::try_from(count).unwrap())
    }

    fn next_event(&self) -> Option<Notification> {
        let mut event = zeroed::<kvm_hotplug_event>();
        let size = size_of_val(&event);
        // SAFETY: the handle is open, and the struct lives through the call.
        let code = call(|error| unsafe { kvm_hotplug_next_event(self.0, &raw mut event, size, error) });
        if code.unwrap() == 0 {
            return None;
        }
        // The numbers of enum kvm_hotplug_event_type in the header.
        let what = match event.event_type {
            1 => EventKind::Added,
            2 => EventKind::Removed,
            3 => EventKind::RemovedByGuest,
            4 => EventKind::Refused,
            5 => EventKind::Pending,
            6 => EventKind::Undone,
            7 => EventKind::MonitorLost,
            8 => EventKind::Lost(event.lost),
            9 => EventKind::MonitorRestored,
            10 => EventKind::IoError {
                write: event.write == 1,
                no_space: event.no_space == 1,
                action: ["none", "report", "ignore", "stop"][usize::try_from(event.action).unwrap()],
            },
            11 => EventKind::Shutdown { by_guest: event.by_guest == 1 },
            12 => EventKind::Reset { by_guest: event.by_guest == 1 },
            13 => EventKind::Panicked,
            16 => EventKind::TrayOpened,
            17 => EventKind::TrayClosed,
            14 => EventKind::Qmp,
            15 => EventKind::AddFailed {
                kind: i32::try_from(event.error_kind).unwrap(),
                errno: i32::try_from(event.error_number).unwrap(),
            },
            other => panic!("event {other}"),
        };
        let text = field(&event.text).unwrap_or_default();
        Some(Notification {
            what,
            id: field(&event.id),
            generation: event.generation,
            text,
            times: event.times,
        })
    }

    fn list(&self) -> Vec<Item> {
        let count = |array: *mut kvm_hotplug_device, capacity| {
            let (size, mut count) = (size_of::<kvm_hotplug_device>(), 0);
            // SAFETY: the array has that many elements.
            call(|error| unsafe { kvm_hotplug_list(self.0, array, size, capacity, &raw mut count, error) })
                .unwrap();
            count
        };
        let mut devices = vec![zeroed::<kvm_hotplug_device>(); count(null_mut(), 0)];
        let found = count(devices.as_mut_ptr(), devices.len());
        devices.truncate(found);
        devices.iter().map(item).collect()
    }

    fn slots(&self) -> Result<Vec<SlotItem>, Failure> {
        let count = |array: *mut kvm_hotplug_slot, capacity| -> Result<usize, Failure> {
            let (size, mut count) = (size_of::<kvm_hotplug_slot>(), 0);
            let timeout = milliseconds(AMPLE);
            // SAFETY: the array has that many elements.
            call(|error| unsafe {
                kvm_hotplug_slot_map(self.0, timeout, array, size, capacity, &raw mut count, error)
            })?;
            Ok(count)
        };
        let mut slots = vec![zeroed::<kvm_hotplug_slot>(); count(null_mut(), 0)?];
        let found = count(slots.as_mut_ptr(), slots.len())?;
        slots.truncate(found);
        Ok(slots.iter().map(slot).collect())
    }

    fn verify(&self) -> Result<Vec<String>, Failure> {
        self.differences(kvm_hotplug_verify)
    }

    fn repair(&self) -> Result<Vec<String>, Failure> {
        self.differences(kvm_hotplug_repair)
    }

    fn settle(&self) -> Result<Vec<String>, Failure> {
        let mut pending = vec![zeroed::<kvm_hotplug_device>(); 64];
        let (size, mut count) = (size_of::<kvm_hotplug_device>(), 0);
        // SAFETY: the array has that many elements.
        call(|error| unsafe {
            let (array, capacity) = (pending.as_mut_ptr(), pending.len());
            kvm_hotplug_settle(self.0, milliseconds(AMPLE), array, size, capacity, &raw mut count, error)
        })?;
        pending.truncate(count);
        Ok(pending.iter().map(|device| field(&device.id).unwrap_or_default()).collect())
    }

    fn fd(&self) -> RawFd {
        // SAFETY: the handle is open.
        call(|error| unsafe { kvm_hotplug_get_fd(self.0, error) }).unwrap()
    }

    fn cancel(&self) -> bool {
        // SAFETY: the handle is open.
        call(|error| unsafe { kvm_hotplug_cancel(self.0, error) }).unwrap() == 1
    }

    fn thread(&self) -> usize {
        kvm_hotplug_thread().try_into().unwrap()
    }

    fn cancel_thread(&self, thread: usize) -> bool {
        let thread = thread.try_into().unwrap();
        // SAFETY: the handle is open.
        call(|error| unsafe { kvm_hotplug_cancel_thread(self.0, thread, error) }).unwrap() == 1
    }
}

fn answer(code: c_int, device: &kvm_hotplug_device) -> Answer {
    let is = |answer: Code| code == answer as c_int;
    let state = match () {
        () if is(Code::KVM_HOTPLUG_ANSWER_DONE) => State::Done,
        () if is(Code::KVM_HOTPLUG_ANSWER_AFTER_REBOOT) => State::AfterReboot(later(device.reason)),
        () if is(Code::KVM_HOTPLUG_ANSWER_PENDING) => State::Pending(why(device.reason)),
        () if is(Code::KVM_HOTPLUG_ANSWER_ABSENT) => State::Absent,
        () => panic!("answer {code}"),
    };
    // One without an id has no record to tell of.
    let is_told = state != State::Absent && device.id.first() != Some(&0);
    Answer { state, device: is_told.then(|| item(device)) }
}

fn change(code: c_int) -> Changed {
    match code {
        code if code == Code::KVM_HOTPLUG_ANSWER_DONE as c_int => Changed::Done,
        code if code == Code::KVM_HOTPLUG_ANSWER_AFTER_REBOOT as c_int => Changed::AfterReboot,
        other => panic!("a change came to {other}"),
    }
}

/// A JSON text that was given away.
///
/// # Safety
/// It comes from the library and has not been freed.
unsafe fn json(given: *mut c_char) -> Value {
    // SAFETY: passed on.
    let read = unsafe { text(given) }.unwrap();
    // SAFETY: passed on; it was used for the last time.
    unsafe { kvm_hotplug_text_free(given) };
    serde_json::from_str(&read).unwrap()
}

fn later(reason: u32) -> Later {
    let is = |known: Reason| reason == known as u32;
    match () {
        () if is(Reason::KVM_HOTPLUG_REASON_QEMU_TOO_OLD) => Later::QemuTooOld,
        () if is(Reason::KVM_HOTPLUG_REASON_MODEL) => Later::Model,
        () if is(Reason::KVM_HOTPLUG_REASON_NO_ADDRESS) => Later::NoAddress,
        () if is(Reason::KVM_HOTPLUG_REASON_CONTROLLER) => Later::Controller,
        () if is(Reason::KVM_HOTPLUG_REASON_FULL) => Later::Full,
        () if is(Reason::KVM_HOTPLUG_REASON_RECORDED) => Later::Recorded,
        () => panic!("reason {reason}"),
    }
}

fn why(reason: u32) -> Why {
    let is = |known: Reason| reason == known as u32;
    match () {
        () if is(Reason::KVM_HOTPLUG_REASON_DEADLINE) => Why::Deadline,
        () if is(Reason::KVM_HOTPLUG_REASON_NOT_BOOTED) => Why::NotBooted,
        () if is(Reason::KVM_HOTPLUG_REASON_NOT_STARTED) => Why::NotStarted,
        () if is(Reason::KVM_HOTPLUG_REASON_PAUSED) => Why::Paused,
        () if is(Reason::KVM_HOTPLUG_REASON_ASLEEP) => Why::Asleep,
        () if is(Reason::KVM_HOTPLUG_REASON_STOPPED) => Why::Stopped,
        () if is(Reason::KVM_HOTPLUG_REASON_NOT_AWAITED) => Why::NotAwaited,
        () if is(Reason::KVM_HOTPLUG_REASON_MIGRATING) => Why::Migrating,
        () if is(Reason::KVM_HOTPLUG_REASON_IN_USE) => Why::InUse,
        () if is(Reason::KVM_HOTPLUG_REASON_TRAY_LOCKED) => Why::TrayLocked,
        () => panic!("reason {reason}"),
    }
}

fn item(device: &kvm_hotplug_device) -> Item {
    let is = |state: Standing| device.state == state as u32;
    let bus = field(&device.bus);
    Item {
        id: field(&device.id).unwrap(),
        kind: match device.device_type {
            1 => "nic",
            2 => "disk",
            3 => "scsi",
            other => panic!("device type {other}"),
        },
        address: bus.map(|bus| (bus, place(device.address_type, device.slot, device.target))),
        generation: device.generation,
        presence: match () {
            () if is(Standing::KVM_HOTPLUG_STATE_PENDING) => Presence::Pending(why(device.reason)),
            () if device.removed_after_reboot == 1 => Presence::RemoveAfterReboot,
            () if is(Standing::KVM_HOTPLUG_STATE_AFTER_REBOOT) => Presence::AddAfterReboot,
            () if is(Standing::KVM_HOTPLUG_STATE_MISSING) => Presence::Missing,
            () => Presence::Live,
        },
        later: is(Standing::KVM_HOTPLUG_STATE_AFTER_REBOOT).then(|| later(device.reason)),
        mac: field(&device.mac),
        ifname: field(&device.ifname),
    }
}

/// The slot or target.
fn place(address_type: u32, slot: u32, target: u32) -> u8 {
    let number = match address_type {
        1 => slot,
        2 => target,
        other => panic!("address type {other}"),
    };
    u8::try_from(number).unwrap()
}

fn slot(slot: &kvm_hotplug_slot) -> SlotItem {
    let is = |state: SlotStatus| slot.state == state as u32;
    SlotItem {
        bus: field(&slot.bus).unwrap(),
        slot: place(slot.address_type, slot.slot, slot.target),
        state: match () {
            () if is(SlotStatus::Free) => SlotUse::Free,
            () if is(SlotStatus::Reserved) => SlotUse::Reserved,
            () if is(SlotStatus::Taken) => SlotUse::Taken,
            () if is(SlotStatus::Quarantined) => SlotUse::Quarantined,
            () if is(SlotStatus::NotHotpluggable) => SlotUse::NotHotpluggable,
            () if is(SlotStatus::Unknown) => SlotUse::Unknown,
            () if is(SlotStatus::Missing) => SlotUse::Missing,
            () => panic!("slot state {}", slot.state),
        },
        occupant: field(&slot.occupant).unwrap_or_default(),
    }
}

fn raw_fds(nic: &NicArgs) -> Vec<RawFd> {
    nic.fds.iter().map(|fd| fd.as_raw_fd()).collect()
}

fn nic_struct(nic: &NicArgs, strings: &mut Strings, fds: &[RawFd]) -> kvm_hotplug_nic {
    kvm_hotplug_nic {
        id: strings.keep(nic.place.id.as_ref()),
        mac: strings.keep(nic.mac.as_ref()),
        bridge: strings.keep(nic.bridge.as_ref()),
        ifname: strings.keep(nic.ifname.as_ref()),
        model: strings.keep(nic.model.as_ref()),
        bus: strings.keep(nic.place.address.as_ref().map(|(bus, _)| bus)),
        tap_fds: if fds.is_empty() { null() } else { fds.as_ptr() },
        tap_fd_count: u32::try_from(fds.len()).unwrap(),
        queues: nic.queues.into(),
        vhost: match nic.vhost {
            true => VhostMode::Required as u32,
            false => VhostMode::Off as u32,
        },
        mtu: nic.mtu.map_or(0, u32::from),
        slot: nic.place.address.as_ref().map_or(0, |(_, slot)| u32::from(*slot)),
        boot_index: nic.boot_index.unwrap_or(0),
        tap_owner: nic.owner.unwrap_or(0),
        port: strings.keep(nic.port.as_ref()),
        inbound_average: nic.limits.inbound.0,
        inbound_burst: nic.limits.inbound.1,
        outbound_average: nic.limits.outbound.0,
        outbound_burst: nic.limits.outbound.1,
        ganeti_entry: strings.keep(nic.ganeti.as_ref()),
        netdev: strings.keep(nic.netdev.as_ref()),
        properties: strings.keep(nic.place.properties.as_ref()),
        timeout_ms: milliseconds(nic.place.timeout_ms),
        flags: flags(&nic.place, nic.boot_index)
            | if nic.link_down { KVM_HOTPLUG_NIC_LINK_DOWN } else { 0 }
            | if nic.owner.is_some() { KVM_HOTPLUG_TAP_OWNER } else { 0 },
        ..zeroed()
    }
}

fn iothread_flag(iothread: Option<&IoThread>) -> u32 {
    if iothread.is_some_and(IoThread::is_made) { KVM_HOTPLUG_MAKE_IOTHREAD } else { 0 }
}

fn disk_struct(disk: &DiskArgs, strings: &mut Strings) -> kvm_hotplug_disk {
    let format = match disk.format.as_deref() {
        None => FormatRequest::Probe,
        Some("raw") => FormatRequest::Raw,
        Some("qcow2") => FormatRequest::Qcow2,
        Some(other) => panic!("format {other}"),
    };
    let read_only = if disk.read_only { KVM_HOTPLUG_DISK_READ_ONLY } else { 0 };
    let share_rw = if disk.share_rw { KVM_HOTPLUG_DISK_SHARE_RW } else { 0 };
    let scsi = disk.model.as_deref().is_some_and(|model| model.starts_with("scsi-"));
    let number = disk.place.address.as_ref().map_or(0, |(_, number)| u32::from(*number));
    let pinned = if scsi && disk.place.address.is_some() { KVM_HOTPLUG_DISK_SCSI_ADDRESS } else { 0 };
    let accept_chain = if disk.accept_chain { KVM_HOTPLUG_DISK_ACCEPT_CHAIN } else { 0 };
    let (backing, paths) = match &disk.backing {
        None => (kvm_hotplug_backing::KVM_HOTPLUG_BACKING_DEFAULT, &[][..]),
        Some(BackingRule::OwnDirectory) => (kvm_hotplug_backing::KVM_HOTPLUG_BACKING_OWN_DIRECTORY, &[][..]),
        Some(BackingRule::Forbidden) => (kvm_hotplug_backing::KVM_HOTPLUG_BACKING_FORBIDDEN, &[][..]),
        Some(BackingRule::Files(paths)) => (kvm_hotplug_backing::KVM_HOTPLUG_BACKING_FILES, &paths[..]),
        Some(BackingRule::Directories(paths)) => {
            (kvm_hotplug_backing::KVM_HOTPLUG_BACKING_DIRECTORIES, &paths[..])
        }
    };
    kvm_hotplug_disk {
        backing: backing as u32,
        backing_count: paths.len().try_into().unwrap(),
        backing_paths: strings.keep_all(paths),
        path: strings.keep(Some(disk.path.as_os_str().as_bytes()).filter(|path| !path.is_empty())),
        source: strings.keep(disk.source.as_ref()),
        id: strings.keep(disk.place.id.as_ref()),
        serial: strings.keep(disk.serial.as_ref()),
        model: strings.keep(disk.model.as_ref()),
        bus: strings.keep(disk.place.address.as_ref().map(|(bus, _)| bus).or(disk.place.scsi_bus.as_ref())),
        format: format as u32,
        cache: if disk.uncached { Cache::None } else { Cache::default() } as u32,
        ganeti_entry: strings.keep(disk.ganeti.as_ref()),
        properties: strings.keep(disk.place.properties.as_ref()),
        slot: if scsi { 0 } else { number },
        target: if scsi { number } else { 0 },
        boot_index: disk.boot_index.unwrap_or(0),
        timeout_ms: milliseconds(disk.place.timeout_ms),
        iothread: strings.keep(disk.iothread.as_ref().and_then(IoThread::text).as_deref()),
        limits: strings.keep(disk.limits.as_ref()),
        secrets: strings.keep_secrets(&disk.secrets),
        secret_count: disk.secrets.len(),
        tls_creds: strings.keep(disk.tls_creds.as_ref()),
        flags: flags(&disk.place, disk.boot_index)
            | read_only
            | share_rw
            | pinned
            | accept_chain
            | iothread_flag(disk.iothread.as_ref()),
        ..zeroed()
    }
}
