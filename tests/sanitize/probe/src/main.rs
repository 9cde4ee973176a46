//! Does on purpose what the sanitizers are there to find: a run that lets this pass was built without them.

use std::hint::black_box;

static mut SHARED: u32 = 0;

fn use_after_free() {
    let bytes = black_box(vec![1u8; 16]);
    let place = black_box(bytes.as_ptr());
    drop(bytes);
    println!("{}", unsafe { place.read_volatile() });
}

fn overflow() {
    let bytes = black_box(vec![1u8; 16]);
    println!("{}", unsafe { black_box(bytes.as_ptr()).add(black_box(16)).read_volatile() });
}

fn leak() {
    std::mem::forget(black_box(vec![1u8; 64]));
}

fn race() {
    let count = || (0..1000).for_each(|_| unsafe { SHARED = black_box(SHARED) + 1 });
    let other = std::thread::spawn(count);
    count();
    other.join().unwrap();
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("use-after-free") => use_after_free(),
        Some("overflow") => overflow(),
        Some("leak") => leak(),
        Some("race") => race(),
        _ => {}
    }
}
