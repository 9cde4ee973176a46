//! What a piece of work costs the thread that does it: memory at its worst, and time.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kvm_hotplug::ids::IfName;
use kvm_hotplug::net::link::{Interfaces, Setting};

/// The pause of the bystander.
const TICK: Duration = Duration::from_millis(2);

/// Memory that it takes and gives back each time, as a call does.
const TAKEN: usize = 256 << 10;

static TICKS: AtomicU32 = AtomicU32::new(0);

/// Counts per thread, so that the fake QEMU, which lives in the same process, does not count.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that is ending has no counters any more.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        PEAK.with(|peak| peak.set(peak.get().max(live.get())));
    });
}

fn signed(size: usize) -> isize {
    isize::try_from(size).unwrap_or(isize::MAX)
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may exist side by side for a moment.
        count(signed(size));
        count(-signed(layout.size()));
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// What a piece of work took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Most bytes live at any moment, beyond those that were before.
    pub peak: usize,
    /// Bytes still live afterwards, the result among them.
    pub kept: usize,
    pub time: Duration,
    /// The same by the clock of the bystander, which is slow where the machine is.
    pub ticks: u32,
    /// Ready to go on, with other threads on all processors.
    pub queued: Duration,
}

impl Cost {
    /// What it took by itself, working and waiting for somebody, by the clock of the bystander: on a machine
    /// that does much else, and holds up both, a call may take longer.
    pub fn own_time(&self) -> Duration {
        let own = self.time.saturating_sub(self.queued);
        let by_bystander = TICK * self.ticks;
        own.min(by_bystander.mul_f64(own.as_secs_f64() / self.time.as_secs_f64().max(f64::EPSILON)))
    }
}

/// Counts its pauses, which are as long as the machine makes them.
pub fn begin_ticking() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let host = Interfaces::open().unwrap();
        let lo = IfName::parse("lo").unwrap();
        let same = Setting { up: true, ..Setting::default() };
        std::thread::spawn(move || {
            let start = Instant::now();
            let mut next = start;
            loop {
                next += TICK;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                std::hint::black_box(vec![1_u8; TAKEN]);
                // It is up already: what counts is the wait for the kernel's lock of interfaces, of
                // which the machine has one. Who deletes a network namespace holds it for a while, and a
                // call that asks a tap for its name waits for it.
                let _ = host.set(&lo, &same);
                // What it came late for is not made up for.
                next = next.max(Instant::now().checked_sub(TICK).unwrap_or(start));
                TICKS.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
}

/// How long the thread has been in the queue for a processor: the kernel's count, none if it does not count.
fn queued() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_ascii_whitespace().nth(1);
    nanoseconds.map_or(Duration::ZERO, |number| Duration::from_nanos(number.parse().unwrap()))
}

/// What this thread has had of a processor.
pub fn processor_time() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD).unwrap();
    let [user, system] = [usage.user_time(), usage.system_time()].map(|time| {
        Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap())
    });
    user + system
}

/// Does the work and says what it took.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    begin_ticking();
    let before = LIVE.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    let (queued_before, ticks_before) = (queued(), TICKS.load(Ordering::Relaxed));
    let start = Instant::now();
    let done = work();
    let time = start.elapsed();
    let queued = queued().saturating_sub(queued_before);
    let ticks = TICKS.load(Ordering::Relaxed).wrapping_sub(ticks_before);
    let since = |counter: isize| usize::try_from(counter - before).unwrap_or(0);
    let cost =
        Cost { peak: since(PEAK.with(Cell::get)), kept: since(LIVE.with(Cell::get)), time, ticks, queued };
    (done, cost)
}

/// Ends this process if it has not come here again by then: a call that hangs is no reason for the test to
/// hang.
pub fn not_longer_than(seconds: u32) {
    // SAFETY: takes a number; nothing here handles the signal, whose default is to end the process.
    unsafe { libc::alarm(seconds) };
}
