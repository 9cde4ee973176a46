//! What lies beside a record and is not its own stays: other records above all, and whatever has a name that
//! this library would use.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use kvm_hotplug::ErrorKind;
use kvm_hotplug::model::{Journal, Operation};
use kvm_hotplug::store::{RecordFile, journal_file, native};

use super::sample;

const SUFFIXES: [&str; 4] = [".lock", ".new", ".journal", ".kvm-hotplug"];

/// Files of this library's beside a record, each with words of the complaint about what is there in its
/// place.
const NAMES: [&str; 6] =
    ["vm.lock", "vm.new", "vm.journal", "vm.journal.new", "vm.kvm-hotplug", "vm.kvm-hotplug.new"];

fn directory() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vm");
    (dir, path)
}

fn record_bytes() -> Vec<u8> {
    native::encode(&sample()).unwrap()
}

fn journal_bytes() -> Vec<u8> {
    let mut journal = Journal::default();
    journal.log_intent(Operation::Remove, &sample().devices[1]);
    journal_file::encode(&journal).unwrap()
}

fn list_bytes() -> Vec<u8> {
    super::support::ganeti::sample("4entry-hvinfo-3.1.0rc2-plain")
}

/// Everything in a directory: name, inode, content of what can be read.
fn everything(dir: &Path) -> Vec<(String, u64, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let about = fs::symlink_metadata(entry.path()).unwrap();
            let content = if about.is_file() { fs::read(entry.path()).unwrap() } else { Vec::new() };
            (entry.file_name().into_string().unwrap(), about.ino(), content)
        })
        .collect();
    all.sort();
    all
}

/// Whatever is done fails by this name, and nothing is changed.
#[track_caller]
fn in_the_way(path: &Path, name: &str, what: &str) {
    let dir = path.parent().unwrap();
    let before = everything(dir);
    let done = if path.exists() {
        RecordFile::load(path).map(drop)
    } else {
        RecordFile::new(sample()).save_new(path)
    };
    let error = done.expect_err(what);
    assert!(error.message().contains(name), "{what}: {error}");
    assert_eq!(everything(dir), before, "{what}");
}

#[test]
fn names_that_end_as_ours_are_no_records() {
    for suffix in SUFFIXES {
        let (dir, path) = directory();
        let path = path.with_file_name(format!("vm{suffix}"));
        let error = RecordFile::new(sample()).save_new(&path).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Invalid, libc::EINVAL), "{error}");
        assert!(error.message().contains(&format!("ends in {suffix:?}")), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(&path, record_bytes()).unwrap();
        for result in [RecordFile::load(&path), RecordFile::peek(&path)] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Invalid);
        }
        assert_eq!(everything(dir.path()).len(), 1);
    }
    // The suffix alone is a name like any other.
    let (_dir, path) = directory();
    for name in ["lock", "new.runtime", "vm.journal.json"] {
        RecordFile::new(sample()).save_new(&path.with_file_name(name)).unwrap();
    }
}

/// A record of an older version of this library may have such a name.
#[test]
fn a_record_where_a_lock_or_journal_belongs_stays() {
    for saved in [false, true] {
        for name in ["vm.lock", "vm.journal", "vm.journal.new", "vm.kvm-hotplug.new", "vm.kvm-hotplug"] {
            for bytes in [record_bytes(), list_bytes()] {
                let (_dir, path) = directory();
                if saved {
                    // A list, because only that has all of these.
                    fs::write(&path, list_bytes()).unwrap();
                }
                fs::write(path.with_file_name(name), bytes).unwrap();
                in_the_way(&path, name, &format!("{name}, saved {saved}"));
            }
        }
    }
}

#[test]
fn what_is_no_file_of_ours_stays() {
    let contents: [&[u8]; 6] = [
        b"{}",
        b"hello\n",
        b"\0\0\0\0",
        b"{\"format\":\"kvm-hotplug-journal\",\"version\":1}",
        b"[1",
        b"12 monkeys\n",
    ];
    for saved in [false, true] {
        for name in NAMES {
            for content in contents {
                let (_dir, path) = directory();
                if saved {
                    fs::write(&path, list_bytes()).unwrap();
                }
                fs::write(path.with_file_name(name), content).unwrap();
                in_the_way(
                    &path,
                    name,
                    &format!("{name} {}, saved {saved}", String::from_utf8_lossy(content)),
                );
            }
        }
    }
}

#[test]
fn links_pipes_and_directories_stay() {
    for saved in [false, true] {
        for name in NAMES {
            let place = |path: &Path| path.with_file_name(name);
            type Make = fn(&Path);
            let odd: [(&str, Make); 4] = [
                ("directory", |at| fs::create_dir(at).unwrap()),
                ("fifo", |at| nix::unistd::mkfifo(at, nix::sys::stat::Mode::S_IRWXU).unwrap()),
                ("symbolic link", |at| std::os::unix::fs::symlink("other", at).unwrap()),
                ("hard link", |at| {
                    fs::write(at.with_file_name("other"), "").unwrap();
                    fs::hard_link(at.with_file_name("other"), at).unwrap();
                }),
            ];
            for (what, make) in odd {
                let (_dir, path) = directory();
                if saved {
                    fs::write(&path, list_bytes()).unwrap();
                }
                make(&place(&path));
                in_the_way(&path, name, &format!("{what} {name}, saved {saved}"));
            }
        }
    }
}

/// A pipe that somebody has locked: who has it must not be read from it.
#[test]
fn a_locked_pipe_is_refused_at_once() {
    let (_dir, path) = directory();
    fs::write(&path, record_bytes()).unwrap();
    let lock = path.with_file_name("vm.lock");
    nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let held = fs::File::options().read(true).write(true).open(&lock).unwrap();
    // A lock lasts as long as what it is of is open.
    let _held = nix::fcntl::Flock::lock(held, nix::fcntl::FlockArg::LockExclusiveNonblock).unwrap();
    let error = RecordFile::load(&path).unwrap_err();
    assert!(error.message().contains("vm.lock"), "{error}");
    assert!(fs::symlink_metadata(&lock).unwrap().file_type().is_fifo());
}

#[test]
fn a_hard_link_is_not_written_through() {
    let (_dir, path) = directory();
    fs::write(&path, record_bytes()).unwrap();
    let other = path.with_file_name("precious");
    for content in ["precious", "", "1\n"] {
        fs::write(&other, content).unwrap();
        fs::hard_link(&other, path.with_file_name("vm.lock")).unwrap();
        let error = RecordFile::load(&path).unwrap_err();
        assert!(error.message().contains("vm.lock") && error.message().contains("2 names"), "{error}");
        assert_eq!(fs::read_to_string(&other).unwrap(), content);
        fs::remove_file(path.with_file_name("vm.lock")).unwrap();
    }
}

/// What a process that was killed has left: torn anywhere.
#[test]
fn what_a_dead_agent_left_is_cleared_away() {
    let leftovers: [(&str, Vec<u8>); 4] = [
        ("vm.lock", b"4194304\n".to_vec()),
        ("vm.new", record_bytes()),
        ("vm.new", b"[[\"/usr/bin/kvm\", \"-enable-kvm\"".to_vec()),
        ("vm.journal.new", journal_bytes()),
    ];
    for (name, whole) in leftovers {
        for length in (0..whole.len()).step_by(13).chain([whole.len()]) {
            let (dir, path) = directory();
            fs::write(&path, record_bytes()).unwrap();
            fs::write(path.with_file_name(name), &whole[..length]).unwrap();
            drop(RecordFile::load(&path).unwrap());
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{name}, {length} bytes");
            fs::write(path.with_file_name(name), &whole[..length]).unwrap();
            fs::remove_file(&path).unwrap();
            drop({
                let mut runtime = RecordFile::new(sample());
                runtime.save_new(&path).unwrap();
                runtime
            });
            assert!(path.exists() && (name == "vm.journal.new" || !path.with_file_name(name).exists()));
        }
    }
    let (dir, path) = directory();
    fs::write(path.with_file_name("vm.journal"), journal_bytes()).unwrap();
    RecordFile::new(sample()).save_new(&path).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the journal of a guest that is gone");
}

/// What comes to lie there while the record is held was not seen when it was loaded.
#[test]
fn a_journal_does_not_replace_what_came_later() {
    let (_dir, path) = directory();
    fs::write(&path, record_bytes()).unwrap();
    let mut runtime = RecordFile::load(&path).unwrap();
    let journal = path.with_file_name("vm.journal");
    fs::write(&journal, "precious").unwrap();
    let error = runtime
        .write_journal(|journal| journal.log_intent(Operation::Remove, &sample().devices[1]))
        .unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.message().contains("vm.journal"), "{error}");
    assert_eq!(fs::read_to_string(&journal).unwrap(), "precious");
    fs::remove_file(&journal).unwrap();
    fs::write(path.with_file_name("vm.journal.new"), "precious").unwrap();
    runtime.write_journal(|journal| journal.log_intent(Operation::Remove, &sample().devices[1])).unwrap_err();
    assert_eq!(fs::read_to_string(path.with_file_name("vm.journal.new")).unwrap(), "precious");
    fs::write(path.with_file_name("vm.new"), "precious").unwrap();
    assert!(runtime.save().is_err());
    assert_eq!(fs::read_to_string(path.with_file_name("vm.new")).unwrap(), "precious");
    fs::remove_file(path.with_file_name("vm.journal.new")).unwrap();
    runtime.write_journal(|journal| journal.log_intent(Operation::Remove, &sample().devices[1])).unwrap();
    runtime.write_journal(|journal| journal.clear_intent(sample().devices[1].id.as_str())).unwrap();
    assert!(!journal.exists());
}
