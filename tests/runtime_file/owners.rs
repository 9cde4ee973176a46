//! A record is believed only if nobody else could have written it, or if the caller says so.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use kvm_hotplug::store::{RecordFile, Trust, native};
use kvm_hotplug::{Error, ErrorKind};

use super::sample;
use super::support::not_run::{NO_OTHER_USERS, has_other_users, not_run};

const SOMEBODY: u32 = 4321;

struct Scene {
    _dir: tempfile::TempDir,
    /// Where the record is, in a directory of its own.
    home: PathBuf,
    path: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("records");
        fs::create_dir(&home).unwrap();
        set_mode(&home, 0o750);
        let path = home.join("vm");
        fs::write(&path, native::encode(&sample()).unwrap()).unwrap();
        set_mode(&path, 0o640);
        Self { _dir: dir, home, path }
    }

    fn names(&self) -> usize {
        fs::read_dir(&self.home).unwrap().count()
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn load(path: &Path, trust: Trust) -> [Result<RecordFile, Error>; 2] {
    [RecordFile::peek_trusting(path, trust), RecordFile::load_trusting(path, trust)]
}

/// Refused by name, with nothing made beside it, unless it is to be trusted.
#[track_caller]
fn refused(scene: &Scene, name: &str, words: &str) {
    let before = scene.names();
    for result in load(&scene.path, Trust::Checked) {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Untrusted, libc::EPERM), "{error}");
        assert!(error.message().contains(name) && error.message().contains(words), "{error}");
    }
    assert_eq!(scene.names(), before);
    for result in load(&scene.path, Trust::Given) {
        result.unwrap().record().check().unwrap();
    }
}

#[track_caller]
fn taken(scene: &Scene) {
    for result in load(&scene.path, Trust::Checked) {
        result.unwrap();
    }
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    for mode in [0o666, 0o602, 0o646, 0o777] {
        let scene = Scene::new();
        set_mode(&scene.path, mode);
        refused(&scene, "records/vm ", "can be written by everybody");
        set_mode(&scene.path, mode & 0o755);
        taken(&scene);
    }
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let scene = Scene::new();
    for mode in [0o777, 0o707, 0o703] {
        set_mode(&scene.home, mode);
        refused(&scene, "records ", "can be written by everybody");
        let new = scene.home.join("new");
        let error = RecordFile::new(sample()).save_new(&new).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
        assert_eq!(scene.names(), 1);
        RecordFile::new(sample()).with_trust(Trust::Given).save_new(&new).unwrap();
        fs::remove_file(new).unwrap();
    }
    for mode in [0o1777, 0o755, 0o750, 0o700] {
        set_mode(&scene.home, mode);
        taken(&scene);
    }
}

#[test]
fn somebody_elses_is_refused() {
    if !has_other_users() {
        return not_run("runtime_file, somebody_elses_is_refused", NO_OTHER_USERS);
    }
    let scene = Scene::new();
    chown(&scene.path, Some(SOMEBODY), None).unwrap();
    refused(&scene, "records/vm ", "belongs to user 4321");
    chown(&scene.path, Some(0), Some(SOMEBODY)).unwrap();
    taken(&scene);
    set_mode(&scene.path, 0o660);
    refused(&scene, "records/vm ", "can be written by group 4321");
    chown(&scene.path, Some(0), Some(0)).unwrap();
    taken(&scene);
    chown(&scene.home, Some(SOMEBODY), None).unwrap();
    refused(&scene, "records ", "belongs to user 4321");
    set_mode(&scene.home, 0o1777);
    refused(&scene, "records ", "belongs to user 4321");
    chown(&scene.home, Some(0), Some(SOMEBODY)).unwrap();
    taken(&scene);
    set_mode(&scene.home, 0o770);
    refused(&scene, "records ", "can be written by group 4321");
}

/// In a directory like /tmp, others can put files beside the record.
#[test]
fn what_lies_beside_it_is_looked_at_too() {
    if !has_other_users() {
        return not_run("runtime_file, what_lies_beside_it_is_looked_at_too", NO_OTHER_USERS);
    }
    for name in ["vm.lock", "vm.journal", "vm.new", "vm.kvm-hotplug"] {
        for foreign in [true, false] {
            let scene = Scene::new();
            set_mode(&scene.home, 0o1777);
            fs::write(&scene.path, super::support::ganeti::sample("4entry-hvinfo-3.1.0rc2-plain")).unwrap();
            let beside = scene.home.join(name);
            fs::write(&beside, "").unwrap();
            set_mode(&beside, if foreign { 0o600 } else { 0o666 });
            chown(&beside, Some(if foreign { SOMEBODY } else { 0 }), None).unwrap();
            let error = RecordFile::load(&scene.path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
            assert!(error.message().contains(name), "{error}");
            assert!(beside.exists() && scene.names() == 2);
            assert_eq!(fs::metadata(&beside).unwrap().size(), 0);
        }
    }
}
