//! Writes what C asked for.

use std::ffi::{CString, c_char, c_int};
use std::fmt::{self, Write};

use serde_json::Value;

use super::args::{Plain, check_list, null};
use crate::error::{Error, ErrorKind, Result};
use crate::sanitize::write_escaped;

/// A struct of zeros.
pub(super) fn zeros<T: Plain>() -> T {
    // SAFETY: all zeros is a valid value of plain structs.
    unsafe { std::mem::zeroed() }
}

/// Writes a result struct of the size the caller was compiled with: cut for a shorter one, zeros behind for a
/// longer.
///
/// # Safety
/// `pointer` is NULL (then nothing is written) or valid for writes of `size` bytes.
pub(super) unsafe fn write_struct<T: Plain>(pointer: *mut T, size: usize, value: &T) {
    if pointer.is_null() {
        return;
    }
    let known = size_of::<T>().min(size);
    // SAFETY: the caller vouches for size bytes, and known is no more than that.
    unsafe {
        std::ptr::copy_nonoverlapping((&raw const *value).cast::<u8>(), pointer.cast::<u8>(), known);
        std::ptr::write_bytes(pointer.cast::<u8>().add(known), 0, size - known);
    }
}

/// The same for a large one, which is put together where the caller wants it. `show` gets a struct of zeros.
///
/// # Safety
/// As for [`write_struct`].
pub(super) unsafe fn show_struct<T: Plain>(pointer: *mut T, size: usize, show: impl FnOnce(&mut T)) {
    if pointer.is_null() {
        return;
    }
    if size < size_of::<T>() || !pointer.is_aligned() {
        let mut value = zeros();
        show(&mut value);
        // SAFETY: passed on.
        return unsafe { write_struct(pointer, size, &value) };
    }
    // SAFETY: the caller vouches for size bytes, which are enough; all zeros is a valid value of plain
    // structs.
    unsafe {
        pointer.cast::<u8>().write_bytes(0, size);
        show(&mut *pointer);
    }
}

/// Copies a list into the caller's array of structs of `size` bytes each, as far as it has room.
///
/// # Safety
/// `array` is NULL or valid for writes of `capacity * size` bytes.
pub(super) unsafe fn write_list<T: Plain>(
    array: *mut T,
    size: usize,
    capacity: usize,
    list: impl Iterator<Item = T>,
) {
    for (index, value) in list.take(if array.is_null() { 0 } else { capacity }).enumerate() {
        // SAFETY: index is below capacity.
        unsafe { write_struct(array.byte_add(index * size), size, &value) };
    }
}

/// Refuses a place for a result that is none, before anything is done.
pub(super) fn check_out<T>(place: *mut T, what: &str) -> Result<()> {
    if place.is_null() { Err(null(what)) } else { Ok(()) }
}

/// A text that grows as long as there is memory. Characters that do not stand for themselves are escaped.
struct Growing(Vec<u8>);

impl Growing {
    fn append(&mut self, bytes: &[u8]) -> fmt::Result {
        self.0.try_reserve(bytes.len()).map_err(|_| fmt::Error)?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl fmt::Write for Growing {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.append(text.as_bytes())
    }
}

/// JSON on its way into a text, a piece at a time, so that a large answer is never there twice.
struct Escaping(Growing);

impl fmt::Write for Escaping {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_escaped(&mut self.0, text)
    }
}

/// Gives JSON away, to be freed with kvm_hotplug_text_free(). It may be large.
///
/// # Safety
/// `place` is NULL (then nothing is given) or valid for writes.
pub(super) unsafe fn give_json(json: &Value, place: *mut *mut c_char) -> Result<()> {
    if place.is_null() {
        return Ok(());
    }
    let mut text = Escaping(Growing(Vec::new()));
    // With room for the NUL, so that no more memory is asked for.
    (write!(text, "{json}").and_then(|()| text.0.append(&[0]))).map_err(|fmt::Error| {
        Error::new(ErrorKind::Limit, "there is no memory for the answer").with_errno(libc::ENOMEM)
    })?;
    // There is no other NUL in it: that would have been escaped.
    let text = CString::from_vec_with_nul(text.0.0).unwrap_or_default();
    // SAFETY: the caller vouches for it.
    unsafe { place.write(text.into_raw()) };
    Ok(())
}

/// Text as C reads it; QEMU's may hold anything.
pub(super) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\\0")).unwrap_or_default()
}

/// A fixed array with this text, cut at a character boundary, always terminated.
pub(super) fn fill<const N: usize>(text: &str) -> [c_char; N] {
    let mut array = [0; N];
    put_text(&mut array, text);
    array
}

/// The same into an array of zeros, which a large one need not be copied for.
pub(super) fn put_text(zeros: &mut [c_char], text: &str) {
    let mut end = text.len().min(zeros.len().saturating_sub(1));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // SAFETY: neither is shorter than end, which is 0 for an empty array, and a borrowed array does not
    // overlap.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast::<c_char>(), zeros.as_mut_ptr(), end) };
}

/// Hands out a list: what fits, and how many there are. Each is made where the caller wants it, so that a
/// long list needs no memory of its own.
///
/// # Safety
/// `array` is NULL or has `capacity` structs of `size` bytes, `ret_count` is NULL or writable.
pub(super) unsafe fn give_list<T: Plain>(
    list: impl ExactSizeIterator<Item = T>,
    array: *mut T,
    size: usize,
    capacity: usize,
    ret_count: *mut usize,
) -> Result<c_int> {
    if ret_count.is_null() {
        return Err(null("ret_count"));
    }
    check_list(array, size)?;
    // SAFETY: the caller vouches for both.
    unsafe {
        ret_count.write(list.len());
        write_list(array, size, capacity, list);
    }
    Ok(0)
}
