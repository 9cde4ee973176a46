//! A wait that ^C ends: what has been done until then is told, before the signal has its way.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kvm_hotplug::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGPIPE, SIGTERM};
use signal_hook::flag::{register_conditional_default, register_usize};
use signal_hook::low_level::emulate_default_handler;

/// The signal that came; 0 for none.
static CAME: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// From here on SIGINT, SIGTERM and SIGHUP are only noted, until this is dropped. Those that are ignored stay
/// so.
#[derive(Debug)]
pub(crate) struct Held {
    /// They end the process again.
    released: Arc<AtomicBool>,
    came: Arc<AtomicUsize>,
}

impl Held {
    pub(crate) fn new() -> Result<Self> {
        let released = Arc::new(AtomicBool::new(false));
        let came = CAME.get_or_init(Arc::default).clone();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if is_ignored(signal) {
                continue;
            }
            let number = usize::try_from(signal).unwrap_or_default();
            register_conditional_default(signal, released.clone())
                .and_then(|_| register_usize(signal, came.clone(), number))
                .map_err(|error| Error::host(error, format!("take signal {signal}")))?;
        }
        Ok(Self { released, came })
    }

    /// Whether one of them came.
    pub(crate) fn came(&self) -> bool {
        self.came.load(Ordering::SeqCst) != 0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.released.store(true, Ordering::SeqCst);
    }
}

/// As with nohup. The kernel says it in /proc; without, nothing is known to be ignored.
fn is_ignored(signal: i32) -> bool {
    ignores(&std::fs::read_to_string("/proc/self/status").unwrap_or_default(), signal)
}

fn ignores(status: &str, signal: i32) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    u32::try_from(signal - 1).is_ok_and(|bit| ignored.checked_shr(bit).is_some_and(|mask| mask & 1 == 1))
}

/// Ends the process by the signal that came, as its parent expects; returns if none did.
pub(crate) fn obey() {
    let came = CAME.get().map_or(0, |came| came.load(Ordering::SeqCst));
    if let Some(signal) = i32::try_from(came).ok().filter(|signal| *signal != 0) {
        let _ = emulate_default_handler(signal);
    }
}

/// Nobody reads on: the process ends by the signal that it was started to ignore.
pub(crate) fn end_by_broken_pipe() -> ! {
    let _ = emulate_default_handler(SIGPIPE);
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_is_ignored() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        let ignored = [SIGHUP, SIGINT, SIGPIPE, SIGTERM].map(|signal| ignores(status, signal));
        assert_eq!(ignored, [true, false, true, false]);
        assert!(!ignores("", SIGHUP) && !ignores("SigIgn:\tnone", SIGHUP));
    }
}
