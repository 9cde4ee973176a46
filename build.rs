//! Generates the C header with what other languages have of it, and names the shared library.
//!
//! What is generated is checked in. A normal build compares the header with what the sources say and warns when it
//! is stale; `KVM_HOTPLUG_HEADER=write` updates all of it, `KVM_HOTPLUG_HEADER=check` fails the build. A normal
//! build never writes into the source tree, so that it works from a read-only one.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use manual::arrange::{Section, arranged};
use manual::header::{Header, Item};

const HEADER: &str = "include/kvm_hotplug.h";
/// A package of the library's sources alone does not have it.
const GO_ENUMS: &str = "bindings/go/kvmhotplug/enums.go";
/// Nor this.
const PYTHON_ABI: &str = "bindings/python/kvm_hotplug/_abi.py";
const SWITCH: &str = "KVM_HOTPLUG_HEADER";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    for path in ["src", "cbindgen.toml", HEADER, "build.rs", "tools/manual/src"] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-env-changed={SWITCH}");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libkvm_hotplug.so.{}", abi_version(&root)?);
    let Some(header) = generate(&root)? else { return write_names(None) };
    compare(&root, HEADER, &header)?;
    let header = Header::parse(&header)?;
    write_names(Some(&header))?;
    compare_binding(&root, GO_ENUMS, &manual::go::enumerations(&header)?)?;
    compare_binding(&root, PYTHON_ABI, &manual::python::abi(&header)?)
}

/// The words for the values of enumerations, which src/capi/names.rs includes.
fn write_names(header: Option<&Header>) -> Result<(), Box<dyn Error>> {
    let file = PathBuf::from(env::var("OUT_DIR")?).join("names.rs");
    Ok(fs::write(file, manual::names::table(header)?)?)
}

/// What another language has of the header, where its package is.
fn compare_binding(root: &Path, file: &str, text: &str) -> Result<(), Box<dyn Error>> {
    if !root.join(file).exists() {
        return Ok(());
    }
    println!("cargo:rerun-if-changed={file}");
    compare(root, file, text)
}

/// The one place that says it is the constant that C programs see.
fn abi_version(root: &Path) -> Result<u32, Box<dyn Error>> {
    let source = fs::read_to_string(root.join("src/capi/version.rs"))?;
    let line = source.lines().find_map(|line| line.strip_prefix("pub const KVM_HOTPLUG_ABI_VERSION: u32 = "));
    Ok(line
        .ok_or("src/capi/version.rs does not define KVM_HOTPLUG_ABI_VERSION")?
        .trim_end_matches(';')
        .parse()?)
}

/// The header in the order in which people read it: title of a section, and the files of src/capi, or single names, that make it.
const SECTIONS: [(&str, &[&str]); 12] = [
    ("Version", &["version.rs"]),
    ("Errors", &["kvm_hotplug_error_kind", "kvm_hotplug_undo", "error.rs", "error_read.rs"]),
    ("The record of a guest", &["runtime.rs", "adopt.rs"]),
    ("Opening and closing a guest", &["guest.rs", "connection.rs"]),
    ("What a device is", &["kvm_hotplug_device_type", "device.rs"]),
    (
        "Adding",
        &[
            "kvm_hotplug_vhost",
            "nic.rs",
            "kvm_hotplug_format",
            "kvm_hotplug_cache",
            "kvm_hotplug_aio",
            "kvm_hotplug_discard",
            "kvm_hotplug_detect_zeroes",
            "secret.rs",
            "disk.rs",
            "source.rs",
            "backing.rs",
            "controller.rs",
            "batch.rs",
        ],
    ),
    ("Deleting", &["removal.rs", "kvm_hotplug_del_batch", "kvm_hotplug_del_many"]),
    ("Changing", &["link.rs", "limits.rs", "resize.rs", "media.rs"]),
    ("All at once", &["apply.rs"]),
    (
        "Looking",
        &[
            "list.rs",
            "path.rs",
            "describe.rs",
            "capabilities.rs",
            "kvm_hotplug_slot_state",
            "slots.rs",
            "plan.rs",
            "kvm_hotplug_difference_kind",
            "verify.rs",
        ],
    ),
    ("Waiting and events", &["wait.rs", "kvm_hotplug_io_action", "kvm_hotplug_event_type", "event.rs"]),
    (
        "Boot, reboot and migration",
        &[
            "boot.rs",
            "give_tap.rs",
            "give_secret.rs",
            "boot_plan.rs",
            "kvm_runtime_problem_kind",
            "check.rs",
            "cold.rs",
            "settle.rs",
            "delete.rs",
            "kvm_runtime_slot_policy",
            "kvm_runtime_when_full",
            "slot_rules.rs",
        ],
    ),
];
/// What is left.
const EXTRAS: (&str, &[&str]) =
    ("Extras", &["names.rs", "tap.rs", "qmp.rs", "log.rs", "kvm_runtime_format", "format.rs"]);

/// The header, or nothing while the sources do not parse: rustc reports that better.
fn generate(root: &Path) -> Result<Option<String>, Box<dyn Error>> {
    let capi = root.join("src/capi");
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    let head = format!("{}\n\n", config.header.take().unwrap_or_default());
    let mut files = Vec::new();
    for entry in fs::read_dir(&capi)? {
        let path = entry?.path();
        // It names the others, and what it names would come twice.
        if !path.ends_with("mod.rs") {
            files.push(path);
        }
    }
    files.sort();
    let builder = files.into_iter().fold(cbindgen::Builder::new(), |builder, file| builder.with_src(file));
    let bindings = match builder.with_config(config).generate() {
        Err(cbindgen::Error::ParseSyntaxError { .. }) => return Ok(None),
        bindings => bindings?,
    };
    let mut bytes = Vec::new();
    bindings.write(&mut bytes);
    let text = without_rust_sections(&String::from_utf8(bytes)?) + &version()?;
    let mut header = Header::parse(&text)?;
    header.items.splice(0..0, own_enums(&root.join("src"))?);
    let mut sections = Vec::new();
    for (title, parts) in SECTIONS.into_iter().chain([EXTRAS]) {
        sections.push(Section { title, names: names(&capi, parts, &header)? });
    }
    let guard =
        "#ifndef KVM_HOTPLUG_H\n#define KVM_HOTPLUG_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n";
    Ok(Some(arranged(&header, &(head + guard), &sections)?))
}

/// Those that the library and C programs share.
fn own_enums(directory: &Path) -> Result<Vec<Item>, Box<dyn Error>> {
    let mut items = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            items.extend(own_enums(&path)?);
        } else if path.extension().is_some_and(|end| end == "rs") {
            items.extend(manual::c_enum::declared(&fs::read_to_string(path)?)?);
        }
    }
    Ok(items)
}

/// The version as the preprocessor sees it.
fn version() -> Result<String, env::VarError> {
    let mut text = String::new();
    for (part, word) in [("MAJOR", "first"), ("MINOR", "second"), ("PATCH", "third")] {
        let value = env::var(format!("CARGO_PKG_VERSION_{part}"))?;
        text += &format!("/**\n * The {word} number of the version this header belongs to.\n */\n");
        text += &format!("#define KVM_HOTPLUG_VERSION_{part} {value}\n");
    }
    Ok(text)
}

/// What of the header these files define, in their order, but for what a section names by itself.
fn names(capi: &Path, parts: &[&str], header: &Header) -> Result<Vec<String>, Box<dyn Error>> {
    let by_itself = |name: &str| SECTIONS.iter().chain([&EXTRAS]).any(|(_, parts)| parts.contains(&name));
    let mut names = Vec::new();
    for part in parts {
        if !part.ends_with(".rs") {
            names.push((*part).to_owned());
            continue;
        }
        if *part == "version.rs" {
            names.extend(["MAJOR", "MINOR", "PATCH"].map(|part| format!("KVM_HOTPLUG_VERSION_{part}")));
        }
        for line in fs::read_to_string(capi.join(part))?.lines().filter(|line| line.starts_with("pub ")) {
            let words = line.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
            let name = words.into_iter().find(|word| word.starts_with("kvm_") || word.starts_with("KVM_"));
            let Some(name) = name.filter(|name| !by_itself(name) && !names.iter().any(|other| other == name))
            else {
                continue;
            };
            if header.find(name).is_none() {
                return Err(
                    format!("{name} of {part} is not in the header: cbindgen.toml does not name it").into()
                );
            }
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// `# Safety` sections are for Rust readers; C readers have the parameter descriptions.
fn without_rust_sections(text: &str) -> String {
    let mut out = String::new();
    let mut skipping = false;
    for line in text.lines() {
        skipping = (skipping || line.trim() == "* # Safety") && line.trim() != "*/";
        if !skipping {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.replace(" *\n */", " */")
}

fn compare(root: &Path, file: &str, text: &str) -> Result<(), Box<dyn Error>> {
    let path = root.join(file);
    if fs::read_to_string(&path).ok().as_deref() == Some(text) {
        return Ok(());
    }
    match env::var(SWITCH).as_deref() {
        Ok("write") => Ok(fs::write(path, text)?),
        Ok("check") => Err(format!("{file} is stale; mend it with: {SWITCH}=write cargo build").into()),
        _ => {
            println!("cargo:warning={file} is stale; mend it with: {SWITCH}=write cargo build");
            Ok(())
        }
    }
}
