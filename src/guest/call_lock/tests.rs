//! Threads that share a value, and one that polls for all of them.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use super::*;

/// Longer than any of these tests takes.
const AMPLE: Duration = Duration::from_secs(60);

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

fn late() -> Instant {
    Instant::now() + AMPLE
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn eventually(so: impl Fn() -> bool) {
    let patience = late();
    while !so() {
        assert!(Instant::now() < patience);
        thread::yield_now();
    }
}

/// A descriptor, and what makes it readable.
fn pipe() -> (Descriptor, OwnedFd) {
    let (read, write) = nix::unistd::pipe().unwrap();
    (read.into(), write)
}

fn waits_for(fd: &Descriptor) -> WaitFor {
    let mut wait_for = WaitFor::default();
    wait_for.watch(fd.clone(), PollFlags::POLLIN);
    wait_for.until(late());
    wait_for
}

/// A call that waits once, from its beginning to its end.
fn wait_once(lock: &CallLock<i32>, wait_for: &WaitFor) -> Result<bool> {
    let call = lock.begin();
    call.wait(lock.enter(late())?, wait_for)
}

#[test]
fn one_at_a_time_within_the_deadline() {
    let lock = Arc::new(CallLock::new(0, Clock::default()).unwrap());
    let mut pass = lock.enter(soon()).unwrap();
    *pass.get().unwrap() = 1;
    let other = lock.clone();
    let error = thread::spawn(move || other.enter(soon()).err().unwrap()).join().unwrap();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Timeout, libc::ETIMEDOUT));
    assert!(error.message().contains("another call on this handle is still running"), "{error}");
    drop(pass);
    let other = lock.clone();
    assert_eq!(thread::spawn(move || *other.enter(soon()).unwrap().get().unwrap()).join().unwrap(), 1);
}

#[test]
fn a_call_into_its_own_handle_is_told_so() {
    let lock = CallLock::new(0, Clock::default()).unwrap();
    let pass = lock.enter(soon()).unwrap();
    for again in [lock.enter(late()).err(), lock.enter_again().err()] {
        assert_eq!(again.unwrap().errno(), libc::EDEADLK);
    }
    drop(pass);
    // Not while it waits for others, nor after that.
    let (fd, _write) = pipe();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_once(&lock, &waits_for(&fd)));
        eventually(|| lock.state().has_poller);
        assert!(lock.enter(soon()).is_ok());
        assert!(lock.cancel(None));
        assert!(!waiting.join().unwrap().unwrap());
    });
    assert!(lock.enter(soon()).is_ok());
}

#[test]
fn a_cancel_reaches_those_inside_and_no_later_ones() {
    let lock = CallLock::new(0, Clock::default()).unwrap();
    assert!(!lock.cancel(None), "nobody is inside");
    let (fd, _write) = pipe();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let call = lock.begin();
                    while !call.is_cancelled() {
                        call.wait(lock.enter(late()).unwrap(), &waits_for(&fd)).unwrap();
                    }
                })
            })
            .collect();
        eventually(|| lock.state().sleeping == 2);
        assert!(lock.cancel(None));
        let later = lock.begin();
        assert!(!later.is_cancelled());
        calls.into_iter().for_each(|call| call.join().unwrap());
        assert!(lock.cancel(None) && later.is_cancelled());
    });
    assert!(!lock.cancel(None));
}

/// Who is at work when it comes does not begin to wait.
#[test]
fn a_cancel_between_the_look_for_it_and_the_wait_is_not_lost() {
    let lock = CallLock::new(0, Clock::default()).unwrap();
    let (fd, _write) = pipe();
    let call = lock.begin();
    let pass = lock.enter(late()).unwrap();
    assert!(!call.is_cancelled() && lock.cancel(None));
    let wait_for = waits_for(&fd);
    let until = wait_for.until.unwrap();
    call.wait(pass, &wait_for).unwrap();
    assert!(call.is_cancelled() && Instant::now() < until);
    // It has been seen, so that what a cancel does not end is waited for.
    let mut wait_for = waits_for(&fd);
    let until = soon();
    wait_for.until(until);
    call.wait(lock.enter(late()).unwrap(), &wait_for).unwrap();
    assert!(Instant::now() >= until);
}

#[test]
fn a_cancel_of_one_threads_call_reaches_no_other() {
    let lock = CallLock::new(0, Clock::default()).unwrap();
    let (fd, _write) = pipe();
    thread::scope(|scope| {
        let (say, said) = channel();
        let calls: Vec<_> = (0..3)
            .map(|_| {
                let (say, lock, fd) = (say.clone(), &lock, &fd);
                scope.spawn(move || {
                    let call = lock.begin();
                    say.send(this_thread()).unwrap();
                    while !call.is_cancelled() {
                        call.wait(lock.enter(late()).unwrap(), &waits_for(fd)).unwrap();
                    }
                    this_thread()
                })
            })
            .collect();
        let threads: Vec<usize> = (0..3).map(|_| said.recv().unwrap()).collect();
        assert!(!lock.cancel(Some(this_thread())), "this one is in no call");
        assert!(lock.cancel(Some(threads[1])));
        eventually(|| calls.iter().any(thread::ScopedJoinHandle::is_finished));
        assert!(!lock.cancel(Some(threads[1])), "it has ended");
        assert_eq!(lock.state().calls.iter().filter(|call| !call.cancelled).count(), 2);
        assert!(lock.cancel(None));
        calls.into_iter().for_each(|call| assert!(threads.contains(&call.join().unwrap())));
    });
}

#[test]
fn one_that_is_told_wakes_and_one_that_is_not_goes_on_waiting() {
    let lock = CallLock::new(0, Clock::default()).unwrap();
    let (fd, _write) = pipe();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..2).map(|_| scope.spawn(|| wait_once(&lock, &waits_for(&fd)))).collect();
        eventually(|| lock.state().sleeping == 1);
        lock.tell_if(false);
        assert!(lock.state().sleeping == 1 && lock.state().has_poller);
        lock.tell_if(true);
        waiting.into_iter().for_each(|waiting| assert!(!waiting.join().unwrap().unwrap()));
    });
}

/// When the one that polls leaves, another one polls.
#[test]
fn the_poller_hands_over_to_the_next() {
    let lock = CallLock::new(0, Clock::default()).unwrap();
    let (fd, write) = pipe();
    thread::scope(|scope| {
        let (told, polled) = channel();
        for _ in 0..3 {
            let (told, lock, fd) = (told.clone(), &lock, &fd);
            scope.spawn(move || {
                let call = lock.begin();
                let is_readable = loop {
                    let readable = call.wait(lock.enter(late()).unwrap(), &waits_for(fd)).unwrap();
                    if readable || call.is_cancelled() {
                        break readable;
                    }
                };
                told.send(is_readable).unwrap();
            });
        }
        eventually(|| lock.state().sleeping == 2);
        nix::unistd::write(&write, b"x").unwrap();
        for _ in 0..3 {
            assert!(polled.recv_timeout(AMPLE).unwrap(), "each has polled, one after the other");
        }
    });
    assert!(!lock.state().has_poller);
}

/// The one that polls began to before there was this descriptor.
#[test]
fn a_new_descriptor_is_polled_as_well() {
    let lock = CallLock::new(0, Clock::default()).unwrap();
    let ((old, _keep), (new, write)) = (pipe(), pipe());
    thread::scope(|scope| {
        let first = scope.spawn(|| wait_once(&lock, &waits_for(&old)));
        eventually(|| lock.state().has_poller);
        let second = scope.spawn(|| {
            let call = lock.begin();
            while !call.wait(lock.enter(late())?, &waits_for(&new))? {}
            Ok(())
        });
        // It has nothing to do, and looks again at what is to be waited for.
        assert!(!first.join().unwrap().unwrap());
        nix::unistd::write(&write, b"x").unwrap();
        let second: Result<()> = second.join().unwrap();
        second.unwrap();
    });
}

#[test]
fn the_same_descriptors_are_told_from_others() {
    let ((one, _keep), (two, _keep_too)) = (pipe(), pipe());
    let all = |fds: &[&Descriptor]| {
        let mut wait_for = WaitFor::default();
        fds.iter().for_each(|fd| wait_for.watch((*fd).clone(), PollFlags::POLLIN));
        wait_for
    };
    let mut also_writes = WaitFor::default();
    also_writes.watch(one.clone(), PollFlags::POLLIN | PollFlags::POLLOUT);
    assert!(all(&[&one]).watches_the_same(&all(&[&one])) && all(&[]).watches_the_same(&all(&[])));
    assert!(all(&[&one, &two]).watches_the_same(&all(&[&one, &two])));
    for other in [all(&[]), all(&[&two]), all(&[&one, &two]), also_writes] {
        assert!(
            !all(&[&one]).watches_the_same(&other) && !other.watches_the_same(&all(&[&one])),
            "{other:?}"
        );
    }
}

#[test]
fn the_time_comes_for_each() {
    let lock = CallLock::new(0, Clock::default()).unwrap();
    let (fd, _write) = pipe();
    thread::scope(|scope| {
        let polling = scope.spawn(|| wait_once(&lock, &waits_for(&fd)));
        eventually(|| lock.state().has_poller);
        let mut brief = waits_for(&fd);
        brief.until(soon());
        assert!(!wait_once(&lock, &brief).unwrap());
        assert!(!polling.is_finished());
        lock.cancel(None);
        assert!(!polling.join().unwrap().unwrap());
    });
}

#[test]
fn a_panic_inside_closes_it_for_good_and_tells_all() {
    let lock = Arc::new(CallLock::new(0, Clock::default()).unwrap());
    let (fd, _write) = pipe();
    let (go, wait) = channel::<()>();
    let other = lock.clone();
    let panics = thread::spawn(move || {
        let _pass = other.enter(late()).unwrap();
        let _ = wait.recv();
        panic!("on purpose");
    });
    eventually(|| lock.state().holder.is_some());
    thread::scope(|scope| {
        let entering: Vec<_> = (0..3).map(|_| scope.spawn(|| kind(lock.enter(late())))).collect();
        eventually(|| lock.state().waiting == 3);
        drop(go);
        for entering in entering {
            assert_eq!(entering.join().unwrap(), Some(ErrorKind::Panic));
        }
    });
    assert!(panics.join().is_err());
    assert_eq!(kind(lock.enter(soon())), Some(ErrorKind::Panic));
    assert_eq!(kind(wait_once(&lock, &waits_for(&fd))), Some(ErrorKind::Panic));
    assert_eq!(kind(lock.enter_again()), Some(ErrorKind::Panic));
}
