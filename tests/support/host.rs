//! What a test leaves on the host, or finds there.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::{clock, programs};
use kvm_hotplug::net::bandwidth::Limits;
use kvm_hotplug::net::tap::{TapRequest, TunDevice};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollOp, EpollTimeout};

/// A number that no other test of this process has.
pub fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Runs a test that counts what the process has open in a process of its own: other tests run beside it
/// otherwise. `test` is the name the harness knows it by.
pub fn in_own_process(test: &str, body: &mut dyn FnMut()) {
    run_alone(test, &[], body);
}

/// The same, with temporary files in memory: what waits for a disk waits as long as whoever else uses it
/// makes it.
pub fn in_own_process_off_disk(test: &str, body: &mut dyn FnMut()) {
    run_alone(test, &["env", "TMPDIR=/dev/shm"], body);
}

/// The same, with temporary files beneath a folder.
pub fn in_own_process_beneath(test: &str, folder: &Path, body: &mut dyn FnMut()) {
    let temporary = format!("TMPDIR={}", folder.display());
    run_alone(test, &["env", &temporary], body);
}

/// The same, on a host with vhost-net: what is there instead opens, which is all that the library asks of it.
/// `/dev` is another one for this process only.
pub fn in_own_process_with_vhost(test: &str, body: &mut dyn FnMut()) {
    // In a chroot the root is no mount point, and unshare by itself insists on one; what is mounted below it
    // later stays in this namespace all the same. Root of a user namespace makes no device nodes, and may
    // mount those that there are.
    const SCRIPT: &str = "set -e
        mount --make-rprivate / 2>/dev/null || ! mountpoint -q /
        mount -t tmpfs -o mode=755 none /mnt
        mkdir /mnt/net
        for device in null urandom net/tun; do
            touch /mnt/$device
            mount --bind /dev/$device /mnt/$device
        done
        touch /mnt/vhost-net
        mount --bind /dev/null /mnt/vhost-net
        mount --rbind /mnt /dev
        exec \"$@\"";
    run_alone(test, &["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", SCRIPT, "sh"], body);
}

/// The same in a network namespace of its own.
pub fn in_own_netns(test: &str, body: &mut dyn FnMut()) {
    run_alone(test, &["unshare", "--net"], body);
}

/// `through`: a command that runs the one behind it.
fn run_alone(test: &str, through: &[&str], body: &mut dyn FnMut()) {
    const CHILD: &str = "KVM_HOTPLUG_TEST_ALONE";
    if std::env::var(CHILD).is_ok_and(|alone| alone == test) {
        return body();
    }
    let program = std::env::current_exe().unwrap();
    let harness = ["--exact", "--nocapture", "--test-threads=1"];
    let words = [through, &[program.to_str().unwrap(), test], &harness].concat();
    let name = format!("{CHILD}={test}");
    let (is_good, text) = programs::output(&[&["env", name.as_str()], &words[..]].concat());
    assert!(is_good && text.contains("1 passed"), "in a process of its own:\n{text}");
}

/// Open descriptors of this process, described by what they lead to.
pub fn open_fds() -> Vec<String> {
    // What it has open is there from the first count on.
    programs::prepare();
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        // The one that reads the directory is gone by the time it is looked at.
        if let Ok(target) = std::fs::read_link(entry.unwrap().path()) {
            all.push(target.to_string_lossy().into_owned());
        }
    }
    all.retain(|target| !target.ends_with("/fd"));
    all.sort();
    all
}

/// Interfaces whose name begins like this.
pub fn interfaces(prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/sys/class/net").unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    names
}

/// The taps among them. One that nobody has open any more is on its way out: another case of this process may
/// have looked at all descriptors, and then it is the last to let go of it.
pub fn taps(prefix: &str) -> Vec<String> {
    let is_settled = || interfaces(prefix).iter().all(|name| descriptors_of_tap(name) > 0);
    comes_within(Duration::from_secs(1), thread::sleep, is_settled);
    interfaces(prefix)
}

/// How many descriptors of a tap this process has.
pub fn descriptors_of_tap(name: &str) -> usize {
    let line = format!("iff:\t{name}");
    let entries = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let infos = entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default());
    infos.filter(|info| info.lines().any(|other| other == line)).count()
}

/// A tap's descriptors, one per queue, as a caller would open them.
pub fn tap(name: &str, queues: u16) -> Vec<Arc<OwnedFd>> {
    needs_tun();
    let request = TapRequest {
        name: Some(name.into()),
        queues,
        vnet_hdr: true,
        owner: None,
        bridge: None,
        mtu: None,
        guest: None,
        limits: Limits::default(),
        port: None,
    };
    TunDevice::default().open(&request).unwrap().fds.into_iter().map(Arc::new).collect()
}

/// Says loudly why a test cannot run.
pub fn needs_tun() {
    programs::prepare();
    assert!(nix::unistd::geteuid().is_root(), "this test makes taps: run it as root");
    assert!(Path::new("/dev/net/tun").exists(), "this test needs /dev/net/tun: modprobe tun");
}

/// Between two looks at what is waited for, at first.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until `so` holds; false after five seconds.
pub fn eventually(so: impl Fn() -> bool) -> bool {
    eventually_within(5, so)
}

/// Waits until `so` holds; false after so many seconds, and more where the machine is slow: it is asked a
/// number of times.
pub fn eventually_within(seconds: u64, so: impl Fn() -> bool) -> bool {
    // The kernel does not go by the clock of a case, and is waited for on the real one.
    let sleeps: &[fn(Duration)] =
        if clock::is_virtual() { &[clock::sleep, thread::sleep] } else { &[thread::sleep] };
    sleeps.iter().any(|sleep| comes_within(Duration::from_secs(seconds), sleep, &so))
}

fn comes_within(patience: Duration, sleep: impl Fn(Duration), so: impl Fn() -> bool) -> bool {
    let mut slept = Duration::ZERO;
    while !so() {
        if slept >= patience {
            return false;
        }
        // Whoever has waited for long does not look so often.
        let pause = PAUSE.max(slept / 16);
        sleep(pause);
        slept += pause;
    }
    true
}

/// Whether a descriptor, known by its number only, can be read now. An event loop would nest it just like
/// this.
pub fn is_readable(fd: RawFd) -> bool {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let mut event = EpollEvent::new(EpollFlags::EPOLLIN, 0);
    // What replaces it wants a borrow, which a number is not.
    #[allow(deprecated)]
    nix::sys::epoll::epoll_ctl(epoll.0.as_raw_fd(), EpollOp::EpollCtlAdd, fd, &mut event).unwrap();
    epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO).unwrap() > 0
}
