//! The numbers by which C calls the settings of a disk, in both directions.

use crate::disk::{Aio, Cache, DetectZeroes, Discard, Format};
use crate::error::{Error, Result};

/// What the numbers of the enumerations in struct kvm_hotplug_disk stand for, from 0 up.
const FORMATS: [Format; 2] = [Format::Raw, Format::Qcow2];
pub(super) const CACHES: [Cache; 5] =
    [Cache::Writeback, Cache::None, Cache::Writethrough, Cache::DirectSync, Cache::Unsafe];
pub(super) const AIOS: [Aio; 3] = [Aio::Threads, Aio::Native, Aio::IoUring];
pub(super) const DISCARDS: [Discard; 2] = [Discard::Ignore, Discard::Unmap];
pub(super) const DETECT_ZEROES: [DetectZeroes; 3] =
    [DetectZeroes::Off, DetectZeroes::On, DetectZeroes::Unmap];

pub(super) fn format_number(format: Format) -> u32 {
    number(&FORMATS, format)
}

pub(super) fn cache_number(cache: Cache) -> u32 {
    number(&CACHES, cache)
}

pub(super) fn aio_number(aio: Aio) -> u32 {
    number(&AIOS, aio)
}

pub(super) fn discard_number(discard: Discard) -> u32 {
    number(&DISCARDS, discard)
}

pub(super) fn detect_zeroes_number(detect_zeroes: DetectZeroes) -> u32 {
    number(&DETECT_ZEROES, detect_zeroes)
}

/// The number that stands for a value.
fn number<T: PartialEq>(values: &[T], value: T) -> u32 {
    let index = values.iter().position(|other| *other == value);
    index.and_then(|index| u32::try_from(index).ok()).unwrap_or(u32::MAX)
}

/// The value that an enumeration's number stands for.
pub(super) fn choose<T: Copy>(number: u32, what: &str, values: &[T]) -> Result<T> {
    let value = usize::try_from(number).ok().and_then(|index| values.get(index));
    value.copied().ok_or_else(|| {
        Error::invalid(format!("{what} {number} does not exist; 0 to {} do", values.len().saturating_sub(1)))
    })
}
