//! An agent that is short of memory: a large answer of QEMU's ends the call, and neither the process nor the
//! guest's handle.

// The lints' exception for tests stops at the functions marked as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, unreachable_pub, clippy::result_large_err)]
#![allow(unsafe_code)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null_mut;

use kvm_hotplug::error::ErrorKind;
use serde_json::{Value, json};

use support::api::*;
use support::c_api::CAgent;
use support::fake::Act;
use support::fixture::Fixture;

/// Refuses what is larger than the calling thread may have at once.
struct Scarce;

#[global_allocator]
static ALLOCATOR: Scarce = Scarce;

thread_local! {
    static MOST: Cell<usize> = const { Cell::new(usize::MAX) };
    static REFUSED: Cell<usize> = const { Cell::new(0) };
}

fn refused(size: usize) -> bool {
    let refuses = MOST.try_with(|most| size > most.get()).unwrap_or(false);
    if refuses {
        REFUSED.with(|count| count.set(count.get() + 1));
    }
    refuses
}

// SAFETY: every call is passed on to the system's allocator unchanged, or answered as by one that has no
// memory.
unsafe impl GlobalAlloc for Scarce {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if refused(layout.size()) {
            return null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if refused(size) {
            return null_mut();
        }
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// What the work gives while no piece of memory has more than so many bytes, and how many pieces it did not
/// get.
fn with_at_most<T>(bytes: usize, work: impl FnOnce() -> T) -> (T, usize) {
    REFUSED.set(0);
    MOST.set(bytes);
    let result = work();
    MOST.set(usize::MAX);
    (result, REFUSED.get())
}

/// QEMU gives this answer, for which there is no memory; the guest can be used afterwards as before.
fn too_large(answer: Value, most: usize) {
    let fixture = Fixture::pc();
    let guest = fixture.open(&CAgent);
    let large = QmpArgs::new("query-name", json!({}));
    fixture.qemu.fault("query-name", 0, Act::Return(answer.clone()));
    let (result, refused) = with_at_most(most, || guest.qmp(&large));
    let failed = result.unwrap_err();
    println!("{failed:?}");
    assert_eq!((failed.kind, failed.errno), (ErrorKind::Limit as i32, libc::ENOMEM), "{failed:?}");
    assert!(failed.text.contains("memory"), "{failed:?}");
    assert!(refused > 0);

    fixture.qemu.fault("query-name", 0, Act::Return(answer.clone()));
    assert!(guest.qmp(&large).unwrap() == answer);
    let disk = fixture.disk("a.img");
    done(guest.add_disk(&disk));
}

#[test]
fn a_message_that_cannot_be_kept_ends_the_call() {
    // A megabyte, none of whose parts is large once it has been read.
    too_large(json!(vec!["x".repeat(2000); 500]), 128 << 10);
}

#[test]
fn a_text_that_cannot_be_made_ends_the_call() {
    // Each of these characters takes one byte of the message, and six of the text.
    too_large(json!(vec!["\u{7f}".repeat(2000); 100]), 512 << 10);
}
