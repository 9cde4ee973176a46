//! Taps, bridges and vhost on the real host. Needs root, /dev/net/tun and the `ip` and `setpriv` commands.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub)]

#[path = "net_host/limits.rs"]
mod limits;
#[path = "support/not_run.rs"]
mod not_run;
#[path = "net_host/ports.rs"]
mod ports;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvm_hotplug::ErrorKind;
use kvm_hotplug::error::Undo;
use kvm_hotplug::ids::{IfName, MacAddr};
use kvm_hotplug::net::bandwidth::Limits;
use kvm_hotplug::net::given::{attach_queues, check_queues, inspect};
use kvm_hotplug::net::identity::TapIdentity;
use kvm_hotplug::net::link::{self, Interfaces, Setting};
use kvm_hotplug::net::share::{MOST_DESCRIPTORS, Taps};
use kvm_hotplug::net::tap::{Tap, TapRequest, TunDevice};
use kvm_hotplug::net::vhost::{self, VhostMode};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

/// Set in the child that runs a test again without CAP_NET_ADMIN.
const UNPRIVILEGED: &str = "KVM_HOTPLUG_TEST_UNPRIVILEGED";

fn interfaces() -> Interfaces {
    Interfaces::open().unwrap()
}

fn join(port: &IfName, bridge: &IfName) -> kvm_hotplug::error::Result<()> {
    interfaces().set(port, &Setting { bridge: Some(bridge), ..Setting::default() })
}

fn set_mtu(name: &IfName, mtu: u32) -> kvm_hotplug::error::Result<()> {
    interfaces().set(name, &Setting { mtu: Some(mtu), ..Setting::default() })
}

fn host() -> TunDevice {
    assert!(nix::unistd::geteuid().is_root(), "these tests make taps and bridges: run them as root");
    assert!(Path::new("/dev/net/tun").exists(), "these tests need /dev/net/tun: modprobe tun");
    TunDevice::default()
}

/// A name that no other test and no other test process uses.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("kh{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn ifname(name: &str) -> IfName {
    IfName::parse(name).unwrap()
}

fn request() -> TapRequest {
    TapRequest {
        name: Some(unique()),
        queues: 1,
        vnet_hdr: true,
        owner: None,
        bridge: None,
        mtu: None,
        guest: None,
        limits: Limits::default(),
        port: None,
    }
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().expect("run ip (package iproute2)");
    assert!(done.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An interface made by `ip`, deleted when the test ends, however it ends.
struct Made(IfName);

impl Made {
    fn bridge() -> Self {
        Self::link(&["type", "bridge"])
    }

    fn link(arguments: &[&str]) -> Self {
        let name = unique();
        ip(&[&["link", "add", &name], arguments].concat());
        Self(ifname(&name))
    }

    fn persistent(mode: &str) -> Self {
        let name = unique();
        ip(&["tuntap", "add", &name, "mode", mode]);
        Self(ifname(&name))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", self.0.as_str()]).output();
    }
}

fn sysfs(name: &IfName, file: &str) -> String {
    let path = format!("/sys/class/net/{name}/{file}");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim().to_owned()
}

fn hexadecimal(name: &IfName, file: &str) -> u32 {
    u32::from_str_radix(sysfs(name, file).trim_start_matches("0x"), 16).unwrap()
}

fn is_up(name: &IfName) -> bool {
    hexadecimal(name, "flags") & 1 == 1
}

/// The kernel has rows for as many queues as an interface may have; those in use are what `ip` counts.
fn queues(name: &IfName) -> usize {
    let output = Command::new("ip").args(["-d", "-j", "link", "show", name.as_str()]).output().unwrap();
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let info = &links[0]["linkinfo"]["info_data"];
    info["numqueues"].as_u64().map_or(1, |count| usize::try_from(count).unwrap())
}

fn assert_close_on_exec<F: AsFd>(fds: &[F]) {
    for fd in fds {
        let flags = FdFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFD).unwrap());
        assert!(flags.contains(FdFlag::FD_CLOEXEC), "fd {} survives an exec", fd.as_fd().as_raw_fd());
    }
}

/// Whether the tap goes. It may take a moment: a process that another test is just starting has all fds until
/// its exec closes them.
fn goes(name: &IfName) -> bool {
    let end = Instant::now() + Duration::from_secs(5);
    while interfaces().exists(name).unwrap() {
        if Instant::now() > end {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

#[test]
fn every_queue_count_makes_a_tap_that_goes_with_its_fds() {
    let host = host();
    for count in (1..=8).chain([255, 256]) {
        let Tap { name, mut fds, .. } = host.open(&TapRequest { queues: count, ..request() }).unwrap();
        assert_eq!(fds.len(), usize::from(count));
        assert_close_on_exec(&fds);
        for fd in &fds {
            let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL).unwrap());
            assert!(flags.contains(OFlag::O_NONBLOCK | OFlag::O_RDWR));
        }
        assert_eq!(queues(&name), usize::from(count));
        let multi_queue = if count > 1 { 0x0100 } else { 0 };
        // IFF_TAP, IFF_NO_PI, IFF_VNET_HDR
        assert_eq!(hexadecimal(&name, "tun_flags"), 0x0002 | 0x1000 | 0x4000 | multi_queue, "{count} queues");
        assert!(is_up(&name));
        assert_eq!(sysfs(&name, "owner"), "-1");
        assert_eq!(check_queues(&fds).unwrap(), name);
        let info = inspect(fds[0].as_fd()).unwrap();
        assert_eq!((info.name, info.multi_queue, info.vnet_hdr), (name.clone(), count > 1, true));

        let last = fds.pop();
        fds.clear();
        assert!(interfaces().exists(&name).unwrap(), "one open fd keeps the tap");
        drop(last);
        assert!(goes(&name));
    }
}

#[test]
fn options_reach_the_kernel() {
    let owner = if not_run::has_other_users() { 65534 } else { 0 };
    let options = TapRequest { vnet_hdr: false, owner: Some(owner), mtu: Some(9000), ..request() };
    let tap = host().open(&options).unwrap();
    assert_eq!(hexadecimal(&tap.name, "tun_flags"), 0x0002 | 0x1000);
    assert!(!inspect(tap.fds[0].as_fd()).unwrap().vnet_hdr);
    assert_eq!(sysfs(&tap.name, "owner"), owner.to_string());
    assert_eq!(sysfs(&tap.name, "mtu"), "9000");
    assert_eq!(interfaces().mtu_of(&tap.name).unwrap(), 9000);
    assert_eq!(link::bridge_of(&tap.name).unwrap(), None);
}

#[test]
fn names_are_exact_patterns_or_the_kernels() {
    let host = host();
    let exact = request();
    assert_eq!(host.open(&exact).unwrap().name.as_str(), exact.name.unwrap());

    let prefix = unique();
    let pattern = TapRequest { name: Some(format!("{prefix}y%d")), queues: 2, ..request() };
    let (first, second) = (host.open(&pattern).unwrap(), host.open(&pattern).unwrap());
    assert_eq!(first.name.as_str(), format!("{prefix}y0"));
    assert_eq!(second.name.as_str(), format!("{prefix}y1"));

    let default = host.open(&TapRequest { name: None, ..request() }).unwrap();
    let number = default.name.as_str().strip_prefix("tap").expect("the kernel's pattern is tap%d");
    assert!(number.parse::<u32>().is_ok(), "{number}");
}

#[test]
fn a_taken_name_is_a_conflict_and_its_owner_is_left_alone() {
    let host = host();
    for count in [1, 2] {
        let wanted = TapRequest { queues: count, ..request() };
        let first = host.open(&wanted).unwrap();
        let error = host.open(&wanted).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Conflict, libc::EEXIST), "{error}");
        assert!(error.message().contains(first.name.as_str()), "{error}");
        assert_eq!(queues(&first.name), usize::from(count));
    }
    // The persistent one is not in use and could be joined, but would not go away with us.
    for taken in [Made::bridge(), Made::persistent("tap")] {
        let error = host.open(&TapRequest { name: Some(taken.0.to_string()), ..request() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(interfaces().exists(&taken.0).unwrap());
    }
}

#[test]
fn a_name_that_is_about_to_be_free_is_waited_for() {
    let leaving = host().open(&request()).unwrap();
    let wanted = TapRequest { name: Some(leaving.name.to_string()), ..request() };
    let end = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        drop(leaving);
    });
    let second = host().open_within(&wanted, Duration::from_secs(10)).unwrap();
    end.join().unwrap();
    assert_eq!(second.name.as_str(), wanted.name.unwrap());
    let third = TapRequest { name: Some(second.name.to_string()), ..request() };
    let error = host().open_within(&third, Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}

#[test]
fn bridges_are_joined_and_left() {
    let (bridge, other) = (Made::bridge(), Made::bridge());
    let tap = host().open(&TapRequest { bridge: Some(bridge.0.clone()), queues: 2, ..request() }).unwrap();
    assert_eq!(link::bridge_of(&tap.name).unwrap().as_ref(), Some(&bridge.0));
    assert!(is_up(&tap.name));

    join(&tap.name, &bridge.0).expect("is in this bridge already");
    let error = join(&tap.name, &other.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.message().contains(bridge.0.as_str()), "{error}");

    link::detach_bridge(&tap.name).unwrap();
    assert_eq!(link::bridge_of(&tap.name).unwrap(), None);
    link::detach_bridge(&tap.name).expect("is in none");
    join(&tap.name, &other.0).unwrap();
    assert_eq!(link::bridge_of(&tap.name).unwrap().as_ref(), Some(&other.0));
}

#[test]
fn a_tap_does_not_shrink_its_bridge() {
    let host = host();
    let bridge = Made::bridge();
    let open = |mtu| host.open(&TapRequest { bridge: Some(bridge.0.clone()), mtu, ..request() }).unwrap();
    let jumbo = open(Some(9000));
    assert_eq!(interfaces().mtu_of(&bridge.0).unwrap(), 9000, "an empty bridge takes its first port's MTU");

    let follower = open(None);
    assert_eq!(interfaces().mtu_of(&follower.name).unwrap(), 9000);
    assert_eq!(interfaces().mtu_of(&bridge.0).unwrap(), 9000);

    let small = open(Some(1400));
    assert_eq!(interfaces().mtu_of(&small.name).unwrap(), 1400);
    assert_eq!(interfaces().mtu_of(&jumbo.name).unwrap(), 9000);
    assert_eq!(interfaces().mtu_of(&bridge.0).unwrap(), 1400, "this one asked for it");
}

/// A bridge that nobody gave an address has the lowest of its ports', and tells its neighbours so each time
/// that changes.
#[test]
fn a_tap_does_not_take_its_bridges_address() {
    let (bridge, uplink) = (Made::bridge(), Made::persistent("tap"));
    ip(&["link", "set", uplink.0.as_str(), "address", "f2:00:00:00:00:01", "master", bridge.0.as_str()]);
    assert_eq!(sysfs(&bridge.0, "address"), "f2:00:00:00:00:01");
    for guest in [None, Some("52:54:00:00:00:01"), Some("00:00:00:00:00:01"), Some("fe:ff:ff:ff:ff:ff")] {
        let guest = guest.map(|mac| MacAddr::parse(mac).unwrap());
        let wanted = TapRequest { bridge: Some(bridge.0.clone()), guest, queues: 2, ..request() };
        let tap = host().open(&wanted).unwrap();
        assert_eq!(sysfs(&bridge.0, "address"), "f2:00:00:00:00:01");
        let address = sysfs(&tap.name, "address");
        assert!(address.starts_with("fe:") && Some(&address) != guest.map(|mac| mac.to_string()).as_ref());
        assert_eq!(interfaces().identity_of(&tap.name).unwrap(), tap.identity);
        if let Some(guest) = guest.map(|mac| mac.to_string()).filter(|mac| !mac.starts_with("fe")) {
            assert_eq!(address[2..], guest[2..]);
        }
    }
}

#[test]
fn a_bridge_of_the_largest_mtu_takes_taps() {
    let bridge = Made::link(&["mtu", "65535", "type", "bridge"]);
    let tap = host().open(&TapRequest { bridge: Some(bridge.0.clone()), ..request() }).unwrap();
    assert_eq!(interfaces().mtu_of(&tap.name).unwrap(), 65521);
}

#[test]
fn failures_after_the_tap_exists_take_it_back() {
    let host = host();
    let missing = unique();
    let (lo, absent) = (Some(ifname("lo")), Some(ifname(&missing)));
    let (bad_mtu, no_bridge) = (ErrorKind::Invalid, ErrorKind::NotFound);
    let table = [
        (TapRequest { bridge: absent.clone(), ..request() }, no_bridge, missing.as_str()),
        (TapRequest { bridge: absent, mtu: Some(1400), ..request() }, no_bridge, missing.as_str()),
        (TapRequest { bridge: lo, queues: 8, ..request() }, ErrorKind::Invalid, "not a Linux bridge"),
        (TapRequest { mtu: Some(67), ..request() }, bad_mtu, "MTU 67"),
        (TapRequest { mtu: Some(65522), ..request() }, bad_mtu, "MTU 65522"),
        (TapRequest { mtu: Some(u32::MAX), ..request() }, bad_mtu, "MTU 4294967295"),
        (TapRequest { owner: Some(u32::MAX), ..request() }, ErrorKind::Host, "owner 4294967295"),
    ];
    for (request, kind, words) in table {
        let name = request.name.clone().unwrap();
        let error = host.open(&request).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(words) && error.message().contains(&name), "{error}");
        assert_eq!(error.undo(), Undo::Complete, "{error}");
        assert!(goes(&ifname(&name)), "{error}, and {name} is left");
    }
}

#[test]
fn the_device_may_be_missing_or_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let error = TunDevice::at(folder.path().join("tun")).open(&request()).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Unavailable, libc::ENOENT));
    assert!(error.message().contains("modprobe tun"), "{error}");

    let error = TunDevice::at("/sys/class/net/lo/ifindex").open(&request()).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Unavailable, libc::EACCES));
    assert!(error.message().contains("needs CAP_NET_ADMIN"), "{error}");

    let error = TunDevice::at("/dev/null").open(&request()).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Unavailable, libc::ENOTTY));
    assert!(error.message().contains("/dev/null"), "{error}");
}

/// Runs the test of this name again, with root's files but without CAP_NET_ADMIN.
fn again_without_net_admin(test: &str) {
    let done = Command::new("setpriv")
        .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(UNPRIVILEGED, "1")
        .output()
        .expect("run setpriv (package util-linux)");
    let output = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && output.contains("1 passed"), "{output}");
}

#[test]
fn a_missing_capability_is_named() {
    let device = host();
    if std::env::var_os(UNPRIVILEGED).is_none() {
        return again_without_net_admin("a_missing_capability_is_named");
    }
    let wanted = request();
    let error = device.open(&wanted).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Host, libc::EPERM));
    assert!(error.message().contains("needs CAP_NET_ADMIN"), "{error}");
    assert!(goes(&ifname(&wanted.name.unwrap())));
    // Another one than it has.
    let error = set_mtu(&ifname("lo"), 65535).unwrap_err();
    assert!(error.message().contains("needs CAP_NET_ADMIN"), "{error}");
}

#[test]
fn other_fds_are_no_taps() {
    host();
    let file = tempfile::tempfile().unwrap();
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let null = File::open("/dev/null").unwrap();
    let unattached = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    let fds = [file.as_fd(), socket.as_fd(), udp.as_fd(), null.as_fd(), unattached.as_fd()];
    for fd in fds {
        let error = inspect(fd).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let start = format!("fd {} is not a tap: ", fd.as_raw_fd());
        assert!(error.message().starts_with(&start), "{error}");
        assert_eq!(check_queues(&[fd]).unwrap_err().message(), error.message());
    }
}

#[test]
fn callers_queues_must_be_one_taps() {
    let host = host();
    let refused = |fds: &[BorrowedFd<'_>], words: &str| {
        let error = check_queues(fds).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(words), "{error} should say {words}");
    };
    let one = host.open(&TapRequest { queues: 2, ..request() }).unwrap();
    let two = host.open(&TapRequest { queues: 8, ..request() }).unwrap();
    let single = host.open(&request()).unwrap();
    let copy: OwnedFd = single.fds[0].try_clone().unwrap();
    let [a, b] = [one.fds[0].as_fd(), one.fds[1].as_fd()];
    let null = File::open("/dev/null").unwrap();

    assert_eq!(check_queues(&[b, a]).unwrap(), one.name);
    assert_eq!(check_queues(&[b]).unwrap(), one.name);
    assert_eq!(check_queues(&[&copy]).unwrap(), single.name);
    refused(&[], "0 tap fds");
    refused(&[a, two.fds[0].as_fd()], two.name.as_str());
    refused(&[a, null.as_fd()], "is not a tap");
    refused(&[a, b, a], "given twice");
    refused(&[single.fds[0].as_fd(), copy.as_fd()], "several queues");
    let many = host.open(&TapRequest { queues: 256, ..request() }).unwrap();
    assert_eq!(check_queues(&many.fds).unwrap(), many.name);
    let too_many: Vec<_> = many.fds.iter().chain(&one.fds[..1]).map(AsFd::as_fd).collect();
    refused(&too_many, "257 tap fds");
}

/// What virtio-net does to all queues but the first one.
#[allow(unsafe_code)]
fn detach(fd: &OwnedFd) {
    // SAFETY: an `ifreq` is plain data, of which the kernel reads the flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_flags = 0x0400;
    // SAFETY: the fd is open and the request lives through the call.
    assert_eq!(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETQUEUE, &request) }, 0);
}

#[test]
fn detached_queues_are_attached_and_others_left_as_they_are() {
    let tap = host().open(&TapRequest { queues: 4, ..request() }).unwrap();
    for detached in [&tap.fds[1..], &tap.fds[..], &[]] {
        detached.iter().for_each(detach);
        assert_eq!(queues(&tap.name), 4 - detached.len());
        attach_queues(&tap.fds).unwrap();
        attach_queues(&tap.fds).unwrap();
        assert_eq!(queues(&tap.name), 4);
        assert_eq!(check_queues(&tap.fds).unwrap(), tap.name);
    }
    let single = host().open(&request()).unwrap();
    attach_queues(&single.fds).unwrap();
    assert!(link::destroy(&tap.name, &tap.identity).unwrap());
    attach_queues(&tap.fds).unwrap_err();
}

#[test]
fn bare_ip_interfaces_are_no_taps() {
    host();
    let tun = Made::persistent("tun");
    // Joining it is what the library never does, so the test borrows the tap code's own request for it.
    let fd = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    let flags = kvm_hotplug::sys::tun::TUN | kvm_hotplug::sys::tun::NO_PI;
    kvm_hotplug::sys::tun::set_iff(fd.as_fd(), tun.0.as_str(), flags).unwrap();
    let error = inspect(fd.as_fd()).unwrap_err();
    assert!(error.message().contains("not Ethernet frames"), "{error}");
}

#[test]
fn macvtaps_are_recognised() {
    // Their devices are those of the host.
    if !not_run::has_other_users() {
        return not_run::not_run("net_host, macvtaps_are_recognised", not_run::NO_OTHER_USERS);
    }
    let lower = host().open(&request()).unwrap();
    let macvtap = Made::link(&["link", lower.name.as_str(), "type", "macvtap", "mode", "bridge"]);
    let device = format!("/dev/tap{}", sysfs(&macvtap.0, "ifindex"));
    let fd = File::options().read(true).write(true).open(&device);
    let fd = fd.unwrap_or_else(|error| panic!("{device}: {error}; is /dev a devtmpfs?"));
    let info = inspect(fd.as_fd()).unwrap();
    assert_eq!((&info.name, info.vnet_hdr), (&macvtap.0, true));
    assert_eq!(check_queues(&[&fd]).unwrap(), macvtap.0);
    let identity = interfaces().identity_of(&macvtap.0).unwrap();
    assert_eq!(link::destroy(&macvtap.0, &identity).unwrap_err().kind(), ErrorKind::Foreign);
}

#[test]
fn destroy_takes_a_tap_from_under_its_fds_and_nothing_else() {
    let tap = host().open(&TapRequest { queues: 2, ..request() }).unwrap();
    assert!(link::destroy(&tap.name, &tap.identity).unwrap());
    assert!(!interfaces().exists(&tap.name).unwrap());
    assert!(inspect(tap.fds[0].as_fd()).is_err());
    assert!(!link::destroy(&tap.name, &tap.identity).unwrap(), "is gone already");

    let (bridge, tun) = (Made::bridge(), Made::persistent("tun"));
    for name in [&bridge.0, &tun.0] {
        let index = sysfs(name, "ifindex");
        let identity = TapIdentity::try_from(format!("{index}@52:54:00:00:00:01")).unwrap();
        assert_eq!(link::destroy(name, &identity).unwrap_err().kind(), ErrorKind::Foreign, "{name}");
        assert!(interfaces().exists(name).unwrap());
    }
}

fn from_process(pid: i32, tap: &IfName) -> kvm_hotplug::Result<OwnedFd> {
    Taps::of_process(pid, MOST_DESCRIPTORS).and_then(|taps| taps.share(tap))
}

/// A process that closes its tap is not the last one to, as long as the tap is held here too.
#[test]
fn a_tap_is_shared_with_the_process_that_has_it() {
    let own = std::process::id().try_into().unwrap();
    let (tap, other) = (host().open(&request()).unwrap(), host().open(&request()).unwrap());
    let held = from_process(own, &tap.name).unwrap();
    assert_eq!(inspect(held.as_fd()).unwrap().name, tap.name);
    let flags = fcntl(&held, FcntlArg::F_GETFD).unwrap();
    assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
    drop(tap.fds);
    assert!(interfaces().exists(&tap.name).unwrap());
    drop(held);
    assert!(goes(&tap.name) && interfaces().exists(&other.name).unwrap());
    assert_eq!(from_process(own, &tap.name).unwrap_err().kind(), ErrorKind::NotFound);
    let nobody = from_process(i32::MAX, &other.name).unwrap_err();
    assert_eq!((nobody.kind(), nobody.errno()), (ErrorKind::Host, libc::ESRCH));
}

/// A process may have any number of descriptors: it is looked at once for all of its taps, and so many of
/// them only.
#[test]
fn a_process_is_looked_at_once_and_in_part_if_need_be() {
    let own = std::process::id().try_into().unwrap();
    let taps: Vec<Tap> =
        (1..=3).map(|queues| host().open(&TapRequest { queues, ..request() }).unwrap()).collect();
    let _others: Vec<File> = (0..2000).map(|_| File::open("/dev/null").unwrap()).collect();
    let seen = Taps::of_process(own, MOST_DESCRIPTORS).unwrap();
    for (queues, tap) in (1..).zip(&taps) {
        assert_eq!(seen.count(&tap.name).unwrap(), queues);
        assert_eq!(inspect(seen.share(&tap.name).unwrap().as_fd()).unwrap().name, tap.name);
    }
    let later = host().open(&request()).unwrap();
    assert_eq!(seen.share(&later.name).unwrap_err().kind(), ErrorKind::NotFound);
    let cut = Taps::of_process(own, 3).unwrap();
    assert_eq!(cut.count(&taps[0].name).unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(cut.share(&taps[0].name).unwrap_err().kind(), ErrorKind::NotFound);
    let (name, number) = (taps[0].name.clone(), taps.len());
    drop(taps);
    assert_eq!(number, 3);
    assert_eq!(seen.share(&name).unwrap_err().kind(), ErrorKind::NotFound, "its numbers are nobody's by now");
}

/// A name that is used again, an index that is another one's, a tap that was renamed: nothing of that is
/// ours.
#[test]
fn destroy_takes_only_the_very_tap_that_was_made() {
    let tap = host().open(&request()).unwrap();
    let again = TapRequest { name: Some(tap.name.to_string()), ..request() };
    let (name, old) = (tap.name.clone(), tap.identity.clone());
    drop(tap);
    assert!(goes(&name));
    let tap = host().open(&again).unwrap();
    assert_ne!(tap.identity, old);
    assert!(!link::destroy(&name, &old).unwrap(), "the old index is nobody's");
    let (text, old) = (String::from(tap.identity.clone()), String::from(old));
    let (index, address) = text.split_once('@').unwrap();
    let (_, old_address) = old.split_once('@').unwrap();
    let other = host().open(&request()).unwrap();
    for (name, identity) in [
        (&name, format!("{index}@{old_address}")),
        (&other.name, format!("{index}@{address}")),
        (&name, String::from(other.identity.clone())),
    ] {
        let identity = TapIdentity::try_from(identity).unwrap();
        assert_eq!(link::destroy(name, &identity).unwrap_err().kind(), ErrorKind::Foreign, "{identity:?}");
    }
    assert!(interfaces().exists(&name).unwrap() && interfaces().exists(&other.name).unwrap());
    assert!(link::destroy(&name, &tap.identity).unwrap());
}

#[test]
fn helpers_name_the_interface_that_is_missing() {
    host();
    let missing = ifname(&unique());
    let lo = ifname("lo");
    assert!(!interfaces().exists(&missing).unwrap());
    let errors = [
        interfaces().mtu_of(&missing).unwrap_err(),
        set_mtu(&missing, 1500).unwrap_err(),
        interfaces().set(&missing, &Setting { up: true, ..Setting::default() }).unwrap_err(),
        link::bridge_of(&missing).unwrap_err(),
        link::detach_bridge(&missing).unwrap_err(),
        join(&missing, &lo).unwrap_err(),
        join(&lo, &missing).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.message().contains(missing.as_str()), "{error}");
    }
}

#[test]
fn vhost_where_the_device_opens() {
    // Opening is all that is done with it, so any device does.
    let device = Path::new("/dev/null");
    for mode in [VhostMode::Auto, VhostMode::Required] {
        for count in [1, 256] {
            let fds = vhost::open(mode, count, device).unwrap();
            assert_eq!(fds.len(), usize::from(count));
            assert_close_on_exec(&fds);
        }
    }
    assert!(vhost::open(VhostMode::Off, 8, device).unwrap().is_empty());
}

#[test]
fn vhost_where_it_is_missing_or_not_for_us() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let table = [
        (folder.path().join("vhost-net"), "No such file"),
        (socket, "No such device or address"),
        // Read-only even for root.
        ("/sys/class/net/lo/ifindex".into(), "Permission denied"),
    ];
    for (device, why) in table {
        assert!(vhost::open(VhostMode::Off, 2, &device).unwrap().is_empty());
        assert!(vhost::open(VhostMode::Auto, 2, &device).unwrap().is_empty());
        let error = vhost::open(VhostMode::Required, 2, &device).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Unavailable, libc::ENODEV), "{error}");
        assert!(error.message().contains("modprobe vhost_net") && error.message().contains(why), "{error}");
    }
    // Anything else is a fault, which "auto" must not hide.
    for mode in [VhostMode::Auto, VhostMode::Required] {
        let error = vhost::open(mode, 1, folder.path()).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Host, libc::EISDIR), "{error}");
    }
}
