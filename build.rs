//! Generates the C header and names the shared library.
//!
//! The header is checked in. A normal build compares it with what the sources say and warns when it is stale;
//! `KVM_HOTPLUG_HEADER=write` updates it, `KVM_HOTPLUG_HEADER=check` fails the build. A normal build never writes
//! into the source tree, so that it works from a read-only one.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

const HEADER: &str = "include/kvm_hotplug.h";
const SWITCH: &str = "KVM_HOTPLUG_HEADER";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    for path in ["src/capi", "cbindgen.toml", HEADER, "build.rs"] {
        println!("cargo:rerun-if-changed={path}");
    }
    println!("cargo:rerun-if-env-changed={SWITCH}");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libkvm_hotplug.so.{}", abi_version(&root)?);
    match generate(&root)? {
        Some(text) => compare(&root.join(HEADER), &text),
        None => Ok(()),
    }
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

/// The header, or nothing while the sources do not parse: rustc reports that better.
fn generate(root: &Path) -> Result<Option<String>, Box<dyn Error>> {
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    let mut manual = String::from("\n");
    for (part, word) in [("MAJOR", "first"), ("MINOR", "second"), ("PATCH", "third")] {
        let value = env::var(format!("CARGO_PKG_VERSION_{part}"))?;
        manual += &format!("/**\n * The {word} number of the version this header belongs to.\n */\n");
        manual += &format!("#define KVM_HOTPLUG_VERSION_{part} {value}\n");
    }
    manual += config.after_includes.as_deref().unwrap_or_default();
    config.after_includes = Some(manual.trim_end().to_owned());
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join("src/capi"))? {
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
    Ok(Some(without_rust_sections(&String::from_utf8(bytes)?)))
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

fn compare(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    if fs::read_to_string(path).ok().as_deref() == Some(text) {
        return Ok(());
    }
    match env::var(SWITCH).as_deref() {
        Ok("write") => Ok(fs::write(path, text)?),
        Ok("check") => Err(format!("{HEADER} is stale; mend it with: {SWITCH}=write cargo build").into()),
        _ => {
            println!("cargo:warning={HEADER} is stale; mend it with: {SWITCH}=write cargo build");
            Ok(())
        }
    }
}
