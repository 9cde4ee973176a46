//! A virtual clock: its time passes while nothing else can happen, and never otherwise.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use fake_qemu::clock::{Clock, Gate};
use nix::poll::{PollFd, PollFlags};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// Runs this as the first thread of a virtual clock, and says what time passed.
fn first_of(clock: &Clock, body: impl FnOnce()) -> Duration {
    let start = clock.now();
    let _entered = clock.ticket().enter();
    body();
    clock.now() - start
}

/// A thread more, which has ended when the gate is open.
fn start(clock: &Clock, body: impl FnOnce() + Send + 'static) -> Gate {
    let (ticket, end) = (clock.ticket(), Gate::new());
    let last = end.clone();
    thread::spawn(move || {
        let _entered = ticket.enter();
        body();
        last.open();
    });
    end
}

fn readable(socket: &UnixStream) -> [PollFd<'_>; 1] {
    [PollFd::new(socket.as_fd(), PollFlags::POLLIN)]
}

#[test]
fn hours_pass_at_once() {
    let really = Instant::now();
    let clock = Clock::new_virtual();
    assert_eq!(first_of(&clock, || (0..100).for_each(|_| clock.sleep(HOUR))), 100 * HOUR);
    assert!(really.elapsed() < Duration::from_secs(60));
}

#[test]
fn each_wakes_at_its_moment_and_in_order() {
    let clock = Clock::new_virtual();
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let passed = first_of(&clock, || {
        let ends = [3, 1, 2].map(|seconds| {
            let (clock, order) = (clock.clone(), order.clone());
            start(&clock.clone(), move || {
                let start = clock.now();
                clock.sleep(seconds * SECOND);
                order.lock().unwrap().push((seconds, clock.now() - start));
            })
        });
        ends.iter().for_each(Gate::pass);
    });
    assert_eq!(*order.lock().unwrap(), [1, 2, 3].map(|seconds| (seconds, seconds * SECOND)));
    assert_eq!(passed, 3 * SECOND);
}

/// However long it really takes.
#[test]
fn time_stands_still_while_a_thread_runs() {
    let clock = Clock::new_virtual();
    let passed = first_of(&clock, || {
        let end = start(&clock, || thread::sleep(Duration::from_millis(50)));
        let (mine, _other) = UnixStream::pair().unwrap();
        end.pass();
        clock.poll(&mut readable(&mine), Some(clock.now() + SECOND)).unwrap();
    });
    assert_eq!(passed, SECOND, "that of the wait alone");
}

/// A thread that has been counted and has not begun yet is not overtaken by time.
#[test]
fn time_stands_still_before_a_thread_has_begun() {
    let clock = Clock::new_virtual();
    first_of(&clock, || {
        let (ticket, start) = (clock.ticket(), clock.now());
        let begins = thread::spawn({
            let clock = clock.clone();
            move || {
                thread::sleep(Duration::from_millis(50));
                let _entered = ticket.enter();
                clock.now()
            }
        });
        clock.sleep(HOUR);
        assert_eq!(begins.join().unwrap(), start);
    });
}

/// Two threads throw a byte to and fro, each time by way of the kernel, and each with a deadline that must
/// not come.
#[test]
fn what_is_on_its_way_arrives_before_time_passes() {
    let clock = Clock::new_virtual();
    let passed = first_of(&clock, || {
        let (mine, other) = UnixStream::pair().unwrap();
        let throw = |clock: Clock, mut socket: UnixStream, begins: bool| {
            if begins {
                socket.write_all(b"x").unwrap();
            }
            for left in (0..300).rev() {
                let mut fds = readable(&socket);
                clock.poll(&mut fds, Some(clock.now() + SECOND)).unwrap();
                assert!(fds[0].any().unwrap(), "the deadline came first");
                socket.read_exact(&mut [0]).unwrap();
                // The one that began catches last.
                if left > 0 || !begins {
                    socket.write_all(b"x").unwrap();
                }
            }
        };
        let end = start(&clock, {
            let clock = clock.clone();
            move || throw(clock, other, true)
        });
        throw(clock.clone(), mine, false);
        end.pass();
    });
    assert_eq!(passed, Duration::ZERO);
}

/// Both wait for the same socket. One of them gets what comes; the other one is woken together with it, or
/// goes on waiting.
#[test]
fn what_another_thread_has_taken_wakes_nobody() {
    let clock = Clock::new_virtual();
    first_of(&clock, || {
        for _ in 0..100 {
            let (mine, mut other) = UnixStream::pair().unwrap();
            mine.set_nonblocking(true).unwrap();
            let begin = clock.now();
            let (says, told) = channel();
            let ends = [(); 2].map(|()| {
                let (clock, says, mut socket) = (clock.clone(), says.clone(), mine.try_clone().unwrap());
                start(&clock.clone(), move || {
                    clock.poll(&mut readable(&socket), Some(begin + HOUR)).unwrap();
                    says.send((socket.read(&mut [0]).is_ok(), clock.now() - begin)).unwrap();
                })
            });
            clock.sleep(SECOND);
            other.write_all(b"x").unwrap();
            ends.iter().for_each(Gate::pass);
            let mut told: Vec<(bool, Duration)> = told.try_iter().collect();
            told.sort();
            assert_eq!(told[1], (true, SECOND));
            assert!([(false, SECOND), (false, HOUR)].contains(&told[0]), "{told:?}");
        }
    });
}

#[test]
fn one_that_waits_for_another_is_woken_by_it_or_by_its_time() {
    let clock = Clock::new_virtual();
    let passed = first_of(&clock, || {
        clock.park(7, Some(clock.now() + SECOND), || ());
        let end = start(&clock, {
            let clock = clock.clone();
            move || {
                clock.sleep(SECOND);
                clock.unpark(8, true);
                clock.unpark(7, false);
            }
        });
        let released = AtomicBool::new(false);
        clock.park(7, None, || released.store(true, Ordering::SeqCst));
        assert!(released.into_inner());
        end.pass();
    });
    assert_eq!(passed, 2 * SECOND);
}

/// It would be a test that hangs.
#[test]
fn that_nothing_can_happen_any_more_is_said() {
    let clock = Clock::new_virtual();
    let stuck = thread::spawn({
        let clock = clock.clone();
        move || first_of(&clock, || Gate::new().pass())
    });
    assert!(stuck.join().is_err());
    // Also when the one that could have done something has ended.
    let clock = Clock::new_virtual();
    let stuck = thread::spawn(move || {
        first_of(&clock, || {
            let end = start(&clock, || thread::sleep(Duration::from_millis(20)));
            Gate::new().pass();
            drop(end);
        })
    });
    assert!(stuck.join().is_err());
}

#[test]
fn a_thread_that_is_not_counted_is_told_so() {
    let clock = Clock::new_virtual();
    assert!(thread::spawn(move || clock.sleep(SECOND)).join().is_err());
}

#[test]
fn the_real_clock_waits_really() {
    let clock = Clock::default();
    let start = Instant::now();
    let (mine, _other) = UnixStream::pair().unwrap();
    clock.poll(&mut readable(&mine), Some(clock.now() + Duration::from_millis(20))).unwrap();
    clock.sleep(Duration::from_millis(20));
    assert!(start.elapsed() >= Duration::from_millis(40));
}
