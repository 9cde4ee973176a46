//! `kvm_hotplug_add_nic`.

use std::ffi::{c_char, c_int};

use serde_json::{Map, Value};

use super::args::{Plain, check_flags, duplicate_fds, known_value, optional_str, read_struct, timeout};
use super::device::kvm_hotplug_device;
use super::error::kvm_hotplug_error;
use super::guard;
use super::guest::{KVM_HOTPLUG_DEFAULT_TIMEOUT_MS, check_device_out, give_answer, kvm_hotplug};
use crate::error::{Error, Result};
use crate::guest::{NicRequest, PlaceRequest, Placement, TapSource};
use crate::ids::{IfName, MacAddr};
use crate::model::{self, GanetiEntry};
use crate::net::MAX_QUEUES;
use crate::net::bandwidth::{Bandwidth, Limits};
use crate::net::netdev::Netdev;
use crate::net::port::PortSettings;
use crate::net::vhost::VhostMode;

/// Flag of requests: now or not at all. What would wait for a reboot fails with -EOPNOTSUPP.
pub const KVM_HOTPLUG_LIVE_ONLY: u32 = 1 << 0;
/// Flag of requests: do not wait for QEMU or the guest. A removal asks the guest. Its answer is
/// KVM_HOTPLUG_ANSWER_PENDING, unless the device is gone already.
///
/// An add checks, opens and records everything as usual, and fails as usual. It sends the commands. Its
/// answer is KVM_HOTPLUG_ANSWER_PENDING with the id, address and generation that the device will have.
/// kvm_hotplug_process() processes QEMU's replies: call it when kvm_hotplug_get_fd() is readable, and every
/// few seconds. Each such device then has one event, KVM_HOTPLUG_EVENT_ADDED or KVM_HOTPLUG_EVENT_ADD_FAILED,
/// also if timeout_ms passes without a reply. It is not listed before. The call still waits for queries it
/// depends on: the run state of a guest that is not known to run, and the inventory after a reconnect.
/// Several adds may be under way at once, and each ends by itself. QEMU replies in order, so a later call
/// that asks it waits for them. If the handle is closed first, the next one that opens the record completes
/// or undoes the add, as after a crash.
pub const KVM_HOTPLUG_NO_WAIT: u32 = 1 << 3;
/// Flag of struct kvm_hotplug_nic and struct kvm_hotplug_disk: if the guest has a device with the id that the
/// record does not have, such as one whose agent was killed before it had recorded it, and its settings are
/// those that are asked for, it is recorded, and nothing else is done. The answer is that of a repeated call.
/// Without the flag, or if a setting differs, the call fails with -EEXIST. It takes an id, also one that
/// follows from ganeti_entry, and for a NIC its mac. What QEMU does not show (aio, discard, tap_owner, and
/// queues of a disk that are not asked for) is recorded as asked for.
pub const KVM_HOTPLUG_ADOPT: u32 = 1 << 29;
/// Flag of requests: boot_index is given, also when it is 0.
pub const KVM_HOTPLUG_BOOT_INDEX: u32 = 1 << 1;
/// Flag of struct kvm_hotplug_nic: tap_owner is given, also when it is 0.
pub const KVM_HOTPLUG_TAP_OWNER: u32 = 1 << 2;

/// Flag of struct kvm_hotplug_nic: the link is down until kvm_hotplug_set_link() sets it up.
pub const KVM_HOTPLUG_NIC_LINK_DOWN: u32 = 1 << 4;

/// A NIC to add. The default is a virtio-net-pci with one queue, a generated MAC address, and a tap of its
/// own that is on no bridge.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kvm_hotplug_nic {
    /// Id of device and netdev: a letter, then up to 30 letters, digits, '-', '.' or '_'. NULL for
    /// "nic-pci-<slot>", or "nic-pci-<bus>" on a root port.
    pub id: *const c_char,
    /// MAC address, not multicast; NULL for a random one that begins with 52:54:00.
    pub mac: *const c_char,
    /// Bridge to attach the tap to; NULL for none. Not together with tap_fds. The tap's own MAC address is
    /// the NIC's with fe as its first byte, so that the bridge does not adopt it as its own. A bridge without
    /// other ports does, unless its address was set.
    pub bridge: *const c_char,
    /// Name of the tap, at most 15 characters, or a pattern with one "%d". It must not exist. NULL for
    /// "tap%d". Not together with tap_fds.
    pub ifname: *const c_char,
    /// QEMU device model; NULL for "virtio-net-pci". That family, e1000, e1000-82544gc, e1000-82545em,
    /// e1000e, igb (QEMU 8.0 or later), pcnet, rtl8139 and vmxnet3 are plugged into the running guest. Other
    /// models are recorded for the next boot, and with a record in Ganeti's format all but the virtio-net-pci
    /// family are. On a bus with many slots, an igb in slot n keeps n + 16 and n + 17 free for its virtual
    /// functions. EOPNOTSUPP: QEMU does not know the model; EINVAL: it is no NIC.
    pub model: *const c_char,
    /// Bus; NULL for the first free slot of any. With it, slot counts.
    pub bus: *const c_char,
    /// Taps that the caller opened, one per queue, all of one interface, each by its own open(); NULL to have
    /// the tap opened. They are duplicated: the caller closes its own, and may pass them again when the NIC
    /// is gone. Detached queues, as a NIC's driver leaves them, are attached (TUNSETQUEUE) and stay so. A tap
    /// of another NIC of the guest is refused, also while that NIC is being removed. Such a NIC cannot wait
    /// for a reboot (-EOPNOTSUPP). Each kvm_runtime_boot(), also for a migration target, must be given its
    /// tap by kvm_runtime_give_tap(), since it cannot make the tap again. Exception: in Ganeti's format the
    /// record notes the tap's bridge, and the next start, also by Ganeti, makes a new tap on it.
    pub tap_fds: *const i32,
    /// Number of tap_fds; 0 to have the tap opened.
    pub tap_fd_count: u32,
    /// Queue pairs, 1 to 256; 0 means 1, or tap_fd_count, or what a record in Ganeti's format says. Each
    /// takes a descriptor of this process and of QEMU for the tap, and one for vhost (RLIMIT_NOFILE).
    pub queues: u32,
    /// One of enum kvm_hotplug_vhost.
    pub vhost: u32,
    /// MTU in bytes, 68 to 65535, announced to the guest (host_mtu) and set on a tap opened here. 0 announces
    /// none; the tap then gets its bridge's.
    pub mtu: u32,
    /// Slot on bus, 0 to 31; 0 means any free one, where the bus has others.
    pub slot: u32,
    /// Place in the firmware's boot order, 0 to 2147483647, with KVM_HOTPLUG_BOOT_INDEX. The NIC then loads
    /// its option ROM, otherwise it does not.
    pub boot_index: u32,
    /// User id that may reopen a tap opened here, with KVM_HOTPLUG_TAP_OWNER; recorded for later boots.
    pub tap_owner: u32,
    /// Milliseconds for all of it; 0 means 5000.
    pub timeout_ms: u32,
    /// KVM_HOTPLUG_LIVE_ONLY, KVM_HOTPLUG_BOOT_INDEX, KVM_HOTPLUG_TAP_OWNER, KVM_HOTPLUG_NIC_LINK_DOWN,
    /// KVM_HOTPLUG_NO_WAIT, KVM_HOTPLUG_ADOPT.
    pub flags: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Network namespace in which the tap is made and the bridge looked for: an absolute path, such as
    /// "/run/netns/blue" or "/proc/1234/ns/net"; NULL for that of the caller. Recorded: later calls, boots
    /// and migration targets use it. "/proc/self/fd/7" is recorded as the path that the namespace is mounted
    /// at. The library enters it with a thread that ends before the call does; no other thread's namespace
    /// changes. Needs CAP_SYS_ADMIN. Not together with tap_fds.
    pub netns: *const c_char,
    /// For a record in Ganeti's format: what Ganeti has of the NIC, as JSON text of an object of at most
    /// 8 KiB (uuid, name, ip, nicparams, network ...); NULL for none. It is kept in the journal, and stands
    /// in the list as it is given, with hvinfo for its place. Its uuid gives the id, unless the request has
    /// one. Its mac gives the MAC address and its link the bridge; a request that has others fails with
    /// -EINVAL. In a mode other than "bridged" the tap is the caller's (tap_fds). In another format it is
    /// kept for kvm_runtime_convert().
    pub ganeti_entry: *const c_char,
    /// Further properties of the device in QEMU, as JSON text of an object of at most 8 KiB, such as
    /// {"packed": true, "rx_queue_size": 1024, "csum": false}; NULL for none. Values are texts, whole
    /// numbers, true and false. QEMU is asked which properties the model has, and of which type: "on" becomes
    /// true where it is a switch. Recorded, compared by kvm_hotplug_verify(), and there after boot and
    /// migration. A device that exists has to have those that are asked for. Without a guest
    /// (kvm_runtime_add_nic()) nobody can be asked: write them in QEMU's types. Fails with -EINVAL for a
    /// property that this QEMU's model does not have, for one that another field of the request sets, and for
    /// romfile, multifunction, failover and failover_pair_id; with -E2BIG for a longer text. A Ganeti list
    /// has no place for them (-EINVAL).
    pub properties: *const c_char,
    /// Limit of what the guest receives over this NIC, in bytes per second, 1024 to 2^40; 0 for none. What is
    /// too much waits up to 50 ms, and is dropped then (tbf as root qdisc of the tap). Recorded, compared by
    /// kvm_hotplug_verify(), there after boot and migration, changed by kvm_hotplug_set_nic_limits(), and
    /// taken away with the NIC, also from a tap of the caller's, which has to be in the network namespace of
    /// the calling thread. Not in a Ganeti list (-EINVAL).
    pub inbound_average: u64,
    /// Bytes that it may receive at once, at least 69632, since packets have up to 64 KiB; 0 for a tenth of a
    /// second.
    pub inbound_burst: u64,
    /// The same of what the guest sends. What is too much is dropped (a police action at the ingress qdisc of
    /// the tap).
    pub outbound_average: u64,
    /// Bytes that it may send at once, likewise.
    pub outbound_burst: u64,
    /// In the place of a tap: a netdev as QEMU describes it (Netdev in its QMP reference) without its id, as
    /// JSON text of at most 8 KiB, such as {"type": "user", "hostfwd": [{"str": "tcp:127.0.0.1:2222-:22"}]};
    /// NULL for a tap. The types are user, stream and dgram (QEMU 7.2 or later), and vhost-user. QEMU opens
    /// what is behind it by itself, also after a boot or migration. A vhost-user has addr, the Unix socket of
    /// its backend, in the place of chardev, which the library makes. It is refused in a guest whose memory
    /// is not shared (-EOPNOTSUPP). The backend has to answer: QEMU and its guest stand still until it has.
    /// Not together with bridge, ifname, tap_fds, tap_owner, netns, limits, or vhost that is required; queues
    /// only for a vhost-user (-EINVAL). Members that reach the host in another way (smb, tftp, guestfwd) are
    /// refused, too. -EOPNOTSUPP: this QEMU does not have the type. Not in a Ganeti list (-EINVAL).
    pub netdev: *const c_char,
    /// How the tap that is made here is a port of the bridge, as JSON text of an object; NULL for as the
    /// kernel makes it. isolated (true: no frames between it and other isolated ports), learning (false: the
    /// bridge learns no addresses behind it), hairpin (true: frames may go back out where they came in), vlan
    /// (VLAN of frames without a tag, 1 to 4094), trunk (a list of VLANs whose frames have their tags, each a
    /// number or a text such as "20-30"). With vlan or trunk the port has those VLANs and no others, and the
    /// bridge has to tell VLANs apart (vlan_filtering 1; else -ENOTSUP). The tap is down until that is set.
    /// Recorded, kept by kvm_hotplug_set_bridge(), there after boot and migration; kvm_hotplug_verify()
    /// compares the first three. Not with tap_fds or without a bridge, and not in a Ganeti list (-EINVAL).
    pub port: *const c_char,
}

// SAFETY: repr(C), pointers and integers only.
unsafe impl Plain for kvm_hotplug_nic {
    const FIRST: usize = super::args::end_of!(kvm_hotplug_nic, reserved);
}

/// Plugs a NIC into the guest and records it: opens a tap (multi-queue if requested), attaches it to its
/// bridge, sets its MTU and sets it up, gives QEMU its descriptors, a netdev and a device, and replaces the
/// runtime file. All of it or nothing.
///
/// Returns one of enum kvm_hotplug_answer, or fails like any add of a device, and with -EBADF (a closed tap
/// fd), -EINVAL (contradicting fields, an fd that is no tap, a bridge that is none), -EEXIST (MAC address,
/// tap or tap name taken; the tap has a queueing discipline of
/// somebody else), -ENOENT (no such bridge or network namespace), -EOPNOTSUPP (with tap_fds, it would
/// wait for a reboot), -ENODEV (vhost is required and missing; the kernel lacks what a limit
/// takes), or the errno of opening or setting up the tap
/// (-EPERM without CAP_NET_ADMIN).
///
/// # Safety
/// Pointers are NULL or valid as described.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_add_nic(
    guest: *mut kvm_hotplug,
    nic: *const kvm_hotplug_nic,
    nic_size: usize,
    ret_device: *mut kvm_hotplug_device,
    device_size: usize,
    reterr: *mut *mut kvm_hotplug_error,
) -> c_int {
    let work = || {
        // SAFETY: the caller vouches for handle and struct.
        let (guest, nic) = unsafe { (kvm_hotplug::get(guest)?, read_struct(nic, nic_size, "nic")?) };
        check_device_out(ret_device, device_size)?;
        // SAFETY: the caller vouches for strings and array.
        let request = unsafe { request(&nic) }?;
        let outcome = guest.add_nic(request, timeout(nic.timeout_ms, KVM_HOTPLUG_DEFAULT_TIMEOUT_MS))?;
        // SAFETY: the caller vouches for the struct.
        Ok(unsafe { give_answer(&outcome, ret_device, device_size) })
    };
    // SAFETY: the caller vouches for reterr.
    unsafe { guard::call(reterr, work) }
}

/// The request inside the struct.
///
/// # Safety
/// Its strings and array are NULL or valid as described.
pub(super) unsafe fn request(nic: &kvm_hotplug_nic) -> Result<NicRequest> {
    let known = KVM_HOTPLUG_LIVE_ONLY
        | KVM_HOTPLUG_BOOT_INDEX
        | KVM_HOTPLUG_TAP_OWNER
        | KVM_HOTPLUG_NIC_LINK_DOWN
        | KVM_HOTPLUG_NO_WAIT
        | KVM_HOTPLUG_ADOPT;
    check_flags(nic.flags, known, "nic flags")?;
    check_reserved(nic.reserved, "nic")?;
    // SAFETY: passed on.
    let text = |pointer, what| unsafe { optional_str(pointer, what) };
    // SAFETY: passed on.
    let mut placement = unsafe { placement(nic.id, nic.bus, nic.slot, nic.flags) }?;
    // SAFETY: passed on.
    placement.properties = unsafe { properties(nic.properties) }?;
    let most = usize::from(MAX_QUEUES);
    // SAFETY: passed on.
    let given = unsafe { duplicate_fds(nic.tap_fds, count(nic.tap_fd_count), most, "tap_fds") }?;
    let default_queues = nic.tap_fd_count.max(1);
    let queues = if nic.queues == 0 { default_queues } else { nic.queues };
    let request = NicRequest {
        placement,
        mac: text(nic.mac, "mac")?.map(MacAddr::parse).transpose()?,
        queues: narrow(queues, "queues")?,
        vhost: known_value(VhostMode::of_number, VhostMode::LAST, nic.vhost, "vhost")?,
        mtu: if nic.mtu == 0 { None } else { Some(narrow(nic.mtu, "mtu")?) },
        bridge: text(nic.bridge, "bridge")?.map(IfName::parse).transpose()?,
        link_down: nic.flags & KVM_HOTPLUG_NIC_LINK_DOWN != 0,
        limits: Limits {
            inbound: Bandwidth::new("inbound", nic.inbound_average, nic.inbound_burst)?,
            outbound: Bandwidth::new("outbound", nic.outbound_average, nic.outbound_burst)?,
        },
        port: text(nic.port, "port")?.map(PortSettings::parse).transpose()?.flatten(),
        tap: tap_source(
            nic,
            text(nic.netdev, "netdev")?.map(Netdev::parse).transpose()?,
            given,
            (text(nic.ifname, "ifname")?, text(nic.netns, "netns")?),
        )?,
        boot_index: boot_index(nic.flags, nic.boot_index),
        model: text(nic.model, "model")?.unwrap_or("virtio-net-pci").to_owned(),
    };
    match text(nic.ganeti_entry, "ganeti_entry")? {
        Some(entry) => request.with_ganeti(GanetiEntry::parse(entry)?),
        None => Ok(request),
    }
}

fn tap_source(
    nic: &kvm_hotplug_nic,
    netdev: Option<Netdev>,
    given: Vec<std::os::fd::OwnedFd>,
    (name, netns): (Option<&str>, Option<&str>),
) -> Result<TapSource> {
    let owner = (nic.flags & KVM_HOTPLUG_TAP_OWNER != 0).then_some(nic.tap_owner);
    let (name, netns) = (name.map(str::to_owned), netns.map(str::to_owned));
    TapSource::new(netdev, given.into_iter().map(Into::into).collect(), name, owner, netns)
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A number of C in the width it has inside.
pub(super) fn narrow<T: TryFrom<u32>>(number: u32, what: &str) -> Result<T> {
    T::try_from(number).map_err(|_| Error::invalid(format!("{what} {number} is out of range")))
}

pub(super) fn boot_index(flags: u32, index: u32) -> Option<u32> {
    (flags & KVM_HOTPLUG_BOOT_INDEX != 0).then_some(index)
}

pub(super) fn check_reserved(reserved: u32, what: &str) -> Result<()> {
    if reserved == 0 {
        Ok(())
    } else {
        Err(Error::invalid(format!("{what}: reserved is {reserved}, must be 0")))
    }
}

/// The further properties of a device, as JSON text.
///
/// # Safety
/// The text is NULL or NUL-terminated.
pub(super) unsafe fn properties(text: *const c_char) -> Result<Map<String, Value>> {
    // SAFETY: the caller vouches for the text.
    unsafe { optional_str(text, "properties") }?.map_or_else(|| Ok(Map::new()), model::properties::parse)
}

/// What every request has in common.
///
/// # Safety
/// The strings are NULL or NUL-terminated.
pub(super) unsafe fn placement(
    id: *const c_char,
    bus: *const c_char,
    slot: u32,
    flags: u32,
) -> Result<Placement> {
    // SAFETY: passed on.
    let (id, bus) = unsafe { (optional_str(id, "id")?, optional_str(bus, "bus")?) };
    let placement = PlaceRequest { id, bus, slot, unit: None }.on_pci()?;
    Ok(flagged(placement, flags))
}

/// The same, with what the flags of all requests say.
pub(super) fn flagged(placement: Placement, flags: u32) -> Placement {
    let (live_only, no_wait) = (flags & KVM_HOTPLUG_LIVE_ONLY != 0, flags & KVM_HOTPLUG_NO_WAIT != 0);
    Placement { live_only, no_wait, adopt: flags & KVM_HOTPLUG_ADOPT != 0, ..placement }
}
