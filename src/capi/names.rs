//! The words for the values of enumerations.

use std::ffi::{CStr, c_char};

use super::guard;

/// The numbers and words of an enumeration, behind its name.
type Enumeration = (&'static CStr, &'static [(u32, &'static CStr)]);

/// Made of the header by build.rs, as the names in other languages are.
const ENUMERATIONS: &[Enumeration] = include!(concat!(env!("OUT_DIR"), "/names.rs"));

/// The word for a value of an enum of this header: what JSON texts, kvmctl and the Go and Python packages
/// call it, such as "not-hotpluggable" for KVM_HOTPLUG_ERROR_NOT_HOTPLUGGABLE.
///
/// `enumeration`: the name of the enum, such as "kvm_hotplug_error_kind".
/// `value`: the value, as in an error, an answer or a struct.
///
/// Returns a static string, or NULL if there is no such enum or value.
///
/// # Safety
/// `enumeration` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kvm_hotplug_enum_name(enumeration: *const c_char, value: u32) -> *const c_char {
    guard::quiet(std::ptr::null(), || {
        if enumeration.is_null() {
            return std::ptr::null();
        }
        // SAFETY: the caller vouches for the string.
        let enumeration = unsafe { CStr::from_ptr(enumeration) };
        word(enumeration, value).map_or(std::ptr::null(), CStr::as_ptr)
    })
}

fn word(enumeration: &CStr, value: u32) -> Option<&'static CStr> {
    let (_, values) = ENUMERATIONS.iter().find(|(name, _)| *name == enumeration)?;
    values.iter().find(|(number, _)| *number == value).map(|(_, word)| *word)
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::json;

    use super::*;
    use crate::boot::IssueKind;
    use crate::disk::{Aio, Cache, DetectZeroes, Discard};
    use crate::engine::{Mismatch, SlotStatus};
    use crate::error::ErrorKind;
    use crate::model::DeviceKind;

    /// What serde writes of each value is the word for it.
    fn same<T: Serialize>(enumeration: &CStr, values: impl Iterator<Item = (u32, T)>) {
        let mut seen = 0;
        for (number, value) in values {
            let word = word(enumeration, number).and_then(|word| word.to_str().ok());
            assert_eq!(serde_json::to_value(value).unwrap(), json!(word), "{enumeration:?} {number}");
            seen += 1;
        }
        let known = ENUMERATIONS.iter().find(|(name, _)| *name == enumeration).unwrap().1;
        assert_eq!(seen, known.len(), "{enumeration:?}");
    }

    macro_rules! all {
        ($name:ident) => {
            (0..=$name::LAST).filter_map(|number| Some((number, $name::of_number(number)?)))
        };
    }

    #[test]
    fn a_value_has_the_word_that_json_has() {
        same(c"kvm_hotplug_error_kind", all!(ErrorKind));
        same(c"kvm_runtime_problem_kind", all!(IssueKind));
        same(c"kvm_hotplug_difference_kind", all!(Mismatch));
        same(c"kvm_hotplug_slot_state", all!(SlotStatus));
        same(c"kvm_hotplug_cache", all!(Cache));
        same(c"kvm_hotplug_aio", all!(Aio));
        same(c"kvm_hotplug_discard", all!(Discard));
        same(c"kvm_hotplug_detect_zeroes", all!(DetectZeroes));
        same(c"kvm_hotplug_device_type", all!(DeviceKind).map(|(number, kind)| (number, kind.name())));
    }

    #[test]
    fn what_is_none_has_no_word() {
        assert_eq!(word(c"kvm_hotplug_cache", 99), None);
        assert_eq!(word(c"cache", 0), None);
        // SAFETY: NULL and strings.
        let null = unsafe {
            [kvm_hotplug_enum_name(std::ptr::null(), 0), kvm_hotplug_enum_name(c"none".as_ptr(), 0)]
        };
        assert!(null.iter().all(|word| word.is_null()));
    }
}
