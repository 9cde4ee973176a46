//! The words for the values of enumerations: what JSON texts, kvmctl and the bindings call them.

use std::fmt::Write;

use crate::header::{Header, Kind};
use crate::python;

/// QEMU's own words, which have another form than ours.
const OF_QEMU: &[(&str, &str)] = &[("IO_URING", "io_uring")];

/// `not-hotpluggable` for `NOT_HOTPLUGGABLE`, the part of a value's name behind the prefix of its
/// enumeration.
pub fn word(rest: &str) -> String {
    let own = OF_QEMU.iter().find(|(c, _)| *c == rest).map(|(_, word)| (*word).to_owned());
    own.unwrap_or_else(|| rest.to_lowercase().replace('_', "-"))
}

/// A table in Rust, of the name of each enumeration with the numbers and words of its values.
///
/// # Errors
/// A value has no number, or does not begin as the others of its enumeration do.
pub fn table(header: Option<&Header>) -> Result<String, String> {
    let mut out = String::from("&[\n");
    let items = header.map(|header| header.items.as_slice()).unwrap_or_default();
    for item in items {
        let Kind::Enum(values) = &item.kind else { continue };
        let prefix = python::prefix(&item.name)?;
        let _ = writeln!(out, "    (c\"{}\", &[", item.name);
        for value in values {
            let rest = value.name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
            let rest = rest.ok_or_else(|| format!("{} does not begin with {prefix}_", value.name))?;
            let number = value.declaration.rsplit(' ').next().unwrap_or_default();
            number.parse::<u32>().map_err(|_| format!("{} has no number: {number}", value.name))?;
            let _ = writeln!(out, "        ({number}, c\"{}\"),", word(rest));
        }
        out.push_str("    ]),\n");
    }
    out.push_str("]\n");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(values: &str) -> Header {
        let text = format!("/** E. */\nenum kvm_hotplug_aio {{\n{values}}};\n/** F. */\nint kvm_f(void);\n");
        Header::parse(&text).unwrap()
    }

    #[test]
    fn each_value_has_its_word() {
        let header = header(
            "    KVM_HOTPLUG_AIO_NOT_SAID = 1, /**< A. */\n    KVM_HOTPLUG_AIO_IO_URING = 7, /**< B. */\n",
        );
        let wanted = "&[\n    (c\"kvm_hotplug_aio\", &[\n        (1, c\"not-said\"),\n        (7, c\"io_uring\"),\n    ]),\n]\n";
        assert_eq!(table(Some(&header)).unwrap(), wanted);
        assert_eq!(table(None).unwrap(), "&[\n]\n");
    }

    #[test]
    fn what_has_no_word_is_named() {
        for odd in ["KVM_HOTPLUG_OTHER = 1", "KVM_HOTPLUG_AIO_A = many"] {
            let error = table(Some(&header(&format!("    {odd}, /**< A. */\n")))).unwrap_err();
            assert!(odd.starts_with(error.split(' ').next().unwrap()), "{error}");
        }
    }
}
