//! Reads what C hands over, and writes what C asked for.

use std::ffi::{CStr, c_char};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::descriptor::duplicate;

/// Structs larger than this do not exist in any version; a size beyond it is a mistake.
const MAX_STRUCT: usize = 64 << 10;

/// Longest string taken from C, in bytes. Paths end at 4095, a command argument at 128 KiB (MAX_ARG_STRLEN).
const MAX_STRING: usize = 128 << 10;

/// A struct of the C ABI: integers, pointers and arrays of them, valid when all bytes are zero.
///
/// # Safety
/// Implemented only for `repr(C)` structs for which that is true.
pub(super) unsafe trait Plain: Copy {
    /// The size that it had in its first version. Fields have been appended since; a smaller size never was
    /// right, and would cut a pointer in two, or leave what was asked for out in silence.
    const FIRST: usize;
}

/// The size of a struct whose last field is this one.
macro_rules! end_of {
    ($name:ty, $last:ident) => {{
        const fn size<S, F>(_: fn(&S) -> &F) -> usize {
            size_of::<F>()
        }
        (std::mem::offset_of!($name, $last) + size::<$name, _>(|value| &value.$last))
            .next_multiple_of(align_of::<$name>())
    }};
}
pub(super) use end_of;

/// Names a parameter in errors.
pub(super) fn null(what: &str) -> Error {
    Error::invalid(format!("{what} is NULL")).with_errno(libc::EFAULT)
}

/// A required reference.
///
/// # Safety
/// `pointer` is NULL or valid for reads during `'a`.
pub(super) unsafe fn required<'a, T>(pointer: *const T, what: &str) -> Result<&'a T> {
    // SAFETY: the caller vouches for it.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(what))
}

/// A request struct of the size the caller was compiled with: one of an older version is filled up with
/// zeros, a longer one must end in zeros.
///
/// # Safety
/// `pointer` is NULL or valid for reads of `size` bytes.
pub(super) unsafe fn read_struct<T: Plain>(pointer: *const T, size: usize, what: &str) -> Result<T> {
    if pointer.is_null() {
        return Err(null(what));
    }
    check_size::<T>(size, what)?;
    let known = size_of::<T>();
    // SAFETY: the caller vouches for size bytes.
    let given = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), size) };
    if given.iter().skip(known).any(|byte| *byte != 0) {
        return Err(Error::new(
            ErrorKind::Version,
            format!("{what}: a field is set that this version of the library does not have"),
        )
        .with_errno(libc::E2BIG));
    }
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: both sides are valid for min(size, known) bytes, and T: Plain accepts any of them.
    unsafe {
        std::ptr::copy_nonoverlapping(given.as_ptr(), value.as_mut_ptr().cast::<u8>(), size.min(known));
        Ok(value.assume_init())
    }
}

/// Refuses a size that the struct has not had in any version, before anything is done.
pub(super) fn check_size<T: Plain>(size: usize, what: &str) -> Result<()> {
    if !(T::FIRST..=MAX_STRUCT).contains(&size) {
        return Err(Error::invalid(format!(
            "{what}: size {size} is not that of the struct, which has {} bytes or more; pass its sizeof, not that of a pointer",
            T::FIRST
        )));
    }
    Ok(())
}

/// The same for the elements of an array, which may be none.
pub(super) fn check_list<T: Plain>(array: *mut T, size: usize) -> Result<()> {
    if array.is_null() { Ok(()) } else { check_size::<T>(size, "array element") }
}

/// An optional string.
///
/// # Safety
/// `pointer` is NULL or a NUL-terminated string, valid during `'a`.
pub(super) unsafe fn optional_str<'a>(pointer: *const c_char, what: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller vouches for it.
    let text = unsafe { CStr::from_ptr(pointer) };
    if text.to_bytes().len() > MAX_STRING {
        return Err(Error::new(ErrorKind::Limit, format!("{what} has more than {MAX_STRING} bytes")));
    }
    text.to_str().map(Some).map_err(|_| Error::invalid(format!("{what} is not UTF-8")))
}

/// A required string.
///
/// # Safety
/// As for [`optional_str`].
pub(super) unsafe fn required_str<'a>(pointer: *const c_char, what: &str) -> Result<&'a str> {
    // SAFETY: passed on.
    unsafe { optional_str(pointer, what) }?.ok_or_else(|| null(what))
}

/// A required path.
///
/// # Safety
/// As for [`optional_str`].
pub(super) unsafe fn required_path<'a>(pointer: *const c_char, what: &str) -> Result<&'a Path> {
    // SAFETY: passed on.
    match unsafe { required_str(pointer, what) }? {
        "" => Err(Error::invalid(format!("{what} is empty"))),
        path => Ok(Path::new(path)),
    }
}

/// Duplicates of borrowed file descriptors, close-on-exec.
///
/// # Safety
/// `fds` is NULL or valid for reads of `count` integers.
pub(super) unsafe fn duplicate_fds(
    fds: *const i32,
    count: usize,
    most: usize,
    what: &str,
) -> Result<Vec<OwnedFd>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if fds.is_null() {
        return Err(null(what));
    }
    if count > most {
        return Err(Error::invalid(format!("{what}: {count} file descriptors, at most {most} are taken")));
    }
    // SAFETY: the caller vouches for count integers.
    let fds = unsafe { std::slice::from_raw_parts(fds, count) };
    fds.iter().map(|fd| duplicate(*fd, what)).collect()
}

/// A yes or no of C.
pub(super) fn boolean(value: i32, what: &str) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Error::invalid(format!("{what} is {other}, must be 0 or 1"))),
    }
}

/// The value of an enum with a number that C gave; they begin with 0.
pub(super) fn known_value<T>(
    of_number: fn(u32) -> Option<T>,
    last: u32,
    number: u32,
    what: &str,
) -> Result<T> {
    let unknown = || Error::invalid(format!("{what} {number} does not exist; 0 to {last} do"));
    of_number(number).ok_or_else(unknown)
}

/// The caller's timeout, or the documented default.
pub(super) fn timeout(millis: u32, default: u32) -> Duration {
    Duration::from_millis(u64::from(if millis == 0 { default } else { millis }))
}

/// Refuses flag bits that have no meaning yet.
pub(super) fn check_flags(flags: u32, known: u32, what: &str) -> Result<()> {
    match flags & !known {
        0 => Ok(()),
        odd => Err(Error::invalid(format!("{what}: unknown flag bits {odd:#x}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::give::{fill, show_struct, write_struct};
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Two {
        a: u32,
        b: u32,
    }
    // SAFETY: two integers.
    unsafe impl Plain for Two {
        const FIRST: usize = end_of!(Two, a);
    }

    fn read(bytes: &[u8]) -> Result<Two> {
        // SAFETY: the slice has its own length.
        unsafe { read_struct(bytes.as_ptr().cast::<Two>(), bytes.len(), "two") }
    }

    #[test]
    fn old_and_new_callers() {
        assert_eq!(read(&[1, 0, 0, 0]).unwrap(), Two { a: 1, b: 0 });
        assert_eq!(read(&[1, 0, 0, 0, 2, 0, 0, 0]).unwrap(), Two { a: 1, b: 2 });
        assert_eq!(read(&[1, 0, 0, 0, 2, 0, 0, 0, 0, 0]).unwrap(), Two { a: 1, b: 2 });
        assert_eq!(read(&[1, 0, 0, 0, 2, 0, 0, 0, 0, 9]).unwrap_err().errno(), libc::E2BIG);
        for size in 0..4 {
            assert_eq!(read(&[1; 4][..size]).unwrap_err().errno(), libc::EINVAL, "{size}");
        }
        let mut room = [0xffu8; 12];
        // SAFETY: the array has its own length.
        unsafe { write_struct(room.as_mut_ptr().cast::<Two>(), 10, &Two { a: 1, b: 2 }) };
        assert_eq!(room, [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0xff, 0xff]);
        let mut room = [0xffu8; 8];
        // SAFETY: the array has its own length.
        unsafe { write_struct(room.as_mut_ptr().cast::<Two>(), 4, &Two { a: 1, b: 2 }) };
        assert_eq!(room, [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn shown_in_place_or_not_it_is_the_same() {
        for size in 1..16 {
            for shift in [0, 1] {
                let mut rooms = [[0xffu64; 3]; 2];
                let [written, shown] = rooms.each_mut().map(|room| {
                    let place = room.as_mut_ptr().cast::<u8>().wrapping_add(shift);
                    place.cast::<Two>()
                });
                // SAFETY: both have room for 23 bytes.
                unsafe {
                    write_struct(written, size, &Two { a: 1, b: 2 });
                    show_struct(shown, size, |two: &mut Two| (two.a, two.b) = (1, 2));
                }
                assert_eq!(rooms[0], rooms[1], "{size} bytes, {shift} off");
            }
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(fill::<4>("abc").map(|c| c.to_ne_bytes()[0]), *b"abc\0");
        assert_eq!(fill::<4>("abé").map(|c| c.to_ne_bytes()[0]), *b"ab\0\0");
    }

    #[test]
    fn closed_fds_are_refused() {
        // SAFETY: one integer.
        let error = unsafe { duplicate_fds(&raw const FAR, 1, 8, "tap_fds") }.unwrap_err();
        assert_eq!(error.errno(), libc::EBADF);
    }

    static FAR: i32 = 999_999;
}
